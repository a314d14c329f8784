"""Log-in, token and session: only a clear no to the password is a no to the password.

The names of the rows are those of the list of faults that these tests were written for.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from noa_async import Credentials, NoaClient, Query, RetryPolicy, Settings, Status, Timeouts
from noa_async.auth import tokens as tokens_module
from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import LoginState, TokenManager
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.errors import (
    CredentialsRefused,
    ServiceAway,
    ServiceError,
    ServiceRefused,
    ServiceUnreachable,
    UsageError,
)
from noa_async.events import LoginRetried, TokenObtained
from noa_async.testing import set_testing
from noa_async.transport import Transport

from ..cli.conftest import PASSWORD, Program, until
from ..integration.conftest import WHO, Recorder, settings_for

K = FaultKind
ALL = Query(everything=True)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Waits:
    """Waits for nothing, and notes for how long it would have; the clock goes on."""

    clock: Clock
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    slept: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds
        await asyncio.sleep(0)


@dataclass
class Scene:
    """A token manager and the mirror that it asks."""

    mirror: Emulator
    manager: TokenManager
    transport: Transport
    waits: Waits
    clock: Clock
    recorder: Recorder

    def spend(self) -> None:
        """Let the present token run out."""
        self.clock.now += self.manager.expires_in + 1

    def near_the_end(self) -> None:
        """Let the present token be about to end."""
        self.clock.now += self.manager.expires_in - 30

    @property
    def grants(self) -> list[str]:
        return [event.grant for event in self.recorder.of(TokenObtained)]


Open = Callable[..., Any]


@pytest.fixture
async def open_scene() -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def make(
            *faults: Fault, who: Credentials = WHO, timeouts: Timeouts | None = None, **more: Any
        ) -> Scene:
            plan = FaultPlan(faults)
            emulated = EmulatorSettings(products=5, token_delay=0.0, faults=plan, **more)
            clock = Clock()
            mirror = await stack.enter_async_context(Emulator(emulated, clock=clock))
            settings = settings_for(mirror)
            if timeouts is not None:
                settings = replace(settings, timeouts=timeouts)
            transport = await stack.enter_async_context(Transport(settings))
            waits, recorder = Waits(clock), Recorder()
            manager = TokenManager(
                transport, settings.service, who, observer=recorder, clock=clock, waits=waits
            )
            stack.push_async_callback(manager.close)
            return Scene(mirror, manager, transport, waits, clock, recorder)

        yield make


TROUBLES = {
    "2.1 503 page": {"kind": K.TOKEN_MAINTENANCE},
    "2.1 301": {"kind": K.TOKEN_MAINTENANCE, "status": 301},
    "2.1 302": {"kind": K.TOKEN_MAINTENANCE, "status": 302},
    "2.1 303": {"kind": K.TOKEN_MAINTENANCE, "status": 303},
    "2.1 307": {"kind": K.TOKEN_MAINTENANCE, "status": 307},
    "2.1 308": {"kind": K.TOKEN_MAINTENANCE, "status": 308},
    "2.1 404 page": {"kind": K.TOKEN_MAINTENANCE, "status": 404},
    "2.1 405 page": {"kind": K.TOKEN_MAINTENANCE, "status": 405},
    "2.1 200 page": {"kind": K.TOKEN_HTML},
    "2.1 503": {"kind": K.TOKEN_ERROR},
    "2.2 403 page": {"kind": K.TOKEN_FORBIDDEN},
    "2.2 401 page": {"kind": K.TOKEN_FORBIDDEN, "status": 401},
    "2.2 400 page": {"kind": K.TOKEN_FORBIDDEN, "status": 400},
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_trouble(open_scene: Open, trouble: dict[str, Any]) -> None:
    """Trouble that passes is waited for, at first contact and later; else exit 4, never 3."""
    scene = await open_scene(Fault(**trouble, times=5), Fault(**trouble, first=7, times=5))
    await scene.manager.token()
    scene.spend()
    await scene.manager.token()
    assert scene.grants == ["password", "refresh_token"]
    assert len(scene.recorder.of(LoginRetried)) == len(scene.waits.slept) == 10
    assert scene.mirror.stats.wrong_passwords == 0

    scene = await open_scene(Fault(**trouble, times=None))
    with pytest.raises(ServiceAway) as caught:
        await scene.manager.token()
    assert caught.value.exit_code == 4
    assert not caught.value.retryable
    assert "The log-in service is unavailable" in caught.value.message
    assert "rejects the credentials" not in str(caught.value)
    assert "Check the token address" not in str(caught.value)
    assert len(scene.waits.slept) == scene.waits.retry.retries
    assert "maintenance page" in caught.value.message or trouble["kind"] is K.TOKEN_HTML


@pytest.mark.parametrize("status", [404, 405])
async def test_a_wrong_address(open_scene: Open, status: int) -> None:
    """What never gave a token is asked three times, and the address is named."""
    trouble = Fault(K.TOKEN_NOT_FOUND, status=status, times=None)
    scene = await open_scene(trouble)
    with pytest.raises(ServiceRefused, match=rf"answered {status} at .*/token") as caught:
        await scene.manager.token()
    assert caught.value.hint == "Check the token address (--token-url)."
    assert len(scene.waits.slept) == 2

    scene = await open_scene(replace(trouble, first=2, times=8))
    await scene.manager.token()
    scene.spend()
    await scene.manager.token()  # an address that gave a token is a right one


async def test_a_page_with_404_that_stays_names_the_address_too(open_scene: Open) -> None:
    scene = await open_scene(Fault(K.TOKEN_MAINTENANCE, status=404, times=None))
    with pytest.raises(ServiceAway, match="If the token address never worked, check it"):
        await scene.manager.token()


async def test_no_connection(open_scene: Open) -> None:
    """At first contact: soon an error. In a run: waited for."""
    scene = await open_scene()
    await scene.mirror.refuse_connections(60)
    with pytest.raises(ServiceUnreachable) as caught:
        await scene.manager.token()
    assert not caught.value.retryable  # nobody else tries it all again
    assert len(scene.waits.slept) == 2
    scene = await open_scene()
    await scene.manager.token()
    await scene.mirror.refuse_connections(60)
    scene.spend()
    with pytest.raises(ServiceAway, match="Connection refused"):
        await scene.manager.token()
    assert len(scene.waits.slept) == 8


# 2.4: sessions.


async def test_sessions(open_scene: Open) -> None:
    """2.4: too many sessions are no refused password, and few requests are made for one."""
    scene = await open_scene(Fault(K.TOKEN_SESSIONS, times=2))
    await scene.manager.token()
    assert len(scene.waits.slept) == 2
    assert all(30 <= wait <= 60 for wait in scene.waits.slept)
    for status in (400, 403):
        scene = await open_scene(Fault(K.TOKEN_SESSIONS, status=status, times=None))
        with pytest.raises(ServiceAway, match="too many sessions") as caught:
            await scene.manager.token()
        assert "The password was not rejected" in caught.value.hint
        assert len(scene.waits.slept) == 2


async def test_runs_leave_no_sessions() -> None:
    """2.4: a site that allows one session serves any number of runs, one after the other."""
    async with Emulator(EmulatorSettings(products=3, max_sessions=1)) as mirror:
        for count in range(1, 5):
            async with NoaClient(settings_for(mirror), WHO) as noa:
                assert await noa.count(ALL) == 3
                assert mirror.sessions == 1
            assert mirror.sessions == 0
            assert mirror.stats.logouts == count


async def test_a_run_that_fails_leaves_no_session() -> None:
    async with Emulator(EmulatorSettings(products=3)) as mirror:
        with pytest.raises(ZeroDivisionError):
            async with NoaClient(settings_for(mirror), WHO) as noa:
                await noa.log_in()
                raise ZeroDivisionError
        assert mirror.sessions == 0


async def test_a_session_that_is_kept() -> None:
    async with Emulator(EmulatorSettings(products=3)) as mirror:
        noa = NoaClient(settings_for(mirror), WHO, keep_session=True)
        await noa.log_out()  # nothing to do yet
        for _ in range(3):
            async with noa:
                await noa.count(ALL)
        assert (mirror.stats.token_logins, mirror.sessions) == (1, 1)
        await noa.log_out()
        assert (mirror.stats.token_logins, mirror.sessions) == (1, 0)
        async with noa:
            await noa.count(ALL)
            await noa.log_out()
            assert mirror.sessions == 0
            await noa.count(ALL)
        assert (mirror.stats.token_logins, mirror.sessions) == (3, 1)
        await noa.log_out()
        assert mirror.sessions == 0


SCRIPT = """
import asyncio
from noa_async import NoaClient, Query, Settings

