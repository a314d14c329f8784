"""A small product's first attempt, made by a helper process; all decisions about it stay here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.errors import QuotaExceeded
from noa_async.events import Observer, TransferAdvanced, TransferStarted
from noa_async.transfer.fetching import Whole
from noa_async.transfer.heads import is_text
from noa_async.transfer.helper import Order

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.catalogue.pages import Catalogue
    from noa_async.catalogue.product import Checksum, Product
    from noa_async.transfer.helpers import Helpers
    from noa_async.transfer.traffic import Traffic


class Helped:
    """Has helpers bring what is small; one for all workers."""

    def __init__(
        self, catalogue: Catalogue, traffic: Traffic, helpers: Helpers, observer: Observer
    ) -> None:
        self._catalogue = catalogue
        self._traffic = traffic
        self.helpers = helpers
        self._observer = observer

    async def bring(self, product: Product, path: Path, checksum: Checksum) -> Whole | None:
        """The product, whole and on stable storage at ``path``, where nothing was.

        None: it is to be brought in the ordinary way. Raises what the service's no means.
        """
        helpers = self.helpers
        if self._traffic.bandwidth.capped or not helpers.ready_for(product.size):
            return None
        url = self._catalogue.value_url(product.id)
        async with self._traffic.dealer.lease() as (session, lease):
            order = Order(
                url,
                await session.tokens.token(),
                str(path),
                checksum.algorithm,
                checksum.value,
                product.size,
                is_text(product),
                lease.others_served or helpers.serving,
            )
            try:
                brought = await helpers.bring(order)
            except QuotaExceeded as error:
                lease.refused(error.retry_after)
                raise
            if brought is None:
                return None
            lease.granted()
        self._observer(TransferStarted(product.id, product.name, 1, 0, brought.total))
        self._observer(TransferAdvanced(product.id, brought.total))
        return Whole(product, checksum, verified=True, attempts=1, is_zip=brought.is_zip)
