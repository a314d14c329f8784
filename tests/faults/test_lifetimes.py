"""Lifetimes: what a client has begun ends with it, however and by whom it is left.

The names of the tests say which row of the list of faults they are about.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from noa_async import (
    DestinationError,
    NoaClient,
    Outcome,
    Query,
    SyncNoaClient,
    UsageError,
    reference,
)
from noa_async.archive import ledger as ledger_module
from noa_async.archive import repairing
from noa_async.archive.archive import Archive
from noa_async.archive.database import Database, open_database
from noa_async.archive.folder import LocalFolder
from noa_async.archive.ledger import Ledger
from noa_async.auth.tokens import TokenManager
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.events import LedgerSetAside
from noa_async.pytest_plugin import EmulatedMirror
from noa_async.threads import Threads

from ..integration.conftest import WHO, Connect, Recorder, assert_right, settings_for

ALL = Query(everything=True)
SMALL = EmulatorSettings(products=12, mean_bytes=60_000)
SLOW = EmulatorSettings(products=12, mean_bytes=300_000, rate=300_000.0)
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Gate:
    """Holds a thread where a test wants it, until it is opened."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self._reached.set()
        assert self._opened.wait(10)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)

    def open(self) -> None:
        self._opened.set()

    def before(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def gated(*given: Any, **named: Any) -> Any:
            self()
            return work(*given, **named)

        return gated

    def behind(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def gated(*given: Any, **named: Any) -> Any:
            done = work(*given, **named)
            self()
            return done

        return gated


@pytest.fixture
def gate() -> Iterator[Gate]:
    one = Gate()
    yield one
    one.open()


async def cancelled_again_and_again(task: asyncio.Task[Any], gate: Gate) -> None:
    """Cancel a task that waits for a thread; it must not end before the thread does."""
    await gate.reached()
    for _ in range(5):
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
    gate.open()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


def assert_unlocked(folder: Path) -> None:
    """Nobody holds the folder's lock."""
    other = LocalFolder(folder)
    other.open()
    other.close(in_order=not other.suspect)


def own_threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("noa")}


# 6.3: databases and locks


async def test_row_6_3_a_ledger_that_is_cancelled_while_it_opens_waits_for_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(ledger_module, "open_recovered", gate.before(ledger_module.open_recovered))
    where: list[tuple[str, int]] = []
    close, opened = Database.close, Database.__init__

    def noted(name: str, work: Callable[..., None], database: Database, *given: Any) -> None:
        where.append((name, threading.get_ident()))
        work(database, *given)

    monkeypatch.setattr(Database, "close", lambda it: noted("close", close, it))
    monkeypatch.setattr(Database, "__init__", lambda it, path: noted("open", opened, it, path))
    opening = asyncio.create_task(Ledger(tmp_path / "ledger.sqlite3").open())
    await cancelled_again_and_again(opening, gate)
    (one, first), (other, second) = where
    assert (one, other) == ("open", "close")
    assert first == second != threading.get_ident()
    assert not own_threads()


async def test_row_6_3_sqlite_refuses_a_thread_that_did_not_open_the_database(
    tmp_path: Path,
) -> None:
    with closing(open_database(tmp_path / "ledger.sqlite3")) as database:
        with pytest.raises(DestinationError, match="thread"):
            await asyncio.to_thread(database.row, "SELECT 1")


async def test_row_6_3_a_cancel_while_the_lock_is_taken_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(LocalFolder, "open", gate.behind(LocalFolder.open))
    with Threads(1) as pool:
        opening = asyncio.create_task(Archive(tmp_path, None, pool).__aenter__())
        await cancelled_again_and_again(opening, gate)
    monkeypatch.undo()
    assert_unlocked(tmp_path)


async def test_row_6_3_a_cancelled_opening_leaves_a_suspect_ledger_suspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool):
            pass
        lock = tmp_path / ".noa-async/lock"
        lock.write_text("4711\n")  # as a killed run leaves it
        (tmp_path / ".noa-async/ledger.sqlite3").write_bytes(b"no ledger at all" * 400)
        with monkeypatch.context() as patch:
            patch.setattr(Ledger, "open", _cancelled)
            with pytest.raises(asyncio.CancelledError):
                await Archive(tmp_path, None, pool).__aenter__()
        assert lock.read_text()
        told = Recorder()
        async with Archive(tmp_path, None, pool, told):
            assert told.of(LedgerSetAside)
    assert not lock.read_text()


