"""What needs no cluster: whose a part is, what is said between machines, what is imported."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from noa_async import NoaClient, Settings, errors
from noa_async.cluster import dask
from noa_async.cluster.crew import Node, least_busy, rate_share
from noa_async.cluster.logins import LentTokens
from noa_async.cluster.messages import Renewal, Report
from noa_async.cluster.parts import adopt, attempt_name, hand_on, owner, take_over
from noa_async.errors import (
    ChecksumMismatch,
    NoaError,
    QuotaExceeded,
    ServiceUnreachable,
    SettingsError,
)
from noa_async.failure import Failure
from noa_async.transfer.sink import note_of


def part(folder: Path, name: str, content: bytes, *, note: bool = True) -> Path:
    path = folder / name
    path.write_bytes(content)
    if note:
        note_of(path).write_text(f"of {name}")
    return path


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_each_attempt_has_a_name_of_its_own() -> None:
    made = {attempt_name("a.b") for _ in range(100)}
    assert len(made) == 100
    assert {owner(Path(name).stem) for name in made} == {"a.b"}


def test_a_part_is_handed_on_with_its_note(tmp_path: Path) -> None:
    old = part(tmp_path, "x.part", b"old")
    hand_on(part(tmp_path, attempt_name("x"), b"new", note=False), old)
    assert names(tmp_path) == {"x.part"}
    assert old.read_bytes() == b"new"


def test_a_lost_worker_writes_into_nothing_that_is_used(tmp_path: Path) -> None:
    lost = part(tmp_path, attempt_name("x"), b"half")
    with lost.open("ab") as still_open:
        take_over(lost, tmp_path / "x.part")
        still_open.write(b"what a zombie writes")
    assert (tmp_path / "x.part").read_bytes() == b"half"
    assert names(tmp_path) == {"x.part", "x.json"}


def test_a_part_without_a_note_is_of_no_use(tmp_path: Path) -> None:
    take_over(part(tmp_path, attempt_name("x"), b"half", note=False), tmp_path / "x.part")
    assert names(tmp_path) == set()


def test_of_what_an_earlier_run_left_the_longest_is_kept(tmp_path: Path) -> None:
    for content in (b"12", b"1234", b"1"):
        part(tmp_path, attempt_name("x"), content)
    part(tmp_path, "x.part", b"123")
    part(tmp_path, "y.part", b"123456")
    part(tmp_path, attempt_name("y"), b"1")
    (tmp_path / "z.copy").touch()
    (tmp_path / attempt_name("z")).with_suffix(".json").touch()
    assert adopt(tmp_path) == {"x", "y"}
    assert names(tmp_path) == {"x.part", "x.json", "y.part", "y.json"}
    assert (tmp_path / "x.part").read_bytes() == b"1234"
    assert (tmp_path / "y.part").read_bytes() == b"123456"


def kinds() -> list[type[NoaError]]:
    found = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, NoaError) and one is not ChecksumMismatch]


@pytest.mark.parametrize("kind", kinds())
def test_an_error_arrives_as_it_was_raised(kind: type[NoaError]) -> None:
    error = kind("It went wrong.", hint="Mend it.", retry_after=7.0, more_tries=2)
    error.attempts = 3
    same = pickle.loads(pickle.dumps(Failure.of(error))).error()
    assert type(same) is kind
    assert str(same) == str(error)
    assert vars(same) == vars(error)
    assert same.attempts == 3


def test_so_does_one_with_arguments_of_its_own() -> None:
    error = ChecksumMismatch("S2A", expected="md5:1", found="md5:2")
    same = pickle.loads(pickle.dumps(Failure.of(error))).error()
    assert isinstance(same, ChecksumMismatch)
    assert (same.expected, same.found, str(same)) == ("md5:1", "md5:2", str(error))
    assert not isinstance(same, QuotaExceeded)


def test_tokens_are_in_no_text() -> None:
    assert "s3cret" not in repr(Renewal("s3cret", 1.0))
    assert "s3cret" not in repr(Report((), (), ("s3cret",)))


async def test_a_token_that_was_taken_back_is_not_used_again() -> None:
    told: list[str] = []
    tokens = LentTokens(patience=5.0, rejected=told.append)
    tokens.lend("first")
    assert await tokens.token() == "first"
    tokens.reject("an earlier one")
    assert await tokens.token() == "first"
    tokens.reject("first")
    assert told == ["first"]
    tokens.lend("first")
    waiting = asyncio.create_task(tokens.token())
    await asyncio.sleep(0)
    assert not waiting.done()
    tokens.lend("second")
    assert await waiting == "second"


async def test_a_token_that_does_not_come_is_the_services_fault() -> None:
    with pytest.raises(ServiceUnreachable):
        await LentTokens(patience=0.01, rejected=pytest.fail).token()


def test_the_least_busy_worker_that_is_there_is_next() -> None:
    busy, free, gone = Node("a", ready=True), Node("b", ready=True), Node("c")
    busy.jobs["x"] = None  # type: ignore[assignment]
    assert least_busy([busy, free, gone]) is free
    assert least_busy([gone]) is None


@pytest.mark.parametrize("jobs", [[1, 1, 2], [4, 0, 1], [0, 0, 3]])
def test_shares_of_a_cap_are_the_cap_at_most(jobs: list[int]) -> None:
    busy = [rate_share(10.0, mine, 6) for mine in jobs if mine]
    assert sum(share for share in busy if share is not None) <= 10.0


@pytest.mark.parametrize("address", ["", "scheduler:8786", "http://head:8786", "Local"])
def test_what_is_no_scheduler_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="dask"):
        NoaClient(Settings(dask=address))


def test_a_missing_dask_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match="not installed") as told:
        NoaClient(Settings(dask="local"))
    assert "noa-async[dask]" in told.value.hint


QUIET = """
import asyncio, sys
from noa_async import Credentials, NoaClient, Query, Service, Settings
from noa_async.emulator import Emulator, EmulatorSettings

async def main():
    async with Emulator(EmulatorSettings(products=2, mean_bytes=1000)) as mirror:
        service = Service(catalogue_url=mirror.catalogue_url, token_url=mirror.token_url)
        async with NoaClient(Settings(service=service), Credentials("demo", "demo")) as noa:
            found = noa.search(Query(everything=True))
            assert [one.ok async for one in noa.download_all(found, sys.argv[1])] == [True] * 2

asyncio.run(main())
print([name for name in sys.modules if name.split(".")[0] in ("dask", "distributed", "tornado")])
print([name for name in sys.modules if name.startswith("noa_async.cluster")])
"""


async def test_nothing_of_it_is_imported_where_it_is_not_named(tmp_path: Path) -> None:
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", QUIET, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split("\n")[:2] == ["[]", "[]"], run.stderr
