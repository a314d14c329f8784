"""Parse instants and time ranges as users write them."""

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import Self

from noa_async.catalogue.times import format_instant, to_utc
from noa_async.errors import QueryError
from noa_async.excerpts import represent

Moment = str | date | datetime
"""The types that an instant can be given as."""
Times = Sequence[Moment | None] | None
"""A start and an end; `None` for either, or for the pair, is no limit."""

_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)(.*)", re.DOTALL | re.ASCII)
_COMPACT = re.compile(r"^(\d{4})(\d\d)(\d\d)(?!\d)", re.ASCII)
_SMALL_Z = re.compile(r"(?<=\d)z$")
_EXAMPLE = "Write it as 2026-01-11 or 2026-01-11T09:23:21.024Z."


_MILLISECOND = timedelta(milliseconds=1)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 998_000, UTC)


class TimeRelation(StrEnum):
    """Which products belong to a range of sensing time.

    >>> TimeRelation("starts").comparisons
    ('ContentDate/Start ge', 'ContentDate/Start lt')
    """

    WITHIN = "within"
    """Products that start and end within the range. Products that straddle an end of the range are
    left out; if you query day by day, a product that crosses midnight is in no day."""
    TOUCHES = "touches"
    """Products that overlap the range. A product that straddles the boundary of two adjacent ranges
    is in both."""
    STARTS = "starts"
    """Products that start in the range, whose end is exclusive. Adjacent ranges, such as
    consecutive days, contain each product once."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Parse the name of a relation. Raise QueryError for any other value."""
        try:
            return cls(str(value).strip().lower() if isinstance(value, str) else "")
        except ValueError:
            raise QueryError(
                f"time is {represent(value)}; it must be within, touches or starts.",
                hint="touches also matches products that straddle an end of the range.",
            ) from None

    @property
    def comparisons(self) -> tuple[str, str]:
        """The OData comparisons with the start and with the end of the range."""
        return _COMPARISONS[self]


