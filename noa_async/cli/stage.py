"""The emulated service of the demo, in a separate process so that it does not affect timings."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import sys
import tempfile
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async.auth.credentials import Credentials
from noa_async.catalogue.query import Query
from noa_async.emulator import Emulator, EmulatorSettings, Product
from noa_async.errors import ServiceUnreachable
from noa_async.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

# The example query in the README of NOA's own client, unchanged.
ROI = "POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))"
TIME_CONFIG = {
    "content_start": "2026-01-11T00:00:00.000Z",
    "content_end": "2026-01-19T23:59:59.999Z",
    "pub_start": "2026-01-11T00:00:00.000Z",
    "pub_end": "2026-01-19T23:59:59.999Z",
}
MISSION_RULES: list[dict[str, object]] = [
    {
        "platform": "SENTINEL-1",
        "product_type": ["S2_GRDM_1S", "IW_OCN__2S"],
        "polarisation": ["HH", "VV", "VV,VH"],
        "orbit": ["DESCENDING"],
    },
    {"platform": "SENTINEL-2", "product_type": ["S2MSI2A"], "cloud_min": 0, "cloud_max": 20},
]

_MIRROR = EmulatorSettings(mean_bytes=4_800_000, rate=8_000_000.0, token_life=3.0)


@dataclass(frozen=True, slots=True)
class Stage:
    """A running emulated service, the query of the demo, and the expected result."""

    query: Query
    sums: Counter[str]
    """The MD5 of each matching product, computed from the emulator's content."""
    addresses: Mapping[str, str]
    held: int
    """Number of products in the catalogue."""
    rate: float
    token_life: float

    @property
    def catalogue_url(self) -> str:
        return self.addresses["NOA_CATALOGUE_URL"]

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.addresses["NOA_USERNAME"], self.addresses["NOA_PASSWORD"])

    def settings(self, workers: int) -> Settings:
        """Return settings for the emulated service, ignoring the environment."""
        token_url = self.addresses["NOA_TOKEN_URL"]
        return Settings().with_values(
            {"catalogue_url": self.catalogue_url, "token_url": token_url, "workers": workers}
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """Counts of the files that were read again."""

    right: int
    wrong: int


@asynccontextmanager
async def set_stage() -> AsyncGenerator[Stage]:
    """Start the emulated service with one planned cut; it ends with the context or this process."""
    query = Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG)
    catalogue = Emulator(_MIRROR).catalogue  # the same seed gives the same content
    matching = catalogue.select(query.filter, [("ContentDate/Start", False)])
    assert _MIRROR.rate is not None
    with tempfile.TemporaryDirectory(prefix="noa-async-mirror-") as folder:
        plan = _write_plan(folder, matching[: len(matching) // 2])
        async with _mirror(plan) as addresses:
            sums = await asyncio.to_thread(
                lambda: Counter(catalogue.content(one.id).md5 for one in matching)
            )
            yield Stage(query, sums, addresses, len(catalogue), _MIRROR.rate, _MIRROR.token_life)


def _write_plan(folder: str, products: Sequence[Product]) -> Path:
    """Write a fault plan with one cut, in the largest of ``products``."""
    unlucky = max(products, key=lambda one: one.size)
    plan = Path(folder, "faults.json")
    plan.write_text(json.dumps({"faults": [{"kind": "cut", "product": unlucky.id, "at": 0.6}]}))
    return plan


@asynccontextmanager
async def _mirror(plan: Path) -> AsyncGenerator[Mapping[str, str]]:
    options = {
        "--mean-bytes": _MIRROR.mean_bytes,
        "--rate": _MIRROR.rate,
        "--token-life": _MIRROR.token_life,
        "--faults": plan,
    }
    arguments = [str(part) for pair in options.items() for part in pair]
    os.environ["no_proxy"] = "*"  # the service is on this machine
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "noa_async", "-q", "emulator", "--with-input", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # keep Ctrl-C from stopping it first
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield await _addresses(process.stdout)
    finally:
        process.stdin.close()
        await process.wait()


async def _addresses(output: asyncio.StreamReader) -> dict[str, str]:
    found: dict[str, str] = {}
    while "NOA_PASSWORD" not in found:
        line = (await output.readline()).decode()
        if not line:
            raise ServiceUnreachable("The emulated service of the demo did not start.")
        [name_and_value] = shlex.split(line.removeprefix("export "))
        name, _, value = name_and_value.partition("=")
        found[name] = value
    return found


async def read_again(stage: Stage, folder: Path) -> Checked:
    """Compare every file in ``folder`` with the emulator's content, independently of the
    downloader's checksums.
    """
    files = await asyncio.to_thread(_files, folder)
    found = Counter(await asyncio.gather(*(asyncio.to_thread(_md5, file) for file in files)))
    right = (found & stage.sums).total()
    return Checked(right, len(files) - right)


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()]


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
