"""Header fields read once, for everyone who meets them."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_SECONDS = re.compile(r"([0-9]{1,9})[0-9]*(\.[0-9]*)?\s*(?:s|sec|seconds)?(?:,.*)?", re.IGNORECASE)


def retry_after(
    headers: Mapping[str, str], *, now: Callable[[], float] = time.time
) -> float | None:
    """Seconds to wait by ``Retry-After``, given in seconds or as a date; None if unusable.

    Never negative, nor more than a date can express. A date is compared with the answer's own
    ``Date``, if it has one: this machine's clock may be wrong.

    >>> retry_after({"Retry-After": "7"})
    7.0
    >>> retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=lambda: 18.0)
    42.0
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and (seconds := _SECONDS.fullmatch(value)):
        return float(seconds[1] + (seconds[2] or ""))
    until = _instant(value)
    if until is None:
        return None
    sent = _instant(headers.get("Date", ""))
    return max(0.0, until - (now() if sent is None else sent))


def _instant(value: str) -> float | None:
    """Return an HTTP date in any of its three forms as seconds since 1970; None if it is none."""
    try:
        instant = parsedate_to_datetime(value)
        if instant.tzinfo is None:  # RFC 9110 5.6.7: asctime names no zone and means UTC
            instant = instant.replace(tzinfo=UTC)
        return instant.timestamp()
    except (ValueError, OverflowError):
        return None


def readable(value: str) -> str:
    """Return a field's value for a message: as UTF-8, if it is.

    Values are kept as Latin-1, one character a byte, so that they can be sent back unchanged.

    >>> readable("dépassé".encode().decode("latin-1"))
    'dépassé'
    """
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
