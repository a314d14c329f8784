"""Track the progress of a run from its events. No I/O."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noa_async.events import (
    AllQueued,
    Event,
    HookFailed,
    PageListed,
    ProductFinished,
    ProductQueued,
    ProductWaiting,
    Status,
    TokenObtained,
    TransferAdvanced,
    TransferRetried,
    TransferStarted,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(slots=True)
class Transfer:
    """The download of one product in progress."""

    name: str
    total: int
    """Size of the product in bytes; 0 if unknown."""
    have: int = 0
    waiting: str = ""
    """Why it is waiting for a retry; empty if it is running."""


@dataclass(slots=True)
class Progress:
    """Totals of a run, updated by its events. Rates are computed from ``arrived`` only."""

    have: int = 0
    """Bytes of the listed products that are on disk, including those present before the run."""
    listed_bytes: int = 0
    arrived: int = 0
    """Bytes received over the network in this run."""
    listed: int = 0
    """Number of listed products."""
    finished: int = 0
    failed: int = 0
    retries: int = 0
    hooks_failed: int = 0
    renewals: int = 0
    """Token renewals and repeated log-ins."""
    matching: int | None = None
    """The service's count of matching products, if it was requested."""
    paged: int = 0
    """Products on the pages received so far; more than ``listed`` if the queue lags behind."""
    complete: bool = False
    """Whether the listing is complete."""
    running: dict[str, Transfer] = field(default_factory=dict)
    offline: dict[str, Transfer] = field(default_factory=dict)
    """Offline products that are waited for; they occupy no worker."""
    _queued: dict[str, Transfer] = field(default_factory=dict)
    _tokens: int = 0

    def __call__(self, event: Event, /) -> None:
        # Ordered by frequency: TransferAdvanced is by far the most frequent event.
        match event:
            case TransferAdvanced():
                self._advance(event)
            case TransferStarted():
                self._start(event)
            case ProductQueued():
                self.complete = False  # a new run has started
                self.listed += 1
                self.listed_bytes += event.size or 0
                self._queued[event.product_id] = Transfer(event.name, event.size or 0)
            case ProductFinished():
                self._finish(event)
            case TransferRetried():
                self.retries += 1
                transfer = self._transfer(event.product_id, event.name)
                transfer.waiting = event.reason
            case ProductWaiting():
                transfer = self._transfer(event.product_id, event.name)
                self.offline[event.product_id] = transfer
                del self.running[event.product_id]
            case _:
                self._note(event)

    def _note(self, event: Event) -> None:
        """Handle events that do not concern a single product."""
        match event:
            case AllQueued():
                self.complete = True
            case PageListed():
                self.paged = event.products
            case TokenObtained():
                self.renewals += self._tokens > 0
                self._tokens += 1
            case HookFailed():
                self.hooks_failed += 1
            case _:
                pass

    @property
    def expected(self) -> int:
        """Total bytes of the run; an estimate until the listing is complete."""
        if self.complete or not self.listed:
            return self.listed_bytes
        products = max(self.matching or self.paged, self.listed)
        return self.listed_bytes * products // self.listed

    @property
    def certain(self) -> bool:
        """Whether ``expected`` is exact or a good estimate."""
        return self.complete or bool(self.matching and self.listed)

    def seconds_left(self, rate: float) -> float | None:
        """Return the seconds left at ``rate`` bytes per second; None if unknown."""
        left = self.expected - self.have
        return left / rate if rate > 0 and self.certain and left >= 0 else None

    def _transfer(self, product_id: str, name: str) -> Transfer:
        transfer = self.running.get(product_id)
        if transfer is None:
            waited_for = self.offline.pop(product_id, None)
            queued = self._queued.pop(product_id, None)
            transfer = waited_for or queued or Transfer(name, 0)
            self.running[product_id] = transfer
        return transfer

    def _start(self, event: TransferStarted) -> None:
        transfer = self._transfer(event.product_id, event.name)
        transfer.waiting = ""
        self._change(transfer, event.offset, event.total or transfer.total)

    def _advance(self, event: TransferAdvanced) -> None:
        self.arrived += event.received
        transfer = self.running.get(event.product_id)
        if transfer is not None:
            # Bytes that are received twice, as after a failed segment, count once.
            room = transfer.total - transfer.have if transfer.total else event.received
            used = min(event.received, max(0, room))
            transfer.have += used
            self.have += used

    def _finish(self, event: ProductFinished) -> None:
        self.finished += 1
        self.failed += event.status is Status.FAILED
        transfer = self._transfer(event.product_id, event.name)
        size = 0 if event.status is Status.FAILED else event.size or 0
        self._change(transfer, size, size)
        del self.running[event.product_id]

    def _change(self, transfer: Transfer, have: int, total: int) -> None:
        self.have += have - transfer.have
        self.listed_bytes += total - transfer.total
        transfer.have, transfer.total = have, total


