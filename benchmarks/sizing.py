"""Planning: what an archive larger than can be tried would take, from what was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.planning import DAY, Measured, Spread, bringing, listing, spread, token_requests
from noa_async.archive.objectstore import PIECE
from noa_async.services import SERVICES
from noa_async.settings import Following, Limits
from noa_async.values import byte_rate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

PAGE = Path(__file__).parent.parent / "docs" / "sizing.md"
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_ANSWERS = (0.1, 1.0, 10.0)
_LINES = ((4, 5e6), (4, 20e6), (8, 20e6), (16, 20e6))
_NOA, _CDSE = SERVICES["noa"], SERVICES["cdse"]
_KEPT_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is planned. All that is here is assumed, not measured."""

    products: int = 10_000_000
    total: float = 1e15
    """Bytes of them all."""
    days: int = 3650
    """How long it took the service to gather them; new ones come at that rate."""
    largest: float = 8e9
    """Bytes of the largest product."""
    head: float = 0.2
    """Seconds before a product's first byte."""
    page: float = 1.0
    """Seconds that the service takes for a page of the catalogue."""
    storage_price: float = 10.0
    """Of a TB kept for a month in an object store, in whatever money."""
    write_price: float = 5.0
    """Of a million writes there."""
    piece: float = PIECE
    """Bytes of one write there; this is what noa-async sends of a large product."""

    @property
    def size(self) -> float:
        """Bytes of the mean product."""
        return self.total / self.products

    @property
    def new_a_day(self) -> int:
        """Products."""
        return round(self.products / self.days)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    given = Scenario()
    parser.add_argument("--products", type=int, default=given.products, help="how many (10000000)")
    parser.add_argument("--bytes", type=byte_count, default=given.total, help="all of them (1P)")
    parser.add_argument("--days", type=int, default=given.days, help="they were gathered in (3650)")
    parser.add_argument("--largest", type=byte_count, default=given.largest, help="product (8G)")
    parser.add_argument("--head", type=float, default=given.head, help="s, of a product (0.2)")
    parser.add_argument("--page", type=float, default=given.page, help="s, of a page (1)")
    parser.add_argument(
        "--storage-price", type=float, default=given.storage_price, help="TB, month"
    )
    parser.add_argument("--write-price", type=float, default=given.write_price, help="a million")
    parser.add_argument("--piece", type=byte_count, default=given.piece, help="of a write (5.24M)")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/sizing.md")


def byte_count(text: str) -> float:
    """Bytes from a number with a unit.

    >>> byte_count("1P"), byte_count("500G")
    (1000000000000000.0, 500000000000.0)
    """
    number = text.strip().removesuffix("B")
    return 1000 * byte_rate(f"{number[:-1]}T") if number[-1:] in {"P", "p"} else byte_rate(number)


def run(arguments: argparse.Namespace) -> int:
    """Print the tables; into the page with ``--write``."""
    scenario = Scenario(
        products=arguments.products,
        total=arguments.bytes,
        days=arguments.days,
        largest=arguments.largest,
        head=arguments.head,
        page=arguments.page,
        storage_price=arguments.storage_price,
        write_price=arguments.write_price,
        piece=arguments.piece,
    )
    made = tables(scenario, Measured.kept())
    for name, table in made.items():
        print(f"{name}\n\n{table}")
    if arguments.write:
        PAGE.write_text(refreshed(PAGE.read_text("utf-8"), made), "utf-8")
    return 0


