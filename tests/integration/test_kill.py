"""SIGKILL half-way: the next run goes on, and little is sent twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from noa_async.emulator import Emulator, EmulatorSettings

from .conftest import assert_right

DOWNLOADER = """
import asyncio, sys
from noa_async import Credentials, Limits, NoaClient, Query, Settings

async def main():
    settings = Settings.from_env().with_values({"workers": 8})
    async with NoaClient(settings, Credentials("demo", "demo")) as noa:
        found = noa.search(Query(everything=True))
        async for outcome in noa.download_all(found, sys.argv[1]):
            assert outcome.ok, outcome

asyncio.run(main())
"""


async def start(mirror: Emulator, folder: Path) -> asyncio.subprocess.Process:
    environ = os.environ | {
        "NOA_CATALOGUE_URL": mirror.catalogue_url,
        "NOA_TOKEN_URL": mirror.token_url,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", DOWNLOADER, str(folder), env=environ
    )


async def test_killed_half_way_and_started_again(tmp_path: Path) -> None:
    settings = EmulatorSettings(products=24, mean_bytes=12_000_000, rate=25_000_000)
    async with Emulator(settings) as mirror:
        sizes = {
            product.id: mirror.content(product.id).size for product in mirror.catalogue.products
        }
        whole = sum(sizes.values())
        process = await start(mirror, tmp_path)
        async with asyncio.timeout(60):
            while mirror.stats.bytes_sent < whole / 2:
                await asyncio.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        # What has its name now is whole and right already.
        assert_right(mirror, tmp_path, len([file for file in tmp_path.iterdir() if file.is_file()]))

        process = await start(mirror, tmp_path)
        assert await process.wait() == 0
        assert_right(mirror, tmp_path, 24)
        assert mirror.stats.bytes_sent < 1.05 * whole
        assert not list(tmp_path.glob(".noa-async/parts/*"))
