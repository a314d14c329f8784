"""Requests that carry the shared token; an early 401 renews it once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from noa_async.auth.tokens import TokenManager
    from noa_async.transport import Response, Transport


class AuthSession:
    """The transport with the token manager's token on every request."""

    def __init__(self, transport: Transport, tokens: TokenManager) -> None:
        self._transport = transport
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def get(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Response]:
        """GET ``url``. A 401 is asked again once, with a new token; a second one is an answer.

        Raises what the transport and the token manager raise.
        """
        token = await self._tokens.token()
        async with self._transport.request("GET", url, token=token, headers=headers) as response:
            if response.status != 401:
                yield response
                return
        self._tokens.reject(token)
        token = await self._tokens.token()
        async with self._transport.request("GET", url, token=token, headers=headers) as response:
            yield response
