"""Parse instants as servers and users write them; format them for the catalogue."""

from datetime import UTC, datetime


def read_instant(value: object) -> datetime | None:
    """Parse an instant as servers write it. Return ``None`` if it cannot be parsed.

    Accepts ISO 8601 text with any number of fraction digits, with ``Z``, an offset or neither (then
    it is UTC). The result is always aware and in UTC, with microseconds.

    >>> read_instant("2026-01-12T09:23:21.0240000Z").isoformat()
    '2026-01-12T09:23:21.024000+00:00'
    >>> read_instant("soon") is None
    True
    """
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        try:
            instant = datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    return to_utc(instant)


def format_instant(instant: datetime) -> str:
    """Format an instant for a filter: UTC, truncated to milliseconds, with ``Z``; naive is UTC.

    >>> format_instant(datetime(2026, 1, 19, 23, 59, 59, 999999, UTC))
    '2026-01-19T23:59:59.999Z'
    """
    utc = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    return utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def to_utc(instant: datetime) -> datetime | None:
    """Return an instant as aware and in UTC; `None` if its offset is a day or more, or moves it out
    of the calendar."""
    if instant.tzinfo is UTC:
        return instant
    if instant.tzinfo is None:
        return instant.replace(tzinfo=UTC)
    try:
        return instant.astimezone(UTC)
    except (OverflowError, ValueError):  # ValueError: an offset of a day or more
        return None
