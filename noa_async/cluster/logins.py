"""The token on a cluster: the coordinator renews it and sends it to the workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noa_async.errors import ServiceAway, ServiceError, ServiceUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.auth.tokens import TokenManager


class Lender:
    """The coordinator's side: the token to send to every worker.

    If the log-in service is slow, no worker waits: the workers go on with the token that they have.
    """

    def __init__(self, tokens: TokenManager, patience: float) -> None:
        """``patience``: seconds to wait for a token."""
        self._tokens = tokens
        self._patience = patience
        self._asked: asyncio.Task[str] | None = None

    async def loan(self) -> str | None:
        """Return the token that holds now; None if there is none at the moment.

        Raise CredentialsRefused, and any other error that ends a run.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._tokens.token())
            self._asked.add_done_callback(_seen)
        asked = self._asked
        await asyncio.wait([asked], timeout=self._patience)
        if not asked.done():
            return None
        try:
            return asked.result()
        except ServiceAway:  # the manager waited for it as long as the retry policy says
            raise
        except ServiceError:
            return None  # the worker waits for one, and its product is tried again

    def reject(self, access: str) -> None:
        """Renew the token ``access``, to which the service answered 401."""
        self._tokens.reject(access)

    async def close(self) -> None:
        """Cancel the request for a token that is under way, if any."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)


def _seen(task: asyncio.Task[str]) -> None:
    """Whatever ended it is the next renewal's to meet: asyncio need not tell of it."""
    if not task.cancelled():
        task.exception()


class LentTokens:
    """A worker's side: the token, as the last renewal brought it."""

    def __init__(self, patience: float, rejected: Callable[[str], None]) -> None:
        """``rejected`` is told of a token to which the service answered 401."""
        self._patience = patience
        self._tell = rejected
        self._access: str | None = None
        self._rejected: str | None = None
        self._changed = asyncio.Event()

    async def token(self) -> str:
        """A token that holds. Raises ServiceUnreachable where none comes."""
        try:
            async with asyncio.timeout(self._patience):
                while self._access is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ServiceUnreachable("The coordinator sends no token that holds.") from None
        return self._access

    def reject(self, access: str) -> bool:
        """Ask the coordinator for another token: the service answered 401 to ``access``."""
        if access == self._access:
            self._access, self._rejected = None, access
            self._tell(access)
        return True

    def accept(self, access: str) -> None:
        """Do nothing: the coordinator's own requests tell whether its tokens are taken."""

    def lend(self, access: str | None) -> None:
        """The coordinator's token is ``access`` now."""
        if access is not None and access != self._rejected:
            self._access = access
            self._changed.set()
