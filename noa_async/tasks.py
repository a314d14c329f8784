"""Wait for tasks and threads until they have ended, however often the caller is cancelled."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")


async def wait_ended(*futures: asyncio.Future[Any]) -> None:
    """Wait until all ``futures`` are done; raise a cancellation of the caller only then.

    Their results and errors stay with them.
    """
    cancelled: asyncio.CancelledError | None = None
    while pending := [future for future in futures if not future.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel ``tasks`` and wait until they have ended; as ``wait_ended``."""
    for task in tasks:
        task.cancel()
    await wait_ended(*tasks)


async def outcome_of(future: asyncio.Future[_T]) -> _T:
    """Return the result of ``future``, which goes on to its end if the caller is cancelled.

    The cancellation is raised then, once the future is done.
    """
    try:
        await wait_ended(future)
    except asyncio.CancelledError as cancelled:
        raise cancelled from (None if future.cancelled() else future.exception())
    return future.result()


async def finish(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` to its end, also if the caller is cancelled meanwhile; as ``outcome_of``."""
    return await outcome_of(asyncio.create_task(work))


async def in_thread(work: Callable[..., _T], *arguments: Any) -> _T:
    """As ``asyncio.to_thread``, but a cancelled caller waits until the thread is done.

    For work that changes files: whoever cancels it may delete or unlock them next.
    """
    run = copy_context().run
    loop = asyncio.get_running_loop()
    return await outcome_of(loop.run_in_executor(None, run, work, *arguments))
