"""Count a query's products by mission and month: choose the counts, build the table. Pure.

The service can count products but not bytes. A short listing is read completely, which costs hardly
more than counting and gives the sizes. For a long one, each cell of the table is counted, if there
are few, and the bytes are estimated from a sample of each mission.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noa_async.catalogue.known import PLATFORMS
from noa_async.catalogue.rules import MissionRule
from noa_async.catalogue.windows import Window
from noa_async.cli.text import bytes_text, number_of, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from noa_async.catalogue.query import Query

SHORT = 500
"""Up to this many products (ten pages) are listed instead of counted."""
MOST_CELLS = 48
"""Maximum number of counts: a year of four missions."""
SAMPLE = 50
"""Products of a mission, one page, from which the mean size is estimated."""
OTHER = "other"
"""The row for products of an unknown mission or without a date."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A mission and a time span whose products are counted."""

    mission: str
    span: str
    """A month, a year, or empty for all times."""
    filter: str


@dataclass(slots=True)
class Amounts:
    """The contents of the table: products, and bytes as far as known."""

    products: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes: dict[tuple[str, str], int] = field(default_factory=dict)
    sampled: int | None = None
    """Number of products from which sizes are estimated; None if all were listed."""

    def add(self, mission: str, span: str, products: int, size: int) -> None:
        key = (mission, span)
        self.products[key] = self.products.get(key, 0) + products
        self.bytes[key] = self.bytes.get(key, 0) + size

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row for each mission and span with products, and a row of totals."""
        about = "" if self.sampled is None else "about "
        rows = [("mission", "sensed", "products", "bytes")]
        for key in sorted(key for key, count in self.products.items() if count):
            told = f"{about}{bytes_text(self.bytes[key])}" if self.bytes[key] else "unknown"
            rows.append((key[0], key[1], str(self.products[key]), told))
        whole = sum(self.bytes.values())
        told = f"{about}{bytes_text(whole)}" if whole else "unknown"
        return [*rows, ("total", "", str(sum(self.products.values())), told)]

    def lines(self) -> list[str]:
        return table(self.rows())


def closing(amounts: Amounts, requests: int) -> str:
    """Return a sentence on how the table was made and how many requests it took."""
    made = f"{number_of(requests, 'request')} made"
    if amounts.sampled is None:
        return f"{made}. All products were listed, so the sizes are exact."
    return (
        f"{made}. The sizes are estimated from {number_of(amounts.sampled, 'product')}, because "
        "the service counts only products."
    )


def missions(query: Query) -> tuple[str, ...]:
    """Return the missions that the query can match according to its rules."""
    asked = [rule.platform for rule in query.rules]
    if not asked or None in asked:
        return PLATFORMS
    each = ((one,) if isinstance(one, str) else tuple(one or ()) for one in asked)
    return tuple(dict.fromkeys(name for names in each for name in names))


def mission_filter(query: Query, mission: str) -> str:
    """Return the query's filter restricted to one mission."""
    if missions(query) == (mission,):
        return query.filter
    clause = MissionRule(platform=mission).filter
    return f"({query.filter}) and {clause}" if query.filter else clause


def cells(query: Query, first: datetime, last: datetime) -> list[Cell]:
    """Return the cells to count: by month, by year if those are too many, or by mission only."""
    asked = missions(query)
    for spans in (_spans(first, last, months=True), _spans(first, last, months=False)):
        made = list(spans)
        if len(made) * len(asked) <= MOST_CELLS:
            break
    else:
        made = [("", None, None)]
    return [
        Cell(mission, name, Window(mission_filter(query, mission), start=start, end=end).filter)
        for mission in asked
        for name, start, end in made
    ]


_Span = tuple[str, datetime | None, datetime | None]


def _spans(first: datetime, last: datetime, *, months: bool) -> Iterator[_Span]:
    """Yield the name, start and end (exclusive) of each month or year in a time range."""
    year, month = first.year, first.month if months else 1
    while (year, month if months else 1) <= (last.year, last.month if months else 1):
        start = datetime(year, month, 1, tzinfo=UTC)
        name = f"{year:04}-{month:02}" if months else f"{year:04}"
        year, month = (year, month + 1) if months and month < 12 else (year + 1, 1)
        yield name, start, datetime(year, month, 1, tzinfo=UTC)


def mean(sizes: Iterable[int]) -> float:
    """Return the mean of the known sizes; 0 if none is known."""
    held = [size for size in sizes if size]
    return sum(held) / len(held) if held else 0.0


def estimated(
    parts: Sequence[Cell], counts: Sequence[int], means: dict[str, float], total: int, sampled: int
) -> Amounts:
    """Build the table from the counts of the cells; products in no cell are counted as `OTHER`."""
    amounts = Amounts(sampled=sampled)
    for cell, count in zip(parts, counts, strict=True):
        amounts.add(cell.mission, cell.span, count, round(count * means.get(cell.mission, 0.0)))
    if total > sum(counts):
        amounts.add(OTHER, "", total - sum(counts), 0)
    return amounts


def last_of(query: Query, now: datetime) -> datetime:
    """Return the latest sensing time that a product of the query can have."""
    ends = (query.content.end, query.published.end, now)
    return min(end for end in ends if end is not None)
