"""Interpret the responses of the token endpoint, and decide about retries. Pure.

Only an explicit rejection of the password is treated as one: a JSON error of OAuth about the
password or the account. Any other response without a token counts as a temporary failure.

    status       body                                            grant     cause
    -----------  ----------------------------------------------  --------  ---------------------
    200          JSON with an access token                       any       (a token)
    below 500    JSON: too many sessions                         any       SESSIONS
    below 500    JSON, invalid_grant: locked temporarily         password  LOCKED
    below 500    JSON, invalid_grant: maintenance, try again     password  AWAY
    below 500    JSON, invalid_grant or access_denied            password  REFUSED
    below 500    JSON, invalid_client or similar                 any       CLIENT
    below 500    JSON, invalid_grant or access_denied            refresh   EXPIRED
    400 401      any other, not HTML                             refresh   EXPIRED
    3xx          Location is a token endpoint too                any       ADDRESS
    other 4xx    not HTML, not temporary                         any       ADDRESS
    any other    -                                               any       AWAY
    -            (no connection, no response)                    any       UNREACHABLE
    -            (TLS or the address itself)                     any       UNUSABLE
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from noa_async.answers import Meaning, Sender, classify, is_html
from noa_async.errors import (
    CredentialsRefused,
    NoaError,
    ServiceFault,
    ServiceRefused,
)
from noa_async.excerpts import excerpt
from noa_async.origins import REDIRECTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.auth.credentials import Credentials
    from noa_async.services import Service
    from noa_async.settings import RetryPolicy

PASSWORD = "password"  # noqa: S105 (the name of a grant)
REFRESH = "refresh_token"
_DEFAULT_LIFE = 300.0
_MARGIN = 60.0
_MARGIN_SHARE = 0.2
_RESERVE_SHARE = 0.05
_RESERVE = 5.0
_FIRST_CONTACT_RETRIES = 2
"""Retries of an endpoint that has never returned a token: its address is probably wrong."""
_SESSION_RETRIES = 2
"""Retries after too many sessions; Keycloak counts each as a failed log-in."""
_PAUSE = (30.0, 60.0)
"""Range of seconds to wait before repeating a request that counts as a failed log-in."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a grant; times are on the clock of the manager that requested it."""

    access: str = field(repr=False)
    asked_at: float
    expires_at: float
    refresh: str | None = field(repr=False, default=None)
    refresh_expires_at: float = 0.0

    @property
    def renew_at(self) -> float:
        """When to renew: 60 s before expiry, or after four fifths of a short lifetime."""
        return self.expires_at - min(_MARGIN, self._life * _MARGIN_SHARE)

    @property
    def usable_until(self) -> float:
        """Until when a request may be sent with the token: it has to arrive before expiry."""
        return self.expires_at - min(_RESERVE, self._life * _RESERVE_SHARE)

    @property
    def _life(self) -> float:
        return self.expires_at - self.asked_at


class Cause(StrEnum):
    """Why there is no token."""

    REFUSED = "refused"
    """The service explicitly rejects the user name and password, or the account."""
    LOCKED = "locked"
    """The account is locked temporarily, usually after wrong passwords."""
    CLIENT = "client"
    """The service does not know the client id, or does not allow it to log in by password."""
    SESSIONS = "sessions"
    """The account has too many sessions."""
    EXPIRED = "expired"
    """The refresh token is no longer accepted: log in by password."""
    ADDRESS = "address"
    """There is no token endpoint at this address."""
    AWAY = "away"
    """Maintenance, overload or another temporary failure."""
    UNREACHABLE = "unreachable"
    """No connection, or no complete response in time."""
    UNUSABLE = "unusable"
    """TLS verification failed, or the address is unusable."""


@dataclass(frozen=True, slots=True)
class Denial:
    """Why there is no token, and the error that says so."""

    cause: Cause
    error: NoaError