async def _cancelled(_ledger: Ledger, *, suspect: bool) -> None:
    assert suspect
    raise asyncio.CancelledError


async def test_row_6_3_a_closing_that_is_cancelled_again_and_again_ends_in_order(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    async with Emulator(SMALL) as mirror:
        inside = asyncio.Event()

        async def use() -> None:
            async with connect(mirror) as noa:
                await noa.mirror(ALL, tmp_path)
                monkeypatch.setattr(Archive, "_write_copies", gate.before(Archive._write_copies))
                inside.set()

        using = asyncio.create_task(use())
        await inside.wait()
        await cancelled_again_and_again(using, gate)
        assert_unlocked(tmp_path)
        assert not (tmp_path / ".noa-async/ledger.sqlite3-wal").exists()
        assert not own_threads()
        async with asyncio.timeout(5), connect(mirror) as noa:
            assert (await noa.mirror(ALL, tmp_path)).ok
        assert [len(each) for each in mirror.stats.downloads.values()] == [1] * 12


async def test_row_6_3_products_to_mend_are_read_by_one_thread_at_a_time(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    async with Emulator(SMALL) as mirror, connect(mirror) as noa:
        await noa.mirror(ALL, tmp_path)
    monkeypatch.setattr(repairing, "numbered", gate.before(repairing.numbered))
    wrong = repairing.wrong_products(tmp_path)
    await cancelled_again_and_again(asyncio.create_task(anext(wrong)), gate)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01, 0.03, 0.1])
async def test_row_6_3_a_time_out_around_the_client(
    seconds: float, connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(SLOW) as mirror:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds), connect(mirror) as noa:
                await noa.mirror(ALL, tmp_path)
        assert_unlocked(tmp_path)
        assert len(asyncio.all_tasks() - mirror_tasks()) == 1


def mirror_tasks() -> set[asyncio.Task[Any]]:
    """Those of the emulator, which are in the same loop."""
    return {
        one for one in asyncio.all_tasks() if "web_protocol" in repr(one) or "aiohttp" in repr(one)
    }


# 6.4: streams


