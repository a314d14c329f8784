"""A long listing: windows of time, several at once, against one page after another."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.byteraces import RESULTS, write
from benchmarks.machine import describe, sentence
from benchmarks.mirrors import Addresses, MirrorProcess
from benchmarks.planning import SHARED, sensing_times
from benchmarks.races import met
from benchmarks.reference_race import race
from noa_async.auth.credentials import Credentials
from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import TokenManager
from noa_async.catalogue.pages import Catalogue
from noa_async.catalogue.query import Query
from noa_async.catalogue.times import format_instant
from noa_async.emulator import EmulatorSettings, make_product
from noa_async.services import Service
from noa_async.settings import Settings
from noa_async.transport import Transport

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from noa_async.emulator import Emulator

    Lister = Callable[[Catalogue], Awaitable[Counter[str]]]

JSON = RESULTS / "listing.json"
LATENCY = 0.04
MAX_SKIP = 10_000
PAGE_SIZE = 50
AT_ONCE = 4
_DAYS = 31


@dataclass(frozen=True, slots=True)
class Run:
    """One listing of everything."""

    way: str
    seconds: float
    each_once: bool
    requests: int
    most_at_once: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--products", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--few", type=int, default=20_000, help="beside the reference (20000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way (3)")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Beside the reference, then both ways by turns; 1 where one was lost, or a goal was missed."""
    beside = race(arguments.few, arguments.rounds, LATENCY, _fill)
    once = _run_both_ways(arguments, beside)
    return 0 if once and met(beside) else 1


def _run_both_ways(arguments: argparse.Namespace, beside: dict[str, Any]) -> bool:
    """One by one and in windows; whether each product came once."""
    settings = EmulatorSettings(
        products=0, latency=LATENCY, max_skip=MAX_SKIP, page_size=PAGE_SIZE, checksums=()
    )
    runs: list[Run] = []
    with MirrorProcess(settings) as mirror:
        mirror.ask(partial(_fill, arguments.products))
        ids = mirror.ask(_ids)
        for _ in range(arguments.rounds):
            for way, lister in WAYS.items():
                mirror.ask(_reset)
                made = asyncio.run(_measure(way, lister, mirror.addresses, ids))
                runs.append(_counted(made, *mirror.ask(_figures)))
                print(_line(runs[-1]), flush=True)
    results = _results(arguments.products, runs)
    print(f"{results['ratios']} times as fast, {sentence(results['machine'])}")
    if not arguments.no_write:
        draw(results | {"beside_the_reference": beside})
    return all(each.each_once for each in runs)


def draw(found: dict[str, Any]) -> None:
    """Write the results, as JSON and as a plot of what is listed beside the reference."""
    beside = found["beside_the_reference"]
    rows = [(who, one["wall"], f"{one['wall']:g} s") for who, one in beside["medians"].items()]
    title = f"{beside['products']} entries of a catalogue that answers after {LATENCY * 1e3:g} ms"
    write(found | {"rounds": beside["rounds"]}, title, rows)


async def windows(catalogue: Catalogue) -> Counter[str]:
    """As noa-async lists."""
    found: Counter[str] = Counter()
    async for products in catalogue.pages(Query(everything=True)):
        found.update(product.id for product in products)
    return found


async def one_by_one(catalogue: Catalogue) -> Counter[str]:
    """Link after link, and on by date where a full page has none: a careful script's way."""
    options = {"$orderby": "ContentDate/Start asc", "$top": str(PAGE_SIZE)}
    found: Counter[str] = Counter()
    url: str | None = catalogue.url(options)
    while url is not None:
        page = await catalogue.page(url)
        found.update(product.id for product in page.products if product.id not in found)
        url = catalogue.next_link(url, page)
        if url is None and len(page.products) >= PAGE_SIZE:
            last = page.products[-1].sensing_start
            assert last is not None
            onwards = f"ContentDate/Start ge {format_instant(last)}"
            url = catalogue.url({"$filter": onwards, **options})
    return found


WAYS: dict[str, Lister] = {"one_by_one": one_by_one, "windows": windows}


async def _measure(way: str, lister: Lister, addresses: Addresses, ids: set[str]) -> Run:
    service = Service(
        catalogue_url=addresses.catalogue, token_url=addresses.token, page_size=PAGE_SIZE
    )
    settings = Settings(service=service)
    async with Transport(settings) as transport:
        tokens = TokenManager(transport, service, Credentials("demo", "demo", source="benchmark"))
        session = AuthSession(transport, tokens)
        await tokens.token()
        catalogue = Catalogue(session, service, settings.retry, listings=AT_ONCE)
        begun = time.perf_counter()
        found = await lister(catalogue)
        seconds = time.perf_counter() - begun
    each_once = set(found) == ids and set(found.values()) <= {1}
    return Run(way, seconds, each_once, 0, 0)


def _fill(count: int, mirror: Emulator) -> None:
    """Put the products in: many instants in the passes of each day, ``SHARED`` on each."""
    for group, start in enumerate(sensing_times(count, _DAYS)):
        for place in range(min(SHARED, count - group * SHARED)):
            name = f"S2A_MSIL2A_{start:%Y%m%dT%H%M%S}_N0511_R093_T{group:05}_{place:02}.SAFE"
            mirror.catalogue.add(make_product(name, 1000, start=start, footprint=None))


def _ids(mirror: Emulator) -> set[str]:
    return {product.id for product in mirror.catalogue.products}


def _reset(mirror: Emulator) -> None:
    mirror.stats.reset()


def _figures(mirror: Emulator) -> tuple[int, int]:
    return mirror.stats.pages, mirror.stats.lists_peak


def _counted(made: Run, requests: int, most_at_once: int) -> Run:
    return Run(made.way, made.seconds, made.each_once, requests, most_at_once)


def _line(made: Run) -> str:
    once = "each once" if made.each_once else "NOT EACH ONCE"
    return (
        f"{made.way:11}{made.seconds:8.1f} s{made.requests:7} pages, at most "
        f"{made.most_at_once} at once, {once}"
    )


def _results(products: int, runs: list[Run]) -> dict[str, Any]:
    taken = {way: [each.seconds for each in runs if each.way == way] for way in WAYS}
    pairs = zip(taken["one_by_one"], taken["windows"], strict=True)
    return {
        "suite": "listing",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe(),
        "products": products,
        "on_one_instant": SHARED,
        "page_size": PAGE_SIZE,
        "latency_seconds": LATENCY,
        "max_skip": MAX_SKIP,
        "at_once": AT_ONCE,
        "medians": {way: round(median(seconds), 1) for way, seconds in taken.items()},
        "ratios": [round(slow / fast, 2) for slow, fast in pairs],
        "runs": [
            {
                "way": each.way,
                "seconds": round(each.seconds, 1),
                "each_once": each.each_once,
                "requests": each.requests,
                "most_at_once": each.most_at_once,
            }
            for each in runs
        ],
    }
