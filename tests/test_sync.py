"""The client without await: in scripts, beside a running loop, and under Ctrl-C."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from noa_async import (
    Command,
    CredentialsMissing,
    NoaError,
    Outcome,
    Product,
    Query,
    Status,
    SyncNoaClient,
    UsageError,
)
from noa_async.archive.archive import Archive
from noa_async.events import Event, ProductQueued
from noa_async.pytest_plugin import EmulatedMirror

EVERYTHING = Query(everything=True)
pytestmark = pytest.mark.usefixtures("noa_environment")


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("noa-")]


def running() -> int:
    """Loops of ours: the emulator's is one."""
    return len([one for one in threads() if one.name == "noa-loop"])


def assert_right(mirror: EmulatedMirror, folder: Path, count: int = 20) -> None:
    files = [file for file in folder.iterdir() if file.is_file()]
    sums = {mirror.emulator.content(one.id).md5 for one in mirror.emulator.catalogue.products}
    assert len(files) == count
    assert {hashlib.md5(file.read_bytes()).hexdigest() for file in files} <= sums


def test_all_of_it(noa_emulator: EmulatedMirror, tmp_path: Path) -> None:
    with SyncNoaClient.from_env() as noa:
        assert noa.log_in() > 0
        assert noa.count(EVERYTHING) == 20
        first, *others = noa.search(EVERYTHING, attributes=True)
        assert first.attributes
        outcome = noa.download(first, tmp_path / "one")
        assert (outcome.status, len(others)) == (Status.DOWNLOADED, 19)
        assert {one.status for one in noa.download_all(others, tmp_path / "one")} == {
            Status.DOWNLOADED
        }
        assert_right(noa_emulator, tmp_path / "one")
        report = noa.mirror(EVERYTHING, tmp_path / "two")
        assert report.counts == {Status.DOWNLOADED: 20}
        assert_right(noa_emulator, tmp_path / "two")
    assert running() == 1


async def test_beside_a_loop_that_runs(noa_emulator: EmulatedMirror, tmp_path: Path) -> None:
    """As in a notebook's cell."""
    noa = SyncNoaClient.from_env().open()
    found = noa.search(EVERYTHING)
    assert len([noa.download(product, tmp_path) for product in found]) == 20
    noa.close()
    noa.close()
    assert_right(noa_emulator, tmp_path)


def test_products_of_its_own_search_are_brought_while_it_goes_on(
    noa_emulator: EmulatedMirror, tmp_path: Path
) -> None:
    with SyncNoaClient.from_env() as noa:
        outcomes = list(noa.download_all(noa.search(EVERYTHING), tmp_path / "a"))
        assert len(outcomes) == 20
        some = (one for one in noa.search(EVERYTHING) if one.name.startswith("S2"))
        count = len(list(noa.download_all(some, tmp_path / "b")))
        assert 0 < count < 20
        with SyncNoaClient.from_env() as other:
            assert len(list(other.download_all(noa.search(EVERYTHING), tmp_path / "c"))) == 20
    assert_right(noa_emulator, tmp_path / "a")
    assert_right(noa_emulator, tmp_path / "b", count)


