"""One token manager for all workers: it logs in, refreshes before expiry, one request at a time."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from noa_async.errors import (
    CredentialsRefused,
    NoaError,
    ServiceFault,
    ServiceRefused,
)
from noa_async.events import Observer, TokenObtained, ignore
from noa_async.excerpts import excerpt
from noa_async.headers import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from noa_async.auth.credentials import Credentials
    from noa_async.services import Service
    from noa_async.transport import Transport

_LIFE_WHERE_UNSAID = 300.0
_MARGIN = 60.0
_MARGIN_SHARE = 0.2
_ANSWER_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Token:
    """What a grant gave; the instants are on the clock of the manager that asked."""

    access: str = field(repr=False)
    asked_at: float
    expires_at: float
    refresh: str | None = field(repr=False, default=None)
    refresh_expires_at: float = 0.0

    @property
    def renew_at(self) -> float:
        """When to renew: 60 s before the end, or a fifth of a short life before it."""
        life = self.expires_at - self.asked_at
        return self.expires_at - min(_MARGIN, life * _MARGIN_SHARE)


class TokenManager:
    """Gives every worker a token that holds, and asks for one only when it must.

    Error handling: ``token`` raises CredentialsRefused (then for good: a refused password is never
    sent twice), ServiceFault or ServiceUnreachable (worth another try), ServiceRefused.
    """

    def __init__(
        self,
        transport: Transport,
        service: Service,
        credentials: Credentials,
        *,
        observer: Observer = ignore,
        clock: Callable[[], float] = time.monotonic,
        held: Token | None = None,
    ) -> None:
        """``held``: what an earlier manager of the same log-in had, on the same clock."""
        self._transport = transport
        self._service = service
        self._credentials = credentials
        self._observer = observer
        self._clock = clock
        self._token = held
        self._rejected = False
        self._refused: CredentialsRefused | None = None
        self._lock = asyncio.Lock()
        self._round = 0
        self._last_error: NoaError | None = None

    @property
    def held(self) -> Token | None:
        """The token there is; None where there is none, or the service took it back."""
        return None if self._rejected else self._token

    @property
    def expires_in(self) -> float:
        """Seconds that the present token still holds, 0 where there is none."""
        return max(0.0, self._token.expires_at - self._clock()) if self._token else 0.0

    @property
    def refresh_expires_in(self) -> float:
        """Seconds that the log-in can be renewed without the password: 0 where it cannot, infinite
        where it does not end, or nobody says when.
        """
        if self._token is None or self._token.refresh is None:
            return 0.0
        return max(0.0, self._token.refresh_expires_at - self._clock())

    async def token(self) -> str:
        """A token that holds now; renewed first where it is about to end."""
        if self._token is None or not self._good(self._token):
            seen = self._round
            async with self._lock:
                await self._renew_unless_done(seen)
        assert self._token is not None
        return self._token.access

    def reject(self, access: str) -> None:
        """The service answered 401 to ``access``: the next caller gets a new one."""
        if self._token is not None and self._token.access == access:
            self._rejected = True

    def _good(self, token: Token) -> bool:
        return not self._rejected and self._clock() < token.renew_at

    async def _renew_unless_done(self, seen: int) -> None:
        """Under the lock: whoever waited takes over what the one before brought, good or bad."""
        if self._token is not None and self._good(self._token):
            return
        if self._round != seen and self._last_error is not None:
            raise self._last_error
        self._last_error = None
        try:
            self._token = await self._renew()
        except NoaError as error:
            self._last_error = error
            raise
        else:
            self._rejected = False
        finally:
            self._round += 1

    async def _renew(self) -> Token:
        held = self._token
        if held is not None and held.refresh and self._clock() < held.refresh_expires_at:
            token = await self._refresh(held.refresh)
            if token is not None:
                return token
            self._token = None
        return await self._log_in()

    async def _refresh(self, refresh: str) -> Token | None:
        """A token for a refresh token; None where the service no longer takes that."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        asked_at, status, answer = await self._ask(form)
        if status in {400, 401, 403}:
            return None
        return self._accept(asked_at, status, answer, form["grant_type"])

    async def _log_in(self) -> Token:
        if self._refused is not None:
            raise self._refused
        who = self._credentials
        form = {"grant_type": "password", "username": who.username, "password": who.password}
        asked_at, status, answer = await self._ask(form)
        if status in {400, 401, 403}:
            self._refuse(answer)
        return self._accept(asked_at, status, answer, form["grant_type"])

    def _refuse(self, answer: Mapping[str, Any]) -> NoReturn:
        code = str(answer.get("error", ""))
        reason = str(answer.get("error_description") or code or "no reason given")
        said = excerpt(reason, hidden=self._credentials.password)
        if "client" in code:
            hint = f"Check the client id {self._service.client_id!r} and the token address."
        else:
            hint = "Check them on the mirror's web page; nothing is sent again before they change."
        self._refused = CredentialsRefused(
            f"The service refuses the credentials of {self._credentials.username!r} "
            f"(from {self._credentials.source}): {said}.",
            hint=hint,
        )
        raise self._refused

    async def _ask(self, form: Mapping[str, str]) -> tuple[float, int, Mapping[str, Any]]:
        asked_at = self._clock()
        url = self._service.token_url
        form = {"client_id": self._service.client_id, **form}
        async with self._transport.request("POST", url, form=form) as response:
            status = response.status
            wait = retry_after(response.headers)
            # A refusal counts whatever its text: its password must not be sent again.
            read = response.read if status == 200 else response.peek
            body = await read(_ANSWER_LIMIT)
        if status >= 500 or status == 429:
            raise ServiceFault(f"The log-in service answered {status}.", retry_after=wait)
        if status not in {200, 400, 401, 403}:
            raise ServiceRefused(
                f"The log-in service answered {status} at {url}.", hint="Check the token address."
            )
        return asked_at, status, _json_object(body)

    def _accept(self, asked_at: float, status: int, answer: Mapping[str, Any], grant: str) -> Token:
        if status != 200:
            raise ServiceFault(f"The log-in service answered {status} to a refresh.")
        token = read_token(answer, asked_at)
        self._observer(TokenObtained(grant=grant, expires_in=token.expires_at - asked_at))
        return token


def read_token(answer: Mapping[str, Any], asked_at: float) -> Token:
    """A Token from a token endpoint's answer; life times count from ``asked_at``.

    Raises ServiceFault where there is no access token.
    """
    access = answer.get("access_token")
    if not (isinstance(access, str) and access and access.isascii() and access.isprintable()):
        raise ServiceFault(
            "The log-in service answered without a token.",
            hint="It may be in trouble, or the token address leads to something else.",
        )
    refresh = answer.get("refresh_token")
    refresh_life = _seconds(answer.get("refresh_expires_in"), 0.0)
    return Token(
        access=access,
        asked_at=asked_at,
        expires_at=asked_at + _seconds(answer.get("expires_in"), _LIFE_WHERE_UNSAID),
        refresh=refresh if isinstance(refresh, str) and refresh else None,
        # Keycloak says 0 for an offline token, which does not end.
        refresh_expires_at=asked_at + refresh_life if refresh_life else float("inf"),
    )


def _seconds(value: object, default: float) -> float:
    try:
        number = float(value)  # type: ignore[arg-type] # whatever the service sent
    except (TypeError, ValueError, OverflowError):
        return default
    return number if 0 < number < float("inf") else default


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
