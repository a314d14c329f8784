"""Orders: asking the service to bring a product back from its long-term store."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from noa_async.errors import ServiceError
from noa_async.oldest import drop_oldest

if TYPE_CHECKING:
    from noa_async.auth.session import AuthSession
    from noa_async.services import Service

_NO_ORDERS = frozenset({400, 404, 405, 501})
_ANSWER_LIMIT = 1 << 20
_MOST_REMEMBERED = 100_000


class Orders:
    """Orders products that are off line, each once while it waits. Safe for many tasks at once.

    Not every service of this kind takes orders: one that does not is asked a single time, and the
    request for a product's bytes stands for the order, as it does at GSS.
    """

    def __init__(self, session: AuthSession, service: Service) -> None:
        self._session = session
        self._service = service
        self._ordered: dict[str, None] = {}
        self._taken: bool | None = None
        """Whether the service takes orders; None as long as nobody knows."""
        self._first = asyncio.Lock()
        self._tried = False
        """Whether an order was sent, whatever came of it."""

    async def order(self, product_id: str) -> bool:
        """Order a product unless that is done; whether the service says that it is there already.

        Error handling: a service that cannot be asked, or will not, fails nothing here; the next
        call asks again. Raises CredentialsError.
        """
        if not self._tried:
            async with self._first:  # the others wait to hear whether there are orders at all
                if not self._tried:
                    try:
                        return await self._order(product_id)
                    finally:
                        self._tried = True  # one that fails tells nothing: nobody waits again
        return await self._order(product_id)

    def has(self, product_id: str) -> bool:
        """Whether the service took an order for this product."""
        return product_id in self._ordered

    def forget(self, product_id: str) -> None:
        """The product does not wait any more: another time it is ordered anew."""
        self._ordered.pop(product_id, None)

    async def _order(self, product_id: str) -> bool:
        if self._taken is False or self.has(product_id):
            return False
        try:
            async with self._session.post(
                f"{self._service.catalogue_url}({product_id})/OData.CSC.Order"
            ) as response:
                status, body = response.status, await response.read(_ANSWER_LIMIT)
        except ServiceError:
            return False
        if status in _NO_ORDERS:
            self._taken = False
        elif 200 <= status < 300:
            self._taken = True
            self._remember(product_id)
            return _completed(body)
        return False

    def _remember(self, product_id: str) -> None:
        self._ordered[product_id] = None
        drop_oldest(self._ordered, len(self._ordered) - _MOST_REMEMBERED)


def _completed(body: bytes) -> bool:
    """Whether an order's answer says that its product is there.

    >>> _completed(b'{"Status": "COMPLETED"}'), _completed(b'{"Status": "queued"}'), _completed(b"")
    (True, False, False)
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return False
    status = document.get("Status") if isinstance(document, dict) else None
    return isinstance(status, str) and status.lower() == "completed"