async def main():
    noa = NoaClient(Settings.from_env(), keep_session=True)
    for _ in range(3):
        async with noa:
            await noa.count(Query(everything=True))

asyncio.run(main())
"""


@pytest.mark.parametrize("after", ["", "raise SystemExit(3)", "import os; os.fork() or quit()"])
async def test_a_session_that_is_kept_ends_with_the_program(tmp_path: Path, after: str) -> None:
    (tmp_path / "script.py").write_text(f"{SCRIPT}\n{after}\n")
    async with Emulator(EmulatorSettings(products=3)) as mirror:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / "script.py"), env={**os.environ, **mirror.environ}
        )
        assert await process.wait() in {0, 3}
        assert (mirror.stats.token_logins, mirror.stats.logouts, mirror.sessions) == (1, 1, 0)


@pytest.mark.parametrize("answer", [404, 500, 302, "garbage", "silence"])
async def test_a_log_out_that_fails_holds_no_run_up(serve, monkeypatch, answer: Any) -> None:
    monkeypatch.setattr(tokens_module, "_LOG_OUT_TIME", 0.2)
    asked: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        if request.path.endswith("/token"):
            return web.json_response({"access_token": "a", "refresh_token": "r"})
        if answer == "silence":
            await asyncio.sleep(3600)
        if answer == "garbage":
            return web.Response(body=b"\x1f\x8b\x08garbage", headers={"Content-Encoding": "gzip"})
        return web.Response(status=answer, headers={"Location": "/elsewhere"})

    url = await serve(handle)
    values = {"catalogue_url": f"{url}/Products", "token_url": f"{url}/sso/token"}
    noa = NoaClient(Settings().with_values(values), WHO)
    async with asyncio.timeout(10):
        async with noa:
            await noa.log_in()
    assert asked == ["/sso/token", "/sso/logout"]


async def test_a_session_that_is_on_its_way_when_a_run_ends_is_ended_too() -> None:
    async with Emulator(EmulatorSettings(products=3, token_delay=0.3)) as mirror:
        async with NoaClient(settings_for(mirror), WHO) as noa:
            task = asyncio.create_task(noa.log_in())
            await until(lambda: mirror.stats.tokens_in_flight == 1)
            task.cancel()
        assert (mirror.stats.token_logins, mirror.sessions) == (1, 0)


# 2.6: a password that was accepted.


async def test_refused_once_accepted(open_scene: Open) -> None:
    """2.6: sent once more after 30 to 60 s; the second refusal is final."""
    refused = Fault(K.TOKEN_REFUSED, first=2, times=2)  # the refresh, then the password
    scene = await open_scene(refused)
    await scene.manager.token()
    scene.spend()
    await scene.manager.token()
    assert scene.grants == ["password", "password"]
    [wait] = scene.waits.slept
    assert 30 <= wait <= 60

    scene = await open_scene(replace(refused, times=None))
    await scene.manager.token()
    scene.spend()
    for _ in range(3):
        with pytest.raises(CredentialsRefused) as caught:
            await scene.manager.token()
    assert caught.value.exit_code == 3
    assert len(scene.waits.slept) == 1
    assert scene.mirror._mirror.attempts["token"] == 4  # one refresh, and two refusals in all


async def test_never_accepted_is_final_at_once(open_scene: Open) -> None:
    scene = await open_scene(who=Credentials("demo", "wrong"))
    for _ in range(3):
        with pytest.raises(CredentialsRefused):
            await scene.manager.token()
    assert scene.waits.slept == []
    assert scene.mirror.stats.wrong_passwords == 1


async def test_what_holds_is_used_while_a_refusal_is_waited_out(open_scene: Open) -> None:
    """2.6, 6.8: workers whose token holds go on."""
    scene = await open_scene(Fault(K.TOKEN_REFUSED, first=2, times=2))
    first = await scene.manager.token()
    scene.near_the_end()
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        reached.set()
        await go_on.wait()

    scene.waits.sleep = sleep  # type: ignore[method-assign]
    waiter = asyncio.create_task(scene.manager.token())
    await reached.wait()
    assert [await scene.manager.token() for _ in range(20)] == [first] * 20
    go_on.set()
    assert await waiter in {first, scene.manager._token.access}  # type: ignore[union-attr]
    assert await scene.manager.token() != first


async def test_another_run_of_the_same_client_heeds_an_old_refusal(open_scene: Open) -> None:
    """2.6: the half minute counts across the entries of a client."""
    scene = await open_scene(Fault(K.TOKEN_REFUSED, first=1, times=1))
    scene.manager._state = LoginState(accepted=True, refusals=1, not_before=scene.clock.now + 40)
    with pytest.raises(CredentialsRefused):
        await scene.manager.token()
    assert scene.waits.slept == [pytest.approx(40)]


# 6.8: a token that holds is used.

AWAY = {
    "404": {"kind": K.TOKEN_NOT_FOUND},
    "405": {"kind": K.TOKEN_NOT_FOUND, "status": 405},
    "302": {"kind": K.TOKEN_MAINTENANCE, "status": 302},
    "500": {"kind": K.TOKEN_ERROR, "status": 500},
    "garbage": {"kind": K.TOKEN_HTML},
}


@pytest.mark.parametrize("away", AWAY.values(), ids=[f"6.8 {name}" for name in AWAY])
async def test_a_token_that_holds_is_used(open_scene: Open, away: dict[str, Any]) -> None:
    """6.8: as long as it holds nobody waits; then all wait, and none fails."""
    scene = await open_scene(Fault(**away, first=2, times=6))
    go_on = asyncio.Event()

    async def sleep(seconds: float) -> None:
        scene.waits.slept.append(seconds)
        await go_on.wait()

    scene.waits.sleep = sleep  # type: ignore[method-assign]
    first = await scene.manager.token()
    scene.near_the_end()
    assert [await scene.manager.token() for _ in range(50)] == [first] * 50
    assert len(scene.waits.slept) == 1  # one renewal, in the background
    scene.spend()
    waiting = [asyncio.create_task(scene.manager.token()) for _ in range(50)]
    go_on.set()
    [second] = set(await asyncio.gather(*waiting))
    assert second != first


async def test_the_patience_begins_when_the_token_ends(
    open_scene: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6.8: failures while nobody waits are not counted against the retries."""
    monkeypatch.setattr(tokens_module, "_FIRST_WAIT", 0.05)
    scene = await open_scene(Fault(K.TOKEN_NOT_FOUND, first=2, times=None))

    async def sleep(seconds: float) -> None:
        scene.waits.slept.append(seconds)
        await asyncio.sleep(0)

    scene.waits.sleep = sleep  # type: ignore[method-assign]
    first = await scene.manager.token()
    scene.near_the_end()
    assert await scene.manager.token() == first
    await until(lambda: len(scene.waits.slept) >= 19)
    assert scene.manager._renewal is not None
    scene.mirror.faults = FaultPlan()
    scene.spend()
    assert await scene.manager.token() != first


