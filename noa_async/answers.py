"""What an answer means that is not the thing asked for: one table for every part of the program.

The table reads status, header fields and the start of the body alike, for the services of this
family put their reasons in any of them. The first row that fits decides:

    status        what headers or body say                          sender     meaning
    ------------  ------------------------------------------------  ---------  ------------
    407           -                                                 any        PROXY
    any but 5xx   a header field that only proxies send             any        PROXY
    2xx 3xx       a log-in page                                     not log-in LOGIN
    401 403
    3xx 4xx 5xx   an error code of an object store                  any        _STORE_CODES
    any but 404   a quota, a rate limit, too many of something;     any        QUOTA
                  not what the query or its address may ask for
    any but 404   maintenance                                       any        MAINTENANCE
    403           a token that has expired; the request carried it  any        LOGIN
    403           a signature or link that has expired              any        EXPIRED
    any but 5xx   an HTML page                                      log-in     TEMPORARY
    2xx           a JSON error, and JSON was due: its own status,   service    by that status,
                  if it has one                                                else PERMANENT
    202           -                                                 not log-in OFFLINE
    401           -; the request carried the token                  any        LOGIN
    429           -                                                 any        QUOTA
    404 410       -                                                 any        ABSENT
    2xx 3xx 5xx   -                                                 any        TEMPORARY
    408 421 425   -                                                 any        TEMPORARY
    other         -                                                 any        PERMANENT
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from noa_async.excerpts import excerpt
from noa_async.headers import readable, retry_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Meaning(StrEnum):
    """What a refusal means for the request."""

    QUOTA = "quota"
    """Too many requests, downloads or sessions at once, or too much in a period. Passes."""
    OFFLINE = "offline"
    """The service fetches the product from its long-term store first. Passes."""
    LOGIN = "log-in"
    """The token is not accepted (any more): renew it and ask again."""
    MAINTENANCE = "maintenance"
    """The whole service is down on purpose. Passes."""
    EXPIRED = "expired"
    """The signed link that a redirect led to is no longer valid: ask the service for a new one."""
    TEMPORARY = "temporary"
    """Some other trouble that comes and goes."""
    ABSENT = "absent"
    """There is no such thing, or not any more."""
    PROXY = "proxy"
    """A proxy between here and the service refuses."""
    PERMANENT = "permanent"
    """A clear no. Asking again changes nothing."""


class Sender(StrEnum):
    """Where an answer comes from."""

    SERVICE = "service"
    """The catalogue's own origin."""
    STORE = "store"
    """Another host, to which the service redirected."""
    LOGIN = "log-in"
    """The log-in service."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not the thing asked for."""

    meaning: Meaning
    status: int
    """Of HTTP; of a JSON error with status 200, the status that it names, if it does."""
    said: str
    """The sender's own words in one line, without a full stop; may be empty."""
    retry_after: float | None = None
    """Seconds that the sender asks to wait; None if it does not say."""
    said_in_json: bool = False
    """Whether the words are from JSON: the service's own, not those of something in between."""

    @property
    def passes(self) -> bool:
        """Whether the same request may succeed later."""
        return self.meaning not in {Meaning.ABSENT, Meaning.PERMANENT}


