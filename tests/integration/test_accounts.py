"""Products spread over several accounts, each with its own tokens and quota."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from noa_async import CredentialsRefused, NoaClient, Query
from noa_async.auth.accounts import read_accounts
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.events import Status, TokenObtained, TransferRetried

from .conftest import Recorder, settings_for

ALL = Query(everything=True)
PAIR = (("ada", "s3cret"), ("bob", "0ther"))
ROOT = Path(__file__).parent.parent.parent
Open = Callable[..., AbstractAsyncContextManager[NoaClient]]


def mirror_of(**changes: object) -> Emulator:
    given: dict[str, object] = {"products": 24, "mean_bytes": 20_000, "rate": 200_000.0}
    given |= {"username": "ada", "password": "s3cret", "accounts": (PAIR[1],)}
    return Emulator(EmulatorSettings(**given | changes))  # type: ignore[arg-type]


@pytest.fixture
def open_as(tmp_path: Path, recorder: Recorder) -> Open:
    """A client with accounts in a file."""

    def make(
        mirror: Emulator, pairs: Sequence[tuple[str, str]] = PAIR, *, workers: int = 8
    ) -> NoaClient:
        path = tmp_path / "accounts.toml"
        tables = (f'[[accounts]]\nusername = "{one}"\npassword = "{two}"\n' for one, two in pairs)
        path.write_text("".join(tables))
        path.chmod(0o600)
        settings = replace(settings_for(mirror, workers=workers), accounts=str(path))
        return NoaClient(settings, observer=recorder)

    return make


async def bring_all(noa: NoaClient, folder: Path) -> list[Status]:
    return [one.status async for one in noa.download_all(noa.search(ALL), folder)]


async def test_two_quotas_of_two_are_four_at_once(open_as: Open, tmp_path: Path) -> None:
    async with mirror_of(quota=2) as mirror, open_as(mirror) as noa:
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
    stats = mirror.stats
    assert stats.downloads_peak_of == {"ada": 2, "bob": 2}
    assert stats.downloads_peak == 4
    assert stats.token_logins == 2
    assert min(stats.downloads_of.values()) > 4
    assert stats.bytes_sent == sum(one.size for one in mirror.catalogue.products)


async def test_workers_are_spread_evenly(open_as: Open, tmp_path: Path) -> None:
    async with mirror_of() as mirror, open_as(mirror, workers=4) as noa:
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
    assert min(mirror.stats.downloads_peak_of.values()) >= 2
    assert len(mirror.stats.downloads_of) == 2


async def test_without_the_setting_there_is_one_account(connect: Open, tmp_path: Path) -> None:
    async with Emulator(EmulatorSettings(products=6, accounts=PAIR)) as mirror:
        async with connect(mirror) as noa:
            assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 6
    assert set(mirror.stats.downloads_of) == {"demo"}
    assert mirror.stats.token_logins == 1


async def test_a_token_that_ends_concerns_its_account_alone(
    open_as: Open, recorder: Recorder, tmp_path: Path
) -> None:
    async with mirror_of() as mirror, open_as(mirror) as noa:
        await noa.log_in()
        mirror.revoke_tokens(user="bob")
        recorder.events.clear()
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
    assert len(recorder.of(TokenObtained)) == 1
    assert (mirror.stats.token_logins, mirror.stats.token_refreshes) == (2, 1)
    assert set(mirror.stats.downloads_of) == {"ada", "bob"}


@pytest.mark.parametrize("place", [0, 1])
async def test_an_account_that_is_refused_ends_alone(
    open_as: Open, recorder: Recorder, tmp_path: Path, place: int
) -> None:
    pairs = [(user, "wrong" if at == place else word) for at, (user, word) in enumerate(PAIR)]
    async with mirror_of() as mirror, open_as(mirror, pairs) as noa:
        assert await bring_all(noa, tmp_path / "out") == [Status.DOWNLOADED] * 24
    assert mirror.stats.wrong_passwords == 1
    assert set(mirror.stats.downloads_of) == {PAIR[1 - place][0]}
    said = [event.reason for event in recorder.of(TransferRetried)]
    assert said
    assert all(f"credentials of '{PAIR[place][0]}'" in one for one in said)
    assert all(one.endswith("Another account goes on.") for one in said)
    assert not any(word in one for one in said for word in ("wrong", "s3cret", "0ther"))


async def test_where_all_are_refused_the_run_ends(open_as: Open, tmp_path: Path) -> None:
    pairs = [(user, "wrong") for user, _ in PAIR]
    async with mirror_of() as mirror, open_as(mirror, pairs) as noa:
        with pytest.raises(CredentialsRefused):
            await bring_all(noa, tmp_path / "out")
    assert mirror.stats.wrong_passwords == 2


async def test_a_client_entered_again_logs_nobody_in_again(open_as: Open) -> None:
    async with mirror_of() as mirror:
        client = open_as(mirror)
        for _ in range(2):
            async with client as noa:
                await noa.log_in()
        assert mirror.stats.token_logins == 2


def test_the_documented_file_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "quotas.md").read_text("utf-8")
    [text] = re.findall(r"```toml\n(\[\[accounts\]\].*?)```", page, re.DOTALL)
    path = tmp_path / "accounts.toml"
    path.write_text(text)
    path.chmod(0o600)
    assert [one.username for one in read_accounts(path)] == ["observatory", "university"]