@pytest.mark.parametrize("kind", [K.TOKEN_NOT_FOUND, K.TOKEN_MAINTENANCE, K.TOKEN_FORBIDDEN])
async def test_a_log_in_service_that_goes_away_costs_no_product(
    tmp_path: Path, kind: FaultKind
) -> None:
    """6.8: tokens of 1 s, and a log-in service that is away for longer than they hold."""
    emulated = EmulatorSettings(products=120, mean_bytes=20_000, token_life=1.0, latency=0.05)
    patient = RetryPolicy(base=0.05, cap=0.2, retries=60)
    async with Emulator(emulated) as mirror:
        settings = settings_for(mirror, workers=2, retry=patient)
        async with NoaClient(settings, WHO) as noa:
            products = [product async for product in noa.search(ALL)]
            mirror.faults = FaultPlan((Fault(kind, times=None),))
            comes_back = asyncio.create_task(_mended(mirror, after=10))
            outcomes = [each async for each in noa.download_all(products, tmp_path)]
            await comes_back
        assert {outcome.status for outcome in outcomes} == {Status.DOWNLOADED}
        assert len(outcomes) == 120
        assert mirror.stats.token_logins == 1


async def _mended(mirror: Emulator, *, after: int) -> None:
    """Have the mirror without faults, once so many token requests have met one."""
    await until(lambda: mirror._mirror.attempts["token"] >= after)
    mirror.faults = FaultPlan()


