"""The log-in service itself: Keycloak, with single-use refresh tokens and brute-force guard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from noa_async import (
    Credentials,
    CredentialsRefused,
    NoaClient,
    Service,
    ServiceFault,
    ServiceRefused,
    Settings,
)
from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import TokenManager
from noa_async.events import Event, TokenObtained
from noa_async.transport import Response, Transport

from .keycloak import LIFE, PASSWORD, Keycloak, User, running
from .parts import needed_keycloak

folder = needed_keycloak()
pytestmark = pytest.mark.timeout(240)  # the first test waits for Keycloak too


class Watched(Transport):
    """A transport that counts 401s and token requests: all of them, and those at once."""

    unauthorized = 0
    asked = 0
    under_way = 0
    most_at_once = 0

    async def ask(self, method: str, url: str, **options: Any) -> Response:
        asks_for_token = method == "POST"
        self.asked += asks_for_token
        self.under_way += asks_for_token
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            response = await super().ask(method, url, **options)
            self.unauthorized += response.status == 401
            return response
        finally:
            self.under_way -= asks_for_token


class Ours:
    """Our side, as all workers share it."""

    def __init__(self, transport: Watched, service: Service, who: Credentials) -> None:
        self.transport = transport
        self.tokens = TokenManager(transport, service, who, observer=self._observe)
        self.obtained: list[TokenObtained] = []
        self.on_token: Callable[[], None] = lambda: None

    def _observe(self, event: Event) -> None:
        assert isinstance(event, TokenObtained)
        self.obtained.append(event)
        self.on_token()

    @property
    def grants(self) -> list[str]:
        return [event.grant for event in self.obtained]


Connect = Callable[..., AbstractAsyncContextManager[Ours]]


@pytest.fixture(scope="session")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keycloak]:
    with running(folder, tmp_path_factory.mktemp("keycloak")) as server:
        yield server


@pytest.fixture
async def user(keycloak: Keycloak) -> User:
    return await keycloak.user()


@pytest.fixture
def connect(keycloak: Keycloak) -> Connect:
    """Our side of Keycloak for some credentials."""

    @asynccontextmanager
    async def make(who: Credentials, **service: str) -> AsyncIterator[Ours]:
        settings = settings_for(keycloak, **service)
        async with Watched(settings) as transport:
            yield Ours(transport, settings.service, who)

    return make


def settings_for(keycloak: Keycloak, **service: str) -> Settings:
    """Settings whose catalogue is an address of Keycloak that wants a token."""
    values = {"catalogue_url": keycloak.guarded, "token_url": keycloak.token_url}
    return Settings(service=Service(**{**values, **service}))  # type: ignore[arg-type]


async def ask(ours: Ours, keycloak: Keycloak) -> int:
    """The status of what a token opens."""
    session = AuthSession(ours.transport, ours.tokens)
    headers = {"Accept": "application/json"}
    async with session.get(keycloak.guarded, headers=headers) as response:
        await response.read(1 << 20)
        return response.status


async def test_log_in(keycloak: Keycloak, user: User, connect: Connect) -> None:
    async with connect(user.credentials) as ours:
        before = time.monotonic()
        access = await ours.tokens.token()
        after = time.monotonic()
        token = ours.tokens._token
        assert token is not None
        assert access == token.access
        assert before <= token.asked_at <= after
        life = token.expires_at - token.asked_at
        assert life == pytest.approx(300, abs=2)  # whole seconds
        assert token.renew_at - token.asked_at == pytest.approx(0.8 * life)
        assert token.refresh is not None
        assert token.refresh_expires_at - token.asked_at == pytest.approx(1800)
        assert await ask(ours, keycloak) == 200
    assert ours.obtained == [TokenObtained("password", pytest.approx(300))]
    assert await user.events() == ["LOGIN"]


async def test_the_client_logs_in(keycloak: Keycloak, user: User) -> None:
    async with NoaClient(settings_for(keycloak), user.credentials) as noa:
        assert 290 < await noa.log_in() <= 300


async def test_fifty_workers_over_several_lives(
    keycloak: Keycloak, user: User, connect: Connect
) -> None:
    renewals = 4
    done = asyncio.Event()

    async def work() -> set[int]:
        statuses = set()
        while not done.is_set():
            statuses.add(await ask(ours, keycloak))
        return statuses

    async with connect(user.credentials, client_id="short-lived") as ours:
        ours.on_token = lambda: done.set() if len(ours.obtained) > renewals else None
        started = time.monotonic()
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            workers = [group.create_task(work()) for _ in range(50)]
        elapsed = time.monotonic() - started
    assert {status for worker in workers for status in worker.result()} == {200}
    assert ours.grants == ["password"] + ["refresh_token"] * renewals
    assert ours.transport.most_at_once == 1
    # Each token was used for most of its life, and none past its end.
    assert elapsed > renewals * LIFE * 0.75
    assert ours.transport.unauthorized == 0
    # With single-use refresh tokens a second request at once would have been noted as an error.
    assert await user.events() == ["LOGIN"] + ["REFRESH_TOKEN"] * renewals


async def test_rotation(keycloak: Keycloak, user: User, connect: Connect) -> None:
    async with connect(user.credentials) as ours:
        spent = []
        for _ in range(3):
            ours.tokens.reject(await ours.tokens.token())
            spent.append(ours.tokens._token.refresh)
            await asyncio.sleep(1)  # Keycloak tells older tokens from newer ones by the second
        assert await ask(ours, keycloak) == 200
        assert ours.grants == ["password"] + ["refresh_token"] * 3
        assert len({*spent, ours.tokens._token.refresh}) == 4
        form = {"client_id": "mirror-client", "grant_type": "refresh_token"}
        status, answer = await keycloak.post("token", refresh_token=spent[-1], **form)
        assert (status, answer["error"]) == (400, "invalid_grant")
        assert answer["error_description"] == "Maximum allowed refresh token reuse exceeded"
        # Keycloak takes a spent one for a thief's and ends the session: ours has to log in again.
        ours.tokens.reject(await ours.tokens.token())
        assert await ask(ours, keycloak) == 200
    assert ours.grants == ["password"] + ["refresh_token"] * 3 + ["password"]


@pytest.mark.parametrize("by", ["administrator", "refresh token"])
async def test_a_revoked_session(keycloak: Keycloak, user: User, connect: Connect, by: str) -> None:
    async with connect(user.credentials) as ours:
        assert await ask(ours, keycloak) == 200
        refusals = await keycloak.refused_refreshes()
        if by == "administrator":
            await user.log_out()
        else:
            refresh = ours.tokens._token.refresh
            form = {"client_id": "mirror-client", "refresh_token": refresh}
            assert await keycloak.post("logout", **form) == (204, {})
        statuses = await asyncio.gather(*(ask(ours, keycloak) for _ in range(20)))
    assert set(statuses) == {200}
    assert ours.grants == ["password", "password"]
    assert ours.transport.most_at_once == 1
    assert (await user.events()).count("LOGIN") == 2
    assert await keycloak.refused_refreshes() == refusals + 1


async def test_no_refresh_tokens(keycloak: Keycloak, user: User, connect: Connect) -> None:
    async with connect(user.credentials, client_id="no-refresh") as ours:
        assert await ask(ours, keycloak) == 200
        assert ours.tokens._token.refresh is None
        ours.tokens.reject(await ours.tokens.token())
        assert await ask(ours, keycloak) == 200
    assert ours.grants == ["password", "password"]
    assert await user.events() == ["LOGIN", "LOGIN"]


async def test_a_wrong_password_is_sent_once_only(user: User, connect: Connect) -> None:
    wrong = Credentials(user.credentials.username, PASSWORD + "!", source="netrc")
    async with connect(wrong) as ours:
        asked = (ours.tokens.token() for _ in range(20))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for _ in range(3):  # later ones do not send it either
            with pytest.raises(CredentialsRefused):
                await ours.tokens.token()
    for answer in answers:
        assert isinstance(answer, CredentialsRefused)
        assert answer.message == (
            f"The service rejects the credentials of '{wrong.username}' (from netrc): "
            "Invalid user credentials."
        )
        assert PASSWORD not in f"{answer!r} {answer.hint}"
    assert await user.events() == ["LOGIN_ERROR"]
    assert await user.wrong_passwords() == 1
    async with connect(user.credentials) as ours:  # and the account is not locked
        await ours.tokens.token()


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ({"enabled": False}, "Account disabled"),
        ({"requiredActions": ["UPDATE_PASSWORD"]}, "Account is not fully set up"),
    ],
)
async def test_an_account_that_cannot_be_used(
    keycloak: Keycloak, connect: Connect, account: dict[str, Any], said: str
) -> None:
    user = await keycloak.user(**account)
    async with connect(user.credentials) as ours:
        for _ in range(3):
            with pytest.raises(CredentialsRefused, match=said):
                await ours.tokens.token()
    assert ours.transport.asked == 1


@pytest.mark.parametrize(
    ("client_id", "said"),
    [
        ("no-such-client", "Invalid client"),
        ("no-password-grant", "Client not allowed for direct access grants"),
    ],
)
async def test_a_client_that_cannot_be_used(
    user: User, connect: Connect, client_id: str, said: str
) -> None:
    async with connect(user.credentials, client_id=client_id) as ours:
        with pytest.raises(CredentialsRefused, match=said) as caught:
            await ours.tokens.token()
    assert f"client id '{client_id}'" in caught.value.hint


async def test_five_runs_leave_no_session(keycloak: Keycloak, user: User) -> None:
    for _ in range(5):
        async with NoaClient(settings_for(keycloak), user.credentials) as noa:
            await noa.log_in()
            assert await user.sessions() == 1
    assert await user.sessions() == 0
    assert await user.events() == ["LOGIN", "LOGOUT"] * 5


async def test_a_renewed_session_is_ended_too(keycloak: Keycloak, user: User) -> None:
    settings = settings_for(keycloak, client_id="short-lived")
    async with NoaClient(settings, user.credentials) as noa:
        for _ in range(2):
            await noa.log_in()
            await asyncio.sleep(LIFE)
    assert await user.sessions() == 0
    assert await user.events() == ["LOGIN", "REFRESH_TOKEN", "LOGOUT"]


async def test_a_realm_that_is_not_there(keycloak: Keycloak, user: User, connect: Connect) -> None:
    address = keycloak.token_url.replace("/mirror/", "/mirorr/")
    async with connect(user.credentials, token_url=address) as ours:
        with pytest.raises(ServiceRefused, match=r"answered 404 at .*/mirorr/") as caught:
            await ours.tokens.token()
    assert caught.value.hint == "Check the token address (--token-url)."


async def test_too_many_sessions(keycloak: Keycloak, connect: Connect) -> None:
    """The last test: the realm keeps the limit."""
    await keycloak.limit_sessions(1)
    user = await keycloak.user()
    async with connect(user.credentials) as first, connect(user.credentials) as second:
        await first.tokens.token()
        with pytest.raises(ServiceFault, match="too many sessions") as caught:
            await second.tokens.token()
        assert not isinstance(caught.value, CredentialsRefused)
        await first.tokens.log_out()
        await second.tokens.token()
        await second.tokens.log_out()
    assert await user.sessions() == 0
