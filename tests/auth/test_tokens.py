"""The token manager against a token endpoint on a real socket that answers as it is told."""

from __future__ import annotations

import asyncio
import gc
import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from noa_async.auth.credentials import Credentials
from noa_async.auth.tokens import Token, TokenManager, read_token
from noa_async.errors import (
    CredentialsRefused,
    NoaError,
    ServiceError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)
from noa_async.events import TokenObtained
from noa_async.settings import Settings
from noa_async.transport import Transport

PASSWORD = "hunter2 & co + é"
SECRETS = (PASSWORD, "hunter2", "access-", "refresh-")

Answer = dict[str, Any] | web.Response | Callable[[], web.Response]


@dataclass
class Endpoint:
    """What the service would be: it notes each form and gives the next answer of the script."""

    script: list[Answer] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    most_in_flight: int = 0
    on_request: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.open.set()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        assert request.method == "POST"
        assert "Authorization" not in request.headers
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            self.forms.append({key: str(value) for key, value in (await request.post()).items()})
            self.on_request()
            self.arrived.set()
            await self.open.wait()
        finally:
            self.in_flight -= 1
        answer = self.script.pop(0) if self.script else grant(len(self.forms))
        if isinstance(answer, dict):
            return web.json_response(answer)
        return answer if isinstance(answer, web.Response) else answer()

    @property
    def grants(self) -> list[str]:
        return [form["grant_type"] for form in self.forms]


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def grant(number: int, **changed: Any) -> dict[str, Any]:
    """What Keycloak answers; None takes a key away."""
    answer = {
        "access_token": f"access-{number}",
        "expires_in": 300,
        "refresh_token": f"refresh-{number}",
        "refresh_expires_in": 1800,
        "token_type": "Bearer",
    } | changed
    return {key: value for key, value in answer.items() if value is not None}


def refused(code: str = "invalid_grant", why: str = "Nope", status: int = 401) -> web.Response:
    return web.json_response({"error": code, "error_description": why}, status=status)


@pytest.fixture
def endpoint():
    return Endpoint()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def events():
    return []


@pytest.fixture
async def manager(serve, endpoint, clock, events):
    url = await serve(endpoint.handle)
    values = {"catalogue_url": f"{url}/Products", "token_url": f"{url}/token"}
    settings = Settings().with_values(values)
    async with Transport(settings) as transport:
        yield TokenManager(
            transport,
            settings.service,
            Credentials("ada", PASSWORD, "the test"),
            observer=events.append,
            clock=clock,
        )


def spend(manager: TokenManager, clock: Clock) -> None:
    """Let the present token run out."""
    clock.now += manager.expires_in + 1


async def test_the_first_token_is_asked_for_with_the_password(manager, endpoint, events):
    assert await manager.token() == "access-1"
    assert endpoint.forms == [
        {
            "client_id": "mirror-client",
            "grant_type": "password",
            "username": "ada",
            "password": PASSWORD,
        }
    ]
    assert events == [TokenObtained("password", 300.0)]


async def test_a_token_that_holds_is_given_again(manager, endpoint):
    assert [await manager.token() for _ in range(3)] == ["access-1"] * 3
    assert len(endpoint.forms) == 1


async def test_before_expiry_it_is_refreshed(manager, endpoint, clock, events):
    await manager.token()
    clock.now += 239.9
    assert await manager.token() == "access-1"
    clock.now += 0.2
    assert await manager.token() == "access-2"
    assert endpoint.forms[1] == {
        "client_id": "mirror-client",
        "grant_type": "refresh_token",
        "refresh_token": "refresh-1",
    }
    assert events[1] == TokenObtained("refresh_token", 300.0)


async def test_life_counts_from_before_the_request(manager, endpoint, clock):
    def slow() -> None:
        clock.now += 50

    endpoint.on_request = slow
    await manager.token()
    assert manager.expires_in == 250
    clock.now += 191
    assert await manager.token() == "access-2"


async def test_a_short_life_is_renewed_in_its_last_fifth(manager, endpoint, clock):
    endpoint.script = [grant(1, expires_in=3)]
    await manager.token()
    clock.now += 2.3
    assert await manager.token() == "access-1"
    clock.now += 0.2
    assert await manager.token() == "access-2"


async def test_each_refresh_uses_the_newest_refresh_token(manager, endpoint, clock):
    for _ in range(4):
        await manager.token()
        spend(manager, clock)
    assert [form.get("refresh_token") for form in endpoint.forms] == [
        None,
        "refresh-1",
        "refresh-2",
        "refresh-3",
    ]


@pytest.mark.parametrize("status", [400, 401])
async def test_a_refused_refresh_is_followed_by_a_log_in(manager, endpoint, clock, status):
    endpoint.script = [grant(1), refused(why="Token is not active", status=status), grant(3)]
    await manager.token()
    spend(manager, clock)
    assert await manager.token() == "access-3"
    assert endpoint.grants == ["password", "refresh_token", "password"]


