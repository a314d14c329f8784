"""Distribute the access token: the coordinator renews it and sends it to the workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noa_async.errors import ServiceAway, ServiceError, ServiceUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.auth.tokens import TokenManager


class Lender:
    """The coordinator's side: provides the token to send to the workers.

    If the log-in service is slow, workers keep using the token that they have.
    """

    def __init__(self, tokens: TokenManager, patience: float) -> None:
        """``patience``: maximum seconds to wait for a token."""
        self._tokens = tokens
        self._patience = patience
        self._asked: asyncio.Task[str] | None = None

    async def loan(self) -> str | None:
        """Return a valid token; None if there is none at the moment.

        Raise CredentialsRefused, and any other error that ends a run.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(self._tokens.token())
            self._asked.add_done_callback(_retrieve_exception)
        asked = self._asked
        await asyncio.wait([asked], timeout=self._patience)
        if not asked.done():
            return None
        try:
            return asked.result()
        except ServiceAway:  # the manager has waited as long as the retry policy allows
            raise
        except ServiceError:
            return None  # the worker waits for a token, and its product is retried

    def reject(self, access: str) -> None:
        """Renew the token ``access``, to which the service answered 401."""
        self._tokens.reject(access)

    async def close(self) -> None:
        """Cancel the request for a token in progress, if any."""
        if self._asked is not None:
            self._asked.cancel()
            await asyncio.gather(self._asked, return_exceptions=True)


def _retrieve_exception(task: asyncio.Task[str]) -> None:
    """Retrieve the task's exception, so that asyncio does not log it; the next renewal raises its
    own."""
    if not task.cancelled():
        task.exception()


class LentTokens:
    """A worker's side: the token received from the coordinator."""

    def __init__(self, patience: float, rejected: Callable[[str], None]) -> None:
        """``rejected`` is called with a token to which the service answered 401."""
        self._patience = patience
        self._tell = rejected
        self._access: str | None = None
        self._rejected: str | None = None
        self._changed = asyncio.Event()

    async def token(self) -> str:
        """Return a valid token. Raise ServiceUnreachable if none arrives in time."""
        try:
            async with asyncio.timeout(self._patience):
                while self._access is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ServiceUnreachable("The coordinator sent no valid token.") from None
        return self._access

    def reject(self, access: str) -> bool:
        """Request another token from the coordinator: the service answered 401 to ``access``."""
        if access == self._access:
            self._access, self._rejected = None, access
            self._tell(access)
        return True

    def accept(self, access: str) -> None:
        """Do nothing: the coordinator learns from its own requests whether its tokens are
        accepted."""

    def lend(self, access: str | None) -> None:
        """Set the coordinator's current token; None keeps the present one."""
        if access is not None and access != self._rejected:
            self._access = access
            self._changed.set()
