"""Run the event loop and handle signals: the first stops a run cleanly, the second at once."""

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
    """Run ``work`` to completion; ``service`` is the URL it downloads from.

    Raise Interrupted, with ``how_to_go_on`` as its message, after clean-up if a signal stopped it.
    """
    return run_alone(_handling_signals(work, how_to_go_on), service)


async def _handling_signals(work: Coroutine[Any, Any, _T], how_to_go_on: str) -> _T:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    handled = [one for one in _SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        for one in handled:  # handlers of the event loop would not run while a thread hangs
            loop.remove_signal_handler(one)
            signal.signal(one, _leave_at_once)
        task.cancel()

    for one in handled:
        loop.add_signal_handler(one, stop)
    try:
        return await work
    except BaseException as error:
        if stopping:
            raise Interrupted(how_to_go_on) from error
        raise
    finally:
        if not stopping:
            for one in handled:
                loop.remove_signal_handler(one)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run ``work`` concurrently with the body of the context, and cancel it at the end."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        finally:
            task.cancel()


def _leave_at_once(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
