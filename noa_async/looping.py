"""An event loop in a thread of its own, for callers that run none, or one that must not be held.

The one place outside the command line that runs a loop: `SyncNoaClient` and the plugin for pytest
stand on it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.calls import closed, other_process
from noa_async.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_T = TypeVar("_T")

_COLLECT_AFTER = 50_000
"""Objects made and not gone; collecting after 700 of them takes a twentieth of small products."""


def loop_factory(service: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop that suits a service's URL; None is asyncio's own.

    uvloop brings bytes faster, but not over TLS: there it is no faster, and it drops what has
    arrived encrypted when a service ends the connection while reading is paused. So it is used
    where it can be imported and the catalogue has no TLS; ``NOA_LOOP=asyncio`` keeps to the plain
    loop everywhere.
    """
    if os.environ.get("NOA_LOOP") == "asyncio" or not service.startswith("http:"):
        return None
    try:
        import uvloop  # noqa: PLC0415 (only where a loop runs)
    except ImportError:
        return None
    return uvloop.new_event_loop


def run_alone(work: Coroutine[Any, Any, _T], service: str) -> _T:
    """Run ``work`` in a process that has nothing else to do, on the loop that suits a service.

    What the process is made of is no garbage, and little else is: it is collected seldom.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *before[1:])
    try:
        with asyncio.Runner(loop_factory=loop_factory(service)) as runner:
            return runner.run(work)
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class LoopThread:
    """A loop that runs beside the caller, and does what any other thread gives it.

    Error handling: what the work raises is raised where it was given. Ctrl-C there cancels the work
    and waits until it has put away what it holds; a second one waits no longer.
    Resources: a context manager. Leaving it cancels what still runs, and ends the thread; so does
    the end of the program, at once.

    >>> with LoopThread() as loop:
    ...     loop.run(asyncio.sleep(0, "done"))
    'done'
    """

    def __init__(self, service: str = "") -> None:
        """``service`` is the URL that the loop is to suit, see ``loop_factory``."""
        self._service = service
        self._process = os.getpid()
        self._ready: Future[asyncio.AbstractEventLoop] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="noa-loop", daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._waiting: dict[Future[Any], Coroutine[Any, Any, Any]] = {}
        """The work that callers wait for."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_own_process(self) -> bool:
        """Whether this is the process that began the loop, and not a fork of it."""
        return os.getpid() == self._process

    @property
    def alive(self) -> bool:
        """Whether it still takes work."""
        return self._thread.is_alive() and not self._stopped

    def check_process(self) -> None:
        """Raise UsageError in a fork: the loop's thread is not there."""
        if not self.is_own_process:
            raise other_process()

    def check_thread(self) -> None:
        """Raise UsageError on the loop's own thread, which would wait for itself."""
        if threading.current_thread() is self._thread:
            raise UsageError(
                "An observer cannot ask its own client for anything: it would wait for itself.",
                hint="Note what is to be done, and do it outside; or use the asyncio client.",
            )

    def stop(self) -> None:
        """Cancel what still runs, and end the thread; in a fork there is nothing to stop."""
        if not self.is_own_process:
            return
        with self._lock:
            self._stopped = True
        if self._thread.ident is None:
            return
        with suppress(Exception):  # it has ended already, or could not begin
            self._ready.result().call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do ``work`` on the loop, and wait for its result.

        Raise UsageError if the loop itself would have to wait, as in an observer or a hook; if it
        was stopped, also meanwhile; and in a fork.
        """
        try:
            self.check_process()
            self.check_thread()
        except UsageError:
            work.close()
            raise
        ended: Future[_T] = Future()
        started: list[asyncio.Task[_T]] = []
        self._start(work, ended, started)

        def cancel() -> None:
            for task in started:
                task.cancel()

        try:
            wait([ended])
        except BaseException:
            with suppress(RuntimeError):
                self._ready.result().call_soon_threadsafe(cancel)
            wait([ended])
            raise
        return ended.result()

    def _start(
        self,
        work: Coroutine[Any, Any, _T],
        ended: Future[_T],
        started: list[asyncio.Task[_T]],
    ) -> None:
        """Let the loop do ``work``; ``ended`` gets its result."""

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            started.append(task)
            task.add_done_callback(lambda done: self._hand_over(done, ended))

        with self._lock:
            if self._stopped:
                work.close()
                raise closed()
            self._waiting[ended] = work
            self._ready.result().call_soon_threadsafe(begin, context=copy_context())

    def _live(self) -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory(self._service)) as runner:
                self._ready.set_result(runner.get_loop())
                runner.run(self._until_stopped())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)
        finally:
            self._end_waiting()

    def _end_waiting(self) -> None:
        """Raise UsageError in every caller that still waits: nothing runs any more."""
        with self._lock:
            self._stopped = True
            for ended, work in self._waiting.items():
                if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                    work.close()
                ended.set_exception(closed())
            self._waiting.clear()

    async def _until_stopped(self) -> None:
        await self._stop.wait()

    def _hand_over(self, task: asyncio.Task[_T], ended: Future[_T]) -> None:
        del self._waiting[ended]
        if task.cancelled():
            ended.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            ended.set_exception(error)
        else:
            ended.set_result(task.result())