def refreshed(page: str, made: Mapping[str, str]) -> str:
    """A page with its tables made anew. Raises KeyError for a table that is not known."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", page)


def tables(scenario: Scenario, measured: Measured) -> dict[str, str]:
    """All tables, by name."""
    makers: dict[str, Callable[[Scenario, Measured], list[list[str]]]] = {
        "measured": _measured,
        "listing": _listing,
        "bringing": _bringing,
        "daily": _daily,
        "here": _here,
        "store": _store,
    }
    return {name: _markdown(make(scenario, measured)) for name, make in makers.items()}


def _measured(_: Scenario, measured: Measured) -> list[list[str]]:
    return [
        ["What was measured", "Figure", "Kept in"],
        ["Of the ledger, a product", f"{measured.row_bytes:.0f} bytes", "`ledger.json`"],
        ["New products recorded", f"{measured.records_per_second:,.0f}/s", "`ledger.json`"],
        ["A page, beside the service", f"{measured.page_seconds * 1e3:.1f} ms", "`listing.json`"],
        ["A product to bring", f"{measured.product_seconds * 1e3:.2f} ms", "`restart.json`"],
        ["A product found there", f"{measured.again_seconds * 1e3:.3f} ms", "`restart.json`"],
        ["Peak for 20,000 products", f"{measured.many_mib:.0f} MiB", "`memory.json`"],
        ["Peak with nothing new", f"{measured.quiet_mib:.0f} MiB", "`ledger.json`"],
        ["Bytes read again", f"{measured.verify_rate / 1e6:,.0f} MB/s", "`verify.json`"],
    ]


@cache
def _spread(products: int, days: int) -> Spread:
    return spread(products, days)


def _listing(scenario: Scenario, measured: Measured) -> list[list[str]]:
    where = _spread(scenario.products, scenario.days)
    at_once = Limits().listings
    rows = [["Page size", "At once", "Requests", *(f"{each:g} s a page" for each in _ANSWERS)]]
    for size, many in ((_NOA.page_size, 1), (_NOA.page_size, at_once), (_CDSE.page_size, at_once)):
        made = [
            listing(where, page_size=size, at_once=many, answer=each, own=measured.page_seconds)
            for each in _ANSWERS
        ]
        times = [_long(each.seconds) for each in made]
        rows.append([f"{size}", f"{many}", f"{made[0].requests:,}", *times])
    return rows


def _bringing(scenario: Scenario, measured: Measured) -> list[list[str]]:
    rows = [["Connections", "Each", "Volume in 30 days", "Time", "Log-ins and renewals a day"]]
    life = _NOA.habits.token_life or 300.0
    renewals = f"{token_requests(DAY, life):,}"
    quota = _CDSE.quota
    lines: list[tuple[int, float, float | None]] = [(*line, None) for line in _LINES]
    lines.append((quota.connections or 4, quota.rate or 20e6, quota.volume))
    for connections, rate, volume in lines:
        seconds = bringing(
            scenario.products,
            scenario.size,
            connections=connections,
            rate=rate,
            answer=scenario.head,
            own=measured.product_seconds,
            volume=volume,
        )
        most = "no limit" if volume is None else _bytes(volume)
        rows.append([f"{connections}", f"{_bytes(rate)}/s", most, _long(seconds), renewals])
    return rows


def _daily(scenario: Scenario, measured: Measured) -> list[list[str]]:
    following = Following()
    window = following.overlap.days + 1
    new = scenario.new_a_day
    pages = _requests(window * new, window, scenario, measured)
    again = _requests(scenario.products, scenario.days, scenario, measured)
    weekly = -(-again // following.reconcile_every.days)
    volume = _KEPT_DAYS * new * scenario.size
    allowed = _CDSE.quota.volume or 1.0
    return [
        ["Each day", "Figure"],
        ["New products", f"{new:,}"],
        ["Their bytes", _bytes(new * scenario.size)],
        [f"Pages of the last {window} days", f"{pages:,}"],
        ["Pages to list all each week, a day's share", f"{weekly:,}"],
        ["Requests for bytes", f"{new:,}"],
        ["All of these requests", f"{pages + weekly + new:,}"],
        [f"Bytes in {_KEPT_DAYS} days", _bytes(volume)],
        [f"Of a volume of {_bytes(allowed)}", f"{volume / allowed:.0%}"],
    ]


def _requests(products: int, days: int, scenario: Scenario, measured: Measured) -> int:
    return listing(
        _spread(products, days),
        page_size=_NOA.page_size,
        at_once=Limits().listings,
        answer=scenario.page,
        own=measured.page_seconds,
    ).requests


def _here(scenario: Scenario, measured: Measured) -> list[list[str]]:
    products, workers = scenario.products, Limits().workers
    return [
        ["Here", "Figure"],
        ["Files", f"{products:,}"],
        ["Their bytes", _bytes(scenario.total)],
        ["The ledger", _bytes(products * measured.row_bytes)],
        ["Room for parts", _bytes(2 * workers * scenario.largest)],
        ["To record them all", _long(products / measured.records_per_second)],
        ["To find that all are there, listing aside", _long(products * measured.again_seconds)],
        ["To read all again", _long(scenario.total / measured.verify_rate)],
    ]


def _store(scenario: Scenario, _: Measured) -> list[list[str]]:
    writes = scenario.products * -(-scenario.size // scenario.piece)
    return [
        ["In an object store", "Figure"],
        [
            f"Kept for a month, at {scenario.storage_price:g} a TB",
            f"{scenario.total / 1e12 * scenario.storage_price:,.0f}",
        ],
        [f"Writes of at most {_bytes(scenario.piece)}", f"{writes:,.0f}"],
        [
            f"Their price, at {scenario.write_price:g} a million",
            f"{writes / 1e6 * scenario.write_price:,.0f}",
        ],
    ]


def _bytes(amount: float) -> str:
    """To three figures.

    >>> _bytes(8.27e9), _bytes(1e15), _bytes(20e6)
    ('8.27 GB', '1 PB', '20 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} PB"


def _long(seconds: float) -> str:
    """A time that is planned with: no finer than it can be known.

    >>> _long(27), _long(474), _long(27_425), _long(200_000), _long(2500 * 86_400)
    ('27 s', '8 min', '7.6 h', '2.3 days', '6.8 years')
    """
    units = (("s", 1.0, 90), ("min", 60.0, 90), ("h", 3600.0, 36), ("days", 86_400.0, 730))
    for unit, length, most in units:
        amount = seconds / length
        if amount < most:
            finer = length > 60 and amount < 10
            return f"{amount:.1f} {unit}" if finer else f"{amount:.0f} {unit}"
    return f"{seconds / 86_400 / 365:.1f} years"


def _markdown(rows: list[list[str]]) -> str:
    head, *body = rows
    rule = ["---"] * len(head)
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *body])
