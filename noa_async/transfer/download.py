"""Fetching one product into its part file: attempts, resumes, and the check at the end.

The catalogue's checksum decides what is the product. Without one, its size and the zip's own sums
do; a file of another size is never taken for the product then.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.answers import Meaning
from noa_async.catalogue.product import Checksum, Product
from noa_async.errors import (
    ChecksumMismatch,
    NoaError,
    ProductCorrupt,
    QuotaExceeded,
    ServiceError,
    ServiceUnreachable,
    SizeMismatch,
    TransferInterrupted,
)
from noa_async.events import Observer, TransferStarted, ignore
from noa_async.transfer.attempts import Attempts
from noa_async.transfer.checksum import OWN, strongest
from noa_async.transfer.fetching import Fetched, Fetching, Whole
from noa_async.transfer.heads import MESSAGE_BYTES, due_of, message_error, read_head
from noa_async.transfer.resume import (
    Append,
    Complete,
    Contradict,
    Discard,
    Refuse,
    Restart,
    Validator,
    range_headers,
    size_mismatch,
)
from noa_async.transfer.shares import Shares
from noa_async.transfer.sink import WORTH_RESUMING, PartFile, Sink, WrongDigest
from noa_async.transfer.zips import broken_zip

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from noa_async.catalogue.pages import Catalogue
    from noa_async.response import Response
    from noa_async.settings import RetryPolicy
    from noa_async.threads import Threads
    from noa_async.transfer.resume import Decision, Head
    from noa_async.transfer.tail import Span
    from noa_async.transfer.traffic import Traffic

_T = TypeVar("_T")
_S = TypeVar("_S")

_SLACK = 1 << 20


_MOST_CHANGES = 3
"""Changes of a product's entry during one download, after which it is left to a later run."""


class _EntryChanged(Exception):
    """The catalogue has another size or checksum of a product than it had."""

    def __init__(self, product: Product) -> None:
        self.product = product


@dataclass(slots=True)
class _Work:
    """One product's download, and what its attempts have met so far."""

    product: Product
    checksum: Checksum | None
    sink: Sink[PartFile]
    shares: Shares
    conditional: bool = True
    """Whether to ask for ranges with If-Range."""
    dropping: bool = False
    """Whether the answer before called for the part to be dropped, too."""
    asked_again: bool = False
    """Whether the catalogue was asked for the entry again."""

    @property
    def right(self) -> bool:
        """Whether the bytes written so far have the catalogue's checksum."""
        checksum = self.checksum
        return checksum is not None and self.sink.part.digest() == checksum.value


