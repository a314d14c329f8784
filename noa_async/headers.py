"""Header fields read once, for everyone who meets them."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def retry_after(
    headers: Mapping[str, str], *, now: Callable[[], float] = time.time
) -> float | None:
    """Seconds to wait by ``Retry-After``, given in seconds or as a date; None where unusable.

    >>> retry_after({"Retry-After": "7"})
    7.0
    >>> retry_after({"Retry-After": "Thu, 01 Jan 1970 00:01:00 GMT"}, now=lambda: 18.0)
    42.0
    """
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if _SECONDS.fullmatch(value):
        return float(value[:9])
    try:
        instant = parsedate_to_datetime(value)
        if instant.tzinfo is None:  # RFC 9110 5.6.7: asctime names no zone and means UTC
            instant = instant.replace(tzinfo=UTC)
        return max(0.0, instant.timestamp() - now())
    except (ValueError, OverflowError):
        return None
