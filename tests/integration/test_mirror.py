"""A folder that follows a query: what each night brings, and what it must never do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noa_async import (
    DestinationError,
    Following,
    MirrorReport,
    NoaClient,
    OnRemoved,
    Outcome,
    Query,
    ServiceAway,
    ServiceError,
    ServiceFault,
    Status,
    UsageError,
)
from noa_async.archive.database import read_database
from noa_async.archive.folder import LocalFolder
from noa_async.archive.journal import read_followed, read_runs
from noa_async.archive.record import Record
from noa_async.archive.rows import COLUMNS, record_of
from noa_async.archive.states import State
from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.events import (
    Event,
    FilesMoved,
    MirrorPlanned,
    PageListed,
    ProductRemoved,
    RemovalsHeld,
)

from .conftest import Connect, Recorder, assert_right

ALL = Query(everything=True)
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
DELETE = Following(
    on_removed=OnRemoved.DELETE, max_delete=0.1, gone_listings=1, gone_for=timedelta(0)
)


class Killed(BaseException):
    """The end of a process, as far as a test can play it."""


class Clock:
    """A clock that is set by hand; it begins after all that the tests publish."""

    def __init__(self) -> None:
        self.now = datetime(2026, 12, 1, tzinfo=UTC).timestamp()

    def __call__(self) -> float:
        return self.now

    def pass_by(self, days: float) -> None:
        self.now += days * 86_400


@pytest.fixture
def clock() -> Clock:
    return Clock()


Night = Callable[..., "asyncio.Future[MirrorReport]"]


@pytest.fixture
def night(connect: Connect, tmp_path: Path, clock: Clock, recorder: Recorder) -> Night:
    """One run of a client of its own, a day after the last; ``recorder`` keeps its events alone."""

    async def run(mirror: Emulator, query: Query = ALL, **options: object) -> MirrorReport:
        following = options.pop("following", Following())
        clock.pass_by(1)
        recorder.events.clear()
        client: NoaClient = connect(mirror, following=following)  # type: ignore[assignment]
        client._clock = clock
        async with client as noa:
            return await noa.mirror(query, tmp_path, **options)  # type: ignore[arg-type]

    return run  # type: ignore[return-value]


def records(folder: Path) -> dict[str, Record]:
    with closing(read_database(folder / ".noa-async/ledger.sqlite3")) as database:
        rows = database.rows(f"SELECT {', '.join(COLUMNS)} FROM products")
    return {record.id: record for record in map(record_of, rows)}


def watermark(folder: Path) -> datetime | None:
    with closing(read_database(folder / ".noa-async/ledger.sqlite3")) as database:
        (followed,) = read_followed(database)
    return followed.watermark


def published_daily(mirror: Emulator, days: Iterator[float], name: str = "P") -> list[str]:
    """Products published so many days after the start; their Ids."""
    added = []
    for number, days_after in enumerate(days):
        at = START + days_after * DAY
        product = make_product(f"{name}{number}.SAFE.zip", 4000, start=at, published=at)
        added.append(mirror.catalogue.add(product).id)
    return added


async def a_mirror(number: int = 40) -> Emulator:
    mirror = Emulator(EmulatorSettings(products=0))
    published_daily(mirror, (n / 4 for n in range(number)))
    return mirror


async def test_later_runs_ask_for_what_is_new_and_fetch_only_that(
    night: Night, tmp_path: Path, clock: Clock
) -> None:
    async with Emulator(EmulatorSettings(products=0)) as mirror:
        published_daily(mirror, (n / 4 for n in range(300)))
        first = await night(mirror)
        assert (first.full, first.listed, first.absent) == (True, 300, 0)
        assert first.counts == {Status.DOWNLOADED: 300}
        assert_right(mirror, tmp_path, 300)

        new = published_daily(mirror, (75 + n / 100 for n in range(7)), name="N")
        mirror.stats.reset()
        second = await night(mirror)
        assert not second.full
        assert set(mirror.stats.downloads) == set(new)
        assert mirror.stats.pages <= 3
        assert second.counts[Status.DOWNLOADED] == 7
        assert watermark(tmp_path) == START + 75.06 * DAY == second.watermark
        assert_right(mirror, tmp_path, 307)


async def test_what_is_listed_late_is_found_within_the_overlap(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror() as mirror:
        await night(mirror)
        late = published_daily(mirror, iter([7.5]), name="late")  # two days before the watermark
        later = published_daily(mirror, iter([2.0]), name="later")
        second = await night(mirror)
        assert second.counts[Status.DOWNLOADED] == 1
        assert late[0] in records(tmp_path)
        assert later[0] not in records(tmp_path)
        assert (await night(mirror, following=Following(reconcile_every=timedelta(0)))).full
        assert later[0] in records(tmp_path)


async def test_all_is_listed_again_now_and_then_and_nothing_fetched_twice(
    night: Night, clock: Clock
) -> None:
    async with await a_mirror() as mirror:
        assert (await night(mirror)).full
        mirror.stats.reset()
        fulls = [(await night(mirror)).full for _ in range(15)]
        assert fulls == [False] * 6 + [True] + [False] * 6 + [True] + [False]
        assert (await night(mirror, reconcile=True)).full
        assert mirror.stats.downloads == {}


async def test_a_query_of_times_gone_by_asks_nothing_new(night: Night) -> None:
    async with await a_mirror() as mirror:
        old = Query(published=(START, START + 5 * DAY))
        assert (await night(mirror, old)).listed == 21
        published_daily(mirror, iter([9.0]), name="new")
        mirror.stats.reset()
        assert (await night(mirror, old, following=Following(overlap=timedelta(0)))).listed == 1
        late = Following(overlap=timedelta(days=-1))
        assert (await night(mirror, old, following=late)).listed == 0
        assert mirror.stats.pages == 1


async def test_a_broken_listing_moves_nothing_and_loses_nothing(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(180) as mirror:
        mirror.faults = FaultPlan([Fault(FaultKind.PAGE_ERROR, page=2, times=None, status=500)])
        with pytest.raises(ServiceFault):
            await night(mirror)
        assert watermark(tmp_path) is None
        assert_right(mirror, tmp_path, 100)
        with closing(read_database(tmp_path / ".noa-async/ledger.sqlite3")) as database:
            (run,) = read_runs(database, 9)
        assert (run.listed, run.brought, run.finished is None) == (100, 100, False)
        assert "500" in (run.ending or "")

        mirror.faults = FaultPlan()
        mirror.stats.reset()
        again = await night(mirror)
        assert (again.full, again.counts[Status.DOWNLOADED]) == (True, 80)
        assert len(mirror.stats.downloads) == 80
        assert watermark(tmp_path) is not None


async def test_an_incomplete_listing_never_deletes(
    night: Night, tmp_path: Path, recorder: Recorder
) -> None:
    async with await a_mirror(150) as mirror:
        await night(mirror)
        for product in mirror.catalogue.products[:3]:
            mirror.catalogue.remove(product.id)
        mirror.faults = FaultPlan([Fault(FaultKind.PAGE_MISSING, page=0, times=None)])
        with pytest.raises(ServiceFault):
            await night(mirror, following=DELETE, reconcile=True)
        assert not recorder.of(ProductRemoved)
        assert len([file for file in tmp_path.iterdir() if file.is_file()]) == 150


async def test_downloads_do_not_hold_the_listing_back_and_a_stop_goes_on_from_the_ledger(
    night: Night, tmp_path: Path
) -> None:
    """The first run is stopped after a few products; all was listed, so the next asks little."""
    async with await a_mirror(200) as mirror:
        listed = asyncio.Event()
        mirror.faults = FaultPlan([Fault(FaultKind.SLOW_FIRST_BYTE, first=1, times=1, seconds=60)])

        async def until_listed() -> None:
            while not tmp_path.joinpath(".noa-async/ledger.sqlite3").exists():
                await asyncio.sleep(0.01)
            while watermark_or_none(tmp_path) is None:
                await asyncio.sleep(0.01)
            listed.set()

        run = asyncio.ensure_future(night(mirror))
        async with asyncio.timeout(20):
            await until_listed()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        states = [record.state for record in records(tmp_path).values()]
        assert states == [State.LISTED] * 200
        mirror.faults = FaultPlan()
        mirror.stats.reset()
        again = await night(mirror)
        assert not again.full
        assert again.counts[Status.DOWNLOADED] == 200
        assert mirror.stats.pages == 1
        assert_right(mirror, tmp_path, 200)


def watermark_or_none(folder: Path) -> datetime | None:
    try:
        return watermark(folder)
    except Exception:  # noqa: BLE001 (it is just being made)
        return None


async def test_what_failed_is_tried_by_later_runs_up_to_a_limit(
    night: Night, tmp_path: Path, clock: Clock
) -> None:
    async with await a_mirror(5) as mirror:
        bad = mirror.catalogue.products[2].id
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=bad, times=None)])
        tried = []
        for _ in range(13):
            mirror.stats.reset()
            report = await night(mirror)
            assert (report.absent, report.counts[Status.FAILED]) == (1, 1)
            tried.append(bool(mirror.stats.downloads.get(bad)))
            clock.pass_by(20)  # beyond the overlap's reach at times, and full listings at others
        assert tried == [True] * 10 + [False] * 3
        assert records(tmp_path)[bad].failures == 10
        mirror.faults = FaultPlan()
        report = await night(mirror, retry_failed=True)
        assert (report.absent, report.counts[Status.DOWNLOADED]) == (0, 1)


async def test_what_failed_is_tried_again_though_no_listing_meets_it(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(40) as mirror:
        bad = mirror.catalogue.products[0].id
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=bad, times=1)])
        assert (await night(mirror)).absent == 1
        second = await night(mirror)
        assert not second.full
        assert second.counts[Status.DOWNLOADED] == 1
        assert_right(mirror, tmp_path, 40)


async def test_a_changed_query_is_noticed(night: Night, recorder: Recorder) -> None:
    async with await a_mirror() as mirror:
        await night(mirror)
        assert [event.changed for event in recorder.of(MirrorPlanned)] == [False]
        narrow = Query(content=(START + 5 * DAY, None))
        report = await night(mirror, narrow)
        assert [event.changed for event in recorder.of(MirrorPlanned)] == [True]
        assert report.full
        assert report.counts == {Status.PRESENT: 20}
        await night(mirror, narrow)
        assert [event.changed for event in recorder.of(MirrorPlanned)] == [False]
        report = await night(mirror, following=DELETE, reconcile=True)
        assert report.removed == 0
        assert report.counts == {Status.PRESENT: 40}


async def test_what_another_query_left_to_do_is_fetched_by_the_one_that_lists_it(
    night: Night, tmp_path: Path
) -> None:
    """Its places on the list are those of another list, in another order."""
    async with await a_mirror(30) as mirror:
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, times=None)])
        backwards = [Query(content=(START + n * DAY, None)) for n in (6, 4, 2)]
        for query in backwards:
            await night(mirror, query)
        mirror.faults = FaultPlan()
        report = await night(mirror)
        assert (report.absent, report.counts) == (0, {Status.DOWNLOADED: 30})
        assert_right(mirror, tmp_path, 30)


async def test_a_file_that_was_only_touched_is_read_once_and_left(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(3) as mirror:
        await night(mirror)
        product = mirror.catalogue.products[0]
        os.utime(tmp_path / product.name, (1, 1))
        mirror.stats.reset()
        for _ in range(2):
            report = await night(mirror, reconcile=True)
            assert report.counts == {Status.PRESENT: 3}
            assert records(tmp_path)[product.id].todo is None
        assert mirror.stats.downloads == {}
        (tmp_path / product.name).unlink()
        report = await night(mirror, reconcile=True)
        assert report.counts == {Status.PRESENT: 2, Status.DOWNLOADED: 1}


async def test_a_query_with_a_limit_is_refused(connect: Connect, tmp_path: Path) -> None:
    async with await a_mirror(3) as mirror, connect(mirror) as noa:
        with pytest.raises(UsageError, match="no limit"):
            await noa.mirror(Query(everything=True, limit=2), tmp_path)
        assert mirror.stats.requests == 0


async def test_removed_products_are_kept_and_known_as_gone(night: Night, tmp_path: Path) -> None:
    async with await a_mirror() as mirror:
        await night(mirror)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        report = await night(mirror, reconcile=True)
        assert (report.removed, report.absent) == (0, 0)
        held = records(tmp_path)[gone.id]
        assert held.held
        assert held.gone is not None
        assert (tmp_path / gone.name).exists()
        mirror.catalogue.add(gone)
        await night(mirror, reconcile=True)
        assert records(tmp_path)[gone.id].gone is None


async def test_removed_products_are_deleted_where_asked_for_and_come_back(
    night: Night, tmp_path: Path, recorder: Recorder
) -> None:
    async with await a_mirror() as mirror:
        await night(mirror)
        gone = mirror.catalogue.products[3:7]
        for product in gone:
            mirror.catalogue.remove(product.id)
        assert (await night(mirror, following=DELETE)).removed == 0  # nothing but the new is listed
        report = await night(mirror, following=DELETE, reconcile=True)
        assert report.removed == 4
        assert {event.product_id for event in recorder.of(ProductRemoved)} == {x.id for x in gone}
        assert_right(mirror, tmp_path, 36)
        assert records(tmp_path)[gone[0].id].state is State.REMOVED
        mirror.catalogue.add(gone[0])
        back = await night(mirror, reconcile=True)
        assert back.counts == {Status.PRESENT: 37}  # out of the trash
        assert_right(mirror, tmp_path, 37)


async def test_more_than_may_be_deleted_is_left_and_said(
    night: Night, tmp_path: Path, recorder: Recorder
) -> None:
    async with await a_mirror() as mirror:
        await night(mirror)
        for product in mirror.catalogue.products[3:8]:
            mirror.catalogue.remove(product.id)
        report = await night(mirror, following=DELETE, reconcile=True)
        assert report.removed == 0
        assert recorder.of(RemovalsHeld) == [RemovalsHeld(5, 40, 0.1)]
        assert len([file for file in tmp_path.iterdir() if file.is_file()]) == 40
        wide = replace(DELETE, max_delete=1.0)
        assert (await night(mirror, following=wide, reconcile=True)).removed == 5


async def test_a_catalogue_that_forgets_everything_deletes_nothing(
    night: Night, tmp_path: Path, recorder: Recorder
) -> None:
    """Nor is it asked for each of them: a hundred, to tell how many are gone, or the limit."""
    async with await a_mirror(160) as mirror:
        await night(mirror)
        for product in mirror.catalogue.products:
            mirror.catalogue.remove(product.id)
        believed = replace(DELETE, accept_shrunk=True)
        assert (await night(mirror, following=believed, reconcile=True)).removed == 0
        assert not recorder.of(RemovalsHeld)  # nothing is deleted after such a listing
        mirror.stats.reset()
        assert (await night(mirror, following=DELETE, reconcile=True)).removed == 0
        assert len([file for file in tmp_path.iterdir() if file.is_file()]) == 160
        assert recorder.of(RemovalsHeld) == [RemovalsHeld(100, 160, 0.1)]
        assert mirror.stats.requests < 120
        assert all(one.gone is not None for one in records(tmp_path).values())


async def test_a_product_that_only_left_the_query_is_not_deleted(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror() as mirror:
        early = Query(content=(None, START + 30 * DAY))
        await night(mirror, early)
        moved = mirror.catalogue.products[3]
        mirror.catalogue.update(moved.id, start=START + 60 * DAY, end=START + 60 * DAY)
        report = await night(mirror, early, following=DELETE, reconcile=True)
        assert report.removed == 0
        assert records(tmp_path)[moved.id].gone is not None
        assert_right(mirror, tmp_path, 40)


async def test_a_replaced_product_is_swapped_at_once(night: Night, tmp_path: Path) -> None:
    async with await a_mirror(6) as mirror:
        await night(mirror)
        product = mirror.catalogue.products[2]
        before = (tmp_path / product.name).stat().st_ino
        mirror.catalogue.replace(product.id, size=7000)
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=product.id, times=1)])
        report = await night(mirror, reconcile=True)
        assert (report.absent, records(tmp_path)[product.id].state) == (1, State.FAILED)
        assert (
            tmp_path / product.name
        ).stat().st_ino == before  # the old one, until the new is here
        report = await night(mirror)
        assert (report.absent, report.counts[Status.DOWNLOADED]) == (0, 1)
        assert (tmp_path / product.name).stat().st_ino != before
        assert_right(mirror, tmp_path, 6)


async def test_another_date_counts_where_no_checksum_can_tell(night: Night, tmp_path: Path) -> None:
    async with Emulator(EmulatorSettings(products=4, mean_bytes=3000, checksums=())) as mirror:
        assert (await night(mirror)).counts == {Status.UNVERIFIED: 4}
        assert (await night(mirror, reconcile=True)).counts == {Status.UNVERIFIED: 4}
        product = mirror.catalogue.products[0]
        mirror.catalogue.replace(product.id, size=product.size)
        mirror.stats.reset()
        await night(mirror, reconcile=True)
        assert list(mirror.stats.downloads) == [product.id]
        assert_right(mirror, tmp_path, 4)


async def test_another_date_alone_fetches_nothing(night: Night) -> None:
    async with await a_mirror(4) as mirror:
        await night(mirror)
        product = mirror.catalogue.products[0]
        mirror.catalogue.update(product.id, modified=product.modified + DAY)
        mirror.stats.reset()
        await night(mirror, reconcile=True)
        assert mirror.stats.downloads == {}


async def test_what_is_published_while_all_is_listed_comes_in_the_same_run(
    connect: Connect, tmp_path: Path
) -> None:
    """It lies in a window of time that was listed before it came."""
    async with await a_mirror(1000) as mirror:
        added: list[str] = []

        def publish(event: Event) -> None:
            if isinstance(event, PageListed) and event.products > 900 and not added:
                early = make_product("meanwhile.SAFE.zip", start=START, published=START + 249 * DAY)
                added.append(mirror.catalogue.add(early).id)

        client: NoaClient = connect(mirror, workers=8)  # type: ignore[assignment]
        client._observer = publish
        async with client as noa:
            report = await noa.mirror(ALL, tmp_path)
        assert (report.counts[Status.DOWNLOADED], report.listed) == (1001, 1001)
        assert added[0] in mirror.stats.downloads
        assert all(len(answers) == 1 for answers in mirror.stats.downloads.values())


async def test_a_lost_or_damaged_ledger_is_made_anew_without_a_download(
    night: Night, tmp_path: Path
) -> None:
    state = tmp_path / ".noa-async"
    async with await a_mirror(30) as mirror:
        await night(mirror, layout="date")
        mirror.stats.reset()
        for file in state.glob("ledger*"):
            file.unlink()
        report = await night(mirror)  # the layout is known without the ledger
        assert report.counts == {Status.PRESENT: 30}
        (state / "ledger.sqlite3").write_bytes(b"no ledger at all" * 1000)
        assert (await night(mirror)).counts == {Status.PRESENT: 30}
        for file in state.iterdir():
            if file.is_file():
                file.unlink()
        assert (await night(mirror)).counts == {Status.PRESENT: 30}
        assert mirror.stats.downloads == {}


async def test_another_layout_moves_the_files(
    night: Night, tmp_path: Path, recorder: Recorder
) -> None:
    async with await a_mirror(12) as mirror:
        await night(mirror)
        mirror.stats.reset()
        layouts = ["date", "{year}/{name}", "x/y_{name}", "flat"]
        for layout in layouts:
            report = await night(mirror, layout=layout, reconcile=True)
            assert report.counts == {Status.PRESENT: 12}
            assert [event.files for event in recorder.of(FilesMoved)] == [12]
            paths = {record.path for record in records(tmp_path).values()}
            assert paths == {
                str(path.relative_to(tmp_path))
                for path in tmp_path.rglob("*.zip")
                if ".noa-async" not in path.parts
            }
        assert [folder.name for folder in tmp_path.iterdir() if folder.is_dir()] == [".noa-async"]
        assert mirror.stats.downloads == {}
        assert_right(mirror, tmp_path, 12)


@pytest.mark.parametrize(
    ("named", "pattern"),
    [("date", "2026/01/*/*.zip"), (None, "2026/01/*/*.zip"), ("flat", "*.zip")],
)
@pytest.mark.parametrize("moved", [False, True])
async def test_a_move_cut_short_goes_on(
    night: Night, tmp_path: Path, monkeypatch, named: str | None, pattern: str, *, moved: bool
) -> None:
    """Whatever layout the next run names: what was begun is ended first.

    The end comes before a file is ``moved``, or after, and the ledger has not heard of it.
    """
    async with await a_mirror(12) as mirror:
        await night(mirror)
        mirror.stats.reset()
        move, moves = LocalFolder.move, iter(range(99))

        def failing(folder, path, to):
            last = next(moves) == 5
            if moved or not last:
                move(folder, path, to)
            if last:
                raise Killed

        monkeypatch.setattr(LocalFolder, "move", failing)
        monkeypatch.setattr("noa_async.archive.ledger.Ledger.close", _close_without_writing)
        with pytest.raises(Killed):
            await night(mirror, layout="date")
        monkeypatch.undo()
        report = await night(mirror, layout=named, reconcile=True)
        assert report.counts == {Status.PRESENT: 12}
        assert mirror.stats.downloads == {}
        assert len(list(tmp_path.glob(pattern))) == 12
        assert len(list(tmp_path.rglob("*.zip"))) == 12


async def test_a_move_is_told_of_when_the_ledger_is_on_the_disk(
    connect: Connect, tmp_path: Path
) -> None:
    """Of a ledger in use, a power cut leaves what was synced: here its file without the log."""
    state = tmp_path / ".noa-async"
    async with await a_mirror(12) as mirror:
        async with connect(mirror) as noa:
            await noa.mirror(ALL, tmp_path)
        async with connect(mirror) as noa:
            archive = await noa._downloads.archive(tmp_path, "date")
            assert archive.folder.read_layout() == "{year}/{month}/{day}/{name}"
            copy = tmp_path.with_name("copy")
            (copy / ".noa-async").mkdir(parents=True)
            shutil.copy(state / "ledger.sqlite3", copy / ".noa-async")
    assert len(list(tmp_path.glob("2026/01/*/*.zip"))) == 12
    assert all((tmp_path / str(one.path)).exists() for one in records(copy).values())


async def test_a_ledger_from_before_a_move_finds_the_files_where_they_are(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(12) as mirror:
        await night(mirror)
        ledger = tmp_path / ".noa-async/ledger.sqlite3"
        before = ledger.read_bytes()
        await night(mirror, layout="date")
        ledger.write_bytes(before)
        mirror.stats.reset()
        report = await night(mirror, reconcile=True)
        assert report.counts == {Status.PRESENT: 12}
        assert mirror.stats.downloads == {}
        assert len(list(tmp_path.rglob("*.zip"))) == 12


@pytest.mark.parametrize("kept", [b"", b"\xff\xfe\n", b"\0" * 30, b"flat\n"])
async def test_a_layout_that_cannot_be_read_is_said_and_not_guessed(
    night: Night, tmp_path: Path, kept: bytes
) -> None:
    async with await a_mirror(12) as mirror:
        await night(mirror, layout="date")
        mirror.stats.reset()
        (tmp_path / ".noa-async/layout").write_bytes(kept)
        with pytest.raises(DestinationError, match="Name the layout that it has with --layout"):
            await night(mirror, reconcile=True)
        for layout, pattern in (("date", "2026/01/*/*.zip"), (None, "2026/01/*/*.zip")):
            assert (await night(mirror, layout=layout, reconcile=True)).absent == 0
            assert len(list(tmp_path.glob(pattern))) == 12
        assert mirror.stats.downloads == {}


async def _close_without_writing(ledger) -> None:
    """As a kill would leave it."""
    ledger._pending.clear()
    await ledger._close()


async def test_off_line_products_wait_in_the_ledger_for_the_next_run(
    night: Night, tmp_path: Path
) -> None:
    settings = EmulatorSettings(products=0, retrieval_time=5.0)
    async with Emulator(settings) as mirror:
        asleep = mirror.catalogue.add(make_product("asleep.SAFE.zip", online=False)).id
        published_daily(mirror, (n / 4 for n in range(5)))
        report = await night(mirror)
        assert (report.absent, report.counts) == (1, {Status.DOWNLOADED: 5, Status.FAILED: 1})
        assert records(tmp_path)[asleep].state is State.WAITING
        mirror.catalogue.update(asleep, online=True)
        report = await night(mirror)
        assert report.absent == 0
        assert report.counts[Status.DOWNLOADED] == 1


async def test_a_product_that_nobody_has_any_more_is_forgotten(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(10) as mirror:
        bad = mirror.catalogue.products[2].id
        mirror.faults = FaultPlan([Fault(FaultKind.NOT_FOUND, product=bad, times=None)])
        assert (await night(mirror)).absent == 1
        mirror.catalogue.remove(bad)
        report = await night(mirror, reconcile=True)
        assert report.absent == 0
        assert records(tmp_path)[bad].state is State.REMOVED


async def test_what_had_arrived_of_a_product_goes_with_it(night: Night, tmp_path: Path) -> None:
    async with await a_mirror(10) as mirror:
        large = mirror.catalogue.add(make_product("large.SAFE.zip", 2 << 20)).id
        cuts = [Fault(FaultKind.CUT, product=large), Fault(FaultKind.FORBIDDEN, product=large)]
        mirror.faults = FaultPlan([cuts[0], replace(cuts[1], first=2, times=None)])
        assert (await night(mirror)).absent == 1
        parts = tmp_path / ".noa-async/parts"
        assert {file.name for file in parts.iterdir()} == {f"{large}.part", f"{large}.json"}
        mirror.catalogue.remove(large)
        assert (await night(mirror, reconcile=True)).absent == 0
        assert not list(parts.iterdir())


async def test_the_outcomes_are_told_one_at_a_time_and_the_hook_sees_what_came(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(20) as mirror:
        inside, told, hooked = [0], [], []

        async def tell(outcome: Outcome) -> None:
            inside[0] += 1
            await asyncio.sleep(0)
            assert inside[0] == 1
            inside[0] -= 1
            told.append(outcome)

        async def after(outcome: Outcome) -> None:
            assert outcome.path is not None
            hooked.append(hashlib.md5(outcome.path.read_bytes()).hexdigest())

        await night(mirror, tell=tell, after=after)
        assert len(told) == len(hooked) == 20
        await night(mirror, tell=tell, after=after)
        assert len(hooked) == 20


async def test_the_largest_product_that_waits_goes_first(connect: Connect, tmp_path: Path) -> None:
    found: list[int | None] = []

    async def tell(outcome: Outcome) -> None:
        found.append(outcome.product.size)

    products = [
        make_product(f"P{size}.nc", size, start=START + hours * HOUR)
        for hours, size in enumerate((1000, 2000, 9_000_000))
    ]
    async with Emulator(catalogue=Catalogue(products)) as mirror:
        async with connect(mirror, workers=1) as noa:
            await noa.mirror(ALL, tmp_path, tell=tell)
    assert found.index(9_000_000) < found.index(2000)


def page_fails(page: int) -> FaultPlan:
    return FaultPlan([Fault(FaultKind.PAGE_ERROR, page=page, times=None, status=500)])


async def test_a_page_that_fails_for_good_does_not_stop_following(
    night: Night, tmp_path: Path
) -> None:
    """It lies among the old ones, which the listing of all goes through before the new."""
    async with await a_mirror(120) as mirror:
        await night(mirror)
        mirror.faults = page_fails(1)
        broken = []
        for number in range(20):
            published_daily(mirror, iter([31.0 + number]), name=f"night{number}")
            try:
                await night(mirror)
            except ServiceFault:
                broken.append(number)
            assert len(records(tmp_path)) == 121 + number
            assert_right(mirror, tmp_path, 121 + number)
            assert watermark(tmp_path) == START + (31 + number) * DAY
        assert broken == list(range(6, 20))  # it is said each night from the week's end on
        mirror.faults = FaultPlan()
        assert (await night(mirror)).full
        assert not (await night(mirror)).full


async def test_a_listing_of_all_that_failed_is_not_tried_with_each_look(
    night: Night, clock: Clock
) -> None:
    async with await a_mirror(120) as mirror:
        await night(mirror)
        mirror.faults = page_fails(1)
        clock.pass_by(7)
        with pytest.raises(ServiceFault):
            await night(mirror)
        clock.pass_by(-1)
        for hour in (1, 2, 19):
            clock.pass_by(hour / 24)
            assert not (await night(mirror)).full
            clock.pass_by(-1 - hour / 24)
        clock.pass_by(20 / 24)
        with pytest.raises(ServiceFault):
            await night(mirror)


async def test_an_outage_of_what_keeps_the_bytes_gives_nothing_up(
    night: Night, tmp_path: Path, clock: Clock
) -> None:
    """The catalogue is there all the while, and what it lists meanwhile is noted."""
    async with await a_mirror(60) as mirror:
        mirror.faults = FaultPlan([Fault(FaultKind.SERVER_ERROR, times=None, status=503)])
        for number in range(12):
            new = published_daily(mirror, iter([16 + number / 10]), name=f"meanwhile{number}")
            with pytest.raises(ServiceAway):
                await night(mirror)
            assert new[0] in records(tmp_path)
        assert {one.failures for one in records(tmp_path).values()} == {0}
        mirror.faults = FaultPlan()
        report = await night(mirror)
        assert (report.absent, report.counts[Status.DOWNLOADED]) == (0, 72)


async def test_products_that_never_come_do_not_keep_the_rest_waiting(
    night: Night, tmp_path: Path
) -> None:
    """Ten in a row look like a service that is away: the next run begins with others."""
    async with Emulator(EmulatorSettings(products=0)) as mirror:
        bad = published_daily(mirror, (n / 4 for n in range(20)))
        mirror.faults = FaultPlan(
            [Fault(FaultKind.SERVER_ERROR, product=one, times=None, status=500) for one in bad]
        )
        with pytest.raises(ServiceAway):
            await night(mirror)
        published_daily(mirror, (n / 4 for n in range(20, 40)), name="good")
        for _ in range(4):
            with contextlib.suppress(ServiceAway):
                await night(mirror)
        assert {one.id for one in records(tmp_path).values() if not one.held} == set(bad)


async def test_what_was_given_up_comes_when_it_left_and_came_back(
    night: Night, tmp_path: Path, clock: Clock
) -> None:
    async with await a_mirror(5) as mirror:
        bad = mirror.catalogue.products[2]
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=bad.id, times=None)])
        for _ in range(11):
            await night(mirror)
        assert records(tmp_path)[bad.id].failures == 10
        mirror.catalogue.remove(bad.id)
        await night(mirror, reconcile=True)
        assert records(tmp_path)[bad.id].state is State.REMOVED
        mirror.faults = FaultPlan()
        mirror.catalogue.add(bad)
        report = await night(mirror, reconcile=True)
        assert (report.absent, report.counts[Status.DOWNLOADED]) == (0, 1)


async def test_whatever_was_given_up_is_tried_again_where_that_is_asked_for(
    night: Night, tmp_path: Path, connect: Connect
) -> None:
    """Verify calls it missing, not failed, where it had a file once."""
    async with await a_mirror(5) as mirror:
        await night(mirror)
        bad = mirror.catalogue.products[2]
        (tmp_path / bad.name).unlink()
        async with connect(mirror) as noa:
            archive = await noa._downloads.archive(tmp_path, None)
            held = archive.ledger.get(bad.id)
            assert held is not None
            given_up = replace(held.spoilt(State.MISSING, 1.0), failures=10, failed_at=1.0)
            archive.ledger.put(given_up)
        assert (await night(mirror, reconcile=True)).absent == 1
        report = await night(mirror, retry_failed=True)
        assert (report.absent, report.counts[Status.DOWNLOADED]) == (0, 1)


async def test_what_is_listed_late_and_not_here_yet_is_still_fetched(
    night: Night, tmp_path: Path
) -> None:
    """It was listed once, fails, and is left out of a list that is complete by its count."""
    async with await a_mirror(10) as mirror:
        large = mirror.catalogue.add(make_product("large.SAFE.zip", 2 << 20, start=START)).id
        cuts = [Fault(FaultKind.CUT, product=large), Fault(FaultKind.FORBIDDEN, product=large)]
        mirror.faults = FaultPlan([cuts[0], replace(cuts[1], first=2, times=None)])
        early = Query(content=(None, START + 30 * DAY))
        assert (await night(mirror, early)).absent == 1
        part = tmp_path / f".noa-async/parts/{large}.part"
        gathered = part.stat().st_size
        mirror.catalogue.update(large, start=START + 60 * DAY, end=START + 60 * DAY)
        report = await night(mirror, early, reconcile=True)
        assert report.absent == 1
        known = records(tmp_path)[large]
        assert (known.state, known.gone, known.todo is not None) == (State.FAILED, None, True)
        assert part.stat().st_size == gathered
        mirror.faults = FaultPlan()
        assert (await night(mirror, early)).absent == 0
        assert_right(mirror, tmp_path, 11)


async def test_products_that_left_the_query_do_not_hold_removals_up(
    night: Night, tmp_path: Path, recorder: Recorder
) -> None:
    """They are files that the listing does not meet, and none that may be deleted."""
    async with await a_mirror(100) as mirror:
        early = Query(content=(None, START + 300 * DAY))
        await night(mirror, early)
        products = mirror.catalogue.products
        for product in products[:5]:
            mirror.catalogue.update(product.id, start=START + 600 * DAY, end=START + 600 * DAY)
        careful = replace(DELETE, max_delete=0.02)
        for _ in range(2):
            report = await night(mirror, early, following=careful, reconcile=True)
            assert report.removed == 0
            assert not recorder.of(RemovalsHeld)
        mirror.catalogue.remove(products[50].id)
        report = await night(mirror, early, following=careful, reconcile=True)
        assert report.removed == 1
        assert_right(mirror, tmp_path, 99)


COUNT_WRITES = """
    CREATE TABLE writes (gone INTEGER);
    CREATE TRIGGER written AFTER UPDATE ON products
        BEGIN INSERT INTO writes VALUES (NEW.gone IS NOT NULL); END;
