"""Tokens on a cluster: lent to its workers, of one account or of several."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from noa_async import CredentialsRefused, NoaClient, Query
from noa_async.cluster.logins import Lender
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.errors import ServiceFault
from noa_async.events import Status, TransferRetried

from ..integration.conftest import Recorder, assert_right, settings_for
from .crowd import Crowd

ALL = Query(everything=True)
PAIR = (("ada", "s3cret"), ("bob", "0ther"))


def mirror_of(**changes: object) -> Emulator:
    given: dict[str, object] = {"products": 24, "mean_bytes": 30_000, "latency": 0.05, "quota": 2}
    given |= {"username": "ada", "password": "s3cret", "accounts": (PAIR[1],)}
    return Emulator(EmulatorSettings(**given | changes))  # type: ignore[arg-type]


def client_of(
    mirror: Emulator, recorder: Recorder, folder: Path, pairs: Sequence[tuple[str, str]] = PAIR
) -> NoaClient:
    path = folder / "accounts.toml"
    tables = (f'[[accounts]]\nusername = "{one}"\npassword = "{two}"\n' for one, two in pairs)
    path.write_text("".join(tables))
    path.chmod(0o600)
    settings = replace(settings_for(mirror), accounts=str(path))
    return NoaClient(replace(settings, dask="tcp://nowhere:1"), observer=recorder)


async def bring_all(noa: NoaClient, folder: Path) -> list[Status]:
    return [one.status async for one in noa.download_all(noa.search(ALL), folder)]


async def test_two_quotas_of_two_are_four_at_once_on_all_workers(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with mirror_of() as mirror, client_of(mirror, recorder, tmp_path) as noa:
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
        assert_right(mirror, tmp_path / "out", 24)
        assert 2 < mirror.stats.downloads_peak <= 4
        assert set(mirror.stats.downloads_of) == {"ada", "bob"}
        assert mirror.stats.token_logins == 2
    assert {address for address, verb in crowd.asked if verb == "begin"} == set("abcd")


async def test_an_account_that_is_refused_leaves_all_to_the_other(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    pairs = (PAIR[0], ("bob", "wrong"))
    async with mirror_of(quota=9) as mirror, client_of(mirror, recorder, tmp_path, pairs) as noa:
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
        assert set(mirror.stats.downloads_of) == {"ada"}
        assert mirror.stats.wrong_passwords == 1
    said = [str(event) for event in recorder.of(TransferRetried)]
    assert said
    assert all("'bob'" in one and "Another account goes on." in one for one in said)


async def test_a_token_that_is_taken_back_is_renewed_for_its_account(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with mirror_of() as mirror, client_of(mirror, recorder, tmp_path) as noa:
        await noa.log_in()
        mirror.revoke_tokens(user="bob")
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
        assert set(mirror.stats.downloads_of) == {"ada", "bob"}
        assert mirror.stats.unauthorised > 0
        assert mirror.stats.token_refreshes + mirror.stats.token_logins == 3


class Manager:
    """A token manager that gives what it is told to."""

    def __init__(self) -> None:
        self.refused: CredentialsRefused | None = None
        self.asked = 0
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def token(self) -> str:
        self.asked += 1
        return await asyncio.shield(self.answer)

    def refuse(self) -> None:
        self.refused = CredentialsRefused("no")
        self.answer.set_exception(self.refused)


async def test_a_log_in_that_takes_long_keeps_nobody_waiting_and_is_asked_for_once() -> None:
    quick, slow = Manager(), Manager()
    quick.answer.set_result("quick")
    lender = Lender([quick, slow], patience=0.01)  # type: ignore[list-item]
    assert await asyncio.gather(lender.loan(), lender.loan()) == [("quick", None)] * 2
    slow.answer.set_result("slow")
    assert await lender.loan() == ("quick", "slow")
    assert slow.asked == 1
    await lender.close()


async def test_of_a_service_in_trouble_workers_keep_what_they_have() -> None:
    manager = Manager()
    manager.answer.set_exception(ServiceFault("down"))
    lender = Lender([manager], patience=1.0)  # type: ignore[list-item]
    assert await lender.loan() == (None,)


async def test_only_where_no_account_is_left_a_refusal_ends_the_run() -> None:
    one, other = Manager(), Manager()
    other.answer.set_result("other")
    one.refuse()
    assert await Lender([one, other], patience=1.0).loan() == (None, "other")  # type: ignore[list-item]
    with pytest.raises(CredentialsRefused):
        await Lender([one], patience=1.0).loan()  # type: ignore[list-item]


async def test_what_is_asked_for_ends_with_the_run() -> None:
    manager = Manager()
    lender = Lender([manager], patience=0.0)  # type: ignore[list-item]
    assert await lender.loan() == (None,)
    await lender.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
