"""Cancel a client at random moments, also while it opens and closes: nothing is ever left behind.

Each round runs on asyncio or uvloop, in a process whose crash would be seen. It is a mix of calls
and streams, in one task or several, that are cancelled once or repeatedly, left early, kept or
dropped. After it no folder is locked, no task, thread or descriptor is left, every file is right,
and a last run completes the folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.looping import LoopThread

from ..integration.conftest import Secure

CHAOS = Path(__file__).with_name("chaos.py")
ROOT = CHAOS.parents[2]
MIRROR = EmulatorSettings(
    products=10, mean_bytes=120_000, rate=4_000_000.0, latency=0.005, refresh_life=60.0
)


def play(first: int, rounds: int, secure: Secure | None) -> dict[str, object]:
    """Run some rounds in a process of their own; what they found, and the summary."""
    settings = replace(MIRROR, tls=secure.server) if secure else MIRROR
    with LoopThread() as loop:
        mirror = Emulator(settings)
        loop.run(mirror.start())
        try:
            told = {
                "catalogue": mirror.catalogue_url,
                "token": mirror.token_url,
                "ca_file": secure.ca_file if secure else None,
                "first": first,
                "rounds": rounds,
                "sums": {
                    f"{product.name.removesuffix('.zip')}.zip": mirror.content(product.id).md5
                    for product in mirror.catalogue.products
                },
            }
            done = subprocess.run(
                [sys.executable, "-X", "faulthandler", str(CHAOS), json.dumps(told)],
                env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH") or str(ROOT)},
                capture_output=True,
                text=True,
                timeout=20 * rounds,
                check=False,
            )
        finally:
            loop.run(mirror.stop())
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    *found, summary = map(json.loads, done.stdout.splitlines())
    assert not found, json.dumps(found, indent=1)
    assert not [line for line in done.stderr.splitlines() if "never" in line], done.stderr
    return dict(summary)


@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_row_6_3_whatever_is_cancelled_leaves_nothing_behind(
    first: int, tls: bool, secure: Secure
) -> None:
    assert play(first, 10, secure if tls else None)["rounds"] == 10


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_row_6_3_hundreds_of_rounds(tls: bool, secure: Secure) -> None:
    summary = play(1000, 300, secure if tls else None)
    print(summary)
    assert summary["rounds"] == 300
