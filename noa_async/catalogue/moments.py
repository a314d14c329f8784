"""Instants and ranges of time as users give them."""

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
"""What a user may give as an instant."""
Times = Sequence[Moment | None] | None
"""A pair of moments, start and end; `None` at either place, or as a whole, is no limit."""

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
    """Those that begin and end in it. What straddles an end is left out: asked for day by day, a
    product that crosses midnight is in no day."""
    TOUCHES = "touches"
    """Those of which any part lies in it. What straddles an end is in both of two ranges that
    meet there."""
    STARTS = "starts"
    """Those that begin in it, the end itself left out. Ranges that meet, such as day after day,
    hold each product once."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Read a relation by its name. Raise QueryError for any other."""
        try:
            return cls(str(value).strip().lower() if isinstance(value, str) else "")
        except ValueError:
            raise QueryError(
                f"time is {represent(value)}; it is within, touches or starts.",
                hint="touches also takes products that straddle an end of the range.",
            ) from None

    @property
    def comparisons(self) -> tuple[str, str]:
        """What is compared with the start of the range, and with its end, in OData."""
        return _COMPARISONS[self]


_COMPARISONS = {
    TimeRelation.WITHIN: ("ContentDate/Start ge", "ContentDate/End le"),
    TimeRelation.TOUCHES: ("ContentDate/End ge", "ContentDate/Start le"),
    TimeRelation.STARTS: ("ContentDate/Start ge", "ContentDate/Start lt"),
}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From one instant to another, both included; `None` is no limit. Aware, in UTC.

    >>> str(TimeRange.read(("2026-01-11", "2026-01-19"), "content"))
    '2026-01-11T00:00:00.000Z to 2026-01-19T23:59:59.999Z'
    >>> str(TimeRange.read(("2026-01-11", "2026-01-19"), "content", half_open=True))
    '2026-01-11T00:00:00.000Z to before 2026-01-20T00:00:00.000Z'
    """

    start: datetime | None = None
    end: datetime | None = None
    half_open: bool = False
    """Whether the end itself is left out."""

    def __bool__(self) -> bool:
        return self.start is not None or self.end is not None

    def __str__(self) -> str:
        ends = (format_instant(end) if end else "any time" for end in (self.start, self.end))
        return (" to before " if self.half_open and self.end else " to ").join(ends)

    @classmethod
    def read(cls, pair: Self | Times, name: str, *, half_open: bool = False) -> Self:
        """Read a pair as a user gives it; ``name`` stands in the errors.

        ``half_open``: leave the end itself out. A bare day as the end is all of it either way.
        Raises `QueryError` for what is no pair, no instant, or ends before it starts.
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
                hint=f'Write {name}=("2026-01-11", "2026-01-19"); None is no limit.',
            )
        first, last = ends
        start = None if first is None else parse_instant(first, f"{name} start")
        end = None if last is None else _read_end(last, f"{name} end", half_open=half_open)
        if start is not None and end is not None and (start > end or (half_open and start == end)):
            where = "after its end" if start > end else "at its end, which is left out,"
            raise QueryError(
                f"{name} starts at {format_instant(start)}, {where} {format_instant(end)}: "
                "nothing can match.",
                hint="Exchange the two." if start > end else "Give a later end.",
            )
        return cls(start, end, half_open)

    def as_half_open(self, *, half_open: bool) -> "TimeRange":
        """Return the same range with the end left out, or not; instants have milliseconds."""
        if half_open == self.half_open or self.end is None:
            return TimeRange(self.start, self.end, half_open)
        end = _after(self.end) if half_open else self.end - _MILLISECOND
        return TimeRange(self.start, end, half_open)


def _read_end(last: Moment, what: str, *, half_open: bool) -> datetime:
    end = parse_instant(last, what, end=True)
    is_period = end != parse_instant(last, what)  # a day, a month or a year: all of it belongs
    return _after(end) if half_open and is_period else end


def _after(end: datetime) -> datetime:
    return end + _MILLISECOND if end <= _LAST else end


def parse_instant(value: Moment, what: str, *, end: bool = False) -> datetime:
    """Read an instant as a user gives it: an object, ISO 8601, or what dateutil reads.

    Naive is UTC. A bare day, month or year is its first instant, or with ``end`` its last
    millisecond. Raises `QueryError`, naming ``what``, for everything else, also where dateutil
    would fill in today's date, guess which number is the month, or ignore a time zone.

    >>> parse_instant("2026-01", "content end", end=True).isoformat()
    '2026-01-31T23:59:59.999000+00:00'
    """
    instant: datetime | None
    if isinstance(value, datetime) and isinstance(value.year, int):  # NaT, pandas' none, has none
        instant = to_utc(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        instant = _edge(value, value, None, end=end)
    elif isinstance(value, str):
        instant = _parse_text(value.strip(), what, end=end)
    else:
        raise QueryError(f"The {what} is {represent(value)}, not an instant.", hint=_EXAMPLE)
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
    text = _COMPACT.sub(r"\1-\2-\3", _SMALL_Z.sub("Z", text))  # 3.11 knows no "z"
    parts = _YEAR_FIRST.fullmatch(text)
    if parts is None:
        return _parse_loosely(text, what, end=end)
    year, month, day, rest = int(parts[1]), int(parts[3]), int(parts[4]), parts[5]
    try:  # before dateutil, which takes 2026-13-01 for the thirteenth day of January
        text = f"{date(year, month, day)}{rest}"
    except ValueError:
        raise _unknown(text, what, "is no day of the calendar") from None
    if not rest:
        return parse_instant(date(year, month, day), what, end=end)
    if rest[0] not in "Tt ,":  # fromisoformat would take the offset of 2026-01-11+02:00 for a time
        raise _unknown(text, what, "has something after its day that is no time")
    try:
        return to_utc(datetime.fromisoformat(text))
    except ValueError:
        return _parse_loosely(text, what, end=end)


def _parse_loosely(text: str, what: str, *, end: bool) -> datetime | None:
    """Read with dateutil twice, from two defaults: what differs, the text did not say."""
    one, other = datetime(2000, 1, 1), datetime(2004, 2, 20, 2)  # noqa: DTZ001
    try:
        read, again = _dateutil(text, one), _dateutil(text, other)
        swapped = _dateutil(text, one, day_first=True)
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        raise _unknown(text, what, "is no instant that can be read") from None
    missing = {part for part in _PARTS if getattr(read, part) != getattr(again, part)}
    if "year" in missing or f"{read.year:04}" not in text:
        raise _unknown(text, what, "has no year of four digits")
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
        raise _unknown(text, what, "has no whole date")
    return to_utc(read)


_PARTS = ("year", "month", "day", "hour")


def _dateutil(text: str, default: datetime, *, day_first: bool = False) -> datetime:
    from dateutil import parser  # noqa: PLC0415 (slow to import, seldom needed)

    if len(text) > 64:
        raise ValueError("too long")
    return parser.parse(text, default=default, dayfirst=day_first, tzinfos=_zone)


def _zone(name: str | None, offset: int | None) -> tzinfo | None:
    """Refuse zones by name: dateutil would ignore them, or take the machine's own for them."""
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
