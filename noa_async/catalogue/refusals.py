"""What a refusal of the catalogue means for the run: an error of ours, in words. Pure."""

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
"""Bytes: a refusal of so long an address may be because of its length."""
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
    """Return the error for a refusal of the catalogue.

    | meaning                          | error                                                |
    |----------------------------------|------------------------------------------------------|
    | QUOTA, MAINTENANCE, TEMPORARY,   | ServiceFault: retried by the policy                  |
    | OFFLINE, EXPIRED                 |                                                      |
    | PROXY                            | ServiceUnreachable                                   |
    | LOGIN; 401 or 403                | CredentialsRefused, after three more tries           |
    | the same, of another host, which | ServiceRefused                                       |
    | does not get the token           |                                                      |
    | ABSENT, PERMANENT                | ServiceRefused; see `_passing_tries`                 |

    ``url``: what was asked. ``home``: the entity set's address. ``answered_by``: the address that
    answered, after redirects; as ``url`` if empty. ``answered_before``: whether the catalogue has
    listed anything in this run, so that its address is right. ``is_list``: whether a page of a list
    was asked for, and not a single entry, which may be gone.
    """
    meaning, status = refusal.meaning, refusal.status
    said = in_brackets(refusal.said)
    if meaning is Meaning.PROXY:
        error: ServiceError = ServiceUnreachable(
            f"A proxy on the way to {host_of(url)} answered {status}{said}.",
            hint="Check the proxy that the environment names.",
        )
    elif meaning is Meaning.LOGIN or (meaning is Meaning.PERMANENT and status in {401, 403}):
        if not same_origin(answered_by or url, home) and not had_token:
            return _sent_elsewhere(answered_by, status, said)
        page = "showed its log-in page" if status not in {401, 403} else f"answered {status}"
        return CredentialsRefused(
            f"The catalogue {page} to a fresh token{said}.",
            hint="Check that this account may use this catalogue.",
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
    """Return how often a refused page is asked for again, for a refusal may pass.

    | the address has a skip | the service's own words | has answered before | tries |
    |------------------------|-------------------------|---------------------|-------|
    | yes: it may be a limit | -                       | -                   | 0     |
    | no                     | -                       | yes                 | 2     |
    | no                     | yes                     | no                  | 0     |
    | no                     | no                      | no                  | 1     |
    """
    if "skip=" in url:
        return 0
    return 2 if answered_before else 0 if refusal.said_in_json else 1


def may_refuse_order(error: ServiceError) -> bool:
    """Return whether a service that answers so may not take the order that was asked for.

    | status                         | its words                                | it may |
    |--------------------------------|------------------------------------------|--------|
    | 500, 501                       | -                                        | yes    |
    | 200 (with an error), 400, 422  | none, or those of something in between   | yes    |
    | the same                       | its own, of an order, or of nothing else | yes    |
    | the same                       | its own, of something else               | no     |
    | any other                      | -                                        | no     |
    """
    if error.status in {500, 501}:
        return True
    words = error.service_words
    return error.status in _REFUSES_ORDER and (not words or _OF_AN_ORDER.search(words) is not None)


def _answered(status: int) -> str:
    return "answered with an error" if status == 200 else f"answered {status}"


def _hint(refusal: Refusal, url: str, home: str) -> str:
    length = f"The address had {len(url):,} bytes"
    shorter = "Simplify the area (--simplify), or ask with fewer rules or values."
    if refusal.status in _TOO_LONG or _TOO_LONG_WORDS.search(refusal.said):
        return f"{length}, more than this service takes. {shorter}"
    if refusal.status == 400 and len(url) > _LONG_ADDRESS and not refusal.said_in_json:
        return f"{length}, probably more than this service takes. {shorter}"
    if refusal.meaning is Meaning.ABSENT:
        return f"Check the catalogue address: {home} is no list of products."
    if refusal.status in {200, 400, 422}:
        return (
            "It does not understand the filter: check the area and the raw filter; NOA takes no "
            "Name or Collection filters."
        )
    return ""


def _sent_elsewhere(url: str, status: int, said: str) -> ServiceRefused:
    host = host_of(url)
    refused = ServiceRefused(
        f"The catalogue's address leads to {host}, which answered {status}{said}: it does not get "
        "the token.",
        hint=f"If {host} is the catalogue's own, give its address (--catalogue-url) in place of "
        "the old one.",
    )
    refused.status = status
    return refused
