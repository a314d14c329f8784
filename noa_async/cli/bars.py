"""Bars on a terminal: one for the whole run, one for each running product.

They are drawn ten times a second from what `Progress` holds, each time in one write: however often
bytes arrive, and whatever is said between, no line is torn.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from contextlib import asynccontextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING, TextIO

from noa_async.cli.frames import Bar, Frame
from noa_async.cli.lines import Lines
from noa_async.cli.progress import Progress, Speed, Transfer
from noa_async.cli.running import beside
from noa_async.cli.text import bytes_text, rate_text, seconds_text, shortened, shown
from noa_async.events import Event, ProductFinished, Status

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_INTERVAL = 0.1
_WIDE = 70
_ENDING = re.compile(r"(\.SAFE|\.SEN3)?(\.zip|\.nc)?$")


class Bars(Lines):
    """The run on a terminal. Lines that are said go above the bars."""

    wants_total = True

    def __init__(self, level: int, workers: int, stream: TextIO = sys.stderr) -> None:
        super().__init__(level)
        self._frame = Frame(stream)
        self._workers = workers
        self._bars: list[Bar] = []

    def __call__(self, event: Event, /) -> None:
        done = isinstance(event, ProductFinished) and event.status is not Status.FAILED
        if not done or self.level > 0:  # the bars show it; thousands of lines would not
            super().__call__(event)

    def line(self, text: str, *, level: int = 0) -> None:
        if level <= self.level:
            Bar.write(text, file=self._frame)
            self._frame.show()

    def say(self, text: str) -> None:
        self.line(text, level=-1) if self._bars else print(text)

    @asynccontextmanager
    async def alive(self, progress: Progress) -> AsyncGenerator[None]:
        places = max(1, min(self._workers + 1, self._frame.size().lines - 2))
        Bar.set_lock(threading.RLock())  # its own would also guard against other processes
        self._bars = [Bar(self._frame, place) for place in range(places)]
        try:
            async with beside(self._keep_drawing(progress)):
                yield
        finally:
            for bar in reversed(self._bars):
                bar.close()
            self._bars = []
            self._frame.show()

    async def _keep_drawing(self, progress: Progress) -> None:
        speed = Speed(clock=time.monotonic)
        while True:
            self.draw(progress, speed.after(progress.arrived))
            await asyncio.sleep(_INTERVAL)

    def draw(self, progress: Progress, rate: float) -> None:
        """One frame."""
        width = self._frame.size().columns - 1  # a full line wraps on some terminals
        for bar in self._bars:
            bar.ncols = width
        total, *slots = self._bars
        total.put(progress.have, progress.expected, "", total_text(progress, rate, width))
        running = list(progress.running.values())[: len(slots)]
        for slot, transfer in zip_longest(slots, running):
            if transfer is None:
                slot.hide()
            else:
                name, figures = product_texts(transfer, width)
                slot.put(transfer.have, transfer.total, name, figures)
        self._frame.show()


def total_text(progress: Progress, rate: float, width: int) -> str:
    """The figures of the whole run: products, bytes, rate, time left.

    While the listing goes on the total is an estimate, marked ``~``; with nothing to estimate it
    from, there is no time left to tell.
    """
    about = "" if progress.complete else "~" if progress.certain else "+"
    expected = bytes_text(progress.expected)
    whole = f"{about}{expected}" if about != "+" else f"{expected}+"
    left = progress.expected - progress.have
    time_left = seconds_text(left / rate) if rate > 0 and progress.certain and left >= 0 else "?"
    if width < _WIDE:
        return f"{bytes_text(progress.have)}/{whole} {rate_text(rate)}"
    products = f"{progress.finished}/{progress.matching or progress.listed} products"
    if progress.offline:
        products += f", {len(progress.offline)} off line"
    have = bytes_text(progress.have)
    return f"{products}  {have} of {whole}  {rate_text(rate)}  {time_left} left"


def product_texts(transfer: Transfer, width: int) -> tuple[str, str]:
    """Name and figures of one product's bar."""
    room = max(12, width // 2)
    name = shortened(_ENDING.sub("", shown(transfer.name)), room).ljust(room)
    if transfer.waiting:
        return name, shown(f"waits: {transfer.waiting}")
    return name, bytes_text(transfer.total) if transfer.total else bytes_text(transfer.have)


def fit_for_bars(stream: TextIO) -> bool:
    """Whether ``stream`` is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
