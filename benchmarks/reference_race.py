"""A listing as users run it: the whole program, beside a script as NOA's own example."""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import library_words
from benchmarks.mirrors import MirrorProcess
from benchmarks.programs import Command
from benchmarks.races import OURS, Contestant, Race, installed, results, run_race, table
from noa_async.emulator import EmulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.emulator import Emulator

GOAL = 5.0
_PACKAGE = {"PYTHONPATH": str(Path(__file__).parent.parent), "no_proxy": "*"}
_LINES = "lines.jsonl"


def race(
    products: int, rounds: int, latency: float, fill: Callable[[int, Emulator], None]
) -> dict[str, Any]:
    """Both list ``products`` products into a file, by turns; what came of it."""
    settings = EmulatorSettings(products=0, latency=latency, token_life=36_000.0)
    with MirrorProcess(settings) as mirror, tempfile.TemporaryDirectory() as held:
        mirror.ask(partial(fill, products))
        ids = mirror.ask(_ids)

        def is_whole(output: Path) -> bool:
            lines = (output / _LINES).read_text().splitlines()
            found = [json.loads(line)["Id"] for line in lines]
            return len(found) == len(ids) and set(found) == ids

        def ours(output: Path) -> Command:
            words = (sys.executable, "-m", "noa_async", "search", "--everything", "-q")
            return _into(output, (*words, "--format", "jsonl"), mirror.environment())

        def reference(output: Path) -> Command:
            token = f"Bearer {mirror.token()}"
            words = (sys.executable, "-m", "benchmarks.peers.reference_listing")
            return _into(output, (*words, mirror.addresses.catalogue, token), {})

        there = installed(
            (
                Contestant(OURS, (sys.executable, "-m", "noa_async", "--version"), ours),
                Contestant("reference", library_words("requests"), reference),
            )
        )
        work = Race("listing", there, 0, products, is_whole, rounds=rounds)
        found = results(work, run_race(work, Path(held) / "work"), {"reference": GOAL})
    print(table(found))
    return found


def _into(output: Path, words: tuple[str, ...], environment: dict[str, str]) -> Command:
    """A program whose output goes into a file of ``output``."""
    shell = ("sh", "-c", 'out=$1; shift; exec "$@" > "$out"', "sh", str(output / _LINES))
    return Command((*shell, *words), environment | _PACKAGE)


def _ids(mirror: Emulator) -> set[str]:
    return {product.id for product in mirror.catalogue.products}