"""


async def test_what_is_gone_and_kept_is_not_written_again(night: Night, tmp_path: Path) -> None:
    async with await a_mirror() as mirror:
        await night(mirror)
        for product in mirror.catalogue.products[:5]:
            mirror.catalogue.remove(product.id)
        await night(mirror, reconcile=True)
        with closing(sqlite3.connect(tmp_path / ".noa-async/ledger.sqlite3")) as ledger:
            ledger.executescript(COUNT_WRITES)
        mirror.stats.reset()
        await night(mirror, reconcile=True)
        with closing(sqlite3.connect(tmp_path / ".noa-async/ledger.sqlite3")) as ledger:
            assert ledger.execute("SELECT gone, count(*) FROM writes GROUP BY gone").fetchall() == [
                (0, 35)
            ]
        assert sum(one.gone is not None for one in records(tmp_path).values()) == 5
        assert mirror.stats.requests == mirror.stats.pages + mirror.stats.token_logins


async def test_a_full_run_that_is_stopped_has_seen_to_removals(
    night: Night, tmp_path: Path
) -> None:
    async with await a_mirror(40) as mirror:
        await night(mirror)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        published_daily(mirror, iter([20.0]), name="slow")
        mirror.faults = FaultPlan([Fault(FaultKind.SLOW_FIRST_BYTE, times=None, seconds=60)])
        run = asyncio.ensure_future(night(mirror, following=DELETE, reconcile=True))
        async with asyncio.timeout(20):
            while watermark(tmp_path) != START + 20 * DAY:
                await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert records(tmp_path)[gone.id].state is State.REMOVED
        assert not (tmp_path / gone.name).exists()
        mirror.faults = FaultPlan()
        assert not (await night(mirror)).full


async def test_what_the_removal_cannot_ask_is_seen_to_another_day(
    night: Night, connect: Connect, tmp_path: Path, clock: Clock
) -> None:
    """The service goes away when all is listed; the watermark moves all the same."""
    async with await a_mirror(40) as mirror:
        await night(mirror)
        mirror.catalogue.remove(mirror.catalogue.products[3].id)
        published_daily(mirror, iter([20.0]), name="new")

        def go_away(event: Event) -> None:
            mirror.outage = mirror.outage or isinstance(event, PageListed)

        client: NoaClient = connect(mirror, following=DELETE)  # type: ignore[assignment]
        client._observer, client._clock = go_away, clock
        async with client as noa:
            with pytest.raises(ServiceError):
                await noa.mirror(ALL, tmp_path, reconcile=True)
        assert watermark(tmp_path) == START + 20 * DAY
        mirror.outage = False
        report = await night(mirror, following=DELETE, reconcile=True)
        assert (report.removed, report.absent) == (1, 0)


async def test_each_product_is_told_once_a_run(night: Night, tmp_path: Path) -> None:
    """One left over from yesterday is fetched while the listing comes to it."""
    async with await a_mirror(10) as mirror:
        left = mirror.catalogue.products[-1].id
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=left)])
        assert (await night(mirror)).absent == 1
        mirror.faults = FaultPlan([Fault(FaultKind.PAGE_SLOW, times=1, seconds=0.5)])
        told = []

        async def tell(outcome: Outcome) -> None:
            told.append(outcome.product.id)

        report = await night(mirror, reconcile=True, tell=tell)
        assert report.counts == {Status.PRESENT: 9, Status.DOWNLOADED: 1}
        assert (report.listed, len(told), len(set(told))) == (10, 10, 10)