_MARKUP = re.compile(
    r"<(script|style|title)\b.*?</\1\s*>|<!--.*?-->|<[^>]*>", re.IGNORECASE | re.DOTALL
)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_HTML = re.compile(
    # Atomic: a page that opens with many comments would otherwise be split in 2**n ways.
    r"\ufeff?(?>\s+|<\?xml[^>]*>|<!--.*?-->)*+<(?:!doctype\s+html|html\b)",
    re.IGNORECASE | re.DOTALL,
)
_LOGIN_PAGE = re.compile(
    r"kc-form-login|kc-login|/protocol/openid-connect/auth\b|login-actions/authenticate|"
    r"name=[\"']?SAMLRequest\b|<input\b[^>]*\btype\s*=\s*[\"']?password\b",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"quota|throttl|slow ?down|too ?many|rate[ -]?limit|bandwidth[ -]limit"
    r"|concurrent[ -](?:flow|connection|download|request|session|transfer)"
    r"|max(?:imum)?(?: (?:number|amount))?(?: of)?(?: \d+)?"
    r" (?:concurrent|parallel|simultaneous|session|connection|download|request|transfer)"
    r"|(?:limit|threshold|allowance|number) ?(?:is |was |has been |of [\w ]{1,40} )?"
    r"(?:reached|exceeded)"
    r"|exceed(?:s|ed|ing)? (?:the |your |its |maximum |max |allowed |permitted )*(?:\w+ )?"
    r"(?:limit|rate|allowance|number|sessions|connections|downloads|requests)",
    re.IGNORECASE,
)
_OF_THE_QUERY = re.compile(
    r"\$\w|\b(?:skip|top|offset|filter|quer(?:y|ies)|parameters?|expressions?|nodes?|results?"
    r"|page ?size|address|ur[il]|headers?)\b",
    re.IGNORECASE,
)
"""What a limit is of that the service sets to queries: asking again changes nothing."""
_OF_QUERIES = frozenset({400, 413, 422})
_TOO_LONG = frozenset({414, 431})
_MAINTENANCE = re.compile(
    r"maintenance|under construction"
    r"|temporarily (?:unavailable|down|offline|closed|out of service)"
    r"|(?:be|are|come) (?:right )?back (?:soon|shortly|later|in a)"
    r"|(?:planned|scheduled) (?:down|out)",
    re.IGNORECASE,
)
_EXPIRED = re.compile(
    r"(?:request|link|url|signature|token|policy|presigned[\w ]*) (?:has |is |already )*expired"
    r"|expired (?:request|link|url|signature|token)"
    r"|signature[ \w]*(?:does not|doesn't|not) (?:match|valid)"
    r"|signature not valid in the specified time",
    re.IGNORECASE,
)
_EXPIRED_TOKEN = re.compile(
    r"(?:token|jwt) (?:has |is |already )*expired|expired (?:token|jwt)", re.IGNORECASE
)
_STORE_CODE = re.compile(r"<Code>\s*([A-Za-z]+)\s*</Code>")
_STORE_CODES = {
    "SlowDown": Meaning.QUOTA,
    "SlowDownRead": Meaning.QUOTA,
    "TooManyRequests": Meaning.QUOTA,
    "ServerBusy": Meaning.QUOTA,
    "Throttling": Meaning.QUOTA,
    "ThrottlingException": Meaning.QUOTA,
    "BandwidthLimitExceeded": Meaning.QUOTA,
    "RequestLimitExceeded": Meaning.QUOTA,
    "ExpiredToken": Meaning.EXPIRED,
    "TokenRefreshRequired": Meaning.EXPIRED,
    "SignatureDoesNotMatch": Meaning.EXPIRED,
    "AuthenticationFailed": Meaning.EXPIRED,
    "InvalidObjectState": Meaning.OFFLINE,
    "BlobArchived": Meaning.OFFLINE,
    "BlobBeingRehydrated": Meaning.OFFLINE,
    "RestoreAlreadyInProgress": Meaning.OFFLINE,
    "NoSuchKey": Meaning.ABSENT,
    "NoSuchBucket": Meaning.ABSENT,
    "BlobNotFound": Meaning.ABSENT,
    "InternalError": Meaning.TEMPORARY,
    "ServiceUnavailable": Meaning.TEMPORARY,
    "OperationTimedOut": Meaning.TEMPORARY,
    "OperationAborted": Meaning.TEMPORARY,
    "RequestTimeout": Meaning.TEMPORARY,
}
"""Error codes of S3, Google and Azure that say more than their status. ``AccessDenied`` is not
among them: its text tells an expired link from a refusal."""
_SPEAKING = re.compile(r"error|message|reason|cause|warning|detail|fault|denied", re.IGNORECASE)
"""Names of header fields whose values are sentences about what went wrong."""
_EXHAUSTED = re.compile(r"(?:x-)?rate-?limit-remaining(?:-\w+)?", re.IGNORECASE)
_PROXY_FIELDS = ("X-Squid-Error", "Proxy-Authenticate", "X-Bluecoat-Via", "X-Zscaler-Error")
_PASSING = frozenset({408, 421, 425})
_MOST = 8 << 10
"""Bytes of a body that are looked at: the time that some of the patterns take grows faster."""


