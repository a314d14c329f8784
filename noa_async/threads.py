"""Threads for what blocks. What they have done comes back to the event loop together.

An executor of the standard library costs several times as much for each job: two futures chained
to each other, their locks, and a wake-up of the loop of its own. Where a job is one small product,
that is felt.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from noa_async.calls import closed

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_FEW = 2
_PATIENCE = 0.01
"""Seconds that a job waits for a thread before there is another one."""
_BRIEF = 0.002
"""Seconds: what takes no longer is done sooner here than it is handed over and back."""
_SLOW = 4
"""By so many must those that took longer outnumber the others before they go to threads: a few may
be another program's doing, or another thread's."""
_PRICE = 20
"""How many times as long as the last of those took they all go to threads then."""


class Job(Generic[_T]):
    """Work that was given to a thread. One task at a time may wait for it."""

    __slots__ = ("_arguments", "_error", "_result", "_waiter", "_work", "over")

    def __init__(self, work: Callable[..., _T], arguments: tuple[Any, ...]) -> None:
        self._work: Callable[..., _T] | None = work
        self._arguments = arguments
        self._result: _T | None = None
        self._error: BaseException | None = None
        self.over = False
        """Whether the loop knows that its thread is done with it."""
        self._waiter: asyncio.Future[None] | None = None

    async def outcome(self) -> _T:
        """Return the result; a cancelled caller leaves the job running, and may ask again."""
        await self.ended()
        if self._error is not None:
            error, self._error = self._error, None  # its traceback leads back here
            raise error
        return cast("_T", self._result)

    async def ended(self) -> None:
        """Wait for its end, however it ends."""
        while not self.over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    async def finished(self, stop: Callable[[], object] | None = None) -> _T:
        """As ``outcome``, but a cancelled caller waits until the thread is done with the job.

        ``stop`` tells the job then that its result is not needed; one that has not begun is
        skipped.
        """
        try:
            return await self.outcome()
        except asyncio.CancelledError:
            if stop is not None:
                stop()
            self.give_up()
            await self._see_through()
            raise

    async def _see_through(self) -> None:
        while not self.over:
            with suppress(asyncio.CancelledError):
                await self.ended()

    async def completed(self) -> _T:
        """As ``finished``, but the job is done even if the caller was cancelled before it began."""
        try:
            return await self.outcome()
        except asyncio.CancelledError:
            await self._see_through()
            raise

    def give_up(self) -> None:
        """Nobody wants it: where no thread has begun it, none does it."""
        self._work = None

    def do(self) -> None:
        """In the thread."""
        if (work := self._work) is not None:
            try:
                self._result = work(*self._arguments)
            except BaseException as error:  # noqa: BLE001 (raised where the outcome is asked for)
                self._error = error

    def end(self) -> None:
        """On the loop, once it is done."""
        self.over = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Threads:
    """At most so many threads; one event loop at a time uses them.

    Few are begun as long as they keep up: each more is one more that wants the interpreter's lock.
    Where jobs wait for longer than a moment, as a disk makes them do, as many are as there is work.

    Error handling: UsageError if work is given after ``close``.
    Resources: a context manager, or call ``close``: both wait for what is under way.
    """

    def __init__(self, most: int, name: str = "noa-disk", *, patience: float = _PATIENCE) -> None:
        self._most = most
        self._patience = patience
        self._name = name
        self._threads: list[threading.Thread] = []
        self._given: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._done: deque[Job[Any]] = deque()
        self._told = False
        """Whether the loop knows that some are done."""
        self._given_out = self._ended = 0
        self._looking = False
        """Whether it is looked after a moment how many wait."""
        self._brief_again = 0.0
        """When a brief job may be done here, by the clock."""
        self._slow = 0
        """Of those done here, how many took long; each that did not takes one off."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads when all that was given to them is done."""
        self._closed = True
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def submit(self, work: Callable[..., _T], *arguments: Any) -> Job[_T]:
        """Have a thread do ``work``; from the event loop's own thread."""
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._looking = loop, False
        job = Job(work, arguments)
        self._given_out += 1
        if self._waiting(self._given_out):
            self._make_room(loop)
        self._given.put(job)
        return job

    def submit_brief(self, work: Callable[..., _T], *arguments: Any) -> Job[_T]:
        """As ``submit``, for what is brief where the disk is fast: it is done at once then.

        Each call to the disk gives the interpreter's lock away, and a thread has to get it back,
        which is most of what a small job takes. Whether the disk is fast shows by doing one here,
        now and then: that costs the loop at most a twentieth of its time.
        """
        began = time.perf_counter()
        if began < self._brief_again or self._closed:
            return self.submit(work, *arguments)
        job = Job(work, arguments)
        job.do()
        job.end()
        took = time.perf_counter() - began
        self._slow = min(self._slow + 1, _SLOW) if took > _BRIEF else max(self._slow - 1, 0)
        if self._slow == _SLOW:
            self._brief_again = began + _PRICE * took
        return job

    async def run(
        self,
        work: Callable[..., _T],
        *arguments: Any,
        stop: Callable[[], object] | None = None,
    ) -> _T:
        """Do ``work`` in a thread; a caller that is cancelled waits until it is over.

        Work that has not begun is skipped then. ``stop`` is called to tell work that has begun.
        """
        return await self.submit(work, *arguments).finished(stop)

    async def complete(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """As ``run``, but ``work`` is done in any case: it gives back what is held."""
        return await self.submit(work, *arguments).completed()

    def _waiting(self, jobs: int) -> int:
        """How many of the first so many ``jobs`` no thread can have begun."""
        return max(0, jobs - self._ended - len(self._threads))

    def _make_room(self, loop: asyncio.AbstractEventLoop) -> None:
        if len(self._threads) < min(_FEW, self._most):
            self._begin_thread()
        elif len(self._threads) < self._most and not self._looking:
            self._looking = True
            loop.call_later(self._patience, self._look, loop, self._given_out)

    def _look(self, loop: asyncio.AbstractEventLoop, jobs: int) -> None:
        """Have a thread for each of the first so many ``jobs`` that waits still."""
        self._take_back()
        self._looking = False
        if self._closed:
            return
        for _ in range(min(self._waiting(jobs), self._most - len(self._threads))):
            self._begin_thread()
        if self._waiting(self._given_out):
            self._make_room(loop)

    def _begin_thread(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._live, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _live(self) -> None:
        while (job := self._given.get()) is not None:
            job.do()
            self._done.append(job)
            del job
            if not self._told:
                self._told = True
                self._tell()

    def _tell(self) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._take_back)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._told = False

    def _take_back(self) -> None:
        self._told = False  # ahead of the look: what is done behind it is told again
        while self._done:
            self._ended += 1
            self._done.popleft().end()
