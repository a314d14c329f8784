"""Order products that are offline, so that the service restores them from its long-term archive."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from noa_async.answers import Meaning, classify
from noa_async.errors import ServiceError
from noa_async.oldest import drop_oldest

if TYPE_CHECKING:
    from noa_async.answers import Refusal
    from noa_async.auth.session import AuthSession
    from noa_async.services import Service

_NO_ORDERS = frozenset({405, 501})
_NOT_ANSWERED = frozenset({Meaning.QUOTA, Meaning.MAINTENANCE, Meaning.LOGIN, Meaning.PROXY})
"""Meanings of responses that say nothing about the order, whatever their status."""
_TAKEN = frozenset({"queued", "in_progress", "paused", "completed"})
"""Statuses of an order that was accepted, whatever else the response says."""
_ANSWER_LIMIT = 1 << 20
_MESSAGE_LIMIT = 64 << 10
_MOST_REMEMBERED = 100_000


class Orders:
    """Orders offline products, each once while it is pending. Safe for concurrent tasks.

    Not every service accepts orders. A service that rejects the first order gets no further ones;
    the request for a product's bytes then serves as the order, as with GSS.
    """

    def __init__(self, session: AuthSession, service: Service) -> None:
        self._session = session
        self._service = service
        self._ordered: dict[str, None] = {}
        self._taken: bool | None = None
        """Whether the service accepts orders; None while that is unknown."""
        self._first = asyncio.Lock()
        self._tried = False
        """Whether an order was sent, with any result."""

    async def order(self, product_id: str) -> bool:
        """Order a product unless it is ordered already. Return whether the service says it is
        online.

        Error handling: an error of the service is ignored, and the next call tries again. Raise
        CredentialsError.
        """
        if not self._tried:
            async with self._first:  # others wait to learn whether orders are accepted
                if not self._tried:
                    try:
                        return await self._order(product_id)
                    finally:
                        self._tried = True  # also after an error: later calls need not wait
        return await self._order(product_id)

    def has(self, product_id: str) -> bool:
        """Return whether the service accepted an order for this product."""
        return product_id in self._ordered

    def forget(self, product_id: str) -> None:
        """Drop the order of a product, so that it can be ordered again later."""
        self._ordered.pop(product_id, None)

    async def _order(self, product_id: str) -> bool:
        if self._taken is False or self.has(product_id):
            return False
        try:
            async with self._session.post(
                f"{self._service.catalogue_url}({product_id})/OData.CSC.Order"
            ) as response:
                body = await response.read(_ANSWER_LIMIT)
                refusal = classify(
                    response.status,
                    response.headers,
                    body[:_MESSAGE_LIMIT],
                    url=response.url,
                    had_token=response.had_token,
                    reason=response.reason,
                )
        except ServiceError:
            return False
        if refusal.meaning is Meaning.LOGIN and response.token is not None:
            self._session.tokens.reject(response.token)
        if takes_orders(refusal, taken_before=self._taken is True) is False:
            self._taken = False
        status = _status(body)
        refused = refusal.meaning in _NOT_ANSWERED and status not in _TAKEN
        if refused or not 200 <= response.status < 300:
            return False
        self._taken = True
        self._remember(product_id)
        return status == "completed"

    def _remember(self, product_id: str) -> None:
        self._ordered[product_id] = None
        drop_oldest(self._ordered, len(self._ordered) - _MOST_REMEMBERED)


def takes_orders(refusal: Refusal, *, taken_before: bool) -> bool | None:
    """Return whether a service accepts orders, by its answer to one; None if the answer does not
    tell.

    | answer                                              | accepted one before | accepts orders |
    |-----------------------------------------------------|---------------------|----------------|
    | 405, 501                                            | -                   | no             |
    | ABSENT or PERMANENT, such as 400, 403, 404          | no                  | no             |
    | the same: only this product cannot be ordered       | yes                 | None           |
    | any other, such as a quota, maintenance or a log-in | -                   | None           |
    """
    if refusal.status in _NO_ORDERS:
        return False
    final = refusal.meaning in {Meaning.ABSENT, Meaning.PERMANENT}
    return False if final and not taken_before else None


def _status(body: bytes) -> str:
    """Return the status of an order from the response to it; empty if it has none.

    >>> _status(b'{"Status": "COMPLETED"}'), _status(b'{"Status": "queued"}'), _status(b"")
    ('completed', 'queued', '')
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    status = document.get("Status") if isinstance(document, dict) else None
    return status.lower() if isinstance(status, str) else ""
