"""Over which missions and months a query's products are spread: what to count, and the table. Pure.

The service counts products and nothing else. A short listing is read whole, for it costs hardly
more than counts do, and tells the bytes. Of a long one each cell of the table is counted, as long
as there are few cells; the bytes come from some products of each mission.
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
"""So many products are listed, ten pages of them."""
MOST_CELLS = 48
"""So many counts at the most: a year of four missions."""
SAMPLE = 50
"""Products of a mission, one page of them, that tell how large its others are."""
OTHER = "other"
"""Of no mission that is known, or of no date."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A mission in a span of time, to be counted."""

    mission: str
    span: str
    """A month, a year, or nothing for all of it."""
    filter: str


@dataclass(slots=True)
class Amounts:
    """What the table holds: products, and bytes as far as they are known."""

    products: dict[tuple[str, str], int] = field(default_factory=dict)
    bytes: dict[tuple[str, str], int] = field(default_factory=dict)
    sampled: int | None = None
    """Of how many products the sizes are; None: of all, for they were listed."""

    def add(self, mission: str, span: str, products: int, size: int) -> None:
        key = (mission, span)
        self.products[key] = self.products.get(key, 0) + products
        self.bytes[key] = self.bytes.get(key, 0) + size

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each mission and span that has products, and one for all."""
        about = "" if self.sampled is None else "about "
        rows = [("mission", "sensed", "products", "bytes")]
        for key in sorted(key for key, count in self.products.items() if count):
            told = f"{about}{bytes_text(self.bytes[key])}" if self.bytes[key] else "unknown"
            rows.append((key[0], key[1], str(self.products[key]), told))
        whole = sum(self.bytes.values())
        told = f"{about}{bytes_text(whole)}" if whole else "unknown"
        return [*rows, ("in all", "", str(sum(self.products.values())), told)]

    def lines(self) -> list[str]:
        return table(self.rows())


def closing(amounts: Amounts, requests: int) -> str:
    """How the table was made, and what it cost."""
    asked = f"Asked with {number_of(requests, 'request')}"
    if amounts.sampled is None:
        return f"{asked}: all of it was listed, so the bytes are the catalogue's own."
    return (
        f"{asked}. The service counts products and no bytes: these are estimated from "
        f"{number_of(amounts.sampled, 'product')}."
    )


def missions(query: Query) -> tuple[str, ...]:
    """Those that the query can match, as far as its rules say."""
    asked = [rule.platform for rule in query.rules]
    if not asked or None in asked:
        return PLATFORMS
    each = ((one,) if isinstance(one, str) else tuple(one or ()) for one in asked)
    return tuple(dict.fromkeys(name for names in each for name in names))


def mission_filter(query: Query, mission: str) -> str:
    """The query's filter for one mission alone."""
    if missions(query) == (mission,):
        return query.filter
    clause = MissionRule(platform=mission).filter
    return f"({query.filter}) and {clause}" if query.filter else clause


def cells(query: Query, first: datetime, last: datetime) -> list[Cell]:
    """What to count: by month, by year where that were too much, else by mission alone."""
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
    """Each month, or year, from ``first`` to ``last``, and its bounds, the second not in it."""
    year, month = first.year, first.month if months else 1
    while (year, month if months else 1) <= (last.year, last.month if months else 1):
        start = datetime(year, month, 1, tzinfo=UTC)
        name = f"{year:04}-{month:02}" if months else f"{year:04}"
        year, month = (year, month + 1) if months and month < 12 else (year + 1, 1)
        yield name, start, datetime(year, month, 1, tzinfo=UTC)


def mean(sizes: Iterable[int]) -> float:
    """Of the sizes that are known; 0 where none is."""
    held = [size for size in sizes if size]
    return sum(held) / len(held) if held else 0.0


def estimated(
    parts: Sequence[Cell], counts: Sequence[int], means: dict[str, float], total: int, sampled: int
) -> Amounts:
    """The table of what was counted, cell by cell; what is in none of them is `OTHER`."""
    amounts = Amounts(sampled=sampled)
    for cell, count in zip(parts, counts, strict=True):
        amounts.add(cell.mission, cell.span, count, round(count * means.get(cell.mission, 0.0)))
    if total > sum(counts):
        amounts.add(OTHER, "", total - sum(counts), 0)
    return amounts


def last_of(query: Query, now: datetime) -> datetime:
    """The last instant that a product of the query can have been sensed at, as far as it says."""
    ends = (query.content.end, query.published.end, now)
    return min(end for end in ends if end is not None)
