"""Producer, bounded queue, worker pool: work begins while the listing still goes on."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from noa_async.errors import NoaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Later:
    """No result yet: the item is to be worked on again after so many seconds."""

    seconds: float


class _End:
    """The end of a stream."""


_END: Final = _End()


async def run_pipeline(
    source: AsyncIterable[_Item] | Iterable[_Item],
    work: Callable[[_Item], Awaitable[_Result | Later]],
    *,
    workers: int,
    depth: int,
) -> AsyncGenerator[_Result]:
    """Give each item of ``source`` to one of ``workers``; their results come as they are ready.

    Where ``work`` says ``Later``, it is given the item again after so many seconds, ahead of what
    is new; until then the item holds no worker. All comes to its end before the stream does.

    At most ``depth`` items wait for a worker and as many results for the caller: a slow worker
    holds the source back, a slow caller the workers. Beside them the items put off are held in
    memory, as many as there are: the items alone, nothing of the work on them.

    Error handling: what ``work`` raises ends the rest and is raised here. So is what ``source``
    raises; where that is a NoaError, the items before it are worked off first.
    Resources: closing the generator, or cancelling its caller, cancels every task and waits for it.
    """
    results: asyncio.Queue[_Result | _End] = asyncio.Queue()
    unread = asyncio.Semaphore(depth)

    async def deliver(result: _Result) -> None:
        await unread.acquire()
        results.put_nowait(result)

    async def conduct() -> None:
        try:
            await _work_off(source, work, deliver, workers, depth)
        finally:
            results.put_nowait(_END)

    conductor = asyncio.create_task(conduct())
    try:
        while not isinstance(result := await results.get(), _End):
            unread.release()
            yield result
        await asyncio.wait({conductor})
        if (error := conductor.exception()) is not None:
            raise foremost(error)
    finally:
        conductor.cancel()
        await asyncio.wait({conductor})


async def _work_off(
    source: AsyncIterable[_Item] | Iterable[_Item],
    work: Callable[[_Item], Awaitable[_Result | Later]],
    deliver: Callable[[_Result], Awaitable[None]],
    workers: int,
    depth: int,
) -> None:
    queue: _Queue[_Item] = _Queue(depth)
    put_off: _PutOff[_Item] = _PutOff()
    broken: list[NoaError] = []

    async def produce() -> None:
        try:
            async with aclosing(each(source)) as items:
                async for item in items:
                    await queue.put(item)
        except NoaError as error:
            broken.append(error)  # what is listed is still worked off
        await queue.all_done()
        returns.cancel()
        await queue.end(workers)

    async def consume() -> None:
        while not isinstance(item := await queue.get(), _End):
            result = await work(item)
            if isinstance(result, Later):
                put_off.add(item, result.seconds)
            else:
                await deliver(result)
                queue.done()

    async with asyncio.TaskGroup() as group:
        returns = group.create_task(put_off.give_back(queue))
        group.create_task(produce())
        for _ in range(workers):
            group.create_task(consume())
    if broken:
        raise broken[0]


class _Queue(Generic[_Item]):
    """What waits for a worker, at most ``depth`` items; those that come back go first.

    An item counts as open from its first ``put`` until ``done``, also while it is put off.
    """

    _AGAIN, _NEW, _LAST = range(3)

    def __init__(self, depth: int) -> None:
        self._queue: asyncio.PriorityQueue[tuple[int, int, _Item | _End]] = asyncio.PriorityQueue(
            depth
        )
        self._number = count()
        """Keeps the order of coming, and items from being compared."""

    async def put(self, item: _Item) -> None:
        await self._queue.put((self._NEW, next(self._number), item))

    async def put_again(self, item: _Item) -> None:
        await self._queue.put((self._AGAIN, next(self._number), item))
        self._queue.task_done()  # that of its earlier time: it was open all the while

    async def end(self, workers: int) -> None:
        for _ in range(workers):
            await self._queue.put((self._LAST, next(self._number), _END))

    async def get(self) -> _Item | _End:
        return (await self._queue.get())[-1]

    def done(self) -> None:
        self._queue.task_done()

    async def all_done(self) -> None:
        await self._queue.join()


class _PutOff(Generic[_Item]):
    """Items by the time at which they are due."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, _Item]] = []
        self._number = count()
        self._changed = asyncio.Event()

    def add(self, item: _Item, seconds: float) -> None:
        due = asyncio.get_running_loop().time() + seconds
        heapq.heappush(self._heap, (due, next(self._number), item))
        self._changed.set()

    async def give_back(self, queue: _Queue[_Item]) -> NoReturn:
        """Put each into ``queue`` when its time has come."""
        while True:
            await queue.put_again(await self._next_due())

    async def _next_due(self) -> _Item:
        now = asyncio.get_running_loop().time
        while not self._heap or self._heap[0][0] > now():
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._heap[0][0] if self._heap else None):
                    await self._changed.wait()
        return heapq.heappop(self._heap)[-1]


def foremost(error: BaseException) -> BaseException:
    """The error to tell of a group: one of ours where there is one, else the first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [foremost(leaf) for leaf in error.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, NoaError)), leaves[0])


async def each(source: AsyncIterable[_Item] | Iterable[_Item]) -> AsyncGenerator[_Item]:
    """The items of any source; closing it closes a source that can be closed."""
    if isinstance(source, AsyncIterable):
        async with AsyncExitStack() as stack:
            if isinstance(source, AsyncGenerator):
                await stack.enter_async_context(aclosing(source))
            async for item in source:
                yield item
    else:
        for item in source:
            yield item