async def test_one_that_stays_away_ends_the_run(tmp_path: Path) -> None:
    """6.8: products do not fail one by one."""
    emulated = EmulatorSettings(products=60, mean_bytes=20_000, token_life=0.5, latency=0.05)
    async with Emulator(emulated) as mirror:
        outcomes = []
        async with NoaClient(settings_for(mirror, workers=4), WHO) as noa:
            products = [product async for product in noa.search(ALL)]
            mirror.faults = FaultPlan((Fault(K.TOKEN_NOT_FOUND, times=None),))
            with pytest.raises(ServiceAway, match="answered 404"):
                async for outcome in noa.download_all(products, tmp_path):
                    outcomes.append(outcome)
        assert all(outcome.ok for outcome in outcomes)
        assert len(outcomes) < 60


async def test_a_renewal_that_just_failed_is_not_repeated_for_each_request(
    open_scene: Open,
) -> None:
    scene = await open_scene(Fault(K.TOKEN_NOT_FOUND, first=2, times=None, retry_after="90000"))
    first = await scene.manager.token()
    scene.near_the_end()
    assert [await scene.manager.token() for _ in range(50)] == [first] * 50
    assert scene.mirror._mirror.attempts["token"] == 2
    scene.clock.now += 11
    assert [await scene.manager.token() for _ in range(50)] == [first] * 50
    assert scene.mirror._mirror.attempts["token"] == 3