def classify(  # noqa: PLR0913 (all that the table reads)
    status: int,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    sender: Sender = Sender.SERVICE,
    url: str = "",
    had_token: bool = False,
    reason: str = "",
    json_due: bool = False,
) -> Refusal:
    """Return what an answer means that is not the thing asked for, by the table above.

    ``body``: its first bytes, a few kB at most. ``url``: the address that answered, after
    redirects. ``had_token``: whether the request carried the token. ``reason``: the phrase behind
    the status, if the protocol has one. ``json_due``: whether the thing asked for is JSON, so that
    a JSON error with status 200 is the service's own answer.

    >>> classify(403, {}, b"maximum number of 4 concurrent flows achieved").meaning
    <Meaning.QUOTA: 'quota'>
    >>> classify(503, {"Retry-After": "5"}).retry_after
    5.0
    """
    text = body[:_MOST].decode(errors="replace")
    in_json = _json_sentence(text)
    said = in_json or _sentence(text) or _spoken(headers, reason)
    words = " ".join((_plain_text(text), *_sentences(headers), reason))
    told = _status_in_json(text) if json_due and status < 300 else None
    status = told or status
    meaning = _meaning(status, headers, text, words, sender, url, had_token=had_token)
    if told == 0 and meaning is Meaning.TEMPORARY:
        meaning = Meaning.PERMANENT
    return Refusal(
        meaning, status, excerpt(said).rstrip("."), retry_after(headers), said_in_json=bool(in_json)
    )


def _meaning(
    status: int,
    headers: Mapping[str, str],
    text: str,
    words: str,
    sender: Sender,
    url: str,
    *,
    had_token: bool,
) -> Meaning:
    found = _STORE_CODE.search(text) if status >= 300 else None
    code = _STORE_CODES.get(found[1]) if found else None
    from_proxy = status < 500 and any(name in headers for name in _PROXY_FIELDS)
    may_be_login = sender is not Sender.LOGIN and (status < 400 or status in {401, 403})
    speaks = status != 404
    rows = (
        (status == 407 or from_proxy, Meaning.PROXY),
        (may_be_login and (is_login_address(url) or _LOGIN_PAGE.search(text)), Meaning.LOGIN),
        (code, code),
        (speaks and (_is_quota(status, words) or _is_exhausted(status, headers)), Meaning.QUOTA),
        (speaks and _MAINTENANCE.search(words), Meaning.MAINTENANCE),
        (status == 403 and had_token and _EXPIRED_TOKEN.search(words), Meaning.LOGIN),
        (status == 403 and _EXPIRED.search(words), Meaning.EXPIRED),
        (status < 500 and sender is Sender.LOGIN and is_html(text), Meaning.TEMPORARY),
    )
    decided = next((meaning for applies, meaning in rows if applies), None)
    return decided or _by_status(status, sender, had_token=had_token)


def _by_status(status: int, sender: Sender, *, had_token: bool) -> Meaning:
    if status == 202 and sender is not Sender.LOGIN:
        return Meaning.OFFLINE
    if status == 401 and had_token:
        return Meaning.LOGIN
    if status == 429:
        return Meaning.QUOTA
    if status in {404, 410}:
        return Meaning.ABSENT
    if status < 400 or status >= 500 or status in _PASSING:
        return Meaning.TEMPORARY
    return Meaning.PERMANENT


def is_login_address(url: str) -> bool:
    """Return whether an address is that of a log-in page, to which browsers are sent.

    >>> is_login_address("https://sso.example/realms/x/protocol/openid-connect/auth?client_id=a")
    True
    >>> is_login_address("https://sso.example/realms/x/protocol/openid-connect/token")
    False
    """
    parts = urlsplit(url)
    if "response_type=" in parts.query and "client_id=" in parts.query:
        return True
    return parts.path.rstrip("/").endswith(("/openid-connect/auth", "/login-actions/authenticate"))


def is_html(text: str) -> bool:
    """Return whether a text begins as an HTML page does."""
    return _HTML.match(text) is not None


