"""Instants and ranges of time as users give them."""

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from typing import Self

from noa_async.catalogue.times import format_instant, to_utc
from noa_async.errors import QueryError

Moment = str | date | datetime
"""What a user may give as an instant."""
Times = Sequence[Moment | None] | None
"""A pair of moments, start and end; `None` at either place, or as a whole, is no limit."""

_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})(?!\d)(.*)", re.DOTALL | re.ASCII)
_COMPACT = re.compile(r"^(\d{4})(\d\d)(\d\d)(?!\d)", re.ASCII)
_SMALL_Z = re.compile(r"(?<=\d)z$")
_EXAMPLE = "Write it as 2026-01-11 or 2026-01-11T09:23:21.024Z."


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From one instant to another, both included; `None` is no limit. Aware, in UTC.

    >>> str(TimeRange.read(("2026-01-11", "2026-01-19"), "content"))
    '2026-01-11T00:00:00.000Z to 2026-01-19T23:59:59.999Z'
    """

    start: datetime | None = None
    end: datetime | None = None

    def __bool__(self) -> bool:
        return self.start is not None or self.end is not None

    def __str__(self) -> str:
        ends = (format_instant(end) if end else "any time" for end in (self.start, self.end))
        return " to ".join(ends)

    @classmethod
    def read(cls, pair: Self | Times, name: str) -> Self:
        """Read a pair as a user gives it; ``name`` stands in the errors.

        Raises `QueryError` for what is no pair, no instant, or ends before it starts.
        """
        if pair is None:
            return cls()
        ends = (pair.start, pair.end) if isinstance(pair, cls) else pair
        if not isinstance(ends, list | tuple) or len(ends) != 2:
            raise QueryError(
                f"{name} is {pair!r:.80}, not a start and an end.",
                hint=f'Write {name}=("2026-01-11", "2026-01-19"); None is no limit.',
            )
        first, last = ends
        start = None if first is None else parse_instant(first, f"{name} start")
        end = None if last is None else parse_instant(last, f"{name} end", end=True)
        if start is not None and end is not None and start > end:
            raise QueryError(
                f"{name} starts at {format_instant(start)}, after its end {format_instant(end)}: "
                "nothing can match.",
                hint="Exchange the two.",
            )
        return cls(start, end)


def parse_instant(value: Moment, what: str, *, end: bool = False) -> datetime:
    """Read an instant as a user gives it: an object, ISO 8601, or what dateutil reads.

    Naive is UTC. A bare day, month or year is its first instant, or with ``end`` its last
    millisecond. Raises `QueryError`, naming ``what``, for everything else, also where dateutil
    would fill in today's date, guess which number is the month, or ignore a time zone.

    >>> parse_instant("2026-01", "content end", end=True).isoformat()
    '2026-01-31T23:59:59.999000+00:00'
    """
    instant: datetime | None
    if isinstance(value, datetime):
        instant = to_utc(value)
    elif isinstance(value, date):
        instant = _edge(value, value, None, end=end)
    elif isinstance(value, str):
        instant = _parse_text(value.strip(), what, end=end)
    else:
        raise QueryError(f"The {what} is {value!r:.80}, not an instant.", hint=_EXAMPLE)
    if instant is None:
        raise QueryError(f"The {what} {value!s:.80} is out of range.", hint=_EXAMPLE)
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