async def test_a_slow_log_in_holds_nobody_up_while_a_token_holds(
    open_scene: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens_module, "_FIRST_WAIT", 0.05)
    scene = await open_scene(Fault(K.TOKEN_SLOW, first=2, seconds=60))
    first = await scene.manager.token()
    scene.near_the_end()
    async with asyncio.timeout(10):
        assert [await scene.manager.token() for _ in range(50)] == [first] * 50


async def test_who_gives_up_waiting_ends_no_renewal(open_scene: Open) -> None:
    """A refresh token that works once is spent by the request, whoever waits for the answer."""
    scene = await open_scene(Fault(K.TOKEN_SLOW, first=2, seconds=0.2))
    await scene.manager.token()
    scene.spend()
    waiter = asyncio.create_task(scene.manager.token())
    await until(lambda: scene.mirror.stats.tokens_in_flight == 1)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    await scene.manager.token()
    assert scene.grants == ["password", "refresh_token"]
    assert scene.mirror._mirror.attempts["token"] == 2


async def test_who_waits_when_the_client_closes_is_told(open_scene: Open) -> None:
    scene = await open_scene(Fault(K.TOKEN_SLOW, seconds=60))
    waiter = asyncio.create_task(scene.manager.token())
    await until(lambda: scene.mirror.stats.tokens_in_flight == 1)
    scene.manager._sending = False  # it would wait for the answer a while
    await scene.manager.close()
    with pytest.raises(UsageError, match="closed"):
        await waiter


# 6.9: which 401 renews, and how often.


async def test_fresh_tokens_rejected_again_and_again(serve) -> None:
    """6.9: three renewals, then one a minute; the 401 is the answer."""
    grants = 0

    async def handle(request: web.BaseRequest) -> web.Response:
        nonlocal grants
        if request.method != "POST":
            return web.Response(status=401)
        grants += 1
        return web.json_response({"access_token": f"token-{grants}", "refresh_token": "r"})

    url, clock = await serve(handle), Clock()
    values = {"catalogue_url": f"{url}/Products", "token_url": f"{url}/token"}
    settings = Settings().with_values(values)
    async with Transport(settings) as transport:
        manager = TokenManager(transport, settings.service, WHO, clock=clock)
        session = AuthSession(transport, manager)

        async def ask() -> int:
            async with session.get(f"{url}/Products") as response:
                return response.status

        assert [await ask() for _ in range(50)] == [401] * 50
        assert grants == 4
        clock.now += 61
        assert [await ask() for _ in range(50)] == [401] * 50
        assert grants == 5
        manager.accept("token-5")
        assert await ask() == 401
        assert grants == 6


