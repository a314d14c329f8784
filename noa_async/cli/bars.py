"""Progress bars on a terminal: one for the whole run and one for each running product.

They are redrawn ten times a second from a `Progress`, each time in a single write so that messages
and bars do not overlap. The terminal size is queried for each frame.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TextIO

from tqdm import tqdm

from noa_async.cli.frames import Frame
from noa_async.cli.lines import Lines
from noa_async.cli.running import beside
from noa_async.cli.text import bytes_text, rate_text, seconds_text, shortened, shown
from noa_async.events import Event, ProductFinished, Status
from noa_async.progress import Progress, Speed, Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

_INTERVAL = 0.1
_SHORTEST_BAR = 8
_AROUND = len("100%|| ")
"""Characters around a bar, without name and figures."""
_ENDING = re.compile(r"(\.SAFE|\.SEN3)?(\.zip|\.nc)?$")


class Bars(Lines):
    """Show a run as progress bars on a terminal. Print messages above the bars."""

    wants_total = True

    def __init__(self, level: int, workers: int, stream: TextIO = sys.stderr) -> None:
        super().__init__(level)
        self._frame = Frame(stream)
        self._ascii = not (stream.encoding or "").lower().startswith("utf")
        self._slots = Slots(workers)
        self._alive = False
        self._most = 0
        """The largest byte count shown so far: the shown count never decreases, even if bytes have
        to be downloaded again."""

    def __call__(self, event: Event, /) -> None:
        done = isinstance(event, ProductFinished) and event.status is not Status.FAILED
        if not done or self.level > 0:  # finished products are shown by the bars
            super().__call__(event)

    def line(self, text: str, *, level: int = 0) -> None:
        if level <= self.level:
            self._frame.put_above(folded(text, self._frame.size().columns - 1))

    def say(self, text: str) -> None:
        self.line(text, level=-1) if self._alive else print(text)

    @asynccontextmanager
    async def alive(self, progress: Progress) -> AsyncGenerator[None]:
        self._alive, self._most = True, 0
        try:
            async with beside(self._keep_drawing(progress)):
                yield
        finally:
            self._frame.clear()
            self._alive = False

    async def _keep_drawing(self, progress: Progress) -> None:
        speed = Speed(clock=time.monotonic)
        while True:
            self.draw(progress, speed.after(progress.arrived))
            await asyncio.sleep(_INTERVAL)

    def draw(self, progress: Progress, rate: float) -> None:
        """Draw one frame; ``rate`` is in bytes per second."""
        size = self._frame.size()
        width = size.columns - 1  # a full line wraps on some terminals
        self._most = max(self._most, progress.have)
        whole = max(self._most, progress.expected)
        figures = total_text(progress, self._most, rate, width)
        rows = [self._bar(self._most, whole, "", figures, width)]
        for transfer in self._slots.filled(progress.running, most=size.lines - 3):
            if transfer is None:
                rows.append("")
                continue
            name, figures = product_texts(transfer, width)
            rows.append(self._bar(transfer.have, transfer.total, name, figures, width))
        self._frame.draw(rows, size)

    def _bar(self, have: int, total: int, name: str, figures: str, width: int) -> str:
        return tqdm.format_meter(
            min(have, total) if total else 0,
            total or 1,
            0.0,
            ncols=width,
            prefix=f"{name} " if name else "",
            ascii=self._ascii,
            bar_format="{desc}{percentage:3.0f}%|{bar}| " + _braced(figures),
        )


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


class Slots:
    """Assign running products to rows; a product keeps its row until it finishes.

    >>> a, b, c = (Transfer(name, 0) for name in "ABC")
    >>> slots = Slots(2)
    >>> [slot and slot.name for slot in slots.filled({"a": a, "b": b}, most=9)]
    ['A', 'B']
    >>> [slot and slot.name for slot in slots.filled({"b": b}, most=9)]
    [None, 'B']
    >>> [slot and slot.name for slot in slots.filled({"b": b, "c": c}, most=9)]
    ['C', 'B']
    """

    def __init__(self, count: int) -> None:
        self._ids: list[str | None] = [None] * count

    def filled(self, running: dict[str, Transfer], *, most: int) -> list[Transfer | None]:
        """Return the product of each row, at most ``most``; None for an empty row above others."""
        ids = [one if one in running else None for one in self._ids][: max(0, most)]
        held = set(ids)
        new = (one for one in running if one not in held)
        ids = [next(new, None) if one is None else one for one in ids]
        self._ids = ids + [None] * (len(self._ids) - len(ids))
        while ids and ids[-1] is None:
            ids.pop()
        return [running[one] if one is not None else None for one in ids]


def total_text(progress: Progress, have: int, rate: float, width: int) -> str:
    """Return the figures of the whole run that fit beside a bar: products, bytes, rate, time left.

    ``have`` is the number of bytes to show, ``width`` the terminal's columns. Until the listing is
    complete the total is an estimate, marked ``~``; if it cannot be estimated, ``+`` follows the
    bytes listed so far and the time left is ``?``.
    """
    known = bytes_text(max(have, progress.expected))
    whole = known if progress.complete else f"~{known}" if progress.certain else f"{known}+"
    left = progress.seconds_left(rate)
    speed = f"{rate_text(rate)}  {'?' if left is None else seconds_text(left)} left"
    products = f"{progress.finished}/{progress.matching or progress.listed} products"
    offline = f", {len(progress.offline)} offline" if progress.offline else ""
    amount = f"{bytes_text(have)} of {whole}"
    texts = (
        f"{products}{offline}  {amount}  {speed}",
        f"{products}  {amount}  {speed}",
        f"{amount}  {speed}",
        f"{bytes_text(have)}/{whole} {rate_text(rate)}",
    )
    return _longest_that_fits(texts, width - _AROUND - _SHORTEST_BAR)


def _longest_that_fits(texts: Iterable[str], room: int) -> str:
    last = ""
    for last in texts:
        if len(last) <= room:
            break
    return last


def product_texts(transfer: Transfer, width: int) -> tuple[str, str]:
    """Return the name and the figures for a product's bar."""
    room = max(12, width // 2)
    name = shortened(_ENDING.sub("", shown(transfer.name)), room).ljust(room)
    if transfer.waiting:
        left = width - room - 1 - _AROUND - 1
        return name, shortened(
            shown(f"waiting: {transfer.waiting}"), left
        ) if left > 20 else "waiting"
    return name, bytes_text(transfer.total or transfer.have).rjust(7)


def folded(text: str, width: int) -> list[str]:
    """Wrap a line at word boundaries.

    >>> folded("again in 0.5 s  S2A_MSIL2A.zip: The answer broke off.", 32)
    ['again in 0.5 s  S2A_MSIL2A.zip:', '  The answer broke off.']
    """
    return textwrap.wrap(text, max(8, width), subsequent_indent="  ", break_on_hyphens=False) or [
        ""
    ]


def fit_for_bars(stream: TextIO) -> bool:
    """Return whether ``stream`` is a terminal that supports cursor movement."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"
