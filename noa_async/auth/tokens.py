"""Share one access token among all workers: log in, refresh it before expiry, one request at a
time."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from typing import TYPE_CHECKING, Protocol, Self
from urllib.parse import urlencode

from noa_async.auth.grants import (
    PASSWORD,
    REFRESH,
    Answer,
    Cause,
    Denial,
    Reader,
    Token,
    logout_url,
    read_token,
    wait_after,
)
from noa_async.errors import (
    NoaError,
    ServiceAway,
    ServiceError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
    UsageError,
)
from noa_async.events import LoginRetried, Observer, TokenObtained, ignore
from noa_async.origins import host_of
from noa_async.tasks import end_tasks
from noa_async.tls import tls_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from noa_async.auth.credentials import Credentials
    from noa_async.services import Service
    from noa_async.settings import RetryPolicy, Settings
    from noa_async.transport import Transport

__all__ = ["LoginState", "Token", "TokenManager", "log_out_at_exit", "read_token"]

_ANSWER_LIMIT = 1 << 20
_FIRST_WAIT = 2.0
"""Seconds to wait for a renewal while the current token is still valid."""
_QUIET = 10.0
"""Seconds without another renewal after a failed one, while the current token is still valid."""
_MOST_REJECTIONS = 3
_FRESH = 60.0
"""Seconds: a service should not reject a token younger than this."""
_COUNTED = frozenset({Cause.REFUSED, Cause.CLIENT})
"""Causes that may count as failed log-ins of the account."""
_LOG_OUT_TIME = 3.0
"""Maximum seconds to wait for the log-out at the end of a run."""


@dataclass(slots=True)
class LoginState:
    """The state that outlives a token manager; pass it to the next manager for the same account."""

    token: Token | None = field(repr=False, default=None)
    rejected: bool = False
    """Whether the service answered 401 to the token."""
    accepted: bool = False
    """Whether the user name and password have ever returned a token."""
    refusals: int = 0
    """How often in a row the user name and password were rejected since they last returned a
    token."""
    not_before: float = 0.0
    """Time before which the password must not be sent again, on the manager's clock."""


class Waits(Protocol):
    """The retry policy, and how to wait between attempts."""

    @property
    def retry(self) -> RetryPolicy:
        """The retry policy."""

    async def sleep(self, seconds: float) -> None:
        """Wait for this many seconds."""


