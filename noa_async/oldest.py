"""Room among what is remembered."""

from __future__ import annotations

from itertools import islice
from typing import Any


def drop_oldest(held: dict[Any, Any], count: int) -> None:
    """Drop the first ``count`` that were put in; none where that is below 1.

    The way to the oldest leads past all that were dropped before: of many, some at once.

    >>> held = dict.fromkeys("abc")
    >>> drop_oldest(held, 2)
    >>> list(held)
    ['c']
    """
    for key in list(islice(held, max(0, count))):
        del held[key]
