"""One product from the catalogue into the archive: there already, or fetched, checked, admitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.errors import (
    CredentialsError,
    DestinationError,
    NoaError,
    ProductCorrupt,
    ServiceAway,
)
from noa_async.events import Observer, ProductFinished, ignore

if TYPE_CHECKING:
    from noa_async.archive.archive import Archive
    from noa_async.catalogue.product import Product
    from noa_async.transfer.download import Fetcher
    from noa_async.transfer.outcome import Outcome


class Keeper:
    """Brings products home. Safe for many tasks at once.

    Error handling: what concerns one product becomes a failed Outcome; CredentialsError,
    DestinationError and ServiceAway concern all of them and are raised.
    """

    def __init__(
        self,
        archive: Archive,
        fetcher: Fetcher,
        observer: Observer = ignore,
        *,
        retry_failed: bool = False,
    ) -> None:
        """``retry_failed``: fetch again what an earlier run had to put in quarantine."""
        self._archive = archive
        self._fetcher = fetcher
        self._observer = observer
        self._retry_failed = retry_failed

    async def bring(self, product: Product) -> Outcome:
        """The product's outcome, told to the observer."""
        async with self._archive.only_one(product.id):
            outcome = (
                await self._archive.present(product)
                or (None if self._retry_failed else self._archive.condemned(product))
                or await self._fetch(product)
            )
        self._observer(
            ProductFinished(
                product.id,
                product.name,
                outcome.status,
                self._archive.relative(outcome.path) if outcome.path else None,
                outcome.bytes,
                outcome.attempts,
                str(outcome.error) if outcome.error else None,
            )
        )
        return outcome

    async def _fetch(self, product: Product) -> Outcome:
        part = self._archive.folder.part(product.id)
        try:
            with self._archive.room_for(product):
                fetched = await self._fetcher.fetch(product, part)
            return await self._archive.admit(fetched, part)
        except (CredentialsError, DestinationError, ServiceAway):
            raise
        except ProductCorrupt as error:
            return await self._archive.quarantine(product, part, error)
        except NoaError as error:
            return self._archive.failed(product, error)