class TokenManager:
    """Provides all workers with a valid token, and requests one only when necessary.

    A token is used until it expires, even while the log-in service is down. If there is no valid
    one, ``token`` waits for the log-in service as long as the retry policy allows.

    Error handling: ``token`` raises CredentialsRefused once the service explicitly rejects the user
    name and password, which are then not sent again. It raises ServiceAway if the log-in service
    returned tokens before and is down for longer than the retry policy waits; if it never returned
    one, ServiceUnreachable, ServiceRefused or ServiceAway.
    Resources: an async context manager, or call ``close``. Safe for concurrent tasks.
    """

    def __init__(
        self,
        transport: Transport,
        service: Service,
        credentials: Credentials,
        *,
        observer: Observer = ignore,
        clock: Callable[[], float] = time.monotonic,
        waits: Waits | None = None,
        state: LoginState | None = None,
    ) -> None:
        """``waits``: how to retry; None makes one attempt and raises its error unchanged.
        ``state``: the state of an earlier manager for the same account, on the same clock."""
        self._transport = transport
        self._service = service
        self._credentials = credentials
        self._observer = observer
        self._clock = clock
        self._waits = waits
        self._state = state or LoginState()
        self._reader = Reader(service, credentials)
        self._refused: NoaError | None = None
        self._renewal: asyncio.Task[Token] | None = None
        self._sending = False
        self._quiet_until = 0.0
        self._rejections = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self, *, log_out: bool = True) -> None:
        """Cancel a renewal in progress, and end the session if ``log_out``.

        Takes a few seconds at most.
        """
        renewal = self._renewal
        if renewal is not None:
            if self._sending and log_out:  # else the session that it opens could not be ended
                await asyncio.wait([renewal], timeout=_LOG_OUT_TIME / 2)
            await end_tasks(renewal)
        if log_out:
            await self.log_out()

    async def log_out(self) -> None:
        """End the session at the service, if the service has a log-out address.

        Never raises. The next call of ``token`` logs in again.
        """
        request = _log_out_request(self._service, self._state, self._clock())
        self._state.token = None
        if request is None:
            return
        url, form = request
        with suppress(NoaError, TimeoutError):
            async with asyncio.timeout(_LOG_OUT_TIME):
                async with self._transport.request("POST", url, form=form) as response:
                    await response.peek(4096)

    @property
    def expires_in(self) -> float:
        """Seconds until the current token expires; 0 if there is none."""
        return max(0.0, self._token.expires_at - self._clock()) if self._token else 0.0

    @property
    def refresh_expires_in(self) -> float:
        """Seconds during which the session can be renewed without the password.

        0 if it cannot be renewed; infinite if it does not expire, or the service does not say when.
        """
        if self._token is None or self._token.refresh is None:
            return 0.0
        return max(0.0, self._token.refresh_expires_at - self._clock())

    async def token(self) -> str:
        """Return a valid token; renew it first if it is about to expire.

        current token           renewal        returned
        ----------------------  -------------  ------------------------------------------------
        valid for long enough   -              the current token
        about to expire         not started    the new token if it arrives within 2 s, else the
                                               current one
        about to expire         in progress    the current token
        about to expire         just failed    the current token
        rejected, expired,      -              the new token, or the renewal's error
        none
        """
        held = self._usable
        if held is not None and (self._clock() < held.renew_at or self._is_quiet):
            return held.access
        if held is None and self._refused is not None:
            raise self._refused
        renewal = self._renewal
        if renewal is None:
            renewal = self._renewal = asyncio.create_task(self._renew())
            renewal.add_done_callback(self._renewed)
            if held is not None:
                await asyncio.wait([renewal], timeout=_FIRST_WAIT)
        if held is not None and not _has_token(renewal):
            return held.access
        try:
            return (await asyncio.shield(renewal)).access
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if renewal.cancelled() and not (task and task.cancelling()):
                raise UsageError("The client is closed.") from None
            raise

    def reject(self, access: str) -> bool:
        """Mark the token ``access``, to which the service answered 401, for renewal.

        Return whether to retry with another token. False if the service repeatedly rejects new
        tokens: then one is renewed per minute, not one per request.
        """
        token = self._token
        if token is None or token.access != access or self._state.rejected:
            return True
        if self._clock() - token.asked_at < _FRESH:
            if self._rejections >= _MOST_REJECTIONS:
                return False
            self._rejections += 1
        self._state.rejected = True
        return True

    def accept(self, access: str) -> None:
        """Record that the service accepted the token ``access``."""
        if self._token is not None and self._token.access == access:
            self._rejections = 0

    @property
    def _token(self) -> Token | None:
        return self._state.token

    @property
    def _usable(self) -> Token | None:
        """The current token, if a request may still be sent with it."""
        token = self._token
        if token is None or self._state.rejected or self._clock() >= token.usable_until:
            return None
        return token

    @property
    def _is_quiet(self) -> bool:
        """Whether to skip renewals while the current token is valid."""
        return self._refused is not None or self._clock() < self._quiet_until

    def _renewed(self, renewal: asyncio.Task[Token]) -> None:
        self._renewal = None
        if not renewal.cancelled() and renewal.exception() is not None:
            self._quiet_until = self._clock() + _QUIET

    async def _renew(self) -> Token:
        """Return a new token, after as many attempts as ``wait_after`` allows."""
        pause = self._state.not_before - self._clock()
        if pause > 0 and self._waits is not None:
            await self._waits.sleep(pause)
        attempts = failures = 0
        began = self._clock()
        while True:
            found = await self._once()
            if isinstance(found, Token):
                return found
            attempts, failures = attempts + 1, failures + 1
            if self._usable is not None and self._waits is not None:
                failures = min(
                    failures, self._waits.retry.retries
                )  # do not give up while a token is valid
            delay = self._wait_after(found, failures)
            if delay is None or self._waits is None:
                raise self._final(found, attempts, self._clock() - began)
            if found.cause in _COUNTED:
                self._state.not_before = self._clock() + delay
            self._observer(LoginRetried(attempts, delay, found.error.message))
            await self._waits.sleep(delay)

    def _wait_after(self, denial: Denial, failures: int) -> float | None:
        if self._waits is None:
            return None
        return wait_after(
            denial.cause,
            self._waits.retry,
            failures=failures,
            refusals=self._state.refusals,
            accepted=self._state.accepted,
            asked=denial.error.retry_after,
        )

    def _final(self, denial: Denial, attempts: int, seconds: float) -> NoaError:
        """Return the error to raise after the last attempt."""
        error = denial.error
        if denial.cause in {*_COUNTED, Cause.LOCKED}:
            self._refused = error
            return error
        never = not self._state.accepted
        if never and denial.cause in {Cause.UNREACHABLE, Cause.ADDRESS, Cause.UNUSABLE}:
            error.retryable = False
            return error
        if self._waits is None:
            return error
        hint = error.hint
        if never and isinstance(error, ServiceError) and error.status in {404, 405, 410}:
            hint = "If the token address never worked, check it; otherwise try again later."
        tries = f"{attempts} requests in {seconds:.0f} s. " if attempts > 1 else ""
        away = ServiceAway(error.message, hint=f"{tries}{hint}".rstrip())
        away.retry_after = error.retry_after
        return away

    async def _once(self) -> Token | Denial:
        """Return the result of one attempt: a refresh if possible, otherwise a log-in."""
        token = self._token
        if token is not None and token.refresh and self._clock() < token.refresh_expires_at:
            found = await self._ask(REFRESH, {"refresh_token": token.refresh})
            if isinstance(found, Token) or found.cause is not Cause.EXPIRED:
                return found
            self._state.token = replace(token, refresh=None)
        who = self._credentials
        return await self._ask(PASSWORD, {"username": who.username, "password": who.password})

    async def _ask(self, grant: str, form: Mapping[str, str]) -> Token | Denial:
        asked_at = self._clock()
        self._sending = True
        try:
            answer = await self._exchange({"grant_type": grant, **form})
        except ServiceUnreachable as error:
            return Denial(Cause.UNREACHABLE, error)
        except ServiceRefused as error:
            return Denial(Cause.UNUSABLE, error)
        except ServiceFault as error:  # the response is too large
            return Denial(Cause.AWAY, error)
        finally:
            self._sending = False
        found = self._reader.read(answer, grant, asked_at)
        state = self._state
        if isinstance(found, Token):
            state.token, state.rejected, state.accepted, state.refusals = found, False, True, 0
            self._observer(TokenObtained(grant=grant, expires_in=found.expires_at - asked_at))
        elif found.cause in _COUNTED:
            state.refusals += 1
        return found

    async def _exchange(self, form: Mapping[str, str]) -> Answer:
        """Send a request. Return the response, which must arrive completely within the answer
        time-out."""
        url, seconds = self._service.token_url, self._transport.timeouts.answer
        form = {"client_id": self._service.client_id, **form}
        try:
            async with asyncio.timeout(seconds):
                async with self._transport.request("POST", url, form=form) as response:
                    if response.status == 200:
                        body = await response.read(_ANSWER_LIMIT)
                    else:
                        body = await response.peek(_ANSWER_LIMIT)
                    return Answer(response.status, response.headers, body)
        except TimeoutError:
            raise ServiceUnreachable(
                f"{host_of(url)} did not finish its response within {seconds:g} s."
            ) from None


def log_out_at_exit(settings: Settings, state: LoginState) -> None:
    """End a session at interpreter exit. Never raises.

    Blocks for a few seconds at most. asyncio cannot be used here: it resolves host names in
    threads, which Python no longer starts at exit.
    """
    request = _log_out_request(settings.service, state, time.monotonic())
    state.token = None
    if request is None:
        return
    url, form = request
    asked = urllib.request.Request(url, urlencode(form).encode())  # noqa: S310 (the URL was validated)
    with suppress(OSError, ValueError, HTTPException, NoaError):
        tls = tls_context(settings)
        urllib.request.urlopen(asked, timeout=_LOG_OUT_TIME, context=tls).close()  # noqa: S310


def _log_out_request(
    service: Service, state: LoginState, now: float
) -> tuple[str, dict[str, str]] | None:
    """Return the URL and form that end a session; None if there is no session or no URL."""
    token, url = state.token, logout_url(service.token_url)
    if token is None or token.refresh is None or url is None or now >= token.refresh_expires_at:
        return None
    return url, {"client_id": service.client_id, "refresh_token": token.refresh}


def _has_token(renewal: asyncio.Task[Token]) -> bool:
    return renewal.done() and not renewal.cancelled() and renewal.exception() is None
