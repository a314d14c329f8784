"""The event loop and the signals: the first one ends a run in order, the second at once."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.cli.endings import INTERRUPTED, Interrupted
from noa_async.looping import run_alone

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine
    from types import FrameType

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, _T], *, service: str = "", how_to_go_on: str = "") -> _T:
    """Run ``work``, which brings bytes from ``service`` (a URL), to its end.

    Raises Interrupted, with ``how_to_go_on``, where a signal ended it; then all clean-up is done.
    """
    return run_alone(_heeding_signals(work, how_to_go_on), service)


async def _heeding_signals(work: Coroutine[Any, Any, _T], how_to_go_on: str) -> _T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    heeded = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        for one in heeded:  # the loop's own handlers would wait for a thread that hangs
            loop.remove_signal_handler(one)
            signal.signal(one, _leave_at_once)
        task.cancel()

    for one in heeded:
        loop.add_signal_handler(one, stop)
    try:
        return await work
    except BaseException as error:
        if stopping:
            raise Interrupted(how_to_go_on) from error
        raise
    finally:
        if not stopping:
            for one in heeded:
                loop.remove_signal_handler(one)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run ``work`` beside the body, and no longer than that."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
