"""What the token endpoint's answers mean, and whether a request is repeated: the tables."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from noa_async import RetryPolicy, Service
from noa_async.auth.credentials import Credentials
from noa_async.auth.grants import (
    PASSWORD,
    REFRESH,
    Answer,
    Cause,
    Denial,
    Reader,
    Token,
    logout_url,
    wait_after,
)
from noa_async.errors import CredentialsRefused, ServiceFault, ServiceRefused

SECRET = "s3cret"
READER = Reader(Service(), Credentials("ada", SECRET, source="test"))
PAGE = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
MOVED = {"Location": "https://new.example/realms/mirror/protocol/openid-connect/token"}
DOWN = {"Location": "https://mirror.example/maintenance.html"}


def oauth(description: str | None = None, error: str = "invalid_grant") -> str:
    return json.dumps({"error": error, "error_description": description})


def read(
    status: int, body: str = "", grant: str = PASSWORD, headers: dict[str, str] | None = None
) -> Token | Denial:
    answer = Answer(status, CIMultiDict(headers or {}), body.encode())
    return READER.read(answer, grant, 0.0)


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        # A clear no.
        (401, oauth("Invalid user credentials"), Cause.REFUSED),
        (400, oauth("Account disabled"), Cause.REFUSED),
        (400, oauth("Account is not fully set up"), Cause.REFUSED),
        (401, oauth("Password expired"), Cause.REFUSED),
        (401, oauth(), Cause.REFUSED),
        (200, oauth("Invalid user credentials"), Cause.REFUSED),
        (403, oauth("Denied by policy", "access_denied"), Cause.REFUSED),
        (401, '{"error":"invalid_grant","error_descr', Cause.REFUSED),
        # No to something else.
        (401, oauth("Invalid client credentials", "invalid_client"), Cause.CLIENT),
        (400, oauth("Client not allowed", "unauthorized_client"), Cause.CLIENT),
        (400, oauth("Unsupported grant_type", "unsupported_grant_type"), Cause.CLIENT),
        (400, oauth("Account temporarily disabled"), Cause.LOCKED),
        (401, oauth("Account is locked"), Cause.LOCKED),
        (401, oauth("Too many failed login attempts"), Cause.LOCKED),
        (400, oauth("There are too many sessions"), Cause.SESSIONS),
        (403, oauth("User session limit exceeded", "generic_error"), Cause.SESSIONS),
        (401, oauth("sessionLimitExceeded", "access_denied"), Cause.SESSIONS),
        (403, "Maximum number of sessions reached", Cause.SESSIONS),
        (429, "Too many sessions", Cause.SESSIONS),
        (403, PAGE.format("Too many sessions"), Cause.SESSIONS),
        # Trouble that passes, whatever its status.
        (403, PAGE.format("Forbidden"), Cause.AWAY),
        (401, PAGE.format("401 Authorization Required"), Cause.AWAY),
        (400, PAGE.format("Bad Request"), Cause.AWAY),
        (404, PAGE.format("Not Found"), Cause.AWAY),
        (405, PAGE.format("Not Allowed"), Cause.AWAY),
        (503, PAGE.format("Down for maintenance"), Cause.AWAY),
        (200, PAGE.format("Welcome"), Cause.AWAY),
        (200, PAGE.format("<form><input type=password></form>"), Cause.AWAY),
        (401, "", Cause.AWAY),
        (403, "Forbidden", Cause.AWAY),
        (403, '{"status": 403, "error": "Forbidden", "message": ""}', Cause.AWAY),
        (401, '{"error": "HTTP 401 Unauthorized"}', Cause.AWAY),
        (400, oauth("Session not active"), Cause.AWAY),
        (401, oauth("User directory temporarily unavailable"), Cause.AWAY),
        (401, oauth("LDAP timed out"), Cause.AWAY),
        (400, oauth("Please try again later", "temporarily_unavailable"), Cause.AWAY),
        (500, oauth("For more on this error consult the server log", "unknown_error"), Cause.AWAY),
        (500, oauth("Invalid user credentials"), Cause.AWAY),
        (429, "", Cause.AWAY),
        (502, "", Cause.AWAY),
        (202, "", Cause.AWAY),
        (200, "", Cause.AWAY),
        (407, "", Cause.AWAY),
        # Nothing there gives tokens.
        (404, '{"error": "Realm does not exist"}', Cause.ADDRESS),
        (404, "Not Found", Cause.ADDRESS),
        (405, "", Cause.ADDRESS),
        (410, "", Cause.ADDRESS),
        (415, '{"error": "HTTP 415 Unsupported Media Type"}', Cause.ADDRESS),
    ],
)
def test_the_table_for_a_password(status: int, body: str, cause: Cause) -> None:
    found = read(status, body)
    assert isinstance(found, Denial)
    assert found.cause is cause
    assert isinstance(found.error, CredentialsRefused) == (
        cause in {Cause.REFUSED, Cause.LOCKED, Cause.CLIENT}
    )
    assert isinstance(found.error, ServiceRefused) == (cause is Cause.ADDRESS)
    assert (found.error.hint == "Check the token address (--token-url).") == (
        cause is Cause.ADDRESS
    )


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (400, oauth("Token is not active"), Cause.EXPIRED),
        (400, oauth("Maximum allowed refresh token reuse exceeded"), Cause.EXPIRED),
        (401, oauth("Session not active"), Cause.EXPIRED),
        (403, oauth("Invalid refresh token"), Cause.EXPIRED),
        (400, oauth("Account disabled"), Cause.EXPIRED),
        (400, "", Cause.EXPIRED),
        (400, '{"error": "unknown"}', Cause.EXPIRED),
        (400, PAGE.format("Bad Request"), Cause.AWAY),
        (403, PAGE.format("Forbidden"), Cause.AWAY),
        (403, "", Cause.AWAY),
        (503, "", Cause.AWAY),
        (401, oauth("Invalid client", "invalid_client"), Cause.CLIENT),
        (404, "Not Found", Cause.ADDRESS),
    ],
)
def test_the_table_for_a_refresh(status: int, body: str, cause: Cause) -> None:
    found = read(status, body, REFRESH)
    assert isinstance(found, Denial)
    assert found.cause is cause


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status: int) -> None:
    down, moved = read(status, headers=DOWN), read(status, headers=MOVED)
    assert isinstance(down, Denial)
    assert isinstance(moved, Denial)
    assert (down.cause, moved.cause) == (Cause.AWAY, Cause.ADDRESS)
    assert "maintenance page" in down.error.message
    assert "Check the token address" not in str(down.error)
    assert MOVED["Location"] in moved.error.message
    for target in ("", "http://[", "https://sso.example"):
        found = read(status, headers={"Location": target})
        assert isinstance(found, Denial)
        assert found.cause is Cause.AWAY


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, PAGE.format("Down for maintenance"), "shows a maintenance page, status 503 (Down"),
        (403, PAGE.format("Forbidden"), "403 with a web page (Forbidden), probably a"),
        (503, "", "unavailable: it answered 503."),
        (429, '{"detail": "Rate limit"}', "it answered 429 (Rate limit)."),
        (407, "", "a proxy answered 407"),
        (400, oauth("There are too many sessions"), "too many sessions"),
        (400, oauth("Account temporarily disabled"), "'ada' is temporarily locked: Account temp"),
        (401, oauth("x", "invalid_client"), "rejects the client id 'mirror-client': x."),
        (401, oauth(f"no {SECRET}"), "credentials of 'ada' (from test): no ***."),
    ],
)
def test_what_is_said(status: int, body: str, said: str) -> None:
    found = read(status, body)
    assert isinstance(found, Denial)
    assert said in found.error.message
    assert SECRET not in str(found.error)


@pytest.mark.parametrize(
    ("description", "hint"),
    [
        ("Invalid user credentials", "they are not sent again until they change"),
        ("Account disabled", "ask the service's operators"),
        ("Account is not fully set up", "The password is not the reason"),
        ("Password expired", "Renew the password"),
    ],
)
def test_what_to_do_about_an_account(description: str, hint: str) -> None:
    found = read(400, oauth(description))
    assert isinstance(found, Denial)
    assert hint in found.error.hint


def test_a_token_and_what_stands_beside_it() -> None:
    for extra in ({}, {"error": None}, {"error": ""}):
        found = read(200, json.dumps({"access_token": "a", **extra}))
        assert isinstance(found, Token)
    wait = read(503, headers={"Retry-After": "7"})
    assert isinstance(wait, Denial)
    assert (wait.error.retry_after, getattr(wait.error, "status", 0)) == (7.0, 503)


@given(
    st.integers(100, 999),
    st.text('<>{}":, sessionlimterror_', max_size=60) | st.text(max_size=60),
    st.sampled_from((PASSWORD, REFRESH)),
    st.dictionaries(st.sampled_from(("Location", "Retry-After", "Error")), st.text(max_size=20)),
)
def test_any_answer_is_read(status: int, body: str, grant: str, headers: dict[str, str]) -> None:
    found = read(status, body, grant, headers)
    if isinstance(found, Denial):
        assert found.error.message.isprintable()
        refused = isinstance(found.error, CredentialsRefused)
        assert not refused or '"error"' in body


POLICY = RetryPolicy(retries=8, base=1, cap=60)
SLOW = (30.0, 60.0)
SOON = (0.0, 60.0)


@pytest.mark.parametrize(
    ("cause", "accepted", "failures", "refusals", "between"),
    [
        (Cause.AWAY, False, 1, 0, SOON),
        (Cause.AWAY, False, 8, 0, SOON),
        (Cause.AWAY, True, 9, 0, None),
        (Cause.UNREACHABLE, False, 2, 0, SOON),
        (Cause.UNREACHABLE, False, 3, 0, None),
        (Cause.UNREACHABLE, True, 8, 0, SOON),
        (Cause.ADDRESS, False, 2, 0, SOON),
        (Cause.ADDRESS, False, 3, 0, None),
        (Cause.ADDRESS, True, 8, 0, SOON),
        (Cause.UNUSABLE, False, 1, 0, None),
        (Cause.UNUSABLE, True, 1, 0, SOON),
        (Cause.SESSIONS, False, 2, 0, SLOW),
        (Cause.SESSIONS, True, 3, 0, None),
        (Cause.REFUSED, False, 1, 1, None),
        (Cause.REFUSED, True, 1, 1, SLOW),
        (Cause.REFUSED, True, 2, 2, None),
        (Cause.CLIENT, False, 1, 1, None),
        (Cause.CLIENT, True, 1, 1, SLOW),
        (Cause.LOCKED, True, 1, 0, None),
    ],
)
def test_when_a_request_is_repeated(
    cause: Cause, accepted: bool, failures: int, refusals: int, between: Any
) -> None:
    wait = wait_after(cause, POLICY, failures=failures, refusals=refusals, accepted=accepted)
    if between is None:
        assert wait is None
    else:
        assert wait is not None
        assert between[0] <= wait <= between[1]


def test_the_policy_bounds_all_of_it() -> None:
    for cause in Cause:
        once = wait_after(cause, RetryPolicy(retries=0), failures=1, refusals=1, accepted=True)
        long = wait_after(cause, POLICY, failures=1, refusals=1, accepted=True, asked=7200)
        assert once is long is None


@pytest.mark.parametrize(
    ("url", "logout"),
    [
        ("http://h:1/realms/x/protocol/openid-connect/token", "http://h:1/realms/x/protocol/openid-connect/logout"),
        ("http://h/token?x=1", "http://h/logout"),
        ("http://h/oauth2/v1/tokens", None),
        ("http://h", None),
    ],
)  # fmt: skip
def test_where_a_session_is_ended(url: str, logout: str | None) -> None:
    assert logout_url(url) == logout


def test_errors_are_of_the_service_where_it_may_pass() -> None:
    found = read(400, oauth("There are too many sessions"))
    assert isinstance(found, Denial)
    assert isinstance(found.error, ServiceFault)
    assert found.error.retryable