_COMPARISONS = {
    TimeRelation.WITHIN: ("ContentDate/Start ge", "ContentDate/End le"),
    TimeRelation.TOUCHES: ("ContentDate/End ge", "ContentDate/Start le"),
    TimeRelation.STARTS: ("ContentDate/Start ge", "ContentDate/Start lt"),
}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A time range; `None` is no limit. Both ends are inclusive unless ``half_open``. Aware, in
    UTC.

    >>> str(TimeRange.read(("2026-01-11", "2026-01-19"), "content"))
    '2026-01-11T00:00:00.000Z to 2026-01-19T23:59:59.999Z'
    >>> str(TimeRange.read(("2026-01-11", "2026-01-19"), "content", half_open=True))
    '2026-01-11T00:00:00.000Z to before 2026-01-20T00:00:00.000Z'
    """

    start: datetime | None = None
    end: datetime | None = None
    half_open: bool = False
    """Whether the end is exclusive."""

    def __bool__(self) -> bool:
        return self.start is not None or self.end is not None

    def __str__(self) -> str:
        ends = (format_instant(end) if end else "any time" for end in (self.start, self.end))
        return (" to before " if self.half_open and self.end else " to ").join(ends)

    @classmethod
    def read(cls, pair: Self | Times, name: str, *, half_open: bool = False) -> Self:
        """Parse a pair as a user writes it; ``name`` is used in errors.

        ``half_open``: make the end exclusive. A date alone as the end includes the whole day either
        way. Raise `QueryError` if the value is not a pair of instants, or ends before it starts.
        """
        if pair is None:
            return cls(half_open=half_open)
        ends: object = pair
        if isinstance(pair, TimeRange):
            same = pair.as_half_open(half_open=half_open)
            ends = (same.start, same.end)
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            raise QueryError(
                f"{name} is {represent(pair)}, not a start and an end.",
                hint=f'Write {name}=("2026-01-11", "2026-01-19"); None means no limit.',
            )
        first, last = ends
        start = None if first is None else parse_instant(first, f"{name} start")
        end = None if last is None else _read_end(last, f"{name} end", half_open=half_open)
        if start is not None and end is not None and (start > end or (half_open and start == end)):
            where = "after its end" if start > end else "at its end, which is exclusive,"
            raise QueryError(
                f"{name} starts at {format_instant(start)}, {where} {format_instant(end)}: "
                "nothing can match.",
                hint="Swap the two." if start > end else "Give a later end.",
            )
        return cls(start, end, half_open)

    def as_half_open(self, *, half_open: bool) -> "TimeRange":
        """Return the same range with its end exclusive or inclusive; the resolution is a
        millisecond."""
        if half_open == self.half_open or self.end is None:
            return TimeRange(self.start, self.end, half_open)
        end = _after(self.end) if half_open else self.end - _MILLISECOND
        return TimeRange(self.start, end, half_open)


def _read_end(last: Moment, what: str, *, half_open: bool) -> datetime:
    end = parse_instant(last, what, end=True)
    is_period = end != parse_instant(last, what)  # a day, month or year is included as a whole
    return _after(end) if half_open and is_period else end


def _after(end: datetime) -> datetime:
    return end + _MILLISECOND if end <= _LAST else end


def parse_instant(value: Moment, what: str, *, end: bool = False) -> datetime:
    """Parse an instant as a user writes it: an object, ISO 8601, or any form dateutil reads.

    Naive times are UTC. A day, month or year alone is its first instant, or with ``end`` its last
    millisecond. Raise `QueryError`, which names ``what``, for anything else, and if dateutil would
    fill in today's date, guess which number is the month, or ignore a time zone.

    >>> parse_instant("2026-01", "content end", end=True).isoformat()
    '2026-01-31T23:59:59.999000+00:00'
    """
    instant: datetime | None
    if isinstance(value, datetime) and isinstance(value.year, int):  # NaT's is no int
        instant = to_utc(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        instant = _edge(value, value, None, end=end)
    elif isinstance(value, str):
        instant = _parse_text(value.strip(), what, end=end)
    else:
        raise QueryError(f"The {what} is {represent(value)}, not a date or time.", hint=_EXAMPLE)
    if instant is None:
        shown = f"{value:.80}" if isinstance(value, str) else represent(value, 60)
        raise QueryError(
            f"The {what} {shown} is out of range: years are 1 to 9999, and an offset is less "
            "than a day.",
            hint=_EXAMPLE,
        )
    return instant


def _parse_text(text: str, what: str, *, end: bool) -> datetime | None:
    if not text:
        raise QueryError(f"The {what} is empty.", hint=f"{_EXAMPLE} Or leave it out.")
    text = _COMPACT.sub(r"\1-\2-\3", _SMALL_Z.sub("Z", text))  # Python 3.11 does not accept "z"
    parts = _YEAR_FIRST.fullmatch(text)
    if parts is None:
        return _parse_loosely(text, what, end=end)
    year, month, day, rest = int(parts[1]), int(parts[3]), int(parts[4]), parts[5]
    try:  # dateutil would read 2026-13-01 as the thirteenth day of January
        text = f"{date(year, month, day)}{rest}"
    except ValueError:
        raise _unknown(text, what, "is not a day of the calendar") from None
    if not rest:
        return parse_instant(date(year, month, day), what, end=end)
    if rest[0] not in "Tt ,":  # fromisoformat would read the offset of 2026-01-11+02:00 as a time
        raise _unknown(text, what, "has text after the date that is not a time")
    try:
        return to_utc(datetime.fromisoformat(text))
    except ValueError:
        return _parse_loosely(text, what, end=end)


def _parse_loosely(text: str, what: str, *, end: bool) -> datetime | None:
    """Parse with dateutil twice, with two defaults: parts that differ are missing in the text."""
    one, other = datetime(2000, 1, 1), datetime(2004, 2, 20, 2)  # noqa: DTZ001
    try:
        read, again = _dateutil(text, one), _dateutil(text, other)
        swapped = _dateutil(text, one, day_first=True)
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        raise _unknown(text, what, "cannot be parsed as a date or time") from None
    missing = {part for part in _PARTS if getattr(read, part) != getattr(again, part)}
    if "year" in missing or f"{read.year:04}" not in text:
        raise _unknown(text, what, "has no four-digit year")
    if swapped.date() != read.date() and not _YEAR_FIRST.fullmatch(text):
        both = f"can be {read.date()} or {swapped.date()}"
        raise QueryError(f"The {what} {text!r} {both}.", hint="Write the one you mean.")
    if missing == set(_PARTS[1:]):
        return _edge(date(read.year, 1, 1), date(read.year, 12, 31), read.tzinfo, end=end)
    if missing == {"day", "hour"} and read.day == one.day:
        last = monthrange(read.year, read.month)[1]
        return _edge(read.date(), read.date().replace(day=last), read.tzinfo, end=end)
    if missing == {"hour"}:
        return _edge(read.date(), read.date(), read.tzinfo, end=end)
    if missing:
        raise _unknown(text, what, "has no complete date")
    return to_utc(read)


_PARTS = ("year", "month", "day", "hour")


def _dateutil(text: str, default: datetime, *, day_first: bool = False) -> datetime:
    from dateutil import parser  # noqa: PLC0415 (slow to import, seldom needed)

    if len(text) > 64:
        raise ValueError("too long")
    return parser.parse(text, default=default, dayfirst=day_first, tzinfos=_zone)


def _zone(name: str | None, offset: int | None) -> tzinfo | None:
    """Reject named time zones: dateutil would ignore them or use the machine's time zone."""
    if offset is None:
        if name is None:
            return None
        raise ValueError(f"time zone {name}")
    from dateutil import tz  # noqa: PLC0415

    return tz.tzoffset(None, offset)


def _unknown(text: str, what: str, why: str) -> QueryError:
    return QueryError(f"The {what} {text!r:.80} {why}.", hint=_EXAMPLE)


def _edge(first: date, last: date, zone: tzinfo | None, *, end: bool) -> datetime | None:
    if not end:
        return to_utc(datetime.combine(first, time(), zone))
    return to_utc(datetime.combine(last, time(23, 59, 59, 999_000), zone))
