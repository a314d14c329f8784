"""A product brought over several connections: each share goes on from where another one stops.

The product's own stream comes in order and is hashed as it comes. A share's bytes are put aside, in
a file with no name that a crash leaves nothing of, until the stream has come up to them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from shutil import disk_usage
from typing import IO, TYPE_CHECKING, Self

from noa_async.disk import blamed_on, write_all
from noa_async.errors import DestinationFull, NoaError, QuotaExceeded
from noa_async.events import Observer, TransferAdvanced
from noa_async.tasks import end_tasks
from noa_async.transfer.heads import due_of, read_head
from noa_async.transfer.resume import Append, Refuse, range_headers
from noa_async.transfer.sink import Sink
from noa_async.transfer.tail import UNKNOWN, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from noa_async.catalogue.product import Product
    from noa_async.response import Intake, Response
    from noa_async.threads import Threads
    from noa_async.transfer.limiter import Lease
    from noa_async.transfer.resume import PartState
    from noa_async.transfer.sink import PartFile
    from noa_async.transfer.traffic import Traffic

LARGEST = 8 << 20
"""Bytes that are read between two looks at what is due."""
_MOVED_AT_ONCE = 8 << 20
_MOST_FAILURES = 3
"""Shares of one product that may come to nothing before no more are tried."""


class Stash:
    """Bytes put aside. All methods block; ``Sink`` calls them in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._moved = 0
        self.length = 0

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write ``pieces`` behind what is there."""
        with blamed_on(self._folder):
            if self._file is None:
                self._file = tempfile.TemporaryFile(  # noqa: SIM115 (until it is discarded)
                    buffering=0, dir=self._folder
                )
            self.length += write_all(self._file.fileno(), pieces, self.length)

    def move_some(self, part: PartFile) -> bool:
        """Write and hash what comes next of it at the end of ``part``; whether there is more."""
        if self._file is None:
            return False
        most = min(_MOVED_AT_ONCE, self.length - self._moved)
        with blamed_on(self._folder):
            block = os.pread(self._file.fileno(), most, self._moved)
        part.append([block])
        self._moved += len(block)
        return bool(block) and self._moved < self.length

    def discard(self) -> None:
        """Give the room back."""
        if self._file is not None:
            self._file.close()

    def stop(self) -> None:
        """Nothing here takes long."""

    def close(self) -> None:
        """The bytes stay until they are moved or discarded."""


def _discard(stashes: Iterable[Stash]) -> None:
    for stash in stashes:
        stash.discard()


@dataclass(eq=False, slots=True)
class _Share:
    """A stretch that another connection brings."""

    start: int
    span: Span
    before: Span
    """The stretch that it was cut from."""
    stash: Stash
    granted: bool = False
    """Whether the service gives it: from then on ``before`` stops where it starts."""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def fits(self) -> bool:
        """Whether the one before has not come up to here, nor given its end away, meanwhile."""
        return self.before.reach <= self.start and self.before.end == self.span.end

    @property
    def whole(self) -> bool:
        """Whether all of it is there."""
        return self.granted and self.start + self.stash.length >= self.span.end

    def give_back(self) -> bool:
        """Let the one before go on through this stretch; False where it has stopped already."""
        if not self.granted:
            return True
        if not self.before.position < self.before.end == self.start:
            return False
        self.before.end, self.granted = self.span.end, False
        return True


class Shares:
    """The shares of one product.

    Resources: an async context manager; leaving it ends every request and gives the room back.
    Error handling: a share that fails leaves its stretch to whom it was cut from, or to the
    product's next attempt; nothing of it is raised.
    """

    def __init__(
        self,
        product: Product,
        url: str,
        traffic: Traffic,
        pool: Threads,
        folder: Path,
        observer: Observer,
    ) -> None:
        self._product = product
        self._url = url
        self._traffic = traffic
        self._pool = pool
        self._folder = folder
        self._observer = observer
        self._due = due_of(product)
        self._shares: list[_Share] = []
        self._failures = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.drop()

    async def drop(self) -> None:
        """Forget them all: the product begins anew, or ends."""
        shares, self._shares = self._shares, []
        if not shares:
            return
        tasks = [share.task for share in shares if share.task is not None]
        try:
            await end_tasks(*tasks)
        finally:
            await self._in_thread(partial(_discard, [share.stash for share in shares]))
        for task in tasks:
            if not task.cancelled():
                task.result()  # a fault of ours must not pass unseen

    def span(self, state: PartState) -> Span:
        """What the product's own stream is to bring now.

        It ends at the catalogue's size, even if HTTP announces more; from there on, at HTTP's.
        """
        end, size = state.total or UNKNOWN, self._product.size
        expected = size if size is not None and state.length < size <= end else None
        ahead = (each.start for each in self._shares if each.granted and each.start > state.length)
        return Span(state.length, min(ahead, default=expected or end), expected=expected)

    def offer(self, span: Span, state: PartState) -> None:
        """Let a connection that is free take the end of ``span``; ``state``: of the product."""
        # Without a checksum, a splice of two states of a product would not be noticed.
        if not self._due.checked or state.total is None or self._failures >= _MOST_FAILURES:
            return
        if any(share.before is span and not share.granted for share in self._shares):
            return
        start = self._traffic.tail.cut(span)
        if start is None or start >= span.end:
            return
        if disk_usage(self._folder).free < 2 * (span.end - span.position):
            return  # what is put aside lies there twice for a while
        share = _Share(start, Span(start, span.end), span, Stash(self._folder))
        self._shares.append(share)
        share.task = asyncio.create_task(self._bring(share, replace(state, length=start)))

    async def absorb(self, sink: Sink[PartFile]) -> None:
        """Put behind the part what the shares have that begins at its end, waiting for it."""
        while share := self._next(sink.part.state.length):
            assert share.task is not None
            await share.task
            try:
                while await sink.run(share.stash.move_some, sink.part):
                    pass
            except DestinationFull:  # the shares take room of their own: go on without
                self._failures = _MOST_FAILURES
                await self.drop()
                return
            self._shares.remove(share)
            await self._in_thread(share.stash.discard)

    def _next(self, length: int) -> _Share | None:
        return next((one for one in self._shares if one.granted and one.start == length), None)

    async def _bring(self, share: _Share, state: PartState) -> None:
        with suppress(NoaError):  # the product's own stream meets what is wrong, and says more
            async with self._traffic.slots.lease() as lease:
                if share.fits:
                    await self._request(share, state, lease)
        if not share.whole:
            self._failures += 1
        if not share.whole and share.give_back() and share in self._shares:
            self._shares.remove(share)
            await self._in_thread(share.stash.discard)

    async def _request(self, share: _Share, state: PartState, lease: Lease) -> None:
        headers = range_headers(state, end=share.span.end)
        async with self._traffic.session.get(self._url, headers=headers) as response:
            _, decision = await read_head(response, self._url, state, self._due, others_served=True)
            if isinstance(decision, Refuse) and isinstance(decision.error, QuotaExceeded):
                lease.declined()
                self._failures = _MOST_FAILURES
            if not isinstance(decision, Append) or not share.fits:
                return
            lease.granted()
            share.before.end, share.granted = share.start, True
            async with Sink(share.stash, self._pool) as sink:
                await self.stream(response, share.span, sink, state)
                await sink.drain()

    async def stream(self, response: Response, span: Span, into: Intake, state: PartState) -> None:
        """Read a body into ``into``, but not beyond ``span``, whose end may move.

        ``state``: of the product.
        """
        traffic, product = self._traffic, self._product
        with traffic.tail.running(span):
            while most := traffic.tail.reach(span, traffic.bandwidth.batch(LARGEST)):
                if peeked := response.peeked(most):
                    received = sum(map(len, peeked))
                    await into.write(peeked)
                else:
                    last = span.position + most == span.expected
                    received = await response.pour(into, most, last=last)
                span.position += received
                if not received:
                    return
                await traffic.bandwidth.take(received)
                traffic.health.succeeded()
                self._observer(TransferAdvanced(product.id, received))
                self.offer(span, state)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await self._pool.complete(work)
