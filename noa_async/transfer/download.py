"""Fetching one product into its part file: attempts, resumes, and the check at the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.catalogue.product import Checksum, Product
from noa_async.errors import (
    ChecksumMismatch,
    ProductCorrupt,
    QuotaExceeded,
    ServiceUnreachable,
    TransferInterrupted,
)
from noa_async.events import Observer, TransferAdvanced, TransferStarted, ignore
from noa_async.transfer.attempts import Attempts
from noa_async.transfer.checksum import OWN, broken_zip, strongest
from noa_async.transfer.fetching import Fetched, Fetching, Whole
from noa_async.transfer.heads import read_head
from noa_async.transfer.helper import Order
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
from noa_async.transfer.sink import PartFile, Sink, WrongDigest
from noa_async.transfer.tail import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from noa_async.catalogue.pages import Catalogue
    from noa_async.response import Response
    from noa_async.settings import RetryPolicy
    from noa_async.threads import Threads
    from noa_async.transfer.helpers import Helpers
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
        helpers: Helpers | None = None,
        observer: Observer = ignore,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``retry``: None is one attempt at each product."""
        super().__init__(catalogue, observer)
        self._retry = retry
        self._pool = pool
        self._traffic = traffic
        self._helpers = helpers
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
        part = PartFile(path, checksum.algorithm if checksum else OWN)
        async with Sink(part, self._pool) as sink:
            if not fresh:
                await sink.run(part.open, checksum and str(checksum))
            if _is_whole(part, checksum):
                attempts = 0  # an earlier run could not publish it: nothing is asked for
            else:
                async with self._shares(product, path) as shares:
                    attempts = await self._until_whole(product, checksum, sink, shares)

            def fetched(checksum: Checksum, *, verified: bool) -> Fetched:
                def hand_over(
                    publish: Callable[..., _S], *given: Any, brief: bool
                ) -> Awaitable[_S]:
                    brief = brief and part.is_small
                    return sink.run(part.hand_over, checksum.value, publish, *given, brief=brief)

                whole = Whole(product, checksum, verified, attempts, part.is_zip)
                return Fetched(whole, hand_over)

            if checksum is not None:
                with suppress(WrongDigest):
                    return await admit(fetched(checksum, verified=True))
            await sink.drain()
            found = Checksum(checksum.algorithm if checksum else OWN, part.digest())
            try:
                product = await self._check_whole(product, checksum, found, sink)
            except ProductCorrupt as error:
                error.attempts = attempts
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

    async def _until_whole(
        self, product: Product, checksum: Checksum | None, sink: Sink[PartFile], shares: Shares
    ) -> int:
        """Attempt after attempt until all bytes are there; how many it took."""
        part = sink.part
        attempts = Attempts(product, self._retry, self._traffic.health, self._observer, self._sleep)

        async def once(attempt: int) -> None:
            if attempt == 1 and await self._by_helper(product, checksum, part):
                return
            await self._ask(product, checksum, sink, shares, attempt)
            if not sink.has_last:
                await shares.absorb(sink)
                await self._check_length(product, checksum, sink)

        async def length() -> int:
            return part.state.length

        await attempts.make(once, length)
        return attempts.made

    async def _by_helper(self, product: Product, checksum: Checksum | None, part: PartFile) -> bool:
        """Whether a helper process brought the product; it is to be asked for otherwise if not."""
        helpers = self._helpers
        if (
            helpers is None
            or checksum is None
            or not part.untouched
            or self._traffic.bandwidth.capped
        ):
            return False
        if not helpers.ready_for(product.size):
            return False
        url, text = self._catalogue.value_url(product.id), _is_text(product)
        async with self._traffic.dealer.lease() as (session, lease):
            token, others = await session.tokens.token(), lease.others_served or helpers.serving
            wanted = (checksum.algorithm, checksum.value)
            order = Order(url, token, str(part.path), *wanted, product.size, text, others)
            try:
                brought = await helpers.bring(order)
            except QuotaExceeded as error:
                lease.refused(error.retry_after)
                raise
            if brought is None:
                return False
            lease.granted()
        part.brought(brought.total, checksum.value, is_zip=brought.is_zip)
        self._traffic.health.succeeded()
        self._observer(TransferStarted(product.id, product.name, 1, 0, brought.total))
        self._observer(TransferAdvanced(product.id, brought.total))
        return True

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
            self._traffic.dealer.lease() as (session, lease),
            session.get(url, headers=range_headers(part.state)) as response,
        ):
            head, decision = await read_head(
                response,
                part.state,
                size=product.size,
                text_is_due=_is_text(product),
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
        span, end = shares.span(state), state.total or UNKNOWN

        async def write(pieces: Sequence[bytes | memoryview]) -> None:
            sink.part.look_at(pieces)
            whole = span.position == state.total  # with these
            await (sink.write_last if whole else sink.write)(pieces)
            _check_bounds(sink.part, product)

        try:
            await shares.stream(response, span, write, state, end)
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


def _check_bounds(part: PartFile, product: Product) -> None:
    """Raise TransferInterrupted where a body of unknown length goes on far past the catalogue's."""
    most = 2 * (product.size or 1 << 50) + _SLACK
    if part.state.total is None and part.state.length > most:
        raise TransferInterrupted(f"The body is longer than {most} bytes and has no end.")


def _is_text(product: Product) -> bool:
    return (product.content_type or "").startswith(("text/", "application/xml", "application/json"))
