"""The token on a cluster: one log-in, lent to all workers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from noa_async import Credentials, CredentialsRefused, NoaClient, Query
from noa_async.cluster.logins import Lender
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.errors import ServiceFault
from noa_async.events import Status

from ..integration.conftest import WHO, Recorder, assert_right, settings_for
from .crowd import Crowd

ALL = Query(everything=True)


def mirror_of(**changes: object) -> Emulator:
    given: dict[str, object] = {"products": 24, "mean_bytes": 30_000, "latency": 0.05, "quota": 2}
    return Emulator(EmulatorSettings(**given | changes))  # type: ignore[arg-type]


def client_of(mirror: Emulator, recorder: Recorder, who: Credentials = WHO) -> NoaClient:
    settings = replace(settings_for(mirror), dask="tcp://nowhere:1")
    return NoaClient(settings, who, observer=recorder)


async def bring_all(noa: NoaClient, folder: Path) -> list[Status]:
    return [one.status async for one in noa.download_all(noa.search(ALL), folder)]


async def test_one_log_in_and_its_quota_are_for_all_workers(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with mirror_of() as mirror, client_of(mirror, recorder) as noa:
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
        assert_right(mirror, tmp_path / "out", 24)
        assert mirror.stats.downloads_peak == 2
        assert mirror.stats.token_logins == 1
    assert {address for address, verb in crowd.asked if verb == "begin"} == set("abcd")


async def test_a_password_that_is_refused_is_sent_once_and_ends_the_run(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    who = Credentials("demo", "s3cret-wrong")
    async with mirror_of() as mirror:
        async with client_of(mirror, recorder) as noa:
            products = [product async for product in noa.search(ALL)]
        async with client_of(mirror, recorder, who) as noa:
            with pytest.raises(CredentialsRefused):
                _ = [one async for one in noa.download_all(products, tmp_path / "out")]
        assert mirror.stats.wrong_passwords == 1
        assert not mirror.stats.downloads


async def test_a_token_that_is_taken_back_is_renewed_once(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with mirror_of() as mirror, client_of(mirror, recorder) as noa:
        await noa.log_in()
        mirror.revoke_tokens()
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
        assert mirror.stats.unauthorised > 0
        assert (mirror.stats.token_logins, mirror.stats.token_refreshes) == (1, 1)


class Manager:
    """A token manager that gives what it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def token(self) -> str:
        self.asked += 1
        return await asyncio.shield(self.answer)


async def test_a_log_in_that_takes_long_keeps_nobody_waiting_and_is_asked_for_once() -> None:
    slow = Manager()
    lender = Lender(slow, patience=0.01)  # type: ignore[arg-type]
    assert await asyncio.gather(lender.loan(), lender.loan()) == [None, None]
    slow.answer.set_result("slow")
    assert await lender.loan() == "slow"
    assert slow.asked == 1
    await lender.close()


async def test_of_a_service_in_trouble_workers_keep_what_they_have() -> None:
    manager = Manager()
    manager.answer.set_exception(ServiceFault("down"))
    assert await Lender(manager, patience=1.0).loan() is None  # type: ignore[arg-type]


async def test_a_refused_password_ends_the_run() -> None:
    manager = Manager()
    manager.answer.set_exception(CredentialsRefused("no"))
    with pytest.raises(CredentialsRefused):
        await Lender(manager, patience=1.0).loan()  # type: ignore[arg-type]


async def test_what_is_asked_for_ends_with_the_run() -> None:
    manager = Manager()
    lender = Lender(manager, patience=0.0)  # type: ignore[arg-type]
    assert await lender.loan() is None
    await lender.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
