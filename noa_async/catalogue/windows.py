"""Split a long listing into time windows, and decide whether a window was listed completely.
Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from itertools import pairwise

from noa_async.catalogue.times import format_instant

INSTANT = timedelta(milliseconds=1)
"""The shortest window: times are sent in milliseconds."""
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
"""Earlier than any satellite observation."""
PASSES = 3
"""How often to read a window before reporting that its products and its count disagree."""
_LATEST = datetime(9999, 12, 31, tzinfo=UTC)
_LARGEST = 750
_WINDOWS = 50
_FEWEST_PAGES = 2
_MOST_PARTS = 8
_SHORTEST_LIMIT = 10


class Axis(StrEnum):
    """The date by which a window is split."""

    SENSED = "ContentDate/Start"
    PUBLISHED = "PublicationDate"


class Verdict(Enum):
    """What to do with a window after reading it."""

    WHOLE = "whole"
    CUT = "cut"
    AGAIN = "again"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Window:
    """The products of ``within`` dated from ``start`` to before ``end``; None is no bound.

    >>> from datetime import UTC
    >>> Window("Online eq true", start=datetime(2026, 1, 12, tzinfo=UTC)).filter
    '(Online eq true) and ContentDate/Start ge 2026-01-12T00:00:00.000Z'
    """

    within: str
    """The OData filter of all the products; empty matches everything."""
    axis: Axis = Axis.SENSED
    start: datetime | None = None
    end: datetime | None = None

    @property
    def bounds(self) -> str:
        """The window's own part of the filter; empty if it has no bound."""
        limits = (("ge", self.start), ("lt", self.end))
        return " and ".join(
            f"{self.axis} {compared} {format_instant(at)}" for compared, at in limits if at
        )

    @property
    def filter(self) -> str:
        """The complete ``$filter``, not encoded."""
        if self.within and self.bounds:
            return f"({self.within}) and {self.bounds}"
        return self.within or self.bounds

    def dated(self) -> Window:
        """Return the window restricted to products that have a date on its axis."""
        return self if self.start else replace(self, start=EARLIEST)

    def undated(self) -> Window:
        """Return the window of the products without a date on its axis, to be split by publication.

        >>> Window("Online eq true").undated().filter
        '(Online eq true) and ContentDate/Start eq null'
        """
        null = f"{self.axis} eq null"
        return Window(f"({self.filter}) and {null}" if self.filter else null, Axis.PUBLISHED)

    def spans(self, first: datetime, last: datetime) -> bool:
        """Return whether the range from ``first`` to ``last`` lies within the bounds."""
        begins = self.start is None or self.start <= _to_milliseconds(first)
        return begins and (self.end is None or _to_milliseconds(last) < self.end)

    def onwards(self, start: datetime) -> Window:
        """Return the rest of the window, from the millisecond of ``start`` on."""
        return replace(self, start=_to_milliseconds(start))

    def at(self, instant: datetime) -> Window | None:
        """Return a window of the millisecond of ``instant``, to be split by publication.

        None if this window is already split by publication.
        """
        start = _to_milliseconds(min(instant, _LATEST))
        return replace(self, start=start, end=start + INSTANT).deeper()

    def around(self, instant: datetime) -> tuple[Window, ...]:
        """Return the window of the millisecond of ``instant`` and the window of the rest after it.

        Empty if this window is already split by publication.
        """
        inner = self.at(instant)
        start = _to_milliseconds(min(instant, _LATEST))
        return (inner, self.onwards(start + INSTANT)) if inner is not None else ()

    def deeper(self) -> Window | None:
        """Return the same products, to be split by publication; None if they already are."""
        return Window(self.filter, Axis.PUBLISHED) if self.axis is Axis.SENSED else None

    def cut(self, first: datetime, last: datetime, parts: int) -> tuple[Window, ...]:
        """Split the window into up to ``parts`` windows, in order, that together match the same
        products.

        ``first``, ``last``: the known range of its products' dates; it is split evenly. Empty if
        the range is a single millisecond.
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
    """The result of reading all pages of a window once."""

    counted: int | None
    """The service's count on the first page; None if it does not count."""
    listed: int
    """Number of distinct products on the pages, plus the entries that cannot be parsed."""
    steady: bool
    """Whether every page had the same count: no product was added or removed meanwhile."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A window that could not be listed completely."""

    window: Window
    listed: int
    counted: int | None
    """None if the service does not count; then a full page had no link and no date to continue
    from."""


def judge(reading: Reading, page_size: int, *, passes: int, cuttable: bool) -> Verdict:
    """Return what to do after reading a window ``passes`` times.

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

    A removal and an addition between two pages of a window leave its count unchanged and are not
    detected. Small windows make that rare.
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
    """Return whether a page of ``shown`` entries without a link may be truncated rather than the
    last.

    | the longest page that had a link       | full with this many entries or more |
    |----------------------------------------|-------------------------------------|
    | is as long as requested                | as many as that page                |
    | is shorter: the service has a maximum  | as many as that page                |
    | does not exist: no page had a link     | 10, or fewer if fewer are requested |

    ``linked`` is the length of that page, 0 if no page had a link. No known service returns fewer
    than 10 entries a page and no link.

    >>> is_full(50, 50, 0), is_full(20, 50, 20), is_full(19, 50, 20), is_full(9, 50, 0)
    (True, True, False, False)
    """
    return shown >= min(asked, linked or _SHORTEST_LIMIT)


def largest(page_size: int, total: int = 0) -> int:
    """Return the maximum number of products in a window, which limits what is held in memory.

    It grows with the listing, because each window costs one page that is not full.

    >>> largest(50), largest(50, 50_000), largest(50, 10**6), largest(1000)
    (750, 1000, 1500, 2000)
    """
    return max(_LARGEST, min(total // _WINDOWS, 2 * _LARGEST), _FEWEST_PAGES * page_size)


def parts_for(count: int, most: int) -> int:
    """Return the number of parts (2 or more) in which to split ``count`` products, at most ``most``
    each.

    At most 8 at a time: dates are not distributed evenly, each part has a count of its own, empty
    parts cost one request, and full parts are split again.

    >>> [parts_for(count, 750) for count in (60, 3000, 100_000)]
    [2, 5, 8]
    """
    return min(_MOST_PARTS, max(2, -(-count * 5 // (most * 4))))


def _to_milliseconds(instant: datetime) -> datetime:
    """Truncate to milliseconds, as the service reads it."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
