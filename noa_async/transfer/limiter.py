"""How much all workers together may do: bytes a second, and products at once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

_BURST = 0.25
"""Seconds of unused rate that may be made up for."""
_FIRST = 4
"""Products at once to begin with: what the mirror's kin allow."""
_LONGEST_STREAK = 32
"""Products after which one more at once is tried at the latest."""
_FIRST_PAUSE = 1 / 30
"""Of the longest pause: after one refusal, half as much again."""
_PAUSE_GROWTH = 1.5
"""Slow, so that the last pause is short beside the time for which the service refused."""
_MOST_GROWTHS = 20


class Bandwidth:
    """A cap on the sum of what all workers receive, in bytes a second; None is no cap."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = 0.0

    def allow(self, rate: float | None) -> None:
        """From now on ``rate`` is the cap: one run's share of it changes."""
        self._rate = rate

    def batch(self, largest: int) -> int:
        """How many bytes to take at once, so that a slow rate flows evenly."""
        return largest if self._rate is None else max(1, min(largest, int(self._rate * _BURST)))

    @property
    def capped(self) -> bool:
        """Whether there is a cap."""
        return self._rate is not None

    @property
    def full(self) -> bool:
        """Whether all that the cap allows is used at the moment."""
        return self._rate is not None and self._free_at > self._clock() - _BURST / 2

    async def take(self, amount: int) -> None:
        """Wait until ``amount`` more bytes are within the cap."""
        if self._rate is None:
            return
        now = self._clock()
        self._free_at = max(self._free_at, now - _BURST) + amount / self._rate
        if self._free_at > now:
            await self._sleep(self._free_at - now)


