"""Tokens as Keycloak hands them out: they expire, rotate and can be revoked."""

import base64
import json
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from noa_async.emulator.settings import EmulatorSettings
from noa_async.emulator.stats import Stats


class GrantRefusedError(Exception):
    """A token request that is refused, in OAuth's words."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}


@dataclass(frozen=True, slots=True)
class _Grant:
    user: str
    session: str
    expires: float


class TokenIssuer:
    """One realm and its user: gives out tokens and knows which ones hold."""

    def __init__(
        self, settings: EmulatorSettings, stats: Stats, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._stats = stats
        self._clock = clock
        self._access: dict[str, _Grant] = {}
        self._refresh: dict[str, _Grant] = {}
        self._wrong: Counter[str] = Counter()

    def answer(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The body of a token answer. Raises GrantRefusedError."""
        try:
            return self._granted(form)
        except GrantRefusedError:
            self._stats.token_refused += 1
            raise

    def user_of(self, authorization: str | None) -> str | None:
        """The user of an Authorization header; None where it does not hold (any more)."""
        scheme, _, token = (authorization or "").partition(" ")
        grant = self._access.get(token.strip()) if scheme.lower() == "bearer" else None
        return grant.user if grant and grant.expires > self._clock() else None

    @property
    def sessions(self) -> set[str]:
        """The sessions that are open: those with a token that holds."""
        now = self._clock()
        held = (*self._access.values(), *self._refresh.values())
        return {grant.session for grant in held if grant.expires > now}

    def log_out(self, form: Mapping[str, str]) -> None:
        """End the session of a refresh token. Raises GrantRefusedError."""
        grant = self._refresh.get(form.get("refresh_token", ""))
        if form.get("client_id") != self._settings.client_id or grant is None:
            raise GrantRefusedError(400, "invalid_grant", "Invalid refresh token")
        self._stats.logouts += 1
        for tokens in (self._access, self._refresh):
            for key in [key for key, one in tokens.items() if one.session == grant.session]:
                del tokens[key]

    def revoke(self, *, refresh: bool = False) -> None:
        """No access token given out so far holds any more; with `refresh`, none at all."""
        self._access.clear()
        if refresh:
            self._refresh.clear()

    def _granted(self, form: Mapping[str, str]) -> dict[str, Any]:
        if form.get("client_id") != self._settings.client_id:
            raise GrantRefusedError(
                401, "invalid_client", "Invalid client or Invalid client credentials"
            )
        match form.get("grant_type"):
            case "password":
                return self._login(form)
            case "refresh_token":
                return self._refreshed(form)
        raise GrantRefusedError(400, "unsupported_grant_type", "Unsupported grant_type")

    def _login(self, form: Mapping[str, str]) -> dict[str, Any]:
        user = form.get("username", "")
        locked = self._wrong[user] >= self._settings.max_wrong_passwords
        given = (user, form.get("password"))
        right = given == (self._settings.username, self._settings.password)
        if locked or not right:
            self._wrong[user] += 1
            self._stats.wrong_passwords += 1
            raise GrantRefusedError(401, "invalid_grant", "Invalid user credentials")
        del self._wrong[user]
        most = self._settings.max_sessions
        if most is not None and len(self.sessions) >= most:
            raise GrantRefusedError(400, "invalid_grant", "There are too many sessions")
        self._stats.token_logins += 1
        return self._issue(user, str(uuid.uuid4()))

    def _refreshed(self, form: Mapping[str, str]) -> dict[str, Any]:
        token = form.get("refresh_token", "")
        grant = self._refresh.get(token)
        if grant is None or grant.expires <= self._clock():
            raise GrantRefusedError(400, "invalid_grant", "Token is not active")
        if self._settings.rotate_refresh:
            del self._refresh[token]
        self._stats.token_refreshes += 1
        return self._issue(grant.user, grant.session)

    def _issue(self, user: str, session: str) -> dict[str, Any]:
        settings = self._settings
        now = self._clock()
        access = _jwt("Bearer", user, session)
        self._access[access] = _Grant(user, session, now + settings.token_life)
        answer: dict[str, Any] = {
            "access_token": access,
            "expires_in": round(settings.token_life),
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": session,
            "scope": "email profile",
        }
        if settings.issue_refresh:
            refresh = _jwt("Refresh", user, session)
            self._refresh[refresh] = _Grant(user, session, now + settings.refresh_life)
            answer["refresh_token"] = refresh
            answer["refresh_expires_in"] = round(settings.refresh_life)
        return answer


def _jwt(kind: str, user: str, session: str) -> str:
    """A string in the form of a signed token; nothing reads what is in it."""
    parts = (
        {"alg": "RS256", "typ": "JWT", "kid": "emulator"},
        {"jti": str(uuid.uuid4()), "typ": kind, "preferred_username": user, "sid": session},
    )
    coded = [_base64(json.dumps(part).encode()) for part in parts]
    return ".".join([*coded, _base64(secrets.token_bytes(256))])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
