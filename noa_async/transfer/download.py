"""Fetching one product into its part file: attempts, resumes, and the check at the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.catalogue.product import Checksum, Product
from noa_async.errors import (
    ChecksumMismatch,
    ProductCorrupt,
    QuotaExceeded,
    ServiceUnreachable,
    TransferInterrupted,
)
from noa_async.events import Observer, TransferStarted, ignore
from noa_async.transfer.attempts import Attempts
from noa_async.transfer.checksum import OWN, broken_zip, strongest
from noa_async.transfer.fetching import Fetched, Fetching, Whole
from noa_async.transfer.heads import is_text, read_head
from noa_async.transfer.resume import (
    Append,
    Complete,
    Discard,
    Refuse,
    Restart,
    Validator,
    range_headers,
)
from noa_async.transfer.shares import Shares
from noa_async.transfer.sink import WORTH_RESUMING, PartFile, Sink, WrongDigest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from noa_async.catalogue.pages import Catalogue
    from noa_async.response import Response
    from noa_async.settings import RetryPolicy
    from noa_async.threads import Threads
    from noa_async.transfer.tail import Span
    from noa_async.transfer.traffic import Traffic

_T = TypeVar("_T")
_S = TypeVar("_S")

_SLACK = 1 << 20


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
        checksum = strongest(product.checksums)
        attempts = self._attempts(product)
        part = PartFile(path, checksum.algorithm if checksum else OWN)
        async with Sink(part, self._pool) as sink:
            if not fresh:
                await sink.run(part.open, checksum and str(checksum))
            if not _is_whole(part, checksum):  # an earlier run may not have been able to publish it
                async with self._shares(product, path) as shares:
                    await self._until_whole(attempts, product, checksum, sink, shares)
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
            except ProductCorrupt as error:
                error.attempts = attempts.made
                raise
            return await admit(fetched(found, verified=checksum is not None))

    async def _check_whole(
        self, product: Product, checksum: Checksum | None, found: Checksum, sink: Sink[PartFile]
    ) -> Product:
        """The product where the bytes, which have no ``checksum``, are right by another measure.

        Those that have one may be what the catalogue has by now. Raises ProductCorrupt.
        """
        if checksum is None:
            if wrong := await sink.run(broken_zip, sink.part.path):
                raise ProductCorrupt(f"{product.name} arrived whole, but is {wrong}.")
            return product
        product = await self._catalogue.entry(product.id) or product
        if found in product.checksums:
            return product
        await sink.run(sink.part.forget_note)  # no run goes on with these bytes
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

    async def _until_whole(
        self,
        attempts: Attempts,
        product: Product,
        checksum: Checksum | None,
        sink: Sink[PartFile],
        shares: Shares,
    ) -> None:
        """Attempt after attempt until all bytes are there."""
        part = sink.part

        async def once(attempt: int) -> None:
            await self._ask(product, checksum, sink, shares, attempt)
            if not sink.has_last:
                await shares.absorb(sink)
                await self._check_length(product, checksum, sink)

        async def length() -> int:
            return part.state.length

        await attempts.make(once, length)

    async def _ask(
        self,
        product: Product,
        checksum: Checksum | None,
        sink: Sink[PartFile],
        shares: Shares,
        attempt: int,
    ) -> None:
        part = sink.part
        url = self._catalogue.value_url(product.id)
        async with (
            self._traffic.slots.lease() as lease,
            self._traffic.session.get(url, headers=range_headers(part.state)) as response,
        ):
            head, decision = await read_head(
                response,
                part.state,
                size=product.size,
                text_is_due=is_text(product),
                others_served=lease.others_served,
            )
            match decision:
                case Refuse(error):
                    if isinstance(error, QuotaExceeded):
                        lease.refused(error.retry_after)
                    raise error
                case Complete():
                    return
                case Discard(reason):
                    await shares.drop()
                    await sink.run(part.restart, Validator(), None, None)
                    raise TransferInterrupted(f"The part cannot be gone on with: {reason}.")
                case Restart(total):
                    await shares.drop()
                    wanted = checksum and str(checksum)
                    part.begin(head.validator, total)
                    sink.later(part.restart, head.validator, total, wanted)
                case Append(total):
                    part.expect(total)
            lease.granted()
            state = part.state
            self._observer(
                TransferStarted(product.id, product.name, attempt, state.length, state.total)
            )
            await self._stream(product, response, sink, shares)

    async def _stream(
        self, product: Product, response: Response, sink: Sink[PartFile], shares: Shares
    ) -> None:
        state = sink.part.state
        span = shares.span(state)
        try:
            await shares.stream(response, span, _Arriving(sink, span, product), state)
        except BaseException as error:
            await sink.drain()
            if isinstance(error, ServiceUnreachable):
                raise TransferInterrupted(error.message) from error
            raise
        if not sink.has_last:
            await sink.drain()

    async def _check_length(
        self, product: Product, checksum: Checksum | None, sink: Sink[PartFile]
    ) -> None:
        """Raise TransferInterrupted where the body ended, cleanly, but not at the product's end."""
        part = sink.part
        length, total = part.state.length, part.state.total
        if total is None and not (checksum and part.digest() == checksum.value):
            # No length from HTTP: the catalogue's tells an early end, though not a longer zip.
            total = max(product.size or 0, length)
        if total is None or length == total:
            return
        if length > total:
            await sink.run(part.restart, Validator(), None, None)
            raise TransferInterrupted(f"{length} bytes came where {total} were announced.")
        raise TransferInterrupted(f"The body ended after {length} of {total} bytes.")


def _is_whole(part: PartFile, checksum: Checksum | None) -> bool:
    """Whether an earlier run brought all bytes of a product, and they are right."""
    if checksum is None or not part.state.length or part.state.length != part.state.total:
        return False
    return part.digest() == checksum.value


class _Arriving:
    """Takes the bytes of a product into its part, as an ``Intake``."""

    def __init__(self, sink: Sink[PartFile], span: Span, product: Product) -> None:
        self._sink = sink
        self._span = span
        self._product = product
        self.draw = sink.draw

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        part = self._sink.part
        if self._span.position + sum(map(len, pieces)) == part.state.total:
            await self._sink.write_last(pieces)
            part.look_at(pieces)
        else:
            await self._sink.write(pieces)
        _check_bounds(part, self._product)


def _check_bounds(part: PartFile, product: Product) -> None:
    """Raise TransferInterrupted where a body of unknown length goes on far past the catalogue's."""
    most = 2 * (product.size or 1 << 50) + _SLACK
    if part.state.total is None and part.state.length > most:
        raise TransferInterrupted(f"The body is longer than {most} bytes and has no end.")