class Window:
    """How many products may be requested at once: slow start, then additive increase, as in TCP.

    | answer                                       | limit                | ceiling         |
    |----------------------------------------------|----------------------|-----------------|
    | grant below the ceiling                      | one more             |                 |
    | a streak of grants at or above the ceiling   | one more             | the new limit   |
    | refusal while products stream, or after      | a quarter less, not  | the new limit   |
    | grants                                       | below what streams   |                 |
    | refusal, although nothing was granted since  | a quarter less       |                 |
    | the last refusal and nothing streams         |                      |                 |

    The ceiling is the limit that the service last supported. A service that refuses everything for
    a while says nothing about it, so the limit is back soon after the first grant. The streak gets
    longer with each refused increase and shorter with each successful one.

    A refusal of a request that was sent before the last counted refusal is not counted (``epoch``).
    A refusal one below the limit is ignored once, and again each time after the limit has been
    reached: servers free a place late.

    >>> window = Window(most=16)
    >>> for _ in range(4):
    ...     window.granted()
    >>> window.limit
    8
    >>> window.refused(window.epoch, streaming=4)
    >>> window.limit
    6
    """

    def __init__(self, most: int) -> None:
        self.limit = min(_FIRST, most)
        self.epoch = 0
        self.strikes = 0
        """Refusals since the last grant."""
        self._most = most
        self._ceiling = most
        self._streak = 0
        self._needed = 1
        """Grants at the ceiling after which one more product is tried."""
        self._granted = False
        """Whether anything was granted since the last counted refusal."""
        self._trying = False
        """Whether the limit was increased past the ceiling and has not been reached yet."""
        self._ignored = False
        """Whether a refusal was ignored since the limit was last reached."""

    def granted(self, streaming: int = 0) -> None:
        """Count a product that the service gives; ``streaming``: products it gives now."""
        self.strikes = 0
        self._granted = True
        if streaming >= self.limit:
            self._ignored = False
            if self._trying:
                self._trying = False
                self._needed = max(1, self._needed // 2)
        self._streak += 1
        if self.limit >= self._most:
            return
        if self.limit < self._ceiling:
            self.limit += 1
            self._streak = 0
        elif self._streak >= self._needed:
            self.limit = self._ceiling = self.limit + 1
            self._streak, self._trying = 0, True

    def refused(self, epoch: int, streaming: int) -> None:
        """Count a refused request of ``epoch``; ``streaming``: products the service gives now."""
        if epoch != self.epoch:
            return
        self.epoch += 1
        self.strikes += 1
        if self.strikes == 1 and streaming == self.limit - 1 > 0 and not self._ignored:
            self._ignored = True
            return
        self.limit = max(1, min(self.limit - 1, max(self.limit * 3 // 4, streaming)))
        self._streak, self._trying = 0, False
        if streaming or self._granted:
            self._ceiling = self.limit
        needed = self._needed * 2 if self._granted else self._needed
        self._needed = min(_LONGEST_STREAK, max(needed, self.limit))
        self._granted = False


class Slots:
    """Permits to request a product, as many at once as the window allows. One for all workers.

    Permits are given in the order in which they are asked for.

    ``longest_pause``: seconds without new requests after refusals in a row that name no time of
    their own; the first pause is a fortieth of it. ``longest_asked``: a Retry-After that is obeyed.
    """

    def __init__(
        self,
        most: int,
        *,
        longest_pause: float = 2.0,
        longest_asked: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.window = Window(most)
        self._longest_pause = longest_pause
        self._longest_asked = longest_asked
        self._clock = clock
        self._sleep = sleep
        self._asking = 0
        self.streaming = 0
        """Products that the service gives at the moment."""
        self.granted = 0
        """Products that it has begun to give so far."""
        self._asked_until = self._guessed_until = 0.0
        """No request is sent before the first, by Retry-After, and the second, by our own guess."""
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._next_grant: asyncio.Future[None] | None = None

    @property
    def free(self) -> bool:
        """Whether a request could be sent now: no pause, a permit is left, and no one waits."""
        paused = self._not_before > self._clock()
        return not (self._turn.locked() or paused or self._asking >= self.window.limit)

    @property
    def _not_before(self) -> float:
        return max(self._asked_until, self._guessed_until)

    async def granted_or(self, waited: Awaitable[None]) -> None:
        """Await ``waited``, but no longer than until the service gives any product."""
        if self._next_grant is None:
            self._next_grant = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(waited)
        try:
            await asyncio.wait({waiting, self._next_grant}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if waiting.done():
            waiting.result()

    def lease(self) -> Lease:
        """Return an async context manager that waits for a permit and holds it."""
        return Lease(self)

    async def _take(self) -> int:
        """Wait for a permit; return the window's epoch at that moment."""
        async with self._turn:
            while True:
                if (pause := self._not_before - self._clock()) > 0:
                    await self._sleep(pause)
                elif self._asking >= self.window.limit:
                    self._changed.clear()
                    await self._changed.wait()
                else:
                    self._asking += 1
                    return self.window.epoch

    def _given_back(self, streaming: bool) -> None:
        self._asking -= 1
        self.streaming -= streaming
        self._changed.set()

    def _granted(self) -> None:
        self.streaming += 1
        self.granted += 1
        self.window.granted(self.streaming)
        self._changed.set()
        if self._next_grant is not None:
            self._next_grant.set_result(None)
            self._next_grant = None

    def _declined(self, epoch: int) -> None:
        self.window.refused(epoch, self.streaming)

    def _refused(self, epoch: int, retry_after: float | None) -> None:
        """Pause all requests: for ``retry_after`` seconds, which replaces our own guess, if given.

        A longer wait than ``longest_asked`` is not obeyed: it fails the product that asked.
        """
        self.window.refused(epoch, self.streaming)
        now = self._clock()
        if retry_after and retry_after <= self._longest_asked:
            self._asked_until = max(self._asked_until, now + retry_after)
            self._guessed_until = 0.0
        elif now >= self._asked_until:
            grown = _PAUSE_GROWTH ** min(self.window.strikes, _MOST_GROWTHS)
            pause = self._longest_pause * min(1.0, grown * _FIRST_PAUSE)
            self._guessed_until = max(self._guessed_until, now + pause)


class Lease:
    """One permit among those for products requested at once.

    An async context manager, entered once: it waits for the permit, and gives it back at the end.
    A class, because every product enters one: the context manager of a generator is slow.
    """

    def __init__(self, slots: Slots) -> None:
        self.streaming = False
        self._held = False
        self._slots = slots
        self._epoch = 0

    async def __aenter__(self) -> Self:
        self._epoch = await self._slots._take()  # noqa: SLF001 (the two are one)
        self._held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    @property
    def others_served(self) -> bool:
        """Whether the service is sending other products at the moment."""
        return self._slots.streaming > self.streaming

    def give_back(self) -> None:
        """Make the permit free for another request. A second call has no effect."""
        if self._held:
            self._held = False
            self._slots._given_back(self.streaming)  # noqa: SLF001 (the two are one)

    def granted(self) -> None:
        """The service gives the product."""
        self.streaming = True
        self._slots._granted()  # noqa: SLF001 (the two are one)

    def declined(self) -> None:
        """The service says so of a request that can be done without: nobody waits for that."""
        self._slots._declined(self._epoch)  # noqa: SLF001

    def refused(self, retry_after: float | None) -> None:
        """The service says that this is one too many, and perhaps for how many seconds."""
        self._slots._refused(self._epoch, retry_after)  # noqa: SLF001
