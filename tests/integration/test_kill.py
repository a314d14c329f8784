"""SIGKILL at any moment: never a wrong file under a product's name, and little is sent twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from noa_async.emulator import Emulator, EmulatorSettings

from .conftest import assert_right

RUNNER = """
import asyncio, sys
from noa_async import Credentials, Limits, NoaClient, Query, Settings

async def main():
    settings = Settings.from_env().with_values({"workers": 8})
    everything = Query(everything=True)
    async with NoaClient(settings, Credentials("demo", "demo")) as noa:
        if sys.argv[2] == "mirror":
            assert (await noa.mirror(everything, sys.argv[1])).absent == 0
            return
        async for outcome in noa.download_all(noa.search(everything), sys.argv[1]):
            assert outcome.ok, outcome

asyncio.run(main())
"""
both_verbs = pytest.mark.parametrize("verb", ["download", "mirror"])


async def start(mirror: Emulator, folder: Path, verb: str) -> asyncio.subprocess.Process:
    environ = os.environ | {
        "NOA_CATALOGUE_URL": mirror.catalogue_url,
        "NOA_TOKEN_URL": mirror.token_url,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNNER, str(folder), verb, env=environ
    )


def published(folder: Path) -> int:
    return len([file for file in folder.iterdir() if file.is_file()])


def needed(mirror: Emulator) -> int:
    return sum(mirror.content(product.id).size for product in mirror.catalogue.products)


async def until(condition: object) -> None:
    async with asyncio.timeout(60):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def kill_after(mirror: Emulator, folder: Path, verb: str, more_bytes: float) -> bool:
    """Start a run, kill it after so many bytes; whether it was still running."""
    enough = mirror.stats.bytes_sent + more_bytes
    process = await start(mirror, folder, verb)
    await until(lambda: mirror.stats.bytes_sent >= enough or process.returncode is not None)
    alive = process.returncode is None
    if alive:
        process.send_signal(signal.SIGKILL)
    await process.wait()
    # What has its name now is whole and right already.
    assert_right(mirror, folder, published(folder))
    return alive


@both_verbs
async def test_killed_half_way_and_started_again(tmp_path: Path, verb: str) -> None:
    settings = EmulatorSettings(products=24, mean_bytes=12_000_000, rate=25_000_000)
    async with Emulator(settings) as mirror:
        assert await kill_after(mirror, tmp_path, verb, needed(mirror) / 2)
        process = await start(mirror, tmp_path, verb)
        assert await process.wait() == 0
        assert_right(mirror, tmp_path, 24)
        # Beside the blocks in memory, what the sockets of four connections held is lost.
        assert mirror.stats.bytes_sent < 1.1 * needed(mirror)
        assert not list(tmp_path.glob(".noa-async/parts/*"))


async def kill_often(folder: Path, verb: str, products: int, kills: int) -> float:
    """Kill one download again and again; bytes sent as a share of what was needed."""
    draw = random.Random(kills)
    settings = EmulatorSettings(products=products, mean_bytes=12_000_000, rate=25_000_000)
    async with Emulator(settings) as mirror:
        step = 0.85 * needed(mirror) / kills  # so that the last kill, too, finds it running
        for _ in range(kills):
            assert await kill_after(mirror, folder, verb, draw.uniform(0.1, 1.9) * step)
        process = await start(mirror, folder, verb)
        assert await process.wait() == 0
        assert_right(mirror, folder, products)
        return mirror.stats.bytes_sent / needed(mirror)


@both_verbs
async def test_killed_at_four_random_moments(tmp_path: Path, verb: str) -> None:
    assert await kill_often(tmp_path, verb, products=30, kills=4) < 1.3


@pytest.mark.soak
@pytest.mark.timeout(1200)
@both_verbs
async def test_killed_at_fifty_random_moments(tmp_path: Path, verb: str) -> None:
    share = await kill_often(tmp_path, verb, products=250, kills=50)
    print(f"{share:.3f} times the bytes")
    assert share < 1.3