async def test_a_401_of_another_host(serve) -> None:
    """6.9: it did not get the token, so the token is not the reason."""
    asked = {"grants": 0, "elsewhere": 0}

    async def elsewhere(request: web.BaseRequest) -> web.Response:
        assert "Authorization" not in request.headers
        asked["elsewhere"] += 1
        return web.Response(status=401)

    other = await serve(elsewhere)

    async def home(request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            asked["grants"] += 1
            return web.json_response({"access_token": f"token-{asked['grants']}"})
        return web.Response(status=302, headers={"Location": f"{other}/bytes"})

    url = await serve(home)
    values = {"catalogue_url": f"{url}/Products", "token_url": f"{url}/token"}
    settings = Settings().with_values(values)
    async with Transport(settings) as transport:
        session = AuthSession(transport, TokenManager(transport, settings.service, WHO))
        for _ in range(20):
            async with session.get(f"{url}/Products(1)/$value") as response:
                assert response.status == 401
    assert asked == {"grants": 1, "elsewhere": 20}


# 6.14: an answer without an end.


async def test_trickle(open_scene: Open) -> None:
    """6.14: a token's answer has to be whole in time."""
    scene = await open_scene(
        Fault(K.TOKEN_TRICKLE, rate=200, times=2), timeouts=Timeouts(answer=0.3)
    )
    async with asyncio.timeout(20):
        await scene.manager.token()
    assert all("within 0.3 s" in event.reason for event in scene.recorder.of(LoginRetried))
    scene = await open_scene(
        Fault(K.TOKEN_TRICKLE, rate=200, times=None), timeouts=Timeouts(answer=0.3)
    )
    async with asyncio.timeout(20):
        with pytest.raises(ServiceError):
            await scene.manager.token()


# The command line.


@pytest.fixture
async def open_mirror(tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_it(**settings: Any) -> tuple[Emulator, Program]:
            made = EmulatorSettings(
                **{"products": 4, "mean_bytes": 20_000, "password": PASSWORD} | settings
            )
            mirror = await stack.enter_async_context(Emulator(made))
            return mirror, Program(tmp_path, mirror)

        yield open_it


@pytest.mark.parametrize("status", [301, 302, 503])
async def test_maintenance(open_mirror: Open, status: int) -> None:
    """2.1: the whole site is down for a while; and for good."""
    mirror, noa = await open_mirror()
    mirror.maintenance = status
    process = await noa.start("download", "--everything", "--no-progress")
    await until(lambda: mirror.stats.requests >= 3)
    mirror.maintenance = None
    _, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert b"log-in: retry in" in err
    assert len(list((noa.folder / "noa-data").glob("*.zip"))) == 4
    mirror.maintenance = status
    ended = await noa("download", "--everything", "--retries", "1")
    assert ended.code == 4
    assert "maintenance page" in ended.err
    assert "token address" not in ended.err
    ended = await noa("mirror", "--everything", "--retries", "0")
    assert ended.code == 4


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\n\n"], ids=["lf", "crlf", "two"])
async def test_line_ends(open_mirror: Open, ends: str) -> None:
    """2.3: a mounted secret's line end is no part of it."""
    mirror, noa = await open_mirror()
    noa.environ |= {"NOA_PASSWORD": f"\ufeff{PASSWORD}{ends}", "NOA_USERNAME": f"demo{ends}"}
    for name in ("NOA_TOKEN_URL", "NOA_CATALOGUE_URL"):
        noa.environ[name] += ends
    assert (await noa("login")).code == 0
    assert mirror.stats.wrong_passwords == 0
    noa.environ["NOA_PASSWORD"] = ends
    ended = await noa("login")
    assert (ended.code, "NOA_PASSWORD is not" in ended.err) == (2, True)


def test_other_blanks_are_kept() -> None:
    """2.3: they may be part of a password."""
    who = Credentials("ada\n", " a b\t \r\n")
    assert (who.username, who.password) == ("ada", " a b\t ")


async def test_sessions_at_the_command_line(open_mirror: Open) -> None:
    """2.4: run after run, each of them a session; then one of another program."""
    mirror, noa = await open_mirror(max_sessions=1)
    for _ in range(3):
        assert (await noa("count", "--everything")).code == 0
    assert (mirror.stats.logouts, mirror.sessions) == (3, 0)
    mirror._mirror.issuer._login({"username": "demo", "password": PASSWORD})
    ended = await noa("count", "--everything", "--config", _no_retries(noa))
    assert ended.code == 4
    assert "too many sessions" in ended.err
    assert "rejects the credentials" not in ended.err


def _no_retries(noa: Program) -> Path:
    path = noa.folder / "config.toml"
    path.write_text("[transfer]\nretries = 0\n")
    return path


async def test_a_run_that_is_interrupted_leaves_no_session(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=40, mean_bytes=500_000, rate=100_000.0)
    process = await noa.start("download", "--everything", "--no-progress")
    await until(lambda: mirror.stats.downloads_in_flight > 0)
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130
    assert mirror.sessions == 0


async def test_a_watching_mirror_logs_in_once(open_mirror: Open) -> None:
    """10.16: not at each look; and its session ends with it."""
    mirror, noa = await open_mirror()
    process = await noa.start("mirror", "--everything", "--watch", "1s", "--no-progress")
    await until(lambda: mirror.stats.pages >= 3)
    assert (mirror.stats.token_logins, mirror.sessions) == (1, 1)
    process.send_signal(signal.SIGTERM)
    await process.communicate()
    assert (mirror.stats.token_logins, mirror.sessions) == (1, 0)


KEYRINGS = {
    "import": ("raise RuntimeError('No D-Bus session')", "No D-Bus session"),
    "backend": ("import no_such_backend", "No module named 'no_such_backend'"),
    "OSError": ("def get_credential(*_): raise OSError(5, 'broken')", "[Errno 5] broken"),
    "own": (
        "class GLibError(Exception): pass\ndef get_credential(*_): raise GLibError('x')",
        "GLibError: x",
    ),
    "odd": ("def get_credential(*_): return object()", "has no attribute"),
    "no function": ("", "has no attribute"),
}


@pytest.mark.parametrize(("code", "said"), KEYRINGS.values(), ids=KEYRINGS)
async def test_keyring(open_mirror: Open, code: str, said: str) -> None:
    """2.5: whatever a keyring raises is one line."""
    _, noa = await open_mirror()
    (noa.folder / "keyring.py").write_text(code)
    noa.environ["PYTHONPATH"] = str(noa.folder)
    assert (await noa("login")).code == 0  # the environment's are found first
    for name in ("NOA_USERNAME", "NOA_PASSWORD"):
        del noa.environ[name]
    ended = await noa("login")
    assert ended.code == 3
    first = ended.err.splitlines()[0]
    assert first.startswith("noa-async: No user name and password were found. The keyring failed")
    assert said in first
    noa.environ |= {"NOA_USERNAME": "demo", "NOA_PASSWORD": PASSWORD}
    ended = await noa("login", "--keep", "keyring")
    assert ended.code == 2
    assert "The password was not stored: the keyring failed" in ended.err


async def test_a_backend_that_is_not_there(open_mirror: Open) -> None:
    """2.5: a bad backend name, with the real keyring."""
    pytest.importorskip("keyring")
    _, noa = await open_mirror()
    for name in ("NOA_USERNAME", "NOA_PASSWORD"):
        del noa.environ[name]
    noa.environ["PYTHON_KEYRING_BACKEND"] = "no.such.Backend"
    ended = await noa("login")
    assert ended.code == 3
    assert "The keyring failed: No module named 'no'" in ended.err


async def test_a_locked_account_is_said(open_mirror: Open) -> None:
    text = '{"error": "invalid_grant", "error_description": "Account temporarily disabled"}'
    mirror, noa = await open_mirror()
    mirror.faults = FaultPlan((Fault(K.TOKEN_REFUSED, status=400, text=text, times=None),))
    ended = await noa("login")
    assert ended.code == 3
    assert "The account 'demo' is temporarily locked" in ended.err
    assert mirror._mirror.attempts["token"] == 1


def test_testing_mode_waits_for_nothing() -> None:
    async def run() -> None:
        emulated = EmulatorSettings(products=1, faults=FaultPlan((Fault(K.TOKEN_SESSIONS),)))
        async with Emulator(emulated) as mirror:
            with set_testing(True):
                async with NoaClient(settings_for(mirror), WHO) as noa:
                    await noa.log_in()

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 20
