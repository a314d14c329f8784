"""Requests that carry the shared token; an early 401 renews it once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AbstractAsyncContextManager

    from noa_async.transport import Response, Transport

_JSON = {"Content-Type": "application/json"}


class Tokens(Protocol):
    """Who gives tokens, such as a token manager."""

    async def token(self) -> str:
        """A token that holds now."""

    def reject(self, access: str) -> None:
        """The service answered 401 to ``access``."""


class AuthSession:
    """The transport with the token manager's token on every request.

    A 401 is asked again once, with a new token; a second one is an answer.

    Error handling: raises what the transport and the token manager raise.
    """

    def __init__(self, transport: Transport, tokens: Tokens) -> None:
        self.tokens = tokens
        self._transport = transport

    def get(
        self, url: str, *, headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Response]:
        """GET ``url``."""
        return self._request("GET", url, headers)

    def post(self, url: str, body: bytes = b"{}") -> AbstractAsyncContextManager[Response]:
        """POST JSON to ``url``; a redirect is not followed."""
        return self._request("POST", url, _JSON, body)

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | None = None,
    ) -> AsyncGenerator[Response]:
        send = self._transport.request
        token = await self.tokens.token()
        async with send(method, url, token=token, headers=headers, body=body) as response:
            if response.status != 401:
                yield response
                return
        self.tokens.reject(token)
        token = await self.tokens.token()
        async with send(method, url, token=token, headers=headers, body=body) as response:
            yield response
