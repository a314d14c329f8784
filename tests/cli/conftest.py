"""The real program, started as users start it, against an emulator in the test's own loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from noa_async.emulator import Catalogue, Emulator, EmulatorSettings, Product

PASSWORD = "s3cret-Passw0rd"
ROI = "POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))"


@dataclass(frozen=True)
class Ended:
    """What a run left behind."""

    code: int
    out: str
    err: str


class Program:
    """``noa-async`` in a folder of its own, with an environment that leads to one mirror."""

    def __init__(self, folder: Path, mirror: Emulator | None = None) -> None:
        self.folder = folder
        self._mirror = mirror
        self.environ = {**os.environ, "PYTHONWARNINGS": "error", "COLUMNS": "100"}
        if mirror is not None:
            self.environ |= {
                "NOA_CATALOGUE_URL": mirror.catalogue_url,
                "NOA_TOKEN_URL": mirror.token_url,
                "NOA_USERNAME": "demo",
                "NOA_PASSWORD": PASSWORD,
            }

    async def start(self, *arguments: str | Path, **pipes: Any) -> asyncio.subprocess.Process:
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | pipes
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "noa_async", *map(str, arguments)),
            cwd=self.folder,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            **pipes,
        )

    async def __call__(self, *arguments: str | Path) -> Ended:
        """Run to the end; no output ever holds the password or a token."""
        process = await self.start(*arguments)
        try:
            async with asyncio.timeout(60):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        ended = Ended(process.returncode, out.decode(), err.decode())
        for secret in (PASSWORD, "Bearer", "access_token", *self._tokens()):
            assert secret not in ended.out + ended.err
        if "-v" not in arguments:
            assert "Traceback" not in ended.err
        return ended

    def _tokens(self) -> list[str]:
        """Every token the mirror gave out."""
        if self._mirror is None:
            return []
        issuer = self._mirror._mirror.issuer
        return [*issuer._access, *issuer._refresh]


Open = Callable[..., Awaitable[tuple[Emulator, Program]]]


@pytest.fixture
async def open_mirror(tmp_path: Path) -> AsyncIterator[Open]:
    """``await open_mirror(products=..., ...)``: a mirror, and the program that is led to it."""
    async with AsyncExitStack() as stack:

        async def open_it(*products: Product, **settings: Any) -> tuple[Emulator, Program]:
            made = EmulatorSettings(
                **{"products": 40, "mean_bytes": 20_000, "password": PASSWORD} | settings
            )
            catalogue = Catalogue(products, seed=made.seed) if products else None
            mirror = await stack.enter_async_context(Emulator(made, catalogue=catalogue))
            folder = tmp_path / "work"
            folder.mkdir(exist_ok=True)
            return mirror, Program(folder, mirror)

        yield open_it


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program with no mirror."""
    return Program(tmp_path)


def gathered(parts: Path) -> int:
    """Bytes of all parts in a folder where a run is at work; one may go while it is looked at."""
    sizes = 0
    for part in parts.glob("*.part"):
        with suppress(FileNotFoundError):
            sizes += part.stat().st_size
    return sizes


async def until(condition: Callable[[], bool]) -> None:
    """Give way until ``condition`` holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)
