"""Minutes of every fault at a low rate: memory and open files stay as they are."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from pathlib import Path

import pytest

from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan

K = FaultKind
SECONDS = 300
CLIENT = """
import asyncio, json, os, pathlib, resource, sys
from noa_async import Credentials, NoaClient, NoaError, Query, RetryPolicy, Settings, Timeouts
from dataclasses import replace

def sample():
    pages = int(open("/proc/self/statm").read().split()[1])
    return {"rss": pages * resource.getpagesize(), "files": len(os.listdir("/proc/self/fd"))}

async def main(folder):
    settings = Settings.from_env().with_values({"workers": 8})
    quick = RetryPolicy(base=0.01, cap=0.1, retries=12)
    settings = replace(settings, retry=quick, timeouts=Timeouts(stall=1.0))
    async with NoaClient(settings, Credentials("demo", "demo")) as noa:
        while sys.stdin.readline():
            counts = {}
            found = noa.search(Query(everything=True))
            try:
                async for outcome in noa.download_all(found, folder, retry_failed=True):
                    counts[outcome.status] = counts.get(outcome.status, 0) + 1
                    if outcome.path:
                        outcome.path.unlink()
            except NoaError as error:
                counts[type(error).__name__] = 1
            print(json.dumps(sample() | {"counts": counts}), flush=True)

asyncio.run(main(sys.argv[1]))
"""


def low_rate(seed: int) -> FaultPlan:
    return FaultPlan(
        tuple(
            Fault(kind, probability=0.02, seconds=0.1, rate=400_000, first=first)
            for kind in K
            for first in (1, 2)
        ),
        seed=seed,
    )


@pytest.mark.soak
@pytest.mark.timeout(2 * SECONDS)
async def test_five_minutes_of_every_fault(tmp_path: Path) -> None:
    async with Emulator(EmulatorSettings(products=300, mean_bytes=200_000)) as mirror:
        environ = os.environ | {
            "NOA_CATALOGUE_URL": mirror.catalogue_url,
            "NOA_TOKEN_URL": mirror.token_url,
        }
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, str(tmp_path), env=environ,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert client.stdin is not None
        assert client.stdout is not None
        rounds = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            mirror.faults = low_rate(len(rounds))
            client.stdin.write(b"\n")
            rounds.append(json.loads(await client.stdout.readline()))
        client.stdin.close()
        assert await client.wait() == 0
    third = len(rounds) // 3
    early, late = rounds[third : 2 * third], rounds[2 * third :]
    totals: dict[str, int] = {}
    for each in rounds:
        for status, count in each["counts"].items():
            totals[status] = totals.get(status, 0) + count
    growth = statistics.mean(r["rss"] for r in late) - statistics.mean(r["rss"] for r in early)
    peak = max(each["rss"] for each in rounds) / 2**20
    files = [max(each["files"] for each in part) for part in (early, late)]
    print(f"{len(rounds)} rounds, {totals}; growth {growth / 2**20:.2f} MiB, peak {peak:.1f} MiB, "
          f"open files {files}, {mirror.stats.faults} faults in all")  # fmt: skip
    assert growth < 4 << 20
    assert files[1] <= files[0] + 2
