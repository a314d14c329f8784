"""A far service with a quota: how much of what it gives is used, to the last product."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.byteraces import MEMORY, keep
from benchmarks.contestants import contestants
from benchmarks.machine import sentence
from benchmarks.mirrors import MirrorProcess
from benchmarks.peers.job import Job, Wanted
from benchmarks.races import OURS, Race, holds, installed, results, run_race, table
from noa_async.emulator import EmulatorSettings, make_product

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from noa_async.emulator import Emulator, Product

LATENCY, RATE, QUOTA = 0.06, 6_000_000, 8
SMALLEST, LARGEST = 1_000_000, 60_000_000
GOAL = 1.05
_TITLE = f"{{}} products of 1 to 60 MB, 60 ms to the first byte, 6 MB/s a connection, quota {QUOTA}"
_PEERS = ("aria2c", "curl + md5sum", "rclone + md5sum")


class Far:
    """The emulator as a race's source, with what its peers need to know of it."""

    tls = False
    authority = Path()

    def __init__(self, mirror: MirrorProcess) -> None:
        self._mirror = mirror
        self._entries = mirror.ask(_entries)
        self.bytes = sum(size for *_, size in self._entries)

    def job(self, output: Path, connections: int) -> Job:
        """As ``FileServer.job``."""
        product = self._mirror.addresses.product
        wanted = tuple(Wanted(product(key), name, md5) for key, name, md5, _ in self._entries)
        token = f"Bearer {self._mirror.token()}"
        return Job(wanted, str(output), connections, token, None)

    def environment(self) -> dict[str, str]:
        """The variables that lead noa-async here."""
        return self._mirror.environment() | {"no_proxy": "*"}

    def is_whole(self, output: Path) -> bool:
        """Whether every product is in ``output``, byte for byte, and no other file."""
        return holds(output, {name: md5 for _, name, md5, _ in self._entries})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--products", type=int, default=120, help="how many (120)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    parser.add_argument("--tool", action="append", help="this one beside ours (repeatable)")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Race against each other and against the quota; 0 where the goal is met."""
    settings = EmulatorSettings(
        products=0, latency=LATENCY, rate=RATE, quota=QUOTA, token_life=36_000.0
    )
    products = _products(arguments.products)
    where = MEMORY if MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="noa-wan-", dir=where) as held,
        MirrorProcess(settings, products) as mirror,
    ):
        far = Far(mirror)
        wanted = {OURS, *(arguments.tool or _PEERS)}
        there = [one for one in contestants(far, QUOTA) if one.name in wanted]
        race = Race(
            "wan",
            installed(there),
            far.bytes,
            len(products),
            far.is_whole,
            rounds=arguments.rounds,
            warm_up=False,
        )
        laps = run_race(race, Path(held) / "work")
        refused = mirror.ask(_refusals)
    found = results(race, laps, {})
    ideal = far.bytes / (QUOTA * RATE)
    share = round(found["medians"][OURS]["wall"] / ideal, 3)
    found |= {"ideal_seconds": round(ideal, 2), "times_ideal": share, "goal_times_ideal": GOAL}
    title = _TITLE.format(len(products))
    print(f"\n{title}; {sentence(found['machine'])}\n{table(found)}")
    print(f"The quota allows {ideal:.2f} s; noa-async took {share} times that (goal: {GOAL}).")
    print(f"Requests refused for the quota, all tools and rounds: {refused}")
    if not arguments.no_write:
        keep(found, title)
    return 0 if share <= GOAL and found["medians"][OURS]["whole"] else 1


def _products(count: int) -> list[Product]:
    draw = random.Random(5)
    return [
        make_product(f"S2A_MSIL2A_20260112T092321_N0511_{number:06}.SAFE.zip", size)
        for number in range(count)
        for size in [draw.randint(SMALLEST, LARGEST)]
    ]


def _entries(mirror: Emulator) -> Sequence[tuple[str, str, str, int]]:
    """Id, name, MD5 and size of each product; it takes a while to make them."""
    contents = [(each, mirror.content(each.id)) for each in mirror.catalogue.products]
    return [(each.id, each.name, content.md5, content.size) for each, content in contents]


def _refusals(mirror: Emulator) -> int:
    return mirror.stats.quota_refusals
