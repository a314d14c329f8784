"""What an archive of any size would take: a model of a few measured figures and the code's rules.

Nothing is asked of a service here. A listing is played through event by event, with the very
functions that cut windows (``noa_async.catalogue.windows``); all else is arithmetic.
"""

from __future__ import annotations

import heapq
import json
import random
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from noa_async.catalogue.windows import INSTANT, Window, largest, parts_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parent / "results"
SHARED = 22
"""Products on one instant, as in real pages."""
START = datetime(2026, 1, 1, tzinfo=UTC)
PASSES = ((8.5, 11.5), (15.5, 17.0))
"""Hours of a day in which satellites pass: the time between is empty."""
DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured; each figure from a kept result of one suite."""

    row_bytes: float
    """Of the ledger, a product: ``ledger``."""
    records_per_second: float
    """New products that the ledger takes: ``ledger``."""
    quiet_mib: float
    """Peak of a mirror run with nothing new, a million products in the ledger: ``ledger``."""
    page_seconds: float
    """A page costs here, beside the service's answer: ``listing``."""
    product_seconds: float
    """A small product costs here, of whatever size: the first run of ``restart``."""
    again_seconds: float
    """A product that is there costs a run that lists it: ``restart``."""
    many_mib: float
    """Peak of a run that brought 20,000 products: ``memory``."""
    verify_rate: float
    """Bytes a second read again, from a disk: ``verify``."""

    @classmethod
    def kept(cls, folder: Path = RESULTS) -> Measured:
        """From the results that are kept."""

        def read(name: str) -> Any:
            return json.loads((folder / f"{name}.json").read_text())

        ledger, listing, restart, memory = map(read, ("ledger", "listing", "restart", "memory"))
        [single] = {run["requests"] for run in listing["runs"] if run["way"] == "one_by_one"}
        page = listing["medians"]["one_by_one"] / single
        return cls(
            row_bytes=ledger["ledger_bytes"] / ledger["products"],
            records_per_second=ledger["recording"]["new"],
            quiet_mib=max(ledger["mirror_with_nothing_new"]["peak_mib"]),
            page_seconds=page - listing["latency_seconds"],
            product_seconds=restart["first_seconds"] / restart["products"],
            again_seconds=restart["median"] / restart["products"],
            many_mib=median(memory["peak_mib"]["20000"]),
            verify_rate=read("verify")["caches"]["cold"]["medians"]["noa-async"],
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """Where products lie in time."""

    instants: Sequence[datetime]
    """Sorted, each once."""
    sums: Sequence[int]
    """How many products lie before each of them, and at last all."""

    @classmethod
    def of(cls, instants: Iterable[datetime]) -> Spread:
        """Of products, by the instant of each."""
        weights = sorted(Counter(instants).items())
        return cls(
            [instant for instant, _ in weights],
            list(accumulate((weight for _, weight in weights), initial=0)),
        )

    def count(self, window: Window) -> int:
        """How many products a window holds."""
        start = 0 if window.start is None else bisect_left(self.instants, window.start)
        end = len(self.instants) if window.end is None else bisect_left(self.instants, window.end)
        return self.sums[end] - self.sums[start]

    def first(self, window: Window) -> datetime:
        """The first instant in a window that is not empty."""
        return self.instants[
            0 if window.start is None else bisect_left(self.instants, window.start)
        ]


def sensing_times(products: int, days: int) -> list[datetime]:
    """An instant for each ``SHARED`` products: in the passes of each day, the same every time."""
    draw = random.Random(1)
    found = []
    for _ in range(-(-products // SHARED)):
        hour = draw.uniform(*draw.choices(PASSES, weights=(2, 1))[0])
        found.append(
            START + timedelta(days=draw.randrange(days), milliseconds=int(hour * 3_600_000))
        )
    return found


def spread(products: int, days: int) -> Spread:
    """So many products over so many days, in the satellites' passes."""
    instants = sorted(sensing_times(products, days))
    sums = [min(products, place * SHARED) for place in range(len(instants) + 1)]
    return Spread(instants, sums)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing came to."""

    requests: int
    seconds: float


@dataclass(order=True, slots=True)
class _Answer:
    """A page on its way."""

    at: float
    number: int
    window: Window = field(compare=False)
    left: int | None = field(compare=False)
    """Pages of the window after this one; None where this is its first."""
    look: int = field(compare=False, default=0)
    """The window's count, where its last instant was asked for; else 0."""


def listing(where: Spread, *, page_size: int, at_once: int, answer: float, own: float) -> Listed:
    """Play a listing of everything through.

    ``answer``: seconds that the service takes for a page, however many are asked for at once;
    ``own``: seconds of work here, a page after the other. The service counts, nothing comes or
    goes meanwhile, nothing fails, and whoever takes the products keeps up.
    """
    play = _Play(where, page_size, answer)
    while play.under_way:
        play.take(own)
        play.ask_on(at_once)
    if play.was_cut:  # at its end the service counts again
        return Listed(play.requests + 1, play.now + answer + own)
    return Listed(play.requests, play.now)


class _Play:
    """A listing under way, as ``catalogue.listing`` and ``catalogue.reading`` go about it."""

    def __init__(self, where: Spread, page_size: int, answer: float) -> None:
        self._where = where
        self._page_size = page_size
        self._answer = answer
        self._most = largest(page_size)
        self._pending: list[Window] = []
        self.under_way: list[_Answer] = []
        self.was_cut = False
        self.requests = 0
        self.now = 0.0
        self._ask(Window(""), None)

    def take(self, own: float) -> None:
        """The next answer comes, and what follows from it in its window is asked for."""
        came = heapq.heappop(self.under_way)
        self.now = max(self.now, came.at) + own
        self.requests += 1
        if came.look:
            self._cut(came.window, came.look)
        elif came.left is None:
            self._begin(came.window)
        elif came.left:
            self._ask(came.window, came.left - 1)
        self._most = largest(self._page_size, self._where.sums[-1])

    def ask_on(self, at_once: int) -> None:
        """Ask for the windows that come next, as many as may be read at once."""
        while self._pending and len(self.under_way) < at_once:
            self._ask(self._pending.pop(), None)

    def _begin(self, window: Window) -> None:
        """A window's first page is there, and with it the count."""
        count = self._where.count(window)
        more = max(0, -(-count // self._page_size) - 1)
        if count > self._most and window.end is None:
            self._ask(window, 0, look=count)
        elif count > self._most:
            self._cut(window, count)
        elif more:
            self._ask(window, more - 1)

    def _cut(self, window: Window, count: int) -> None:
        first = self._where.first(window)
        last = self._where.instants[-1] if window.end is None else window.end - INSTANT
        pieces = window.cut(first, max(first, last), parts_for(count, self._most))
        self._pending.extend(reversed(pieces))
        self.was_cut = True

    def _ask(self, window: Window, left: int | None, look: int = 0) -> None:
        at, number = self.now + self._answer, self.requests * 100 + len(self.under_way)
        heapq.heappush(self.under_way, _Answer(at, number, window, left, look))


def token_requests(seconds: float, life: float) -> int:
    """Log-in and refreshes: each 60 s before the end of a token, or a fifth of its life."""
    return 1 + int(seconds / (life - min(60.0, life / 5)))


def bringing(
    products: int,
    size: float,
    *,
    connections: int,
    rate: float,
    answer: float,
    own: float,
    volume: float | None = None,
) -> float:
    """Seconds to bring ``products`` of ``size`` bytes; none fails, none is off line.

    ``rate``: bytes a second of each connection; ``answer``: seconds before each head; ``volume``:
    bytes in 30 days, of which what is left of one time is no help in the next.
    """
    on_the_line = products * (answer + size / rate) / connections
    allowed = 0.0 if volume is None else products * size / volume * 30 * DAY
    return max(on_the_line, products * own, allowed)
