"""Map a rejected catalogue request to an error. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from noa_async.answers import Meaning
from noa_async.catalogue.page import in_brackets
from noa_async.errors import (
    CredentialsRefused,
    NoaError,
    ServiceError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)
from noa_async.origins import host_of, same_origin

if TYPE_CHECKING:
    from noa_async.answers import Refusal

_TOO_LONG = frozenset({414, 431})
_TOO_LONG_WORDS = re.compile(
    r"\b(?:ur[il]|header|cookie|request|line)\b[\w ]* too (?:long|large)", re.IGNORECASE
)
_LONG_ADDRESS = 2000
"""Bytes: a URL this long may have been rejected because of its length."""
_OVERLOADED = frozenset({408, 429, 503, 504})
_REFUSES_ORDER = frozenset({200, 400, 422})
_OF_AN_ORDER = re.compile(
    r"order|sort|\bId\b|bad request|not (?:supported|implemented|allowed)|unsupported"
    r"|(?:invalid|malformed) (?:query|request|ur[il])",
    re.IGNORECASE,
)
_PASSING_WAIT = 1.0


def catalogue_error(
    refusal: Refusal,
    url: str,
    *,
    home: str,
    answered_by: str = "",
    had_token: bool = True,
    answered_before: bool = False,
    is_list: bool = True,
) -> NoaError:
    """Return the error for a rejected catalogue request.

    | meaning                          | error                                                |
    |----------------------------------|------------------------------------------------------|
    | QUOTA, MAINTENANCE, TEMPORARY,   | ServiceFault: retried as the policy allows           |
    | OFFLINE, EXPIRED                 |                                                      |
    | PROXY                            | ServiceUnreachable                                   |
    | LOGIN; 401 or 403                | CredentialsRefused, after three retries              |
    | the same, from another host that | ServiceRefused                                       |
    | did not get the token            |                                                      |
    | ABSENT, PERMANENT                | ServiceRefused; see `_passing_tries`                 |

    ``url``: the URL that was requested. ``home``: the entity set's URL. ``answered_by``: the URL
    that answered, after redirects; ``url`` if empty. ``answered_before``: whether the catalogue has
    returned a list in this run, so that its address is right. ``is_list``: whether a list was
    requested, not a single entry, which may not exist.
    """
    meaning, status = refusal.meaning, refusal.status
    said = in_brackets(refusal.said)
    if meaning is Meaning.PROXY:
        error: ServiceError = ServiceUnreachable(
            f"The proxy between here and {host_of(url)} answered {status}{said}.",
            hint="Check the proxy set in the environment (HTTPS_PROXY).",
        )
    elif meaning is Meaning.LOGIN or (meaning is Meaning.PERMANENT and status in {401, 403}):
        if not same_origin(answered_by or url, home) and not had_token:
            return _sent_elsewhere(answered_by, status, said)
        page = "showed its log-in page" if status not in {401, 403} else f"answered {status}"
        return CredentialsRefused(
            f"The catalogue {page} although the token is new{said}.",
            hint="Check that this account is allowed to use this catalogue.",
            more_tries=3,
        )
    elif refusal.passes:
        down = "is down for maintenance: it " if meaning is Meaning.MAINTENANCE else ""
        error = ServiceFault(
            f"The catalogue {down}{_answered(status)}{said}.", retry_after=refusal.retry_after
        )
        error.overloaded = meaning is Meaning.QUOTA or status in _OVERLOADED
    else:
        tries = _passing_tries(refusal, url, answered_before=answered_before) if is_list else 0
        error = ServiceRefused(
            f"The catalogue {_answered(status)}{said}.",
            hint=_hint(refusal, url, home),
            more_tries=tries,
            retry_after=_PASSING_WAIT if tries else None,
        )
    error.status = status
    error.service_words = refusal.said if refusal.said_in_json else ""
    return error


def _passing_tries(refusal: Refusal, url: str, *, answered_before: bool) -> int:
    """Return how often to retry a rejected page request; some rejections are temporary.

    | the URL has a skip              | the service sent a message | answered before | retries |
    |---------------------------------|----------------------------|-----------------|---------|
    | yes: probably the service limit | -                          | -               | 0       |
    | no                              | -                          | yes             | 2       |
    | no                              | yes                        | no              | 0       |
    | no                              | no                         | no              | 1       |
    """
    if "skip=" in url:
        return 0
    return 2 if answered_before else 0 if refusal.said_in_json else 1


def may_refuse_order(error: ServiceError) -> bool:
    """Return whether the service may have rejected a request because of its sort order.

    | status                        | message in JSON                               | it may |
    |-------------------------------|-----------------------------------------------|--------|
    | 500, 501                      | -                                             | yes    |
    | 200 (with an error), 400, 422 | none, or one sent by a host in between        | yes    |
    | the same                      | about sorting, or about no particular thing   | yes    |
    | the same                      | about something else                          | no     |
    | any other                     | -                                             | no     |
    """
    if error.status in {500, 501}:
        return True
    words = error.service_words
    return error.status in _REFUSES_ORDER and (not words or _OF_AN_ORDER.search(words) is not None)


def _answered(status: int) -> str:
    return "answered with an error" if status == 200 else f"answered {status}"


def _hint(refusal: Refusal, url: str, home: str) -> str:
    length = f"The URL had {len(url):,} bytes"
    shorter = "Simplify the area (--simplify), or use fewer rules or values."
    if refusal.status in _TOO_LONG or _TOO_LONG_WORDS.search(refusal.said):
        return f"{length}, more than this service accepts. {shorter}"
    if refusal.status == 400 and len(url) > _LONG_ADDRESS and not refusal.said_in_json:
        return f"{length}, probably more than this service accepts. {shorter}"
    if refusal.meaning is Meaning.ABSENT:
        return f"Check the catalogue address: there is no list of products at {home}."
    if refusal.status in {200, 400, 422}:
        return (
            "The service rejects the filter: check the area and the raw filter. NOA does not "
            "support Name or Collection filters."
        )
    return ""


def _sent_elsewhere(url: str, status: int, said: str) -> ServiceRefused:
    host = host_of(url)
    refused = ServiceRefused(
        f"The catalogue address redirects to {host}, which answered {status}{said}; the token is "
        "not sent there.",
        hint=f"If {host} belongs to the catalogue, set its address (--catalogue-url) in place of "
        "the old one.",
    )
    refused.status = status
    return refused
