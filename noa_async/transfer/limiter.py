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
_LONGEST_STREAK = 256


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
    """How many products at once the service bears: additive increase, multiplicative decrease.

    At first each product it grants makes room for one more. From the first refusal on, one more is
    tried only after a streak of grants, and each try that is refused doubles the next streak.
    Refusals of requests that were sent before the last one say nothing new (``epoch``), and a
    single one just below the limit is forgiven: servers free a place late.

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
        self._most = most
        self.strikes = 0
        self._streak = 0
        self._needed = 1

    def granted(self) -> None:
        """The service gave a product."""
        self.strikes = 0
        self._streak += 1
        if self._streak >= self._needed and self.limit < self._most:
            self.limit += 1
            self._streak = 0

    def refused(self, epoch: int, streaming: int) -> None:
        """The service refused a request of ``epoch`` while it served ``streaming`` products."""
        if epoch != self.epoch:
            return
        self.epoch += 1
        self.strikes += 1
        if self.strikes == 1 and streaming == self.limit - 1 > 0:
            return
        self.limit = max(1, min(self.limit - 1, max(self.limit * 3 // 4, streaming)))
        self._streak = 0
        self._needed = min(_LONGEST_STREAK, max(self._needed * 2, self.limit))


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
        self._not_before = 0.0
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def free(self) -> bool:
        """Whether a request could be sent now: no pause, a permit is left, and no one waits."""
        paused = self._not_before > self._clock()
        return not (self._turn.locked() or paused or self._asking >= self.window.limit)

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
        self.window.granted()
        self._changed.set()

    def _declined(self, epoch: int) -> None:
        self.window.refused(epoch, self.streaming)

    def _refused(self, epoch: int, retry_after: float | None) -> None:
        self.window.refused(epoch, self.streaming)
        pause = self._longest_pause * min(1.0, 2**self.window.strikes / 40)
        if retry_after and retry_after <= self._longest_asked:
            pause = retry_after  # whoever asks for more fails that product, and holds nobody
        self._not_before = max(self._not_before, self._clock() + pause)


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