async def test_a_refused_refresh_token_is_not_sent_again(manager, endpoint, clock):
    busy = web.Response(status=503)
    endpoint.script = [grant(1), refused(status=400), busy, grant(4)]
    await manager.token()
    spend(manager, clock)
    with pytest.raises(ServiceFault):
        await manager.token()
    assert await manager.token() == "access-4"
    assert endpoint.grants == ["password", "refresh_token", "password", "password"]


async def test_a_passing_fault_keeps_the_refresh_token(manager, endpoint, clock):
    endpoint.script = [grant(1), web.Response(status=503), grant(3)]
    await manager.token()
    spend(manager, clock)
    with pytest.raises(ServiceFault):
        await manager.token()
    assert await manager.token() == "access-3"
    assert endpoint.grants == ["password", "refresh_token", "refresh_token"]


@pytest.mark.parametrize("absent", [{"refresh_token": None}, {"refresh_token": ""}])
async def test_without_a_refresh_token_it_logs_in_again(manager, endpoint, clock, absent):
    endpoint.script = [grant(1, **absent)]
    await manager.token()
    spend(manager, clock)
    assert await manager.token() == "access-2"
    assert endpoint.grants == ["password", "password"]


async def test_a_refresh_token_past_its_life_is_not_sent(manager, endpoint, clock):
    endpoint.script = [grant(1, refresh_expires_in=400)]
    await manager.token()
    clock.now += 400
    await manager.token()
    assert endpoint.grants == ["password", "password"]


@pytest.mark.parametrize("life", [0, None])
async def test_a_refresh_token_of_unsaid_life_is_sent(manager, endpoint, clock, life):
    endpoint.script = [grant(1, refresh_expires_in=life)]
    await manager.token()
    clock.now += 1e6
    await manager.token()
    assert endpoint.grants == ["password", "refresh_token"]


@pytest.mark.parametrize(
    ("said", "life"),
    [
        (None, 300),
        ("soon", 300),
        (-5, 300),
        (0, 300),
        ([], 300),
        ("600", 600),
        (1.5, 1.5),
        (10**400, 300),
    ],
    ids=["missing", "a word", "negative", "zero", "list", "text", "part", "enormous"],
)
async def test_lives_as_servers_say_them(manager, endpoint, said, life):
    endpoint.script = [grant(1, expires_in=said)]
    await manager.token()
    assert manager.expires_in == life


async def test_a_hundred_waiters_send_one_request(manager, endpoint):
    endpoint.open.clear()
    waiters = [asyncio.create_task(manager.token()) for _ in range(100)]
    await endpoint.arrived.wait()
    endpoint.open.set()
    assert set(await asyncio.gather(*waiters)) == {"access-1"}
    assert len(endpoint.forms) == 1


async def test_there_are_never_two_requests_at_once(manager, endpoint, clock):
    for _ in range(5):
        await asyncio.gather(*(manager.token() for _ in range(20)))
        spend(manager, clock)
    assert endpoint.most_in_flight == 1
    assert endpoint.grants == ["password"] + ["refresh_token"] * 4


async def test_a_failure_is_shared_by_those_who_waited(manager, endpoint):
    endpoint.script = [web.Response(status=503)]
    endpoint.open.clear()
    waiters = [asyncio.create_task(manager.token()) for _ in range(20)]
    await endpoint.arrived.wait()
    endpoint.open.set()
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ServiceFault}
    assert len(endpoint.forms) == 1


async def test_the_next_caller_tries_again_after_a_failure(manager, endpoint):
    endpoint.script = [web.Response(status=503)]
    with pytest.raises(ServiceFault):
        await manager.token()
    assert await manager.token() == "access-2"
    assert await manager.token() == "access-2"


async def test_a_waiter_asks_where_the_asking_one_was_cancelled(manager, endpoint):
    endpoint.open.clear()
    first = asyncio.create_task(manager.token())
    await endpoint.arrived.wait()
    second = asyncio.create_task(manager.token())
    await asyncio.sleep(0)
    first.cancel()
    endpoint.open.set()
    assert await second in {"access-1", "access-2"}
    assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)


async def test_a_cancelled_request_brings_no_old_failure_back(manager, endpoint):
    endpoint.script = [web.Response(status=503)]
    with pytest.raises(ServiceFault):
        await manager.token()
    endpoint.open.clear()
    endpoint.arrived.clear()
    first = asyncio.create_task(manager.token())
    await endpoint.arrived.wait()
    second = asyncio.create_task(manager.token())
    await asyncio.sleep(0)
    first.cancel()
    endpoint.open.set()
    assert (await second).startswith("access-")


async def test_a_refused_password_is_sent_once_ever(manager, endpoint):
    endpoint.script = [refused(why="Invalid user credentials")]
    outcomes = await asyncio.gather(*(manager.token() for _ in range(10)), return_exceptions=True)
    for _ in range(3):
        with pytest.raises(CredentialsRefused):
            await manager.token()
    assert {type(outcome) for outcome in outcomes} == {CredentialsRefused}
    assert endpoint.grants == ["password"]