def wait_after(
    cause: Cause,
    policy: RetryPolicy,
    *,
    failures: int,
    refusals: int,
    accepted: bool,
    asked: float | None = None,
) -> float | None:
    """Return the seconds until the request is repeated; None if ``cause`` is final.

    ``failures``: number in a row, including this one. ``refusals``: explicit rejections in a row.
    ``accepted``: whether these credentials have returned a token before. ``asked``: the service's
    Retry-After, seconds.

        cause                    accepted  repeated
        -----------------------  --------  ---------------------------------------
        AWAY                     -         as the retry policy says
        UNREACHABLE ADDRESS      yes       as the retry policy says
        UNREACHABLE ADDRESS      no        twice, with the policy's waits
        UNUSABLE                 yes       as the retry policy says
        UNUSABLE                 no        never
        SESSIONS                 -         twice, after 30 to 60 s each
        REFUSED CLIENT           yes       once, after 30 to 60 s
        REFUSED CLIENT           no        never
        LOCKED                   -         never

    >>> from noa_async.settings import RetryPolicy
    >>> wait_after(Cause.REFUSED, RetryPolicy(), failures=1, refusals=1, accepted=False) is None
    True
    """
    if not policy.allows(failures, asked=asked):
        return None
    if cause is Cause.LOCKED:
        return None
    if cause in {Cause.REFUSED, Cause.CLIENT}:
        return _pause() if accepted and refusals <= 1 else None
    if cause is Cause.SESSIONS:
        return max(_pause(), asked or 0.0) if failures <= _SESSION_RETRIES else None
    if not accepted and cause in {Cause.UNREACHABLE, Cause.ADDRESS, Cause.UNUSABLE}:
        most = 0 if cause is Cause.UNUSABLE else _FIRST_CONTACT_RETRIES
        if failures > most:
            return None
    return policy.delay(failures, asked=asked)


def _pause() -> float:
    return random.uniform(*_PAUSE)  # noqa: S311 (so that clients do not retry together)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response of the token endpoint; if it has no token, ``body`` may be truncated."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Reader:
    """Parser of token responses for one account at one service."""

    def __init__(self, service: Service, credentials: Credentials) -> None:
        self._service = service
        self._credentials = credentials

    def read(self, answer: Answer, grant: str, asked_at: float) -> Token | Denial:
        """Return the token in the response to ``grant``, or why there is none.

        Lifetimes count from ``asked_at``, when the request was sent.
        """
        document = _json_object(answer.body)
        if answer.status == 200 and not document.get("error"):
            try:
                return read_token(document, asked_at)
            except ServiceFault as error:
                return Denial(Cause.AWAY, error)
        cause = _cause(answer, document, grant, self._service.token_url)
        return Denial(cause, self._error(cause, answer, document))

    def _error(self, cause: Cause, answer: Answer, document: Mapping[str, Any]) -> NoaError:
        """Return the error for a cause."""
        refusal = classify(answer.status, answer.headers, answer.body, sender=Sender.LOGIN)
        reason = _text(document, "error_description") or _text(document, "error") or refusal.said
        said = excerpt(reason, hidden=self._credentials.password).rstrip(".")
        if cause in {Cause.REFUSED, Cause.LOCKED, Cause.CLIENT}:
            return self._refused(cause, said or "no reason given")
        error = self._trouble(cause, answer, refusal.meaning, f" ({said})" if said else "")
        error.status, error.retry_after = answer.status, refusal.retry_after
        return error

    def _trouble(
        self, cause: Cause, answer: Answer, meaning: Meaning, words: str
    ) -> ServiceFault | ServiceRefused:
        if cause is Cause.SESSIONS:
            return ServiceFault(
                f"The log-in service rejects another session{words}: this account has too many "
                "sessions.",
                hint="Other programs use the account: end those, or wait until "
                "their sessions expire. The password was not rejected.",
            )
        if cause is Cause.EXPIRED:
            return ServiceFault(f"The log-in service no longer accepts the refresh token{words}.")
        if cause is Cause.ADDRESS:
            target = answer.headers.get("Location")
            moved = f", a redirect to {excerpt(target)}" if target else ""
            return ServiceRefused(
                f"The log-in service answered {answer.status} at {self._service.token_url}"
                f"{moved}{words}.",
                hint="Check the token address (--token-url).",
            )
        hint = "The password was not rejected. Try again later."
        if meaning is Meaning.PROXY:
            hint = "A proxy rejects the request: check the one in the environment (HTTPS_PROXY)."
        what = _describe_response(answer, meaning, words)
        return ServiceFault(f"The log-in service is unavailable: {what}.", hint=hint)

    def _refused(self, cause: Cause, said: str) -> CredentialsRefused:
        who = self._credentials
        if cause is Cause.CLIENT:
            return CredentialsRefused(
                f"The log-in service rejects the client id {self._service.client_id!r}: {said}.",
                hint=f"Check the client id {self._service.client_id!r} and the token address. The "
                "user name and password were not checked.",
            )
        if cause is Cause.LOCKED:
            return CredentialsRefused(
                f"The account {who.username!r} is temporarily locked: {said}.",
                hint="The usual reason is wrong passwords, from any program that uses the account. "
                "No more log-ins are sent; try again in 15 minutes.",
                more_tries=1,
            )
        return CredentialsRefused(
            f"The service rejects the credentials of {who.username!r} (from {who.source}): {said}.",
            hint=next(
                (hint for pattern, hint in _HINTS if pattern.search(said)),
                "Check them on the service's web page; they are not sent again until they change.",
            ),
        )