def looks_like_text(start: bytes) -> bool:
    r"""Return whether the first bytes of a body are those of a message or a page, not of a product.

    Zip, NetCDF, HDF, TIFF, JPEG 2000 and gzip all have bytes among their first ones that no text
    has.

    >>> looks_like_text(b"<html>"), looks_like_text(b"PK\x03\x04"), looks_like_text(b"")
    (True, False, True)
    """
    return not any(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in start[:512])


def _json_sentence(text: str) -> str:
    try:
        return sentence_of(json.loads(text))
    except (ValueError, RecursionError):
        return ""


def _sentence(text: str) -> str:
    """The sentence in an error's body that is not JSON: XML, HTML or plain text."""
    if (message := re.search(r"<(?:\w+:)?Message[^>]*>([^<]+)<", text, re.IGNORECASE)) is not None:
        return message[1]
    plain = _MARKUP.sub(" ", text)
    if plain.lstrip()[:1] in {"{", "["}:
        return ""
    title = _TITLE.search(text)
    return plain if plain.strip() or title is None else title[1]


_STATUS_KEYS = ("status", "statuscode", "status_code", "httpstatus", "code")
_ERROR_KEYS = frozenset(
    {"error", "errors", "detail", "details", "fault", "exception", "message", "title"}
)
"""Keys of which an object that tells an error has one."""


def _status_in_json(text: str) -> int | None:
    """Return the status that a JSON error names, 0 if it names none; None if it is no error."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    lower = {str(key).lower(): value for key, value in document.items()}
    if lower.keys().isdisjoint(_ERROR_KEYS) or not sentence_of(document):
        return None
    if isinstance(lower.get("value"), list):  # a list that broke off
        return None
    inner = lower.get("error")
    for held in (inner if isinstance(inner, dict) else {}, lower):
        for key, value in held.items():
            status = str(value)
            if str(key).lower() in _STATUS_KEYS and re.fullmatch("[45][0-9]{2}", status):
                return int(status)
    return 0


_SAYING = (
    "message",
    "detail",
    "error_description",
    "msg",
    "description",
    "title",
    "error",
    "value",
)
"""Keys of a JSON error whose values are the sentence, in the order of preference."""


def sentence_of(document: Any, depth: int = 0) -> str:
    """Return the sentence in a JSON error of any shape met; empty if there is none.

    >>> sentence_of({"error": {"code": None, "message": {"lang": "en", "value": "No such set"}}})
    'No such set'
    """
    if isinstance(document, str):
        return document
    if depth > 5:
        return ""
    if isinstance(document, list):
        sentences = [sentence_of(each, depth + 1) for each in document[:5]]
        return "; ".join(each for each in sentences if each)
    if isinstance(document, dict):
        lower = {str(key).lower(): value for key, value in document.items()}
        for key in ("error", *_SAYING):
            inner = lower.get(key)
            if isinstance(inner, dict | list) and (said := sentence_of(inner, depth + 1)):
                return said
        for key in _SAYING:
            if isinstance(inner := lower.get(key), str) and inner.strip():
                return inner
    return ""


def _plain_text(text: str) -> str:
    """The text of a page without markup, scripts and styles; the title comes first."""
    title = _TITLE.search(text)
    plain = _MARKUP.sub(" ", text)
    return f"{title[1]} {plain}" if title else plain


def _spoken(headers: Mapping[str, str], reason: str) -> str:
    return next(iter(_sentences(headers)), "") or (reason if " " in reason else "")


def _sentences(headers: Mapping[str, str]) -> Iterable[str]:
    return [readable(value) for name, value in headers.items() if _SPEAKING.search(name)]


def _is_quota(status: int, words: str) -> bool:
    """Whether the words tell of a quota, not of what a query may ask for or how long it may be."""
    if status in _TOO_LONG or _QUOTA.search(words) is None:
        return False
    return status not in _OF_QUERIES or _OF_THE_QUERY.search(words) is None


def _is_exhausted(status: int, headers: Mapping[str, str]) -> bool:
    if status not in {400, 403, 503}:
        return False
    return any(
        _EXHAUSTED.fullmatch(name) and value.strip() == "0" for name, value in headers.items()
    )