class Speed:
    """Measure bytes per second over a sliding window of ``window`` seconds.

    >>> ticks = iter([0.0, 1.0, 2.0])
    >>> speed = Speed(clock=lambda: next(ticks))
    >>> [speed.after(arrived) for arrived in (0, 10, 30)]
    [0.0, 10.0, 15.0]
    """

    def __init__(self, *, clock: Callable[[], float], window: float = 10.0) -> None:
        self._clock = clock
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def after(self, arrived: int) -> float:
        """Return the rate, given the total of ``arrived`` bytes."""
        now = self._clock()
        self._seen.append((now, arrived))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._window:
            self._seen.popleft()
        since, before = self._seen[0]
        return (arrived - before) / (now - since) if now > since else 0.0


@dataclass(frozen=True, slots=True)
class Figures:
    """A snapshot of the progress of a run."""

    bytes_done: int
    """Bytes of the listed products that are on disk, including those present before the run."""
    bytes_total: int
    """Total bytes of all products; of those listed so far while ``listed`` is False."""
    bytes_arrived: int
    """Bytes received over the network in this run, from which ``rate`` is computed."""
    products_done: int
    """Products that are finished, including those that failed."""
    products_failed: int
    """Products that failed."""
    products_total: int
    """Total number of products; those listed so far while ``listed`` is False."""
    rate: float
    """Bytes per second over the last ten seconds."""
    seconds_left: float | None
    """Estimated seconds until the end of the run at that rate; None if unknown."""
    listed: bool
    """Whether the listing is complete, so that the totals are final."""


class Meter:
    """An observer that passes `Figures` to a function, for a custom progress display.

    ``show`` is called on the thread of the client's event loop when an event occurs: at most once
    every ``every`` seconds, and when the last known product finishes. Like any observer it must
    return at once and must not raise. The property ``figures`` is available at any time.

    >>> from noa_async.events import AllQueued, ProductQueued, TransferAdvanced, TransferStarted
    >>> meter = Meter(lambda now: print(f"{now.bytes_done} of {now.bytes_total} bytes"), every=0)
    >>> meter(ProductQueued("0a5c", "S2A", 100))
    0 of 100 bytes
    >>> meter(TransferStarted("0a5c", "S2A", attempt=1, offset=60, total=100))
    60 of 100 bytes
    >>> meter(TransferAdvanced("0a5c", 15))
    75 of 100 bytes
    >>> meter.figures.bytes_arrived, meter.figures.products_done, meter.figures.listed
    (15, 0, False)
    """

    def __init__(
        self,
        show: Callable[[Figures], object] | None = None,
        *,
        every: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._every = every
        self._clock = clock
        self._progress = Progress()
        self._speed = Speed(clock=clock)
        self._due = clock()

    def __call__(self, event: Event, /) -> None:
        progress = self._progress
        progress(event)
        ended = isinstance(event, ProductFinished) and progress.finished >= progress.listed
        now = self._clock()
        if self._show is not None and (now >= self._due or ended):
            self._due = now + self._every
            self._show(self.figures)

    @property
    def figures(self) -> Figures:
        """The current progress."""
        progress = self._progress
        rate = self._speed.after(progress.arrived)
        left = (progress.listed_bytes - progress.have) / rate if rate > 0 else None
        return Figures(
            bytes_done=progress.have,
            bytes_total=progress.listed_bytes,
            bytes_arrived=progress.arrived,
            products_done=progress.finished,
            products_failed=progress.failed,
            products_total=max(progress.listed, progress.finished + len(progress.running)),
            rate=rate,
            seconds_left=left if progress.complete else None,
            listed=progress.complete,
        )
