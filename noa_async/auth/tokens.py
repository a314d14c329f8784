"""One token manager for all workers: it logs in, refreshes before expiry, one request at a time."""

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
"""Seconds that a renewal is waited for while the token in hand holds."""
_QUIET = 10.0
"""Seconds without another renewal after one failed for good while the token in hand holds."""
_MOST_REJECTIONS = 3
_FRESH = 60.0
"""Seconds: the service should not reject a token that is younger than that."""
_COUNTED = frozenset({Cause.REFUSED, Cause.CLIENT})
"""Refusals that may count against the account."""
_LOG_OUT_TIME = 3.0
"""Seconds that the end of a session may take; a run that ends does not wait for longer."""


@dataclass(slots=True)
class LoginState:
    """What outlives a token manager: the next one for the same account goes on with it."""

    token: Token | None = field(repr=False, default=None)
    rejected: bool = False
    """Whether the service answered 401 to the token."""
    accepted: bool = False
    """Whether the user name and password gave a token before."""
    refusals: int = 0
    """How often in a row they were refused since then."""
    not_before: float = 0.0
    """The instant before which they are not sent again, on the manager's clock."""


class Waits(Protocol):
    """How often something is tried again, and the waits between."""

    @property
    def retry(self) -> RetryPolicy:
        """The policy."""

    async def sleep(self, seconds: float) -> None:
        """Wait for that long."""


class TokenManager:
    """Gives every worker a token that holds, and asks for one only when it must.

    A token that holds is used for as long as it does, even if the log-in service is down. Without
    one, ``token`` waits for the log-in service, by the retry policy.

    Error handling: ``token`` raises CredentialsRefused once the service clearly refuses the user
    name and password; they are not sent again then. ServiceAway if the log-in service, which gave
    tokens before, is down for longer than the retry policy waits. If it never gave one:
    ServiceUnreachable, ServiceRefused or ServiceAway.
    Resources: an async context manager, or call ``close``. Safe for many tasks at once.
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
        """``waits``: None is one attempt, whose error is raised as it is. ``state``: that of an
        earlier manager for the same account, on the same clock.
        """
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
        """End the renewal that is under way, if any, and with ``log_out`` the session.

        Takes a few seconds at most.
        """
        renewal = self._renewal
        if renewal is not None:
            if self._sending and log_out:  # the session that it opens could not be ended otherwise
                await asyncio.wait([renewal], timeout=_LOG_OUT_TIME / 2)
            await end_tasks(renewal)
        if log_out:
            await self.log_out()

    async def log_out(self) -> None:
        """End the session at the service, if the service has an address for that.

        Whatever the service answers, nothing is raised. The next token takes a new log-in.
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
        """Seconds that the present token still holds, 0 if there is none."""
        return max(0.0, self._token.expires_at - self._clock()) if self._token else 0.0

    @property
    def refresh_expires_in(self) -> float:
        """Seconds for which the log-in can be renewed without the password.

        0 if it cannot; infinite if that does not end, or the service does not say when.
        """
        if self._token is None or self._token.refresh is None:
            return 0.0
        return max(0.0, self._token.refresh_expires_at - self._clock())

    async def token(self) -> str:
        """Return a token that holds now; renew it first if it is about to end.

        token in hand           renewal        what is returned
        ----------------------  -------------  --------------------------------------------
        holds for long enough   -              that token
        about to end            not begun      what a renewal brings within 2 s, else that token
        about to end            under way      that token
        about to end            just failed    that token
        rejected, ended, none   -              what a renewal brings, or its error
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
        if held is not None and not _brought_one(renewal):
            return held.access
        try:
            return (await asyncio.shield(renewal)).access
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if renewal.cancelled() and not (task and task.cancelling()):
                raise UsageError("This client was closed.") from None
            raise

    def reject(self, access: str) -> bool:
        """Have the token ``access`` renewed, to which the service answered 401.

        Return whether another token is to be had. It is not if the service rejects fresh tokens
        again and again: then one is renewed a minute, not one for each request.
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
        """Note that the service took the token ``access``."""
        if self._token is not None and self._token.access == access:
            self._rejections = 0

    @property
    def _token(self) -> Token | None:
        return self._state.token

    @property
    def _usable(self) -> Token | None:
        """The token in hand, if a request may still be sent with it."""
        token = self._token
        if token is None or self._state.rejected or self._clock() >= token.usable_until:
            return None
        return token

    @property
    def _is_quiet(self) -> bool:
        """Whether to leave the log-in service alone for as long as the token in hand holds."""
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
                failures = min(failures, self._waits.retry.retries)  # nobody waits yet
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
        """Return the error that ends the attempts."""
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
            hint = "If it never gave a token, check the token address; else start again later."
        tries = f"{attempts} requests in {seconds:.0f} s. " if attempts > 1 else ""
        away = ServiceAway(error.message, hint=f"{tries}{hint}".rstrip())
        away.retry_after = error.retry_after
        return away

    async def _once(self) -> Token | Denial:
        """Return what one attempt brings: a refresh if that is possible, else a log-in."""
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
        except ServiceFault as error:  # its answer is too large
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
        """Send a request; its answer, all of which has to come within the answer time-out."""
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
                f"{host_of(url)} did not finish its answer within {seconds:g} s."
            ) from None


def log_out_at_exit(settings: Settings, state: LoginState) -> None:
    """End a session while the program ends; never raise for it.

    Block for a few seconds at most. An event loop could not resolve a name any more: it takes
    threads for that, which Python refuses by then.
    """
    request = _log_out_request(settings.service, state, time.monotonic())
    state.token = None
    if request is None:
        return
    url, form = request
    asked = urllib.request.Request(url, urlencode(form).encode())  # noqa: S310 (as it was checked)
    with suppress(OSError, ValueError, HTTPException, NoaError):
        tls = tls_context(settings)
        urllib.request.urlopen(asked, timeout=_LOG_OUT_TIME, context=tls).close()  # noqa: S310


def _log_out_request(
    service: Service, state: LoginState, now: float
) -> tuple[str, dict[str, str]] | None:
    """The address and the form that end a session; None if there is none, or no address."""
    token, url = state.token, logout_url(service.token_url)
    if token is None or token.refresh is None or url is None or now >= token.refresh_expires_at:
        return None
    return url, {"client_id": service.client_id, "refresh_token": token.refresh}


def _brought_one(renewal: asyncio.Task[Token]) -> bool:
    return renewal.done() and not renewal.cancelled() and renewal.exception() is None