async def test_row_6_4_a_stream_that_outlives_its_client_ends_with_it(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(SLOW) as mirror:
        async with connect(mirror) as noa:
            outcomes = noa.download_all(noa.search(ALL), tmp_path)
            found = noa.search(ALL)
            await anext(found)
            assert (await anext(outcomes)).ok
            assert mirror.stats.downloads_in_flight
        assert_unlocked(tmp_path)
        async with asyncio.timeout(2):
            while mirror.stats.downloads_in_flight:
                await asyncio.sleep(0.001)
        sent = mirror.stats.bytes_sent
        for stream in (outcomes, found):
            with pytest.raises(UsageError, match="closed"):
                await anext(stream)
            await stream.aclose()
        async with connect(mirror):
            with pytest.raises(UsageError, match="closed"):
                await anext(outcomes)
        assert mirror.stats.bytes_sent == sent
        assert len(asyncio.all_tasks() - mirror_tasks()) == 1


async def test_row_6_4_streams_and_calls_of_other_tasks_end_with_the_client(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(SLOW) as mirror:
        taken: list[Outcome] = []

        async def take(noa: NoaClient) -> None:
            async for outcome in noa.download_all(noa.search(ALL), tmp_path):
                taken.append(outcome)

        async with connect(mirror) as noa:
            works = [take(noa), noa.mirror(ALL, tmp_path), noa.mirror(ALL, tmp_path / "other")]
            tasks = [asyncio.create_task(work) for work in works]
            async with asyncio.timeout(10):
                while not taken:
                    await asyncio.sleep(0.001)
        assert_unlocked(tmp_path)
        assert_unlocked(tmp_path / "other")
        done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 2)
        assert [type(error) for error in done] == [UsageError] * 3
        assert not any(task.cancelled() for task in tasks)
        assert_right(mirror, tmp_path, len(list(tmp_path.glob("*.zip"))))


async def test_row_6_4_a_stream_that_is_dropped_ends_before_its_client(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(SLOW) as mirror, connect(mirror) as noa:
        async for _ in noa.download_all(noa.search(ALL), tmp_path):
            break
        gc.collect()
        async with asyncio.timeout(2):
            while mirror.stats.downloads_in_flight or noa._open_calls()._sources:
                await asyncio.sleep(0.001)
        assert await noa.count(ALL)


async def test_row_6_4_a_stream_that_is_left_under_repeated_cancellation_leaves_no_task(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(SLOW) as mirror, connect(mirror) as noa:

        async def take() -> None:
            async for outcome in noa.download_all(noa.search(ALL), tmp_path):
                assert outcome.ok

        await anext(noa.download_all([], tmp_path), None)  # the folder is open from here on
        before = asyncio.all_tasks()
        for _ in range(5):
            taking = asyncio.create_task(take())
            async with asyncio.timeout(10):
                while not mirror.stats.downloads_in_flight:
                    await asyncio.sleep(0.001)
            for _ in range(4):
                taking.cancel()
                await asyncio.sleep(0)
            await asyncio.wait({taking}, timeout=2)
            assert taking.cancelled()
            assert asyncio.all_tasks() - mirror_tasks() <= before


async def test_row_6_4_a_closed_pool_takes_no_work() -> None:
    pool = Threads(1)
    assert await pool.run(divmod, 7, 2) == (3, 1)
    pool.close()
    for give in (pool.submit, pool.submit_brief):
        with pytest.raises(UsageError, match="closed"):
            give(divmod, 7, 2)


@pytest.mark.filterwarnings("ignore:asynchronous generator:ResourceWarning")
def test_row_6_4_a_client_that_is_never_left_ends_with_its_loop(
    noa_emulator: EmulatedMirror, tmp_path: Path
) -> None:
    noa = NoaClient(noa_emulator.settings, noa_emulator.credentials)
    kept: list[object] = []

    async def never_leave() -> None:
        await noa.__aenter__()
        kept.append(outcomes := noa.download_all(noa.search(ALL), tmp_path))
        assert (await anext(outcomes)).ok

    async def use_again() -> None:
        async with asyncio.timeout(5), noa:
            assert (await noa.mirror(ALL, tmp_path)).ok

    before = own_threads()
    asyncio.run(never_leave())
    assert_unlocked(tmp_path)
    assert own_threads() <= before
    asyncio.run(use_again())


# 5.2: the client without await


@pytest.mark.noa_emulator(products=12, mean_bytes=300_000, rate=300_000.0)
def test_row_5_2_a_sync_client_is_used_again_after_a_stream_was_left_early(
    noa_emulator: EmulatedMirror, tmp_path: Path
) -> None:
    noa = SyncNoaClient(noa_emulator.settings, noa_emulator.credentials)
    before = own_threads()
    for _ in range(10):
        with noa:
            for _product in noa.search(ALL):
                break
            for outcome in noa.download_all(noa.search(ALL), tmp_path):
                assert outcome.ok
                break
            kept = noa.search(ALL)
            next(kept)
        assert_unlocked(tmp_path)
        assert own_threads() <= before
        with pytest.raises(UsageError):
            next(kept)
        kept.close()


@pytest.mark.parametrize("where", ["open", "close"])
def test_row_5_2_ctrl_c_while_a_sync_client_opens_or_closes(
    where: str, noa_emulator: EmulatedMirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, before = threading.main_thread().ident, own_threads()
    assert main is not None
    noa = SyncNoaClient(noa_emulator.settings, noa_emulator.credentials)
    ended: list[str] = []

    def interrupted(work: Callable[..., Any]) -> Callable[..., Any]:
        async def press(*given: Any, **named: Any) -> Any:
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.sleep(0.1)  # for as long as the signal may take
            done = await work(*given, **named)
            ended.append(where)
            return done

        return press

    with monkeypatch.context() as patch:
        if where == "open":
            patch.setattr(NoaClient, "__aenter__", interrupted(NoaClient.__aenter__))
            with pytest.raises(KeyboardInterrupt):
                noa.open()
        else:
            noa.open()
            next(noa.download_all(noa.search(ALL), tmp_path))
            patch.setattr(TokenManager, "log_out", interrupted(TokenManager.log_out))
            with pytest.raises(KeyboardInterrupt):
                noa.close()
            assert ended == ["close"]  # all of it
            assert_unlocked(tmp_path)
    assert own_threads() <= before
    with noa:
        assert noa.mirror(ALL, tmp_path).ok


def test_row_5_2_a_sync_client_is_closed_under_a_thread_that_waits(
    noa_emulator: EmulatedMirror, tmp_path: Path
) -> None:
    held = Gate()

    def hold(_outcome: Outcome) -> None:
        held()

    noa = SyncNoaClient(noa_emulator.settings, noa_emulator.credentials).open()
    errors: list[type[BaseException]] = []

    def mirror() -> None:
        try:
            noa.mirror(ALL, tmp_path, tell=hold)
        except BaseException as error:  # noqa: BLE001 (whatever it is)
            errors.append(type(error))

    waiting = threading.Thread(target=mirror)
    waiting.start()
    assert held._reached.wait(10)
    opener = threading.Timer(0.2, held.open)  # a plain function cannot be ended
    opener.start()
    noa.close()
    waiting.join(5)
    opener.join()
    assert errors == [UsageError]
    assert_unlocked(tmp_path)


def test_row_5_2_a_sync_client_that_two_threads_close(
    noa_emulator: EmulatedMirror, tmp_path: Path
) -> None:
    noa, before = SyncNoaClient(noa_emulator.settings, noa_emulator.credentials), own_threads()
    for _ in range(5):
        noa.open()
        next(noa.download_all(noa.search(ALL), tmp_path))
        closers = [threading.Thread(target=noa.close) for _ in range(3)]
        for one in closers:
            one.start()
        for one in closers:
            one.join(5)
        assert_unlocked(tmp_path)
        assert own_threads() <= before


# 5.3: forks


Report = list[str]


def forked(work: Callable[[], Report]) -> Report:
    """What ``work`` reports from a fork of this process; it has to end within 5 s."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=_send, args=(there, work))
    child.start()
    there.close()
    try:
        assert here.poll(5), "the fork hangs"
        report: Report = here.recv()
        child.join(5)
        assert child.exitcode == 0
    finally:
        child.kill()
        child.join()
        here.close()
    return report


def _send(there: Connection, work: Callable[[], Report]) -> None:
    there.send(work())


async def told(work: Any) -> str:
    try:
        await work
    except UsageError as error:
        return error.message
    return "nothing was wrong"


OTHER = "This client was opened in another process."


@pytest.fixture
async def opened(connect: Connect, tmp_path: Path) -> AsyncIterator[tuple[NoaClient, Emulator]]:
    async with Emulator(SLOW) as mirror, connect(mirror) as noa:
        yield noa, mirror


async def test_row_5_3_a_fork_cannot_use_the_client_of_its_parent(
    opened: tuple[NoaClient, Emulator], tmp_path: Path
) -> None:
    noa, mirror = opened
    outcomes = noa.download_all(noa.search(ALL), tmp_path)
    assert (await anext(outcomes)).ok
    lock = tmp_path / ".noa-async/lock"

    async def use() -> Report:
        product = mirror.catalogue.products[0]
        return [
            await told(noa.__aenter__()),
            await told(noa.count(ALL)),
            await told(noa.log_in()),
            await told(noa.log_out()),
            await told(noa.download(product, tmp_path)),  # type: ignore[arg-type]
            await told(noa.mirror(ALL, tmp_path)),
            await told(anext(noa.search(ALL))),
            await told(anext(outcomes)),
        ]

    def child() -> Report:
        report = asyncio.run(use())
        asyncio.run(_leave(noa, outcomes))
        gc.collect()
        return report

    assert forked(child) == [OTHER] * 8
    assert lock.read_text() == f"{os.getpid()}\n"
    with pytest.raises(DestinationError, match="in use"):
        LocalFolder(tmp_path).open()
    async with asyncio.timeout(20):
        assert all([outcome.ok async for outcome in outcomes])
    assert_right(mirror, tmp_path, len(mirror.catalogue.products))


async def _leave(noa: NoaClient, stream: Any) -> None:
    await stream.aclose()
    await noa.__aexit__(None, None, None)


async def test_row_5_3_a_fork_that_lives_on_does_not_keep_the_folder_locked(
    connect: Connect, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    go_on = context.Event()
    child = context.Process(target=go_on.wait)
    async with Emulator(SMALL) as mirror:
        async with connect(mirror) as noa:
            await noa.mirror(ALL, tmp_path)
            child.start()
        try:
            assert_unlocked(tmp_path)
        finally:
            go_on.set()
            await asyncio.to_thread(child.join)


def test_row_5_3_a_fork_cannot_use_the_sync_client_of_its_parent(
    noa_emulator: EmulatedMirror, tmp_path: Path
) -> None:
    noa = SyncNoaClient(noa_emulator.settings, noa_emulator.credentials)

    def told_of(work: Callable[[], object]) -> str:
        try:
            work()
        except UsageError as error:
            return error.message
        return "nothing was wrong"

    with noa:
        streams = [noa.search(ALL)]
        product = next(streams[0])
        assert noa.download(product, tmp_path).ok

        def child() -> Report:
            works: list[Callable[[], object]] = [
                noa.open,
                lambda: noa.count(ALL),
                lambda: noa.download(product, tmp_path),
                lambda: noa.search(ALL),
                lambda: next(streams[0]),
            ]
            report = [told_of(work) for work in works]
            streams[0].close()
            noa.close()
            streams.clear()
            gc.collect()
            own = SyncNoaClient(noa_emulator.settings, noa_emulator.credentials)
            with own:
                report.append(str(own.count(ALL)))
            return report

        assert forked(child) == [OTHER] * 5 + ["20"]
        assert len(list(streams[0])) == 19
        assert noa.mirror(ALL, tmp_path).ok
    assert_unlocked(tmp_path)


def test_row_5_3_a_client_that_is_not_open_can_be_used_in_a_fork(
    noa_emulator: EmulatedMirror,
) -> None:
    noa = NoaClient(noa_emulator.settings, noa_emulator.credentials, keep_session=True)

    async def count() -> int:
        async with noa:
            return await noa.count(ALL)

    assert asyncio.run(count()) == 20
    token = noa._login.token
    assert token is not None
    try:
        assert forked(lambda: [str(asyncio.run(count()))]) == ["20"]
        assert asyncio.run(count()) == 20
        assert noa._login.token is token  # a fork has a session of its own
    finally:
        asyncio.run(noa.log_out())


# 5.4: two users of one client


async def test_row_5_4_a_client_is_entered_once_at_a_time(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(SMALL) as mirror:
        noa = connect(mirror)
        assert isinstance(noa, NoaClient)
        inside, leave = asyncio.Event(), asyncio.Event()

        async def first() -> bool:
            async with noa:
                inside.set()
                await leave.wait()
                return (await noa.mirror(ALL, tmp_path)).ok

        using = asyncio.create_task(first())
        await inside.wait()
        for _ in range(2):
            with pytest.raises(UsageError, match="open already"):
                await noa.__aenter__()
        leave.set()
        assert await using
        for _ in range(2):
            async with noa:
                assert await noa.count(ALL) == 12


async def test_row_5_4_a_client_that_two_tasks_leave_is_closed_when_both_have_left(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(SMALL) as mirror:
        noa = connect(mirror)
        assert isinstance(noa, NoaClient)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(noa)
            await noa.mirror(ALL, tmp_path)
            both = [noa.__aexit__(None, None, None) for _ in range(2)]
            await asyncio.gather(*both)
            assert_unlocked(tmp_path)
        async with noa:
            assert (await noa.mirror(ALL, tmp_path)).ok


def test_row_5_4_the_reference_client_serves_several_threads(
    noa_environment: EmulatedMirror, tmp_path: Path
) -> None:
    noa = reference.NOAClient("demo", "demo")
    products = noa.search_complex(
        None, "POLYGON((-180 -90, 180 -90, 180 90, -180 90, -180 -90))", None
    )

    def download(entry: dict[str, Any]) -> bool:
        return noa.download_product(entry["Id"], tmp_path / f"{entry['Name']}.zip")

    with ThreadPoolExecutor(4) as pool:
        assert len(products) == 20
        assert all(pool.map(download, products[:6]))


async def test_row_5_4_an_entry_that_failed_does_not_count(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Emulator(SMALL) as mirror:
        noa = NoaClient(settings_for(mirror), WHO)
        with monkeypatch.context() as patch:
            patch.setattr("noa_async.client.find_credentials", _raise)
            noa._credentials = None
            for _ in range(2):
                with pytest.raises(LookupError):
                    await noa.__aenter__()
        noa._credentials = WHO
        async with noa:
            assert await noa.count(ALL) == 12


def _raise(*_: object) -> None:
    raise LookupError
