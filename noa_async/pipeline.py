"""Producer, bounded queue, worker pool: work begins while the listing still goes on."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from noa_async.errors import NoaError
from noa_async.streams import each, gathered
from noa_async.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Iterable,
        Sequence,
    )

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Later:
    """No result yet: the item is to be worked on again after so many seconds."""

    seconds: float


_TOGETHER = 64
"""Items that are looked at together, where so many have come."""


class _End:
    """The end of a stream."""


_END: Final = _End()


async def run_pipeline(
    source: AsyncIterable[_Item] | Iterable[_Item],
    work: Callable[[_Item], Awaitable[_Result | Later]],
    *,
    workers: int,
    depth: int,
    at_once: Callable[[Sequence[_Item]], Iterable[_Result | None]] | None = None,
    size: Callable[[_Item], int | None] | None = None,
    drained: Callable[[], object] | None = None,
) -> AsyncGenerator[_Result]:
    """Give each item of ``source`` to one of ``workers``; their results come as they are ready.

    Of the new items that wait for a worker the one of the largest ``size`` goes first, so that the
    last to end is not a large one that all wait for; one of unknown size (None) may be large and
    goes before them. Those of one size go in the order of coming.

    ``at_once`` looks at new items, as many together as have come, and gives the result of each that
    needs no worker; None for all others.

    Where ``work`` says ``Later``, it is given the item again after so many seconds; until then the
    item holds no worker. What has come back goes in turn with what is new. All comes to its end
    before the stream does.

    ``drained`` is called once, on the loop, when ``source`` has ended (also by a NoaError) and no
    new item waits for a worker: some may be worked on still, and those put off may come back.

    At most ``depth`` new items wait for a worker and as many results for the caller: a slow worker
    holds the source back, a slow caller the workers. Up to 128 more are read ahead for ``at_once``.
    Beside them the items put off are held in memory, as many as there are: the items alone, nothing
    of the work on them.

    Error handling: what ``work``, ``at_once`` or ``drained`` raises ends the rest and is raised
    here. So is what ``source`` raises; where that is a NoaError, the items before it are worked off
    first.
    Resources: closing the generator, or cancelling its caller, cancels every task and waits for it.
    """
    queue = _Queue(depth, size or _unknown, drained or _nobody)
    results: _Results[_Result] = _Results(depth)
    conductor = asyncio.create_task(_work_off(source, work, at_once, results, queue, workers))
    conductor.add_done_callback(lambda _: results.end())
    try:
        while await results.some():
            while results.ready:
                yield results.take()
        if (error := conductor.exception()) is not None:
            raise foremost(error)
    finally:
        await end_tasks(conductor)


async def _work_off(
    source: AsyncIterable[_Item] | Iterable[_Item],
    work: Callable[[_Item], Awaitable[_Result | Later]],
    at_once: Callable[[Sequence[_Item]], Iterable[_Result | None]] | None,
    results: _Results[_Result],
    queue: _Queue[_Item],
    workers: int,
) -> None:
    put_off: _PutOff[_Item] = _PutOff()
    broken: list[NoaError] = []

    async def produce() -> None:
        try:
            if at_once is None:
                async with aclosing(each(source)) as items:
                    async for item in items:
                        await queue.put(item)
            else:
                await _look_at(source, at_once, results, queue)
        except NoaError as error:
            broken.append(error)  # what is listed is still worked off
        queue.seal()
        await queue.all_done()
        returns.cancel()
        queue.end(workers)

    async def consume() -> None:
        while not isinstance(item := await queue.get(), _End):
            result = await work(item)
            if isinstance(result, Later):
                put_off.add(item, result.seconds)
            else:
                await results.put(result)
                queue.done()

    async with asyncio.TaskGroup() as group:
        returns = group.create_task(put_off.give_back(queue))
        group.create_task(produce())
        for _ in range(workers):
            group.create_task(consume())
    if broken:
        raise broken[0]


async def _look_at(
    source: AsyncIterable[_Item] | Iterable[_Item],
    at_once: Callable[[Sequence[_Item]], Iterable[_Result | None]],
    results: _Results[_Result],
    queue: _Queue[_Item],
) -> None:
    """Hand on the result of each item that needs no worker, and queue all others."""
    async with aclosing(gathered(source, _TOGETHER)) as lists:
        async for some in lists:
            for item, result in zip(some, at_once(some), strict=True):
                if result is None:
                    await queue.put(item)
                else:
                    await results.put(result)


def _unknown(_item: object) -> None:
    """The size of any item."""


def _nobody() -> None:
    """Whom to tell."""


class _Results(Generic[_Result]):
    """What is ready for the caller: at most ``depth``, in the order of coming."""

    def __init__(self, depth: int) -> None:
        self.ready: deque[_Result] = deque()
        self._ended = False
        self._came = asyncio.Event()
        self._room = asyncio.Semaphore(depth)
        """First come, first served: else who never waits would keep the workers out."""

    async def put(self, result: _Result) -> None:
        await self._room.acquire()
        self.ready.append(result)
        self._came.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._came.set()

    async def some(self) -> bool:
        """Wait until a result is ready; False where none will be any more."""
        while not self.ready and not self._ended:
            self._came.clear()
            await self._came.wait()
        return bool(self.ready)

    def take(self) -> _Result:
        self._room.release()
        return self.ready.popleft()


class _Queue(Generic[_Item]):
    """What waits for a worker: at most ``depth`` new items, the largest first, and what comes back.

    An item counts as open from its ``put`` until ``done``, also while it is put off.
    """

    def __init__(
        self,
        depth: int,
        size: Callable[[_Item], int | None],
        drained: Callable[[], object],
    ) -> None:
        self._size = size
        self._drained = drained
        self._new: list[tuple[float, int, _Item]] = []
        self._again: deque[_Item] = deque()
        self._number = count()
        """Keeps the order of coming, and items from being compared."""
        self._room = asyncio.Semaphore(depth)
        self._waiting = asyncio.Semaphore(0)
        """As many as there are to get."""
        self._new_was_last = False
        self._sealed = False
        self._open = 0
        self._changed = asyncio.Event()

    async def put(self, item: _Item) -> None:
        await self._room.acquire()
        size = self._size(item)
        rank = -inf if size is None else -size
        heapq.heappush(self._new, (rank, next(self._number), item))
        self._open += 1
        self._waiting.release()

    def put_again(self, item: _Item) -> None:
        self._again.append(item)
        self._waiting.release()

    def seal(self) -> None:
        """Nothing new will come."""
        self._sealed = True
        self._tell_if_drained()

    def end(self, workers: int) -> None:
        """Send so many workers home; all is done."""
        for _ in range(workers):
            self._waiting.release()

    async def get(self) -> _Item | _End:
        await self._waiting.acquire()
        if self._again and (self._new_was_last or not self._new):
            self._new_was_last = False
            return self._again.popleft()
        if not self._new:
            return _END
        self._new_was_last = True
        item = heapq.heappop(self._new)[-1]
        self._room.release()
        self._tell_if_drained()
        return item

    def done(self) -> None:
        self._open -= 1
        self._changed.set()

    async def all_done(self) -> None:
        """Wait until no item is open."""
        while self._open:
            self._changed.clear()
            await self._changed.wait()

    def _tell_if_drained(self) -> None:
        if self._sealed and not self._new:
            told, self._drained = self._drained, _nobody
            told()


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
            queue.put_again(await self._next_due())

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