_CLIENT_ERRORS = frozenset(
    {
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_request",
    }
)
_LONGEST_SAID = 1000
"""Characters of an error that are searched: the time that some patterns take grows faster."""
_REJECTIONS = frozenset({"invalid_grant", "access_denied"})
_LOCKED = re.compile(
    r"\block(?:ed)?\b|\bblocked\b|temporar\w+ (?:disabled|suspended|blocked)"
    r"|(?:disabled|suspended|blocked) temporar"
    r"|too many (?:failed |invalid |unsuccessful |wrong |log-?in )*(?:attempts|logins|passwords)",
    re.IGNORECASE,
)
_SESSIONS = re.compile(
    r"session.*(?:limit|exceed|too ?many|max)|(?:limit|exceed|too ?many|max).*session",
    re.IGNORECASE,
)
_PASSES = re.compile(
    r"session|temporar|unavailable|time[d -]{0,2}out|try (?:it )?(?:again|later)|overload"
    r"|internal|unexpected|unknown_error|server[ _]error",
    re.IGNORECASE,
)
_CUT_ERROR = re.compile(rb'\s*\{\s*"error"\s*:\s*"(\w{1,40})"')
_HINTS = (
    (
        re.compile(r"disabled|suspended|deactivated", re.IGNORECASE),
        "The account is disabled: ask the service's operators. The log-in is not repeated.",
    ),
    (
        re.compile(r"not fully set up|required action|verif|terms", re.IGNORECASE),
        "The password is not the reason: finish setting up the account on the service's web page.",
    ),
    (
        re.compile(r"expired", re.IGNORECASE),
        "Renew the password or the account on the service's web page, then start again.",
    ),
)
"""Hints for some reasons why an account is rejected."""


def _cause(answer: Answer, document: Mapping[str, Any], grant: str, url: str) -> Cause:
    """Return the cause, by the table in the module's docstring."""
    status, headers, text = answer.status, answer.headers, answer.body.decode(errors="replace")
    meaning = classify(status, headers, answer.body, sender=Sender.LOGIN).meaning
    if status < 500:
        said = f"{_text(document, 'error')} {_text(document, 'error_description')}"[:_LONGEST_SAID]
        full = meaning is Meaning.QUOTA and "session" in text.lower()
        if cause := _cause_by_words(said, _text(document, "error"), meaning, grant, full=full):
            return cause
        if grant == REFRESH and status in {400, 401} and not is_html(text):
            return Cause.EXPIRED
    if status in REDIRECTS:
        return Cause.ADDRESS if _leads_to_tokens(headers.get("Location", ""), url) else Cause.AWAY
    absent = meaning in {Meaning.ABSENT, Meaning.PERMANENT}
    return Cause.ADDRESS if absent and status not in {400, 401, 403} else Cause.AWAY


