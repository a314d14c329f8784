"""Requests that carry the shared token; an early 401 renews it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from noa_async.holding import Held

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.response import Response
    from noa_async.transport import Transport

_JSON = {"Content-Type": "application/json"}


class Tokens(Protocol):
    """Who gives tokens, such as a token manager."""

    async def token(self) -> str:
        """A token that holds now."""

    def reject(self, access: str) -> bool:
        """Have ``access`` renewed, to which the service answered 401.

        Return whether another token is to be had.
        """

    def accept(self, access: str) -> None:
        """Note that the service took ``access``."""


class AuthSession:
    """The transport with the token manager's token on every request.

    If the service answers 401 to a request that carried the token, the request is repeated once,
    with a new token; a second 401 is an answer, and so is that of a host that did not get it.

    Error handling: raises what the transport and the token manager raise.
    """

    def __init__(self, transport: Transport, tokens: Tokens) -> None:
        self.tokens = tokens
        self._transport = transport

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Held[Response]:
        """GET ``url``."""
        return Held(self._ask("GET", url, headers))

    def post(self, url: str, body: bytes = b"{}") -> Held[Response]:
        """POST JSON to ``url``; a redirect is not followed."""
        return Held(self._ask("POST", url, _JSON, body))

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | None = None,
    ) -> Response:
        ask = self._transport.ask
        token = await self.tokens.token()
        response = await ask(method, url, token=token, headers=headers, body=body)
        if response.status == 401 and response.had_token and self.tokens.reject(token):
            response.drop()
            token = await self.tokens.token()
            response = await ask(method, url, token=token, headers=headers, body=body)
        if response.status < 400 and response.had_token:
            self.tokens.accept(token)
        return response
