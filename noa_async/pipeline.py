"""Producer, bounded queue, worker pool: work begins while the listing still goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final, TypeVar

from noa_async.errors import NoaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class _End:
    """The end of a stream."""


_END: Final = _End()


async def run_pipeline(
    source: AsyncIterable[_Item] | Iterable[_Item],
    work: Callable[[_Item], Awaitable[_Result]],
    *,
    workers: int,
    depth: int,
) -> AsyncGenerator[_Result]:
    """Give each item of ``source`` to one of ``workers``; their results come as they are ready.

    At most ``depth`` items wait for a worker and as many results for the caller: a slow worker
    holds the source back, a slow caller the workers.

    Error handling: what ``work`` raises ends the rest and is raised here. So is what ``source``
    raises; where that is a NoaError, the items before it are worked off first.
    Resources: closing the generator, or cancelling its caller, cancels every task and waits for it.
    """
    results: asyncio.Queue[_Result | _End] = asyncio.Queue()
    unread = asyncio.Semaphore(depth)

    async def deliver(item: _Item) -> None:
        result = await work(item)
        await unread.acquire()
        results.put_nowait(result)

    async def conduct() -> None:
        try:
            await _work_off(source, deliver, workers, depth)
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
    deliver: Callable[[_Item], Awaitable[None]],
    workers: int,
    depth: int,
) -> None:
    queue: asyncio.Queue[_Item | _End] = asyncio.Queue(depth)
    broken: list[NoaError] = []

    async def produce() -> None:
        try:
            async with aclosing(each(source)) as items:
                async for item in items:
                    await queue.put(item)
        except NoaError as error:
            broken.append(error)  # what is listed is still worked off
        for _ in range(workers):
            await queue.put(_END)

    async def consume() -> None:
        while not isinstance(item := await queue.get(), _End):
            await deliver(item)

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        for _ in range(workers):
            group.create_task(consume())
    if broken:
        raise broken[0]


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
