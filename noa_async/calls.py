"""The calls and streams of an open client: all of them end when the client is closed."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.errors import UsageError
from noa_async.tasks import wait_ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import AsyncGeneratorType

    Source = AsyncGeneratorType[Any, None]

_T = TypeVar("_T")
_Item = TypeVar("_Item")

_LOOK_AGAIN = 0.01
"""Seconds between two looks at a generator that somebody else is closing."""


def closed() -> UsageError:
    """Return the error of a client that is not open any more."""
    return UsageError("This client was closed.", hint="Use what it gives while it is open.")


def other_process() -> UsageError:
    """Return the error of a forked process that uses a client of its parent."""
    return UsageError(
        "This client was opened in another process.",
        hint="After a fork, make a client in the new process.",
    )


class _Call:
    """A call under way; it is cancelled as ``asyncio.timeout`` does, which costs more."""

    __slots__ = ("_before", "_cancelled", "_task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self._before = task.cancelling()
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._task.cancel()

    def take_back(self) -> bool:
        """Take back a cancellation of ours; whether there was one, and no other beside it."""
        if not self._cancelled:
            return False
        self._cancelled = False
        return self._task.uncancel() <= self._before


class Calls:
    """The running calls and streams of an open client, in any number of tasks of one event loop.

    Error handling: a call or a stream that is under way when ``close`` is called raises UsageError.
    Resources: call ``close``; it waits until all of them have ended.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._calls: set[_Call] = set()
        self._ended = asyncio.Event()
        self._sources: dict[Source, None] = {}
        """Generators that have begun, the oldest first."""
        self._closing: dict[asyncio.Task[None], None] = {}

    def check(self) -> None:
        """Raise UsageError if the client was closed, or belongs to another process."""
        if os.getpid() != self._process:
            raise other_process()
        if self._closed:
            raise closed()

    async def run(self, work: Awaitable[_T]) -> _T:
        """Await ``work`` in the caller's task, for as long as the client is open.

        Raise UsageError if it is closed meanwhile.
        """
        task = asyncio.current_task()
        assert task is not None
        call = _Call(task)
        self._calls.add(call)
        try:
            return await work
        except asyncio.CancelledError:
            if call.take_back():
                raise closed() from None
            raise
        finally:
            call.take_back()
            self._calls.discard(call)
            if self._closed:
                self._ended.set()

    def begin(self, stream: object, source: Source) -> None:
        """Note a generator that begins; it is closed if its ``stream`` is dropped."""
        self._sources[source] = None
        weakref.finalize(stream, self._dropped, source).atexit = False

    def forget(self, source: Source) -> None:
        """Note that a generator has ended."""
        self._sources.pop(source, None)

    async def end(self, source: Source) -> None:
        """Close a generator for its user; in a forked process, leave that of the parent alone."""
        if os.getpid() == self._process:
            try:
                await source.aclose()
            finally:
                self.forget(source)

    def _dropped(self, source: Source) -> None:
        """Close a generator; the garbage collector may run this in any thread."""
        if source.ag_frame is not None and os.getpid() == self._process:
            with suppress(RuntimeError):  # the loop is closed, and with it all that ran there
                self._loop.call_soon_threadsafe(self._close_later, source)

    def _close_later(self, source: Source) -> None:
        if source in self._sources and not self._closed:
            self.forget(source)
            task = self._loop.create_task(_close(source))
            self._closing[task] = None
            task.add_done_callback(self._closing.pop)

    async def close(self) -> None:
        """End all that is under way, the newest first, and wait for it."""
        self._closed = True
        for call in self._calls:
            call.cancel()
        try:
            while self._calls:
                self._ended.clear()
                await self._ended.wait()
        finally:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(wait_ended, *self._closing)
                for source in self._sources:
                    stack.push_async_callback(_close, source)
            self._sources.clear()


async def _close(source: Source) -> None:
    while source.ag_running:  # noqa: ASYNC110 (nobody tells when, such as a loop that ends)
        await asyncio.sleep(_LOOK_AGAIN)
    await source.aclose()


class OwnedStream(AsyncGenerator[_Item, None]):
    """An async generator of an open client: closing the client closes it, and so does dropping it.

    Error handling: UsageError if it is used when the client is not open.
    """

    def __init__(self, source: AsyncGeneratorType[_Item, None], open_: Callable[[], Calls]) -> None:
        """``open_`` returns the calls of the client, or raises if that is not open."""
        self._source = source
        self._open = open_
        self._calls: Calls | None = None

    async def __anext__(self) -> _Item:
        return await self._step(self._source.__anext__)

    async def asend(self, value: None) -> _Item:
        return await self._step(self._source.asend, value)

    async def athrow(self, *error: Any) -> _Item:
        return await self._step(self._source.athrow, *error)

    async def aclose(self) -> None:
        if self._calls is None:
            await self._source.aclose()  # it has not begun
        else:
            await self._calls.end(self._source)

    async def _step(self, take: Callable[..., Awaitable[_Item]], *arguments: Any) -> _Item:
        calls = self._calls
        if calls is None:
            calls = self._calls = self._open()
            calls.begin(self, self._source)
        else:
            calls.check()
        try:
            return await calls.run(take(*arguments))
        except BaseException:
            if self._source.ag_frame is None:
                calls.forget(self._source)
            raise