class Fetcher(Fetching):
    """Brings products into part files from here; one for all workers."""

    def __init__(
        self,
        catalogue: Catalogue,
        retry: RetryPolicy | None,
        pool: Threads,
        traffic: Traffic,
        *,
        observer: Observer = ignore,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``retry``: None is one attempt at each product."""
        super().__init__(catalogue, observer)
        self._retry = retry
        self._pool = pool
        self._traffic = traffic
        self._sleep = sleep

    async def fetch_once(
        self,
        product: Product,
        path: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool,
    ) -> _T:
        """As ``Fetching.fetch_once``."""
        attempts = self._attempts(product)
        for _ in range(_MOST_CHANGES):
            try:
                return await self._fetch(attempts, product, path, admit, fresh=fresh)
            except _EntryChanged as changed:
                product, fresh = changed.product, False
        raise TransferInterrupted(f"The catalogue's entry of {product.name} changes all the time.")

    async def _fetch(
        self,
        attempts: Attempts,
        product: Product,
        path: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool,
    ) -> _T:
        checksum = strongest(product.checksums)
        part = PartFile(path, checksum.algorithm if checksum else OWN)
        async with Sink(part, self._pool) as sink:
            if not fresh:
                await sink.run(part.open, checksum and str(checksum))
            if not _is_whole(part, checksum):  # an earlier run may not have been able to publish it
                async with self._shares(product, path) as shares:
                    await self._until_whole(attempts, _Work(product, checksum, sink, shares))
            if (part.state.total or 0) > WORTH_RESUMING:
                await sink.drain()  # it may wait for its upload: a later run finds all of it

            def fetched(checksum: Checksum, *, verified: bool) -> Fetched:
                def hand_over(
                    publish: Callable[..., _S], *given: Any, brief: bool, stable: bool
                ) -> Awaitable[_S]:
                    brief = brief and part.is_small
                    hand_over = partial(part.hand_over, stable=stable)
                    return sink.run(hand_over, checksum.value, publish, *given, brief=brief)

                whole = Whole(product, checksum, verified, attempts.made, part.is_zip)
                return Fetched(whole, hand_over)

            if checksum is not None:
                with suppress(WrongDigest):
                    return await admit(fetched(checksum, verified=True))
            await sink.drain()
            found = Checksum(checksum.algorithm if checksum else OWN, part.digest())
            try:
                product = await self._check_whole(product, checksum, found, sink)
            except NoaError as error:
                error.attempts = attempts.made
                raise
            return await admit(fetched(found, verified=checksum is not None))

    async def _check_whole(
        self, product: Product, checksum: Checksum | None, found: Checksum, sink: Sink[PartFile]
    ) -> Product:
        """Return the product if the bytes, which do not have ``checksum``, are right all the same.

        Bytes that have another one may be those of the catalogue's present entry. Raise
        ProductCorrupt; if they are a page of the product's length, what that page means.
        """
        if checksum is None:
            if wrong := await sink.run(broken_zip, sink.part.path):
                raise ProductCorrupt(f"{product.name} arrived whole, but is {wrong}.")
            return product
        start = await sink.run(_start_of, sink.part.path)
        if (error := message_error(start, due_of(product))) is not None:
            await sink.run(sink.part.restart, Validator(), None, None)
            raise error
        product = await self._catalogue.entry(product.id) or product
        if found in product.checksums:
            return product
        await sink.run(sink.part.forget_note)  # no later run may resume these bytes
        raise ChecksumMismatch(product.name, expected=str(checksum), found=str(found))

    def _shares(self, product: Product, path: Path) -> Shares:
        return Shares(
            product,
            self._catalogue.value_url(product.id),
            self._traffic,
            self._pool,
            path.parent,
            self._observer,
        )

    def _attempts(self, product: Product) -> Attempts:
        return Attempts(product, self._retry, self._traffic, self._observer, self._sleep)

    async def _until_whole(self, attempts: Attempts, work: _Work) -> None:
        """Attempt after attempt until all bytes are there."""
        part = work.sink.part

        async def once(attempt: int) -> None:
            try:
                while not await self._ask(work, attempt):
                    pass  # such as after a range that came in full, but was shorter: no failure
            except SizeMismatch:
                await self._ask_entry_again(work)
                raise

        async def length() -> int:
            return part.state.length

        await attempts.make(once, length)

    async def _ask_entry_again(self, work: _Work) -> None:
        """Raise _EntryChanged if the catalogue has another size or checksum by now; ask it once."""
        if work.asked_again:
            return
        work.asked_again = True
        before = work.product
        with suppress(ServiceError):  # that the catalogue does not answer says nothing of it
            now = await self._catalogue.entry(before.id)
            if now is not None and (now.size, now.checksums) != (before.size, before.checksums):
                raise _EntryChanged(now)

    async def _ask(self, work: _Work, attempt: int) -> bool:
        """Make one request; return False if another is due at once.

        A log-in page renews the token once, and the request is repeated.
        """
        part, sink = work.sink.part, work.sink
        if work.checksum is None and part.state.length and not part.state.validator.is_strong:
            await sink.run(part.restart, Validator(), None, None)
        url, session = self._catalogue.value_url(work.product.id), self._traffic.session
        due = due_of(work.product, conditional=work.conditional)
        headers = range_headers(part.state, conditional=work.conditional)
        async with self._traffic.slots.lease() as lease:
            for renewed in (False, True):
                async with session.get(url, headers=headers) as response:
                    head, decision = await read_head(
                        response, url, part.state, due, others_served=lease.others_served
                    )
                    may_renew = not renewed and response.status != 401
                    token = response.token if may_renew and _wants_log_in(decision) else None
                    if token is not None and session.tokens.reject(token):
                        continue
                    if await self._may_resume_otherwise(work, decision):
                        return False
                    if isinstance(decision, Refuse) and isinstance(decision.error, QuotaExceeded):
                        lease.refused(decision.error.retry_after)
                    if await self._begin(work, head, decision):
                        lease.granted()
                        state = part.state
                        told = TransferStarted(
                            work.product.id, work.product.name, attempt, state.length, state.total
                        )
                        self._observer(told)
                        await self._stream(work, response)
                break
        if sink.has_last:
            return True
        await work.shares.absorb(sink)
        if isinstance(decision, Append) and _is_short(
            decision, part.state.length, part.state.total
        ):
            return False
        await self._check_length(work, confirmed=isinstance(decision, Complete))
        return True

    async def _may_resume_otherwise(self, work: _Work, decision: Decision) -> bool:
        """Return whether another request may resume a part that this answer cannot.

        Without If-Range, if the validator differs though the catalogue's entry does not; the same
        request again, the first time that the answer is of no use for the part.
        """
        if isinstance(decision, Contradict):
            await self._ask_entry_again(work)
            work.conditional = False
            return True
        if isinstance(decision, Discard) and work.sink.part.state.length and not work.dropping:
            work.dropping = True
            return True
        return False

    async def _begin(self, work: _Work, head: Head, decision: Decision) -> bool:
        """Make the part ready for the bytes that come; return whether any do. Raise if refused."""
        part, sink = work.sink.part, work.sink
        match decision:
            case Refuse(error):
                raise error
            case Complete():
                return False
            case Discard(reason):
                await work.shares.drop()
                await sink.run(part.restart, Validator(), None, None)
                raise TransferInterrupted(f"Cannot resume the partial download: {reason}.")
            case Restart(total):
                await work.shares.drop()
                wanted = work.checksum and str(work.checksum)
                part.begin(head.validator, total)
                sink.later(part.restart, head.validator, total, wanted, _most(work.product))
            case Append(total):
                part.expect(total)
        work.dropping = False
        return True

    async def _stream(self, work: _Work, response: Response) -> None:
        """Read the body up to the catalogue's size; further only if it may be more than that.

        A body that HTTP announces as longer than the catalogue says may still be the product: the
        checksum tells, at either place.
        """
        sink = work.sink
        while True:
            span = work.shares.span(sink.part.state)
            try:
                arriving = _Arriving(sink, span, work.product)
                await work.shares.stream(response, span, arriving, sink.part.state)
            except BaseException as error:
                await sink.drain()
                if isinstance(error, ServiceUnreachable):
                    raise TransferInterrupted(error.message) from error
                raise
            if sink.has_last:
                return
            await sink.drain()
            state = sink.part.state
            if span.expected is None or state.length != span.expected or work.right:
                return
            if state.total is None:
                continue
            if work.checksum is None or state.total > _most(work.product):
                return

    async def _check_length(self, work: _Work, *, confirmed: bool) -> None:
        """Raise TransferInterrupted unless all bytes of the product are there.

        ``confirmed``: the service says that there are no more than these.

        | the checksum is right | bytes, by the catalogue | by HTTP     | result                   |
        |-----------------------|-------------------------|-------------|--------------------------|
        | yes                   | -                       | -           | all are there            |
        | no, or none           | that many, or not told  | that many,  | all are there; the check |
        |                       |                         | or not told | that follows decides     |
        | none                  | that many               | more        | the same, for a zip that |
        |                       |                         |             | is not broken            |
        | no, or none           | more, or not told       | more        | the body ended early     |
        | no, or none           | more                    | not told    | the body ended early     |
        | no, or none           | all else                | all else    | SizeMismatch             |
        """
        sink, size = work.sink, work.product.size
        part = sink.part
        length, total = part.state.length, part.state.total
        if work.right or (length == (size or length) and length == (total or length)):
            return
        unchecked_zip = length == size and work.checksum is None and part.is_zip
        if unchecked_zip and await sink.run(broken_zip, part.path) is None:
            return
        early = max(size or 0, total or 0)
        if length < early and (total is None or length < total) and length != size:
            raise TransferInterrupted(f"The body ended after {length:,} of {early:,} bytes.")
        if confirmed or length >= (size or length + 1) or length > (total or length):
            await sink.run(part.restart, Validator(), None, None)
        raise size_mismatch(length if length != size else total or length, size or total or 0)


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MESSAGE_BYTES)


def _wants_log_in(decision: Decision) -> bool:
    return isinstance(decision, Refuse) and decision.meaning is Meaning.LOGIN


def _is_short(range_: Append, length: int, total: int | None) -> bool:
    """Whether a range came in full, but ended before the product does."""
    return length == range_.stop and total is not None and length < total


def _is_whole(part: PartFile, checksum: Checksum | None) -> bool:
    """Whether an earlier run brought all bytes of a product, and they are right."""
    return checksum is not None and bool(part.state.length) and part.digest() == checksum.value


class _Arriving:
    """Takes the bytes of a product into its part, as an ``Intake``."""

    def __init__(self, sink: Sink[PartFile], span: Span, product: Product) -> None:
        self._sink = sink
        self._span = span
        self._product = product
        self.draw = sink.draw

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        part, size = self._sink.part, self._product.size
        total = part.state.total
        end = self._span.position + sum(map(len, pieces))
        if end == total and size in {None, total}:
            await self._sink.write_last(pieces)
            part.look_at(pieces)
        else:
            await self._sink.write(pieces)
        _check_bounds(part, self._product)


def _most(product: Product) -> int:
    """The most bytes of a body that may be the product, whatever HTTP announces."""
    return 2 * (product.size or 1 << 50) + _SLACK


def _check_bounds(part: PartFile, product: Product) -> None:
    """Raise SizeMismatch if a body goes on far beyond the catalogue's size."""
    most = _most(product)
    if part.state.length > most:
        raise size_mismatch(part.state.length, product.size or most)
