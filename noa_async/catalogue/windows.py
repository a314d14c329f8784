"""Windows of time: how a long listing is cut, and whether a window was listed whole. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from itertools import pairwise

from noa_async.catalogue.times import format_instant

INSTANT = timedelta(milliseconds=1)
"""What cannot be cut any more: instants go out in milliseconds."""
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""Before all that was ever sensed from space."""
PASSES = 3
"""A window is read so often before it is said that its products and its count disagree."""
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_LARGEST = 750
_WINDOWS = 50
_FEWEST_PAGES = 2
_MOST_PARTS = 8
_SHORTEST_LIMIT = 10


class Axis(StrEnum):
    """By what a window is cut."""

    SENSED = "ContentDate/Start"
    PUBLISHED = "PublicationDate"


class Verdict(Enum):
    """What to do with a window that was read."""

    WHOLE = "whole"
    CUT = "cut"
    AGAIN = "again"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Window:
    """What of ``within`` lies from ``start`` up to, but not at, ``end``; None is no bound.

    >>> from datetime import UTC
    >>> Window("Online eq true", start=datetime(2026, 1, 12, tzinfo=UTC)).filter
    '(Online eq true) and ContentDate/Start ge 2026-01-12T00:00:00.000Z'
    """

    within: str
    """OData that holds for all of it; empty is all there is."""
    axis: Axis = Axis.SENSED
    start: datetime | None = None
    end: datetime | None = None

    @property
    def bounds(self) -> str:
        """Its own part of the filter; empty where it has no bound."""
        limits = (("ge", self.start), ("lt", self.end))
        return " and ".join(
            f"{self.axis} {compared} {format_instant(at)}" for compared, at in limits if at
        )

    @property
    def filter(self) -> str:
        """The whole ``$filter``, not encoded."""
        if self.within and self.bounds:
            return f"({self.within}) and {self.bounds}"
        return self.within or self.bounds

    def dated(self) -> Window:
        """Those of its products that have an instant on its axis."""
        return self if self.start else replace(self, start=EARLIEST)

    def undated(self) -> Window:
        """Those that have none, to be cut by publication: no bound in time holds them.

        >>> Window("Online eq true").undated().filter
        '(Online eq true) and ContentDate/Start eq null'
        """
        null = f"{self.axis} eq null"
        return Window(f"({self.filter}) and {null}" if self.filter else null, Axis.PUBLISHED)

    def spans(self, first: datetime, last: datetime) -> bool:
        """Whether all that lies from ``first`` to ``last`` lies within its bounds."""
        begins = self.start is None or self.start <= _to_milliseconds(first)
        return begins and (self.end is None or _to_milliseconds(last) < self.end)

    def onwards(self, start: datetime) -> Window:
        """What is left of it from ``start`` on, the whole of that instant."""
        return replace(self, start=_to_milliseconds(start))

    def at(self, instant: datetime) -> Window | None:
        """Return the whole of ``instant``, to be cut by publication; None if that is done."""
        start = _to_milliseconds(min(instant, _LATEST))
        return replace(self, start=start, end=start + INSTANT).deeper()

    def around(self, instant: datetime) -> tuple[Window, ...]:
        """The whole of ``instant``, to be cut by publication, and what comes after it."""
        inner = self.at(instant)
        start = _to_milliseconds(min(instant, _LATEST))
        return (inner, self.onwards(start + INSTANT)) if inner is not None else ()

    def deeper(self) -> Window | None:
        """The same products, to be cut by their publication; None where that is done already."""
        return Window(self.filter, Axis.PUBLISHED) if self.axis is Axis.SENSED else None

    def cut(self, first: datetime, last: datetime, parts: int) -> tuple[Window, ...]:
        """Up to ``parts`` windows, in order, that hold exactly what this one holds.

        ``first``, ``last``: between these its products are known to lie, as far as it is known;
        the cuts are even between them. Empty where all of that is one instant.
        """
        first, end = _to_milliseconds(first), _to_milliseconds(min(last, _LATEST)) + INSTANT
        steps = ((end - first) * step // parts for step in range(1, parts))
        cuts = sorted({at for step in steps if first < (at := _to_milliseconds(first + step))})
        if not cuts:
            return ()
        edges = (self.start, *cuts, self.end)
        return tuple(replace(self, start=start, end=end) for start, end in pairwise(edges))


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pass over a window's pages came to."""

    counted: int | None
    """By the service, on the first page; None where it does not count."""
    listed: int
    """Different products on the pages, and entries that are none."""
    steady: bool
    """No later page had another count: nothing came or went, so no page was shifted."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A window that could not be listed whole."""

    window: Window
    listed: int
    counted: int | None
    """None: a service that does not count gave no way on from a full page."""


def judge(reading: Reading, page_size: int, *, passes: int, cuttable: bool) -> Verdict:
    """What to do after so many ``passes`` over a window.

    | counted | listed | steady | more than a page, and cuttable | passes | verdict |
    |---------|--------|--------|--------------------------------|--------|---------|
    | no      | -      | -      | -                              | -      | WHOLE   |
    | yes     | all    | yes    | -                              | -      | WHOLE   |
    | yes     | all    | no     | yes                            | -      | CUT     |
    | yes     | fewer  | -      | yes                            | -      | CUT     |
    | yes     | all    | no     | no                             | < 3    | AGAIN   |
    | yes     | fewer  | -      | no                             | < 3    | AGAIN   |
    | yes     | all    | no     | no                             | 3      | WHOLE   |
    | yes     | fewer  | -      | no                             | 3      | SHORT   |

    A removal and an addition in one window between two of its pages leave its count as it was:
    that is not seen. Small windows make it rare.
    """
    if reading.counted is None:
        return Verdict.WHOLE
    enough = reading.listed >= reading.counted
    if enough and reading.steady:
        return Verdict.WHOLE
    if cuttable and reading.counted > page_size:
        return Verdict.CUT
    if passes < PASSES:
        return Verdict.AGAIN
    return Verdict.WHOLE if enough else Verdict.SHORT


def is_full(shown: int, asked: int, linked: int) -> bool:
    """Whether a page of ``shown`` entries with no link may be cut off, not the last.

    | the longest page with a link | full from             |
    |------------------------------|-----------------------|
    | as long as was asked for     | so many on            |
    | shorter: the service's most  | so many on            |
    | none had one                 | 10, or what was asked |

    ``linked`` is that page's length, 0 where none had a link. A service that gives fewer than 10 at
    once, and no link, is not known.

    >>> is_full(50, 50, 0), is_full(20, 50, 20), is_full(19, 50, 20), is_full(9, 50, 0)
    (True, True, False, False)
    """
    return shown >= min(asked, linked or _SHORTEST_LIMIT)


def largest(page_size: int, total: int = 0) -> int:
    """How many products a window may hold: some pages, and not many products, held for a while.

    Of a long listing more, for each window costs a page that is not full.

    >>> largest(50), largest(50, 50_000), largest(50, 10**6), largest(1000)
    (750, 1000, 1500, 2000)
    """
    return max(_LARGEST, min(total // _WINDOWS, 2 * _LARGEST), _FEWEST_PAGES * page_size)


def parts_for(count: int, most: int) -> int:
    """In how many parts to cut ``count`` products so that few parts hold above ``most``; 2 or more.

    Not many at a time: time is not filled evenly, and each part tells its own count, so that what
    is empty costs one request and what is full is cut further.

    >>> [parts_for(count, 750) for count in (60, 3000, 100_000)]
    [2, 5, 8]
    """
    return min(_MOST_PARTS, max(2, -(-count * 5 // (most * 4))))


def _to_milliseconds(instant: datetime) -> datetime:
    """As the service will read it: cut, not rounded."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