@pytest.mark.noa_emulator(products=12, mean_bytes=600_000, rate=300_000.0)
def test_leaving_early_cancels_what_is_under_way(
    noa_emulator: EmulatedMirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stats = noa_emulator.emulator.stats
    with SyncNoaClient.from_env() as noa:
        for outcome in noa.download_all(noa.search(EVERYTHING), tmp_path):
            assert outcome.ok
            break
        wait_until(lambda: stats.downloads_in_flight == 0)
        outcomes = noa.download_all(noa.search(EVERYTHING), tmp_path)
        next(outcomes)
        outcomes.close()
        wait_until(lambda: stats.downloads_in_flight == 0)
        assert stats.bytes_sent < 12 * 600_000
    leave, closed = Archive.__aexit__, []

    async def note(archive: Archive, *error: object) -> None:
        closed.append(kept.source._source.ag_frame is None)  # type: ignore[attr-defined]
        await leave(archive, *error)

    monkeypatch.setattr(Archive, "__aexit__", note)
    with SyncNoaClient.from_env() as noa:
        kept = noa.download_all(noa.search(EVERYTHING), tmp_path)
        next(kept)
    assert closed == [True]  # what is under way ends before what it stands on
    assert list((tmp_path / ".noa-async/parts").glob("*.part"))
    with pytest.raises(UsageError):
        next(kept)


def wait_until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_hooks_are_plain_functions_or_commands(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    def note(outcome: Outcome) -> None:
        here = threading.current_thread()
        seen.append((outcome.product.name, here.name == "noa-loop"))

    with SyncNoaClient.from_env() as noa:
        noa.mirror(EVERYTHING, tmp_path / "a", after=note, tell=note)
        assert len(seen) == 40
        assert not any(on_loop for _, on_loop in seen)  # it may block, and holds nobody
        copied = Command.parse(f"cp {{path}} {tmp_path}/{{id}}.copy")
        product = next(noa.search(EVERYTHING))
        assert noa.download(product, tmp_path / "b", after=copied).ok
    assert (tmp_path / f"{product.id}.copy").stat().st_size == product.size


def test_an_observer_that_asks_its_client_is_told_so() -> None:
    asked: list[UsageError] = []

    def ask(event: Event, /) -> None:
        try:
            noa.count(EVERYTHING)
        except UsageError as error:
            asked.append(error)

    noa = SyncNoaClient.from_env(observer=ask)
    with noa:
        list(noa.search(EVERYTHING))
    assert asked
    assert "wait for itself" in str(asked[0])


def test_what_goes_wrong_is_raised_where_it_was_asked(
    monkeypatch: pytest.MonkeyPatch, noa_emulator: EmulatedMirror
) -> None:
    noa = SyncNoaClient.from_env()
    with pytest.raises(UsageError, match="not open"):
        noa.search(EVERYTHING)
    with noa:
        with pytest.raises(UsageError, match="open already"):
            noa.open()
        with pytest.raises(NoaError):
            list(noa.search(Query(raw="Nonsense eq 1")))
    monkeypatch.delenv("NOA_USERNAME")
    monkeypatch.delenv("NOA_PASSWORD")
    with pytest.raises(CredentialsMissing):
        SyncNoaClient.from_env().open()
    assert running() == 1


def test_events_are_told(tmp_path: Path) -> None:
    events: list[Event] = []
    with SyncNoaClient.from_env(observer=events.append) as noa:
        list(noa.download_all(noa.search(EVERYTHING), tmp_path))
    assert len([one for one in events if isinstance(one, ProductQueued)]) == 20


def test_two_threads_share_what_the_first_use_makes(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    with SyncNoaClient.from_env() as noa:
        products = list(noa.search(EVERYTHING))
        both = threading.Barrier(2)

        def bring(some: Sequence[Product]) -> None:
            both.wait()
            outcomes.extend(noa.download_all(some, tmp_path))

        threads = [
            threading.Thread(target=bring, args=(some,)) for some in (products[:10], products[10:])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(outcomes) == 20
    assert all(outcome.ok for outcome in outcomes)


SCRIPT = """
import sys
from noa_async import Query, SyncNoaClient
with SyncNoaClient.from_env() as noa:
    products = noa.search(Query(everything=True))
    print("ready", flush=True)
    {work}
"""
WORKS = {
    "download": "[noa.download(product, 'data') for product in products]",
    "download_all": "list(noa.download_all(products, 'data'))",
    "generator": "list(noa.download_all((one for one in products), 'data'))",
    "mirror": "noa.mirror(Query(everything=True), 'data')",
    "body": "[input() for outcome in noa.download_all(products, 'data')]",
}


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.noa_emulator(products=6, mean_bytes=1_500_000, rate=1_000_000.0)
async def test_ctrl_c_keeps_parts(work: str, noa_emulator: EmulatedMirror, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT.format(work=WORKS[work])),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    parts = tmp_path / "data/.noa-async/parts"

    def held() -> int:
        return sum(part.stat().st_size for part in parts.glob("*.part"))

    async with asyncio.timeout(20):
        while held() < 700_000:
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
    assert process.returncode == -signal.SIGINT
    assert noa_emulator.emulator.stats.bytes_sent < 3_500_000  # it was not waited for
    assert err.decode().rstrip().endswith("KeyboardInterrupt")
    assert "was never" not in err.decode()
    assert held() > 600_000
    assert not (tmp_path / "data/.noa-async/parts").with_name("ledger.sqlite3-wal").exists()
    noa_emulator.emulator.stats.bytes_sent = 0
    with SyncNoaClient.from_env() as noa:
        whole = sum(one.size or 0 for one in noa.search(EVERYTHING))
        assert noa.mirror(EVERYTHING, tmp_path / "data").absent == 0
    assert noa_emulator.emulator.stats.bytes_sent < whole - 500_000


def test_what_is_not_closed_ends_with_the_program(tmp_path: Path) -> None:
    code = """
from noa_async import Query, SyncNoaClient
noa = SyncNoaClient.from_env().open()
outcomes = noa.download_all(noa.search(Query(everything=True)), "data")
print(next(outcomes).status)
"""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "downloaded\n", "")


def test_products_may_come_from_anywhere(noa_emulator: EmulatedMirror, tmp_path: Path) -> None:
    with SyncNoaClient.from_env() as noa:
        held = {product.id: product for product in noa.search(EVERYTHING)}
        kinds: list[object] = [list(held.values()), set(held.values()), iter(held.values())]
        for number, products in enumerate([*kinds, held.values()]):
            folder = tmp_path / str(number)
            assert len(list(noa.download_all(products, folder))) == 20  # type: ignore[arg-type]
            assert_right(noa_emulator, folder)

        def broken() -> object:
            yield next(iter(held.values()))
            raise LookupError("no more")

        with pytest.raises(LookupError):
            list(noa.download_all(broken(), tmp_path / "broken"))  # type: ignore[arg-type]
    assert isinstance(next(iter(held.values())), Product)