def _cause_by_words(
    said: str, code: str, meaning: Meaning, grant: str, *, full: bool
) -> Cause | None:
    """Return the cause that an OAuth error names. ``full``: a limit of sessions is exceeded."""
    denied = code in _REJECTIONS and grant == PASSWORD
    rows = (
        (denied and _LOCKED.search(said), Cause.LOCKED),
        (full or _SESSIONS.search(said), Cause.SESSIONS),
        (denied and (meaning is Meaning.MAINTENANCE or _PASSES.search(said)), Cause.AWAY),
        (denied, Cause.REFUSED),
        (code in _REJECTIONS, Cause.EXPIRED),
        (code in _CLIENT_ERRORS, Cause.CLIENT),
    )
    return next((cause for applies, cause in rows if applies), None)


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _leads_to_tokens(location: str, url: str) -> bool:
    """Return whether a redirect leads to another token endpoint, such as https in place of http."""
    try:
        target = urlsplit(location).path.rstrip("/")
    except ValueError:
        return False
    return bool(target) and target.rpartition("/")[2] == urlsplit(url).path.rpartition("/")[2]


def _describe_response(answer: Answer, meaning: Meaning, words: str) -> str:
    """Describe a response without a token, for the end of a sentence."""
    status = answer.status
    target = answer.headers.get("Location", "") if status in REDIRECTS else ""
    if status in REDIRECTS:
        where = f" to {excerpt(target, 100)}" if target else ""
        return f"it answered {status}, a redirect{where}, probably to a maintenance page"
    if meaning is Meaning.PROXY:
        return f"a proxy answered {status}{words}"
    if meaning is Meaning.MAINTENANCE:
        return f"it shows a maintenance page, status {status}{words}"
    if is_html(answer.body.decode(errors="replace")):
        return f"it answered {status} with a web page{words}, probably a maintenance page"
    return f"it answered {status}{words}"


def read_token(answer: Mapping[str, Any], asked_at: float) -> Token:
    """Return the Token in a token endpoint's response; lifetimes count from ``asked_at``.

    Raise ServiceFault if there is no access token.
    """
    access = answer.get("access_token")
    if not (isinstance(access, str) and access and access.isascii() and access.isprintable()):
        raise ServiceFault(
            "The log-in service is unavailable: its response has no token.",
            hint="It may have a temporary failure, or the token address is wrong.",
        )
    refresh = answer.get("refresh_token")
    refresh_life = _seconds(answer.get("refresh_expires_in"), 0.0)
    return Token(
        access=access,
        asked_at=asked_at,
        expires_at=asked_at + _seconds(answer.get("expires_in"), _DEFAULT_LIFE),
        refresh=refresh if isinstance(refresh, str) and refresh else None,
        # Keycloak sends 0 for an offline token, which does not expire.
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
        # Possibly truncated: an explicit rejection of the password still counts.
        found = _CUT_ERROR.match(body)
        return {"error": found[1].decode()} if found else {}
    return answer if isinstance(answer, dict) else {}


def logout_url(token_url: str) -> str | None:
    """Return the URL that ends a session of the token endpoint; None if it is unknown.

    Keycloak's log-out endpoint is beside its token endpoint.

    >>> logout_url("https://sso.example/realms/x/protocol/openid-connect/token")
    'https://sso.example/realms/x/protocol/openid-connect/logout'
    >>> logout_url("https://sso.example/grants") is None
    True
    """
    parts = urlsplit(token_url)
    if not parts.path.endswith("/token"):
        return None
    path = parts.path.removesuffix("token") + "logout"
    return parts._replace(path=path, query="", fragment="").geturl()