async def test_a_password_refused_later_is_not_sent_again(manager, endpoint, clock):
    endpoint.script = [grant(1), refused(status=400), refused()]
    await manager.token()
    spend(manager, clock)
    for _ in range(3):
        with pytest.raises(CredentialsRefused):
            await manager.token()
    assert endpoint.grants == ["password", "refresh_token", "password"]


async def test_a_refusal_says_whose_where_from_and_why(manager, endpoint):
    endpoint.script = [refused(why="Account is not fully set up", status=400)]
    with pytest.raises(CredentialsRefused) as caught:
        await manager.token()
    for part in ("'ada'", "the test", "Account is not fully set up"):
        assert part in str(caught.value)


async def test_an_unknown_client_is_said_so(manager, endpoint):
    endpoint.script = [refused("unauthorized_client", "No such client")]
    with pytest.raises(CredentialsRefused, match="Check the client id 'mirror-client'"):
        await manager.token()


async def test_a_refusals_text_is_shown_in_bounds(manager, endpoint):
    endpoint.script = [refused(why="x\x1b[31m" * 10_000)]
    with pytest.raises(CredentialsRefused) as caught:
        await manager.token()
    assert len(str(caught.value)) < 2000
    assert "\x1b" not in str(caught.value)


async def test_a_rejected_token_is_renewed_once(manager, endpoint):
    await manager.token()
    manager.reject("access-1")
    manager.reject("access-1")
    tokens = await asyncio.gather(*(manager.token() for _ in range(10)))
    assert set(tokens) == {"access-2"}
    assert endpoint.grants == ["password", "refresh_token"]


async def test_to_reject_an_old_token_does_nothing(manager, endpoint):
    manager.reject("access-0")
    await manager.token()
    manager.reject("access-1")
    await manager.token()
    manager.reject("access-1")
    assert await manager.token() == "access-2"
    assert len(endpoint.forms) == 2


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
async def test_a_passing_trouble_is_a_fault_with_its_wait(manager, endpoint, status):
    endpoint.script = [web.Response(status=status, headers={"Retry-After": "7"})]
    with pytest.raises(ServiceFault) as caught:
        await manager.token()
    assert caught.value.retry_after == 7.0
    assert str(status) in str(caught.value)


@pytest.mark.parametrize("status", [301, 404, 405, 418])
async def test_another_answer_is_a_refusal_that_names_the_address(manager, endpoint, status):
    headers = {"Location": "https://elsewhere.example/auth/token"}
    endpoint.script = [web.Response(status=status, headers=headers)]
    with pytest.raises(ServiceRefused, match="/token"):
        await manager.token()
    assert len(endpoint.forms) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome to the hotel network</html>",
        b"[]",
        b"null",
        b'"access-9"',
        b"{",
        b"[" * 100_000,
        b"{}",
        b'{"access_token": null}',
        b'{"access_token": ""}',
        b'{"access_token": 5}',
        b'{"access_token": "a\\r\\nX-Evil: 1"}',
        '{"access_token": "é"}'.encode(),
        b'{"access_token": "a b", "expires_in": 300',
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_an_answer_without_a_token_is_a_fault(manager, endpoint, body):
    endpoint.script = [web.Response(body=body, content_type="text/html")]
    with pytest.raises(ServiceFault):
        await manager.token()
    assert await manager.token() == "access-2"


async def test_an_enormous_answer_is_a_fault(manager, endpoint):
    endpoint.script = [web.Response(body=json.dumps(grant(1, x="y" * 3_000_000)).encode())]
    with pytest.raises(ServiceFault, match="larger than"):
        await manager.token()


async def test_no_service_is_unreachable(manager, endpoint, serve_raw):
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    url = await serve_raw(hang_up)
    settings = Settings().with_values({"token_url": f"{url}/token"})
    async with Transport(settings) as transport:
        lonely = TokenManager(transport, settings.service, Credentials("ada", PASSWORD))
        with pytest.raises(ServiceUnreachable):
            await lonely.token()


async def test_no_secret_is_shown_by_anything(manager, endpoint, clock, events):
    shown: list[str] = []
    endpoint.script = [grant(1), web.Response(status=503), refused(status=400), refused()]
    await manager.token()
    spend(manager, clock)
    for _ in range(2):
        with pytest.raises(NoaError) as caught:
            await manager.token()
        shown += [repr(caught.value), *traceback.format_exception(caught.value)]
    shown += [repr(manager), str(manager), repr(events), repr(manager._credentials)]
    shown += [repr(thing) for thing in gc.get_referents(manager) if isinstance(thing, Token)]
    token = read_token(grant(1), 0.0)
    shown += [repr(token), str(token)]
    for text in shown:
        assert not [secret for secret in SECRETS if secret in text], text


def test_a_token_is_read_from_an_answer():
    token = read_token(grant(1, expires_in=100, refresh_expires_in=200), asked_at=1000.0)
    assert (token.access, token.refresh) == ("access-1", "refresh-1")
    assert (token.expires_at, token.refresh_expires_at) == (1100.0, 1200.0)
    assert token.renew_at == 1080.0


def test_every_error_of_an_answer_is_the_services():
    with pytest.raises(ServiceError):
        read_token({}, 0.0)
