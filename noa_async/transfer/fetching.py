"""What it is to fetch a product: the bytes into a part file, and once more where they are wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from noa_async.errors import NoaError, ProductCorrupt, ServiceError
from noa_async.events import Observer, TransferRetried

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Checksum, Product

_T = TypeVar("_T")


class HandOver(Protocol):
    """Gives a part away: in its thread its file is closed, then ``publish``ed.

    ``brief``: whether ``publish`` takes no time to speak of, where the disk is fast. ``stable``:
    whether the bytes have to be on stable storage before.
    """

    def __call__(
        self, publish: Callable[..., _T], *arguments: Any, brief: bool, stable: bool
    ) -> Awaitable[_T]: ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A product of which all bytes are there, and right as far as can be told."""

    product: Product
    """As the catalogue had it last."""
    checksum: Checksum
    """Taken of these bytes while they arrived."""
    verified: bool
    """Whether ``checksum`` is the catalogue's; False where that has none that is usable."""
    attempts: int
    is_zip: bool
    """Whether the bytes begin as a zip does."""


@dataclass(slots=True)
class Fetched:
    """A part file that holds a whole product."""

    whole: Whole
    hand_over: HandOver
    """Raises WrongDigest, nothing having happened, where the bytes are not right after all."""

    def add_attempts(self, before: int) -> None:
        """Count those of an earlier try as well."""
        if before:
            self.whole = replace(self.whole, attempts=self.whole.attempts + before)


class Fetching(ABC):
    """Whoever brings products into part files; one for all workers.

    Error handling: ``fetch`` raises what ended it after all retries: a ProductError or ServiceError
    for this product; a CredentialsError, DestinationError or ServiceAway that meets every product.
    ProductOffline is raised at once: who waits for it is the caller.
    """

    hands = 1
    """How many products may be under way for each that can be received."""

    def __init__(self, catalogue: Catalogue, observer: Observer) -> None:
        self._catalogue = catalogue
        self._observer = observer

    async def fetch(
        self,
        product: Product,
        path: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool = False,
    ) -> _T:
        """Bring ``product`` into the part file ``path``, and give what ``admit`` makes of it.

        What is at ``path`` is gone on with; ``fresh``: nothing is. ``admit`` is awaited once all
        bytes are there and right, and has to hand them over.

        What arrived whole but is wrong makes us read the entry again and fetch once more from
        byte 0; a second time raises ProductCorrupt and leaves the bytes at ``path``.
        """
        try:
            return await self.fetch_once(product, path, admit, fresh=fresh)
        except ProductCorrupt as corrupt:
            first = corrupt
        again = TransferRetried(product.id, product.name, first.attempts, 0.0, first.message)
        self._observer(again)
        product = await self._catalogue.entry(product.id) or product

        async def admit_second(fetched: Fetched) -> _T:
            fetched.add_attempts(first.attempts)
            return await admit(fetched)

        try:
            return await self.fetch_once(product, path, admit_second, fresh=False)
        except NoaError as error:
            error.attempts += first.attempts
            raise

    async def is_gone(self, product: Product) -> bool:
        """Return whether the catalogue has no entry of a product any more; False if unknown."""
        with suppress(ServiceError):
            return not await self._catalogue.has(product.id)
        return False

    @abstractmethod
    async def fetch_once(
        self,
        product: Product,
        path: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool,
    ) -> _T:
        """As ``fetch``; what arrived whole but is wrong raises ProductCorrupt at once."""
