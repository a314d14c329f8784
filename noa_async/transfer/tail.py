"""The end of a batch: when a connection is free and nothing waits, a large product is shared.

Decisions alone: which stretch of which product, and where to cut it. ``shares`` carries them out.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from noa_async.transfer.limiter import Bandwidth, Slots

WORTH_SHARING = 1.0
"""Seconds that a stretch must still take, at its rate so far, to be worth another request."""
_SURE = 0.25
"""Seconds after which a rate is believed."""
_MOMENT = 0.1
"""Seconds that are read ahead, and so cannot be given away."""
_FIRST, _LEAST = 512 << 10, 64 << 10
"""Bytes that are read as long as nothing is known of a rate, and at the least."""
UNKNOWN = 1 << 62
"""The end of a body whose length nobody knows."""


@dataclass(slots=True, eq=False)
class Span:
    """A stretch of a product, brought by one connection; ``end`` may move towards ``position``."""

    position: int
    """Where its next byte goes."""
    end: int
    """Where it stops, in bytes from the product's start."""
    began: float = 0.0
    """When its first byte was waited for, in seconds of the tail's clock."""
    start: int = 0
    """Where it was then."""
    reach: int = 0
    """What is before that is being read, or was: it is no other connection's."""
    expected: int | None = None
    """Where the product ends by the catalogue, if HTTP does not announce less; in bytes."""

    def seconds_left(self, now: float) -> float:
        """How long it still takes at its rate so far; 0 as long as that is not known."""
        taken = now - self.began
        got = self.position - self.start
        if not got or taken < _SURE or self.end == UNKNOWN:
            return 0.0
        return (self.end - self.position) * taken / got


def cut_at(span: Span, now: float) -> int | None:
    """Where another connection should begin; None where the rest is not worth one.

    Both halves end together where both come at the same rate.

    >>> cut_at(Span(position=40, end=100, began=0.0), now=4.0)
    70
    >>> cut_at(Span(position=40, end=44, began=0.0), now=4.0) is None
    True
    """
    rest = span.end - span.position
    if rest < 2 or span.seconds_left(now) < WORTH_SHARING:
        return None
    return span.position + (rest + 1) // 2


class Tail:
    """What all transfers of a client know of each other's ends. One for all workers."""

    def __init__(
        self, slots: Slots, bandwidth: Bandwidth, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slots = slots
        self._bandwidth = bandwidth
        self._clock = clock
        self._sources = 0
        self._spans: set[Span] = set()

    @contextmanager
    def more_to_come(self) -> Generator[Callable[[], None]]:
        """Products wait, or may come, until the block ends or what it gives is called."""
        waiting = True
        self._sources += 1

        def over() -> None:
            nonlocal waiting
            self._sources -= waiting
            waiting = False

        try:
            yield over
        finally:
            over()

    @contextmanager
    def running(self, span: Span) -> Generator[None]:
        """A stretch is on its way."""
        span.began, span.start, span.reach = self._clock(), span.position, span.position
        self._spans.add(span)
        try:
            yield
        finally:
            self._spans.discard(span)

    def reach(self, span: Span, most: int) -> int:
        """How many bytes of ``span`` to read now: what comes in a moment at its rate so far."""
        taken = self._clock() - span.began
        got = span.position - span.start
        moment = int(got / taken * _MOMENT) if got and taken > 0 else _FIRST
        amount = min(most, max(_LEAST, moment), span.end - span.position)
        span.reach = span.position + amount
        return amount

    def cut(self, span: Span) -> int | None:
        """Where to cut ``span`` for a connection that is free; None where it goes on alone.

        | products wait | a slot is free | all rate is used | it ends last | worth it | cut    |
        |---------------|----------------|------------------|--------------|----------|--------|
        | no            | yes            | no               | yes          | yes      | middle |
        | any other                                                                  | None   |
        """
        if self._sources or not self._slots.free or self._bandwidth.full:
            return None
        now = self._clock()
        if max(self._spans, key=lambda one: one.seconds_left(now), default=None) is not span:
            return None
        return cut_at(span, now)
