"""The archive over the years: what one odd night must never undo.

The names of the tests say which row of the list of faults they are about.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from noa_async import (
    DestinationError,
    Following,
    Hook,
    MirrorReport,
    NoaClient,
    OnRemoved,
    Outcome,
    Query,
    ServiceError,
    Settings,
    Status,
)
from noa_async.archive.database import read_database
from noa_async.archive.folder import LocalFolder
from noa_async.archive.journal import Followed, read_followed
from noa_async.archive.ledger import Ledger
from noa_async.archive.record import Record
from noa_async.archive.rows import COLUMNS, record_of
from noa_async.archive.states import State
from noa_async.emulator import (
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    Product,
    make_product,
)
from noa_async.events import HookFailed, LedgerSetAside, ProductRemoved
from tests.cli.conftest import Open, Program, open_mirror  # noqa: F401 (a fixture)
from tests.integration.conftest import WHO, Recorder, assert_right, settings_for

ALL = Query(everything=True)
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DELETE = Following(on_removed=OnRemoved.DELETE, max_delete=1.0)


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


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


Night = Callable[..., "asyncio.Future[MirrorReport]"]


@pytest.fixture
def night(folder: Path, clock: Clock, recorder: Recorder) -> Night:
    """One run of a client of its own, a day after the last; ``recorder`` keeps its events alone."""

    async def run(
        mirror: Emulator,
        query: Query = ALL,
        *,
        following: Following | None = None,
        settings: Settings | None = None,
        **options: object,
    ) -> MirrorReport:
        clock.pass_by(1)
        recorder.events.clear()
        made = settings or settings_for(mirror)
        if following is not None:
            made = replace(made, following=following)
        client = NoaClient(made, WHO, observer=recorder, clock=clock)
        async with client as noa:
            return await noa.mirror(query, folder, **options)  # type: ignore[arg-type]

    return run  # type: ignore[return-value]


def records(folder: Path) -> dict[str, Record]:
    with closing(read_database(folder / ".noa-async/ledger.sqlite3")) as database:
        rows = database.rows(f"SELECT {', '.join(COLUMNS)} FROM products")
    return {record.id: record for record in map(record_of, rows)}


def followed(folder: Path) -> Followed:
    with closing(read_database(folder / ".noa-async/ledger.sqlite3")) as database:
        return read_followed(database)[-1]


def to_do(folder: Path) -> int:
    return sum(record.todo is not None for record in records(folder).values())


def files(folder: Path) -> set[str]:
    """The paths of all files that are not the archive's own."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".noa-async" not in path.relative_to(folder).parts
    }


def publish(mirror: Emulator, number: int, name: str = "P", first: float = 0.0) -> list[Product]:
    """Products published four a day."""
    return [
        mirror.catalogue.add(
            make_product(
                f"{name}{n:03}.SAFE.zip",
                4000,
                start=START + (first + n / 4) * DAY,
                published=START + (first + n / 4) * DAY,
            )
        )
        for n in range(number)
    ]


def a_mirror(number: int = 45, **settings: object) -> Emulator:
    mirror = Emulator(EmulatorSettings(products=0, **settings))  # type: ignore[arg-type]
    publish(mirror, number)
    return mirror


async def six_of(mirror: Emulator, night: Night) -> None:
    """A night that brings six products; the others are still to come."""
    refused = [
        Fault(FaultKind.FORBIDDEN, product=product.id, times=None)
        for product in mirror.catalogue.products[6:]
    ]
    mirror.faults = FaultPlan(tuple(refused))
    assert (await night(mirror)).counts[Status.DOWNLOADED] == 6
    mirror.faults = FaultPlan()


def shrunk(share: float) -> FaultPlan:
    """Lists and counts that hold a share of what is there, and entries that are not found."""
    return FaultPlan(
        (
            Fault(FaultKind.PAGE_SHRUNK, times=None, at=share),
            Fault(FaultKind.PAGE_ENTRY_MISSING, times=None),
            Fault(FaultKind.FORBIDDEN, times=None),
        )
    )


# 10.1: an empty or much shorter listing


@pytest.mark.parametrize("share", [0.0, 0.15, 0.7])
@pytest.mark.parametrize("on_removed", ["keep", "delete"])
async def test_row_10_1_a_shrunken_listing_changes_nothing(
    night: Night, folder: Path, share: float, on_removed: str
) -> None:
    async with a_mirror() as mirror:
        await six_of(mirror, night)
        before, mark = to_do(folder), followed(folder).watermark
        mirror.faults = shrunk(share)
        for _ in range(2):
            following = Following(on_removed=OnRemoved(on_removed))
            with pytest.raises(ServiceError, match="lists only") as raised:
                await night(mirror, reconcile=True, following=following)
            assert raised.value.exit_code == 4
            assert (to_do(folder), followed(folder).watermark) == (before, mark)
            assert all(record.gone is None for record in records(folder).values())
        mirror.faults = FaultPlan()
        report = await night(mirror)
        assert (report.full, report.absent) == (True, 0)
        assert_right(mirror, folder, 45)


async def test_row_10_1_what_is_new_in_a_shrunken_listing_still_comes(
    night: Night, folder: Path
) -> None:
    async with a_mirror() as mirror:
        await night(mirror)
        for product in mirror.catalogue.products[:30]:
            mirror.catalogue.remove(product.id)
        new = publish(mirror, 2, "N", 12)
        with pytest.raises(ServiceError, match="17 products; before, it listed 45"):
            await night(mirror, reconcile=True)
        assert all(records(folder)[product.id].held for product in new)
        assert len(files(folder)) == 47


async def test_row_10_1_it_is_believed_on_the_third_day(
    night: Night, folder: Path, clock: Clock, recorder: Recorder
) -> None:
    """Looks in the same night are one, and a good listing between begins anew."""
    async with a_mirror() as mirror:
        await night(mirror)
        mirror.faults = shrunk(0.4)
        days = []
        for hours in (0, 1, 1, 24, 1):
            clock.pass_by(hours / 24 - 1)
            with pytest.raises(ServiceError) as raised:
                await night(mirror, following=DELETE, reconcile=True)
            days.append(str(raised.value).rpartition("day ")[2])
        assert days == ["1.", "1.", "1.", "2.", "2."]
        mirror.faults = FaultPlan()
        await night(mirror, reconcile=True)
        mirror.faults = shrunk(0.4)
        for _ in range(2):
            with pytest.raises(ServiceError):
                await night(mirror, reconcile=True, following=DELETE)
        report = await night(mirror, following=replace(DELETE, gone_listings=1))
        assert (report.full, report.listed, report.removed) == (True, 18, 0)
        assert not recorder.of(ProductRemoved)
        assert sum(record.gone is not None for record in records(folder).values()) == 27
        assert len(files(folder)) == 45
        assert (await night(mirror, reconcile=True)).listed == 18  # no error any more


async def test_row_10_1_it_is_believed_at_once_by_a_person(night: Night, folder: Path) -> None:
    async with a_mirror() as mirror:
        await six_of(mirror, night)
        for product in mirror.catalogue.products:
            mirror.catalogue.remove(product.id)
        with pytest.raises(ServiceError):
            await night(mirror, reconcile=True)
        report = await night(mirror, following=Following(accept_shrunk=True))
        assert (report.listed, report.absent) == (0, 0)
        assert len(files(folder)) == 6


async def test_row_10_1_a_listing_of_what_is_new_that_is_empty_leads_to_one_of_all(
    night: Night, folder: Path
) -> None:
    async with a_mirror() as mirror:
        await night(mirror)
        mirror.faults = shrunk(0.0)
        with pytest.raises(ServiceError, match="lists only 0 products"):
            await night(mirror)
        mirror.faults = FaultPlan()
        assert (await night(mirror)).full  # until that is settled
        assert not (await night(mirror)).full


async def test_row_10_1_a_lost_ledger_and_an_empty_listing(night: Night, folder: Path) -> None:
    async with a_mirror() as mirror:
        await night(mirror)
        (folder / ".noa-async/ledger.sqlite3").unlink()
        mirror.faults = shrunk(0.0)
        with pytest.raises(ServiceError, match="lists only 0 products"):
            await night(mirror)


async def test_row_10_1_a_service_that_keeps_the_latest_is_believed(
    night: Night, folder: Path
) -> None:
    """It lists as many as ever, though a third of them are others."""
    async with a_mirror(40) as mirror:
        await night(mirror)
        for week in range(3):
            publish(mirror, 20, f"W{week}-", 10 + 5 * week)
            for product in mirror.catalogue.products[:20]:
                mirror.catalogue.remove(product.id)
            await night(mirror)
            report = await night(mirror, reconcile=True)
            assert (report.full, report.listed, report.absent) == (True, 40, 0)
        assert len(files(folder)) == 100


async def test_row_10_1_what_was_listed_since_the_last_time_counts(night: Night) -> None:
    """The first listing of all met few: later ones did the most."""
    async with a_mirror(8) as mirror:
        await night(mirror)
        publish(mirror, 60, "L", 2)
        assert not (await night(mirror)).full
        mirror.faults = shrunk(0.2)
        with pytest.raises(ServiceError, match=r"of 6\d products listed since"):
            await night(mirror, reconcile=True)


async def test_row_10_1_the_command_line(open_mirror: Open) -> None:  # noqa: F811
    mirror, noa = await open_mirror(products=40)
    run = ("mirror", "--everything", "--output", "archive", "--reconcile")
    assert (await noa(*run)).code == 0
    mirror.faults = shrunk(0.0)
    ended = await noa(*run, "-q")
    assert ended.code == 4
    assert "lists only 0 products; before, it listed 40" in ended.err
    assert "--accept-shrunk" in ended.err
    said = await noa("status", "archive")
    assert "rejected a listing of 0 products: 40 were listed before (day 1)" in said.out
    assert (await noa(*run, "--max-shrink", "100%")).code == 0


# 10.2: files of products that the service has no more


async def test_row_10_2_a_file_goes_after_a_while_and_into_the_trash(
    night: Night, folder: Path, clock: Clock, recorder: Recorder
) -> None:
    async with a_mirror(100) as mirror:
        following = Following(on_removed=OnRemoved.DELETE)
        await night(mirror, following=following)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        for days in (0, 1, 1):
            clock.pass_by(days)
            report = await night(mirror, following=following, reconcile=True)
            removed = recorder.of(ProductRemoved)
            if removed:
                break
            assert (report.removed, len(files(folder))) == (0, 100)
        assert (len(removed), days) == (1, 1)
        assert (report.removed, len(files(folder))) == (1, 99)
        [kept] = (folder / ".noa-async/trash").rglob("*.zip")
        assert kept.name == gone.name
        clock.pass_by(29)
        await night(mirror, following=following)
        assert kept.exists()
        clock.pass_by(2)
        await night(mirror, following=following)
        assert not kept.exists()
        assert records(folder)[gone.id].trash is None


async def test_row_10_2_what_is_listed_again_begins_anew(night: Night, folder: Path) -> None:
    """A listing in which it was missing once is no second one weeks later."""
    async with a_mirror(20) as mirror:
        gone = mirror.catalogue.products[3]
        following = replace(DELETE, gone_for=timedelta(0))
        await night(mirror, following=following)
        for _ in range(3):
            mirror.catalogue.remove(gone.id)
            assert (await night(mirror, following=following, reconcile=True)).removed == 0
            mirror.catalogue.add(gone)
            await night(mirror, following=following, reconcile=True)
        assert len(files(folder)) == 20


async def test_row_10_2_the_share_is_of_what_is_here(night: Night, folder: Path) -> None:
    """600 are listed, 4 are here, and these 4 go from the service."""
    async with a_mirror(600) as mirror:
        here = mirror.catalogue.products[:4]
        mirror.faults = FaultPlan(
            tuple(
                Fault(FaultKind.FORBIDDEN, product=product.id, times=None)
                for product in mirror.catalogue.products[4:]
            )
        )
        assert (await night(mirror)).counts[Status.DOWNLOADED] == 4
        for product in here:
            mirror.catalogue.remove(product.id)
        following = Following(on_removed=OnRemoved.DELETE, gone_listings=1, gone_for=timedelta(0))
        report = await night(mirror, reconcile=True, following=following)
        assert (report.removed, report.held, report.ok) == (0, 4, False)
        assert len(files(folder)) == 4
        assert followed(folder).held == 4


async def test_row_10_2_the_trash_gives_back_what_comes_back(night: Night, folder: Path) -> None:
    async with a_mirror(20) as mirror:
        following = replace(DELETE, gone_listings=1, gone_for=timedelta(0))
        await night(mirror, following=following)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        assert (await night(mirror, following=following, reconcile=True)).removed == 1
        mirror.catalogue.add(gone)
        mirror.stats.reset()
        report = await night(mirror, following=following, reconcile=True)
        assert (report.absent, report.counts) == (0, {Status.PRESENT: 20})
        assert mirror.stats.downloads == {}
        assert_right(mirror, folder, 20)


@pytest.mark.parametrize("touched", [False, True])
async def test_row_10_2_what_is_moved_back_out_of_the_trash_stays(
    night: Night, folder: Path, touched: bool
) -> None:
    async with a_mirror(20) as mirror:
        following = replace(DELETE, gone_listings=1, gone_for=timedelta(0))
        await night(mirror, following=following)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        await night(mirror, following=following, reconcile=True)
        [kept] = (folder / ".noa-async/trash").rglob("*.zip")
        kept.rename(folder / gone.name)
        if touched:
            os.utime(folder / gone.name, (5, 5))
        for _ in range(3):
            report = await night(mirror, following=following, reconcile=True)
            assert (report.removed, report.absent) == (0, 0)
        known = records(folder)[gone.id]
        assert (known.held, known.path, known.trash) == (True, gone.name, None)


async def test_row_10_2_a_kill_between_the_move_and_the_ledger(
    night: Night, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_mirror(20) as mirror:
        following = replace(DELETE, gone_listings=1, gone_for=timedelta(0))
        await night(mirror, following=following)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        move = LocalFolder.move

        def moved_and_killed(self: LocalFolder, *paths: str) -> None:
            move(self, *paths)
            raise Killed

        monkeypatch.setattr(LocalFolder, "move", moved_and_killed)
        monkeypatch.setattr(Ledger, "close", _close_without_writing)
        with pytest.raises(Killed):
            await night(mirror, following=following, reconcile=True)
        monkeypatch.undo()
        report = await night(mirror, following=following)
        assert (report.absent, report.counts.get(Status.FAILED, 0)) == (0, 0)
        known = records(folder)[gone.id]
        assert known.state is State.REMOVED
        assert known.trash is not None


@pytest.mark.parametrize("how", ["other bytes", "a link", "a folder"])
async def test_row_10_2_no_file_goes_that_is_not_the_recorded_one(
    night: Night, folder: Path, how: str
) -> None:
    async with a_mirror(20) as mirror:
        following = replace(DELETE, gone_listings=1, gone_for=timedelta(0), check_files=False)
        await night(mirror, following=following)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        file = folder / gone.name
        file.unlink()
        if how == "other bytes":
            file.write_bytes(b"somebody's own work")
        elif how == "a link":
            (folder / "elsewhere").write_bytes(b"somebody's own work")
            file.symlink_to(folder / "elsewhere")
        else:
            file.mkdir()
            (file / "mine").write_bytes(b"somebody's own work")
        assert (await night(mirror, following=following, reconcile=True)).removed == 0
        assert os.path.lexists(file)
        assert not (folder / ".noa-async/trash").exists()


# 10.3: disks that are not mounted


def unmount(folder: Path, how: str) -> Path:
    """Take an archive's disk away; where it is now."""
    away = folder.with_name("unmounted")
    folder.rename(away)
    if how != "no mount point":
        folder.mkdir()
    if how == "a note":
        (folder / "NOT-MOUNTED").touch()
    return away


@pytest.mark.parametrize("how", ["empty", "no mount point", "a note"])
async def test_row_10_3_an_empty_mount_point_is_no_new_archive(
    night: Night, folder: Path, how: str
) -> None:
    async with a_mirror(8) as mirror:
        await night(mirror)
        away = unmount(folder, how)
        mirror.stats.reset()
        with pytest.raises(DestinationError, match="not mounted") as raised:
            await night(mirror)
        assert raised.value.exit_code == 5
        assert mirror.stats.downloads == {}
        assert not folder.exists() or files(folder) <= {"NOT-MOUNTED"}
        assert not (folder / ".noa-async").exists()
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)
        assert (await night(mirror, reconcile=True)).counts == {Status.PRESENT: 8}


async def test_row_10_3_a_new_archive_is_begun_if_that_is_asked_for(
    night: Night, folder: Path
) -> None:
    async with a_mirror(8) as mirror:
        await night(mirror)
        unmount(folder, "empty")
        anew = replace(settings_for(mirror), new_archive=True)
        assert (await night(mirror, settings=anew)).counts == {Status.DOWNLOADED: 8}
        assert (await night(mirror, reconcile=True)).counts == {Status.PRESENT: 8}


async def test_row_10_3_another_disk_in_the_place_of_the_first(night: Night, folder: Path) -> None:
    async with a_mirror(8) as mirror:
        await night(mirror)
        first = json.loads((folder / ".noa-async/archive.json").read_text())["id"]
        away = unmount(folder, "empty")
        await night(mirror, settings=replace(settings_for(mirror), new_archive=True))
        folder.rename(folder.with_name("second"))
        away.rename(folder)
        with pytest.raises(DestinationError, match=first):
            await night(mirror)
        named = replace(settings_for(mirror), archive_id=first)
        assert (await night(mirror, settings=named, reconcile=True)).absent == 0
        assert (await night(mirror)).absent == 0  # it is the known one now


async def test_row_10_3_the_id_can_be_asked_for(
    night: Night, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a container, whose state folder is a new one each time."""
    async with a_mirror(8) as mirror:
        await night(mirror)
        mark = json.loads((folder / ".noa-async/archive.json").read_text())["id"]
        named = replace(settings_for(mirror), archive_id=mark)
        monkeypatch.setenv("NOA_STATE_HOME", str(tmp_path / "another"))
        assert (await night(mirror, settings=named)).absent == 0
        unmount(folder, "empty")
        monkeypatch.setenv("NOA_STATE_HOME", str(tmp_path / "a third"))
        with pytest.raises(DestinationError, match="not mounted"):
            await night(mirror, settings=named)


async def test_row_10_3_nothing_depends_on_what_the_machine_remembers(
    night: Night, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("NOA_STATE_HOME", str(tmp_path / "a file" / "state"))
    async with a_mirror(8) as mirror:
        for _ in range(2):
            assert (await night(mirror)).absent == 0


async def test_row_10_3_a_folder_without_its_state_is_taken_over(
    night: Night, folder: Path
) -> None:
    """The products lie there: it is no empty mount point."""
    async with a_mirror(8) as mirror:
        await night(mirror)
        mark = json.loads((folder / ".noa-async/archive.json").read_text())["id"]
        shutil.rmtree(folder / ".noa-async")
        mirror.stats.reset()
        assert (await night(mirror)).counts == {Status.PRESENT: 8}
        assert mirror.stats.downloads == {}
        assert json.loads((folder / ".noa-async/archive.json").read_text())["id"] == mark


@pytest.mark.parametrize("lost", ["a part", "a subfolder", "cut short"])
async def test_row_10_3_a_mass_of_missing_files_ends_the_run(
    night: Night, folder: Path, lost: str
) -> None:
    """A subfolder that is another disk, a third of the files, files that are empty by now."""
    async with a_mirror(160) as mirror:
        await night(mirror, layout="{year}/{month}/{name}")
        there = sorted(folder.rglob("*.zip"))
        if lost == "a subfolder":
            shutil.move(folder / "2026/02", folder.with_name("02"))
        for path in there[:50] if lost != "a subfolder" else ():
            path.write_bytes(b"") if lost == "cut short" else path.unlink()
        mirror.stats.reset()
        publish(mirror, 1, "N", 41)
        with pytest.raises(DestinationError, match="missing or truncated") as raised:
            await night(mirror)
        assert raised.value.exit_code == 5
        assert mirror.stats.downloads == {}
        assert {record.state for record in records(folder).values()} == {State.VERIFIED}
        report = await night(mirror, following=Following(accept_missing=True))
        assert report.absent == 0
        assert len(files(folder)) == 161


async def test_row_10_3_a_folder_with_downloads_may_be_deleted(
    open_mirror: Open,  # noqa: F811
) -> None:
    _, noa = await open_mirror(products=3)
    for _ in range(2):
        assert (await noa("download", "--everything", "--output", "data")).code == 0
        shutil.rmtree(noa.folder / "data")


async def test_row_10_3_the_command_line(open_mirror: Open) -> None:  # noqa: F811
    _, noa = await open_mirror(products=30)
    run = ("mirror", "--everything", "--output", "archive", "-q")
    assert (await noa(*run)).code == 0
    archive = noa.folder / "archive"
    archive.rename(noa.folder / "away")
    archive.mkdir()
    ended = await noa(*run)
    assert ended.code == 5
    assert "not mounted" in ended.err
    assert "--new-archive" in ended.err
    assert (await noa(*run, "--new-archive")).code == 0
    for file in list(archive.glob("*.zip"))[:20]:
        file.unlink()
    ended = await noa(*run)
    assert ended.code == 5
    assert "20 of 30 files" in ended.err
    assert (await noa(*run, "--accept-missing")).code == 0
    assert len(files(archive)) == 30
    held = json.loads((await noa("status", "archive", "--format", "json")).out)
    mark = json.loads((archive / ".noa-async/archive.json").read_text())["id"]
    assert held["archive_id"] == mark
    assert held["files_checked"].startswith("20")
    assert (await noa(*run, "--archive-id", "another")).code == 5


async def test_row_10_3_so_much_of_the_disk_stays_free(open_mirror: Open) -> None:  # noqa: F811
    mirror, noa = await open_mirror(products=3)
    free = shutil.disk_usage(noa.folder).free
    run = ("mirror", "--everything", "--output", "archive")
    assert (await noa(*run, "--min-free", str(free + (1 << 30)))).code in {1, 5}
    assert mirror.stats.downloads == {}
    assert (await noa(*run, "--min-free", "1M")).code == 0


# 10.4: the ledger is lost or damaged


GONE = "gone from the service, and kept"


async def an_archive_with_a_product_that_is_gone(mirror: Emulator, night: Night) -> Product:
    gone = mirror.catalogue.products[7]
    await night(mirror)
    mirror.catalogue.remove(gone.id)
    await night(mirror, reconcile=True)
    mirror.stats.reset()
    return gone


def damage(folder: Path, how: str) -> None:
    """What a disk, a power cut or a hand does to a ledger."""
    state = folder / ".noa-async"
    ledger = state / "ledger.sqlite3"
    if how.startswith("lost"):
        ledger.unlink()
    elif how == "zeros":
        ledger.write_bytes(bytes(ledger.stat().st_size))
    elif how == "half":
        data = ledger.read_bytes()
        ledger.write_bytes(data[: len(data) // 2])
    elif how == "a garbled row":
        with closing(sqlite3.connect(ledger)) as database, database:
            database.execute("UPDATE products SET checksums = x'00' WHERE number = 9")
    elif how == "torn pages":
        data = bytearray(ledger.read_bytes())
        for page in random.Random(7).sample(range(1, len(data) // 4096), 4):
            data[page * 4096 : (page + 1) * 4096] = random.Random(page).randbytes(4096)
        ledger.write_bytes(data)
    if how == "lost, and the copies":
        shutil.rmtree(state / "copies")
    if how == "lost, and the manifest":
        (state / "manifest.jsonl").unlink()
    (state / "lock").write_text("1\n")  # the last run was killed


DAMAGES = (
    "lost",
    "lost, and the copies",
    "lost, and the manifest",
    "zeros",
    "half",
    "a garbled row",
    "torn pages",
)


@pytest.mark.parametrize("how", DAMAGES)
async def test_row_10_4_a_lost_ledger_is_made_again(
    night: Night, folder: Path, recorder: Recorder, how: str
) -> None:
    """Nothing is fetched again, and what the service has no more is known still."""
    async with a_mirror(60) as mirror:
        gone = await an_archive_with_a_product_that_is_gone(mirror, night)
        before = records(folder)
        damage(folder, how)
        report = await night(mirror)
        assert mirror.stats.downloads == {}
        assert (report.full, report.absent) == (True, 0)
        known = records(folder)
        assert known.keys() == before.keys()
        assert all(record.held for record in known.values())
        assert (known[gone.id].path, known[gone.id].gone is not None) == (gone.name, True)
        [event] = recorder.of(LedgerSetAside)
        assert event.recovered > 50
        assert (await night(mirror, reconcile=True)).absent == 0
        assert mirror.stats.downloads == {}


@pytest.mark.parametrize("how", ["lost", "lost, and the copies", "torn pages"])
async def test_row_10_4_what_the_service_has_no_more_is_verified_and_exported(
    open_mirror: Open,  # noqa: F811
    how: str,
) -> None:
    mirror, noa = await open_mirror(products=40)
    run = ("mirror", "--everything", "--output", "archive", "--reconcile")
    assert (await noa(*run)).code == 0
    gone = mirror.catalogue.products[5]
    mirror.catalogue.remove(gone.id)
    assert (await noa(*run)).code == 0
    damage(noa.folder / "archive", how)
    assert (await noa("verify", "archive")).code == 0  # also before the next mirror
    damage(noa.folder / "archive", how)
    mirror.stats.reset()
    assert (await noa(*run)).code == 0
    assert mirror.stats.downloads == {}
    exported = (await noa("export", "archive")).out
    assert gone.id in {json.loads(line)["id"] for line in exported.splitlines()}
    clean = await noa("verify", "archive")
    assert (clean.code, clean.out) == (0, "")
    [file] = (noa.folder / "archive").glob(f"{gone.name}*")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    at = file.stat()
    file.write_bytes(data)
    os.utime(file, ns=(at.st_atime_ns, at.st_mtime_ns))
    rotten = await noa("verify", "archive")
    assert rotten.code == 1
    assert rotten.out.startswith(f"damaged  {file.name}")


async def test_row_10_4_a_manifest_that_other_tools_read(night: Night, folder: Path) -> None:
    async with a_mirror(20) as mirror:
        await night(mirror, layout="date")
        publish(mirror, 2, "N", 6)
        await night(mirror)
    command = ["md5sum", "--check", "--strict", ".noa-async/MD5SUMS"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    assert done.stdout.count(": OK") == 22
    lines = (folder / ".noa-async/manifest.jsonl").read_text().splitlines()
    held = {line["id"]: line for line in map(json.loads, lines) if "id" in line}
    assert len(held) == 22
    for known in records(folder).values():
        line = held[known.id]
        assert (line["path"], line["size"]) == (known.path, 4000)
        assert line["checksum"] == known.checksum


async def test_row_10_4_copies_are_kept_and_a_bad_one_is_none(night: Night, folder: Path) -> None:
    copies = folder / ".noa-async/copies"
    async with a_mirror(20) as mirror:
        for _ in range(3):
            await night(mirror)
        assert len(list(copies.iterdir())) <= 3
        (copies / "ledger-1.sqlite3").write_bytes(b"no ledger" * 5000)
        damage(folder, "lost")
        mirror.stats.reset()
        assert (await night(mirror)).absent == 0
        assert mirror.stats.downloads == {}


async def test_row_10_4_lines_of_a_manifest_that_are_garbled_are_left_out(
    night: Night, folder: Path
) -> None:
    async with a_mirror(30) as mirror:
        await night(mirror)
        damage(folder, "lost, and the copies")
        manifest = folder / ".noa-async/manifest.jsonl"
        lines = manifest.read_bytes().splitlines()
        lines[5] = lines[5].replace(b'"size": 4000', b'"size": 4001')
        lines[9] = lines[9][:40]
        lines[12] = b"\xff\xfe" + lines[12]
        manifest.write_bytes(b"\n".join(lines))
        mirror.stats.reset()
        report = await night(mirror)
        assert (report.absent, len(records(folder))) == (0, 30)
        assert mirror.stats.downloads == {}


async def test_row_10_4_a_ledger_of_an_older_version_is_taken_over(
    night: Night, folder: Path
) -> None:
    """Made by the version before: SQL of its ledger, with 30 products that are here."""
    async with a_mirror(30) as mirror:
        await night(mirror)
        service = followed(folder).service
        ledger = folder / ".noa-async/ledger.sqlite3"
        text = (Path(__file__).parent / "ledger-4.sql").read_text()
        for file in (folder / ".noa-async").glob("*"):
            if file.is_file():
                file.unlink()
        shutil.rmtree(folder / ".noa-async/copies")
        with closing(sqlite3.connect(ledger)) as database:
            database.executescript(text)
            for record in mirror.catalogue.products:
                at = (folder / record.name).stat()
                database.execute(
                    "UPDATE products SET mtime_ns = ?, checksum = 'md5:' || ?, checksums = "
                    "'md5:' || ? WHERE id = ?",
                    (at.st_mtime_ns, *[mirror.content(record.id).md5] * 2, record.id),
                )
            database.commit()
        (folder / ".noa-async/layout").write_text("{name}\n")
        mirror.stats.reset()
        report = await night(mirror)
        assert (report.full, report.absent) == (True, 0)
        assert mirror.stats.downloads == {}
        [known] = {record.query for record in records(folder).values()}
        assert (followed(folder).number, followed(folder).service) == (known, service)
        assert not (await night(mirror)).full


@pytest.mark.parametrize("how", ["lost", "torn pages", "a garbled row"])
async def test_row_10_4_a_kill_while_the_ledger_is_made_again(
    night: Night,
    folder: Path,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    async with a_mirror(60) as mirror:
        await an_archive_with_a_product_that_is_gone(mirror, night)
        damage(folder, how)

        def killed(*_: object) -> int:
            raise Killed

        monkeypatch.setattr("noa_async.archive.recovery.recover", killed)
        with pytest.raises(Killed):
            await night(mirror)
        monkeypatch.undo()
        report = await night(mirror)
        assert (report.absent, len(records(folder))) == (0, 60)
        assert mirror.stats.downloads == {}
        [event] = recorder.of(LedgerSetAside)
        assert event.recovered == 60
        assert not list((folder / ".noa-async").glob("*draft*"))


# 10.5: another service


async def test_row_10_5_another_service_does_not_inherit_the_watermark(
    night: Night, folder: Path
) -> None:
    async with a_mirror(40) as mirror:
        await night(mirror)
        async with a_mirror(0) as other:
            for n in range(40):
                at = START + n / 10 * DAY
                other.catalogue.add(make_product(f"O{n}.zip", 4000, start=at, published=at))
            report = await night(other)
            assert (report.full, report.counts) == (True, {Status.DOWNLOADED: 40})
            assert not (await night(other)).full
        assert not (await night(mirror)).full
        assert len(files(folder)) == 80


# 10.6: one file that is out of reach


async def make_unreadable(mirror: Emulator, folder: Path, how: str) -> str:
    """Something is in the place of one product; its Id."""
    product = sorted(mirror.catalogue.products, key=lambda one: one.name)[3]
    path = folder / "2026/01/01" / product.name
    if how == "a folder":
        path.unlink()
        path.mkdir()
        (path / "inside").touch()
    elif how == "a dangling link":
        path.unlink()
        path.symlink_to("nowhere")
    return product.id


@pytest.mark.parametrize("how", ["a folder", "a dangling link"])
async def test_row_10_6_something_else_in_the_place_of_a_file(
    night: Night, folder: Path, how: str
) -> None:
    async with a_mirror(20) as mirror:
        await night(mirror, layout="date")
        await make_unreadable(mirror, folder, how)
        publish(mirror, 3, "N", 6)
        report = await night(mirror)
        assert report.counts[Status.DOWNLOADED] == 4
        assert report.absent == 0


@pytest.mark.parametrize("how", ["a link in a circle", "a dangling link", "a file"])
async def test_row_10_6_a_subfolder_that_is_out_of_reach_fails_its_own_products(
    night: Night, folder: Path, how: str
) -> None:
    async with a_mirror(20) as mirror:
        folder.mkdir()
        (folder / "2026/01").mkdir(parents=True)
        blocked = folder / "2026/01/02"
        if how == "a file":
            blocked.touch()
        else:
            blocked.symlink_to("02" if how == "a link in a circle" else "nowhere")
        for _ in range(2):
            failed: list[Outcome] = []

            async def tell(outcome: Outcome, failed: list[Outcome] = failed) -> None:
                if not outcome.ok:
                    failed.append(outcome)

            report = await night(mirror, layout="date", tell=tell)
            assert (len(failed), report.absent, report.ok) == (4, 4, False)
            assert all(outcome.product.name in str(outcome.error) for outcome in failed)
        assert len(files(folder)) == 16 + (how == "a file")
        blocked.unlink()
        mirror.stats.reset()
        report = await night(mirror)
        assert (report.absent, report.counts[Status.DOWNLOADED]) == (0, 4)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO])
async def test_row_10_6_one_file_that_cannot_be_read_stops_nobody(
    night: Night, folder: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A user who is root may read all; so the system's answer is made up."""
    async with a_mirror(20) as mirror:
        await night(mirror)
        product = mirror.catalogue.products[3]
        os.utime(folder / product.name, (5, 5))  # it has to be read
        publish(mirror, 3, "N", 6)
        really_open = os.open

        def refusing(path: str, *arguments: int, **more: int) -> int:
            if os.fspath(path).endswith(product.name):
                raise OSError(code, os.strerror(code), path)
            return really_open(path, *arguments, **more)

        monkeypatch.setattr(os, "open", refusing)
        for night_number in range(2):
            told: dict[str, Outcome] = {}

            async def tell(outcome: Outcome, told: dict[str, Outcome] = told) -> None:
                told[outcome.product.id] = outcome

            report = await night(mirror, tell=tell)
            first = night_number == 0
            fetched = report.counts.get(Status.DOWNLOADED, 0)
            assert fetched == first * (3 + (code == errno.EIO))
            if code == errno.EIO:  # its bytes are lost: it is fetched again
                assert report.ok
            else:
                assert product.name in str(told[product.id].error)
                assert not report.ok
        monkeypatch.undo()
        assert (await night(mirror)).ok
        assert_right(mirror, folder, 23)


AS_A_PLAIN_USER = (
    ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    if os.geteuid() == 0
    else ()
)
"""What lets root be refused, too."""


async def as_a_plain_user(noa: Program, *arguments: str) -> tuple[int, str]:
    """A run that no permission is waived for; its exit code, and what it said."""
    command = (*AS_A_PLAIN_USER, sys.executable, "-m", "noa_async", *arguments)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=noa.folder, env=noa.environ, stdout=pipe, stderr=pipe
    )
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


@pytest.mark.parametrize("what", ["a file", "a folder"])
async def test_row_10_6_no_permission_for_one_file_or_folder(
    open_mirror: Open,  # noqa: F811
    what: str,
) -> None:
    mirror = Emulator(EmulatorSettings(products=0))
    products = publish(mirror, 20)
    mirror, noa = await open_mirror(*products)
    run = ("mirror", "--everything", "--output", "archive", "--layout", "date")
    assert (await as_a_plain_user(noa, *run))[0] == 0
    path = noa.folder / "archive/2026/01/02"
    shut = next(path.glob("*.zip")) if what == "a file" else path
    if what == "a file":
        os.utime(shut, (5, 5))  # it has to be read
    mode = shut.stat().st_mode
    shut.chmod(0)
    for more in ((), ("--reconcile",)):
        new = publish(mirror, 1, f"N{len(more)}-", 6)
        code, said = await as_a_plain_user(noa, *run, *more)
        assert code == 1
        assert said.count("Permission denied") == 2 * (1 if what == "a file" else 4)
        assert str(shut) in said
        assert list((noa.folder / "archive").rglob(new[0].name))
    shut.chmod(mode)
    assert (await as_a_plain_user(noa, *run))[0] == 0


# 10.8: whatever lies in the folder is found


@pytest.mark.parametrize("kept", ["name", "no suffix", "another suffix"])
async def test_row_10_8_files_that_lie_anywhere_are_adopted(
    night: Night, folder: Path, tmp_path: Path, kept: str
) -> None:
    """A new archive in a folder that holds what another tool brought."""
    async with a_mirror(30) as mirror:
        for number, product in enumerate(mirror.catalogue.products):
            name = {
                "name": product.name,
                "no suffix": product.name.removesuffix(".SAFE.zip"),
                "another suffix": product.name.removesuffix(".zip"),
            }[kept]
            place = folder / "brought" / f"disk-{number % 4}" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(bytes(mirror.content(product.id).read(0, product.size)))
        wrong = folder / "brought/disk-0" / name
        report = await night(mirror)
        assert report.counts == {Status.PRESENT: 30}
        assert mirror.stats.downloads == {}
        assert wrong.parent.exists()


async def test_row_10_8_a_file_of_the_right_name_and_size_but_other_bytes_is_left(
    night: Night, folder: Path
) -> None:
    async with a_mirror(3) as mirror:
        product = mirror.catalogue.products[0]
        other = folder / "old" / product.name
        other.parent.mkdir(parents=True)
        other.write_bytes(bytes(product.size))
        report = await night(mirror)
        assert report.counts == {Status.DOWNLOADED: 3}
        assert other.read_bytes() == bytes(product.size)


async def test_row_10_8_what_was_moved_by_hand_is_found(night: Night, folder: Path) -> None:
    async with a_mirror(40) as mirror:
        await night(mirror)
        (folder / "by hand").mkdir()
        for product in mirror.catalogue.products[:30]:
            (folder / product.name).rename(folder / "by hand" / product.name)
        mirror.stats.reset()
        report = await night(mirror)
        assert (report.absent, mirror.stats.downloads) == (0, {})
        assert len(files(folder)) == 40
        moved = [one for one in records(folder).values() if str(one.path).startswith("by hand/")]
        assert len(moved) == 30


@pytest.mark.parametrize("sources", [True, False])
@pytest.mark.parametrize("layout", ["date", "{year}/x_{month}/{name}"])
async def test_row_10_8_a_move_that_was_killed_and_a_torn_page(
    night: Night, folder: Path, monkeypatch: pytest.MonkeyPatch, layout: str, sources: bool
) -> None:
    async with a_mirror(60) as mirror:
        await night(mirror, layout="{month}/{name}")
        move, moves = LocalFolder.move, iter(range(99))

        def failing(folder: LocalFolder, path: str, to: str) -> object:
            if next(moves) == 25:
                raise Killed
            return move(folder, path, to)

        monkeypatch.setattr(LocalFolder, "move", failing)
        monkeypatch.setattr(Ledger, "close", _close_without_writing)
        with pytest.raises(Killed):
            await night(mirror, layout=layout)
        monkeypatch.undo()
        damage(folder, "zeros")
        if not sources:
            shutil.rmtree(folder / ".noa-async/copies")
            (folder / ".noa-async/manifest.jsonl").unlink()
        mirror.stats.reset()
        report = await night(mirror, layout=layout)
        assert (report.absent, mirror.stats.downloads) == (0, {})
        assert len(files(folder)) == 60


async def _close_without_writing(ledger: Ledger) -> None:
    """As a kill would leave it."""
    ledger._pending.clear()
    await ledger._close()


# 10.9: times that lie ahead of the clock


async def test_row_10_9_a_night_with_a_clock_that_was_ahead(
    night: Night, folder: Path, clock: Clock
) -> None:
    """All is listed again as ever, and a failure counts."""
    async with a_mirror(40) as mirror:
        bad = mirror.catalogue.products[5].id
        mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=bad, times=None)])
        clock.pass_by(3650)
        await night(mirror)
        clock.pass_by(-3650)
        assert (await night(mirror)).full
        assert not (await night(mirror)).full
        assert records(folder)[bad].failures == 3


async def test_row_10_9_a_watermark_from_the_future_hides_nothing(
    night: Night, folder: Path, clock: Clock
) -> None:
    async with a_mirror(40) as mirror:
        ahead = clock.now + 3650 * 86_400
        odd = datetime.fromtimestamp(ahead - 86_400, UTC)
        mirror.catalogue.add(make_product("odd.zip", 4000, start=START, published=odd))
        clock.pass_by(3650)
        await night(mirror)
        clock.pass_by(-3650)
        new = publish(mirror, 1, "N", 20)
        await night(mirror)
        assert records(folder)[new[0].id].held
        assert (followed(folder).watermark or odd) < odd


async def test_row_10_9_a_shrunken_listing_and_the_trash(
    night: Night, folder: Path, clock: Clock
) -> None:
    """Days that lie ahead are no days; and the trash of such a night is today's."""
    async with a_mirror(40) as mirror:
        following = replace(DELETE, gone_listings=1, gone_for=timedelta(0))
        await night(mirror, following=following)
        gone = mirror.catalogue.products[3]
        mirror.catalogue.remove(gone.id)
        clock.pass_by(3650)
        assert (await night(mirror, following=following, reconcile=True)).removed == 1
        mirror.faults = shrunk(0.2)
        with pytest.raises(ServiceError, match="day 1"):
            await night(mirror, reconcile=True)
        clock.pass_by(-3650)
        with pytest.raises(ServiceError, match="day 2"):
            await night(mirror)
        mirror.faults = FaultPlan()
        await night(mirror)
        [kept] = (folder / ".noa-async/trash").rglob("*.zip")
        today = datetime.fromtimestamp(clock.now, UTC).date().isoformat()
        assert kept.parent.name == today
        clock.pass_by(31)
        await night(mirror)
        assert not kept.exists()


# 10.10: hooks


async def test_row_10_10_a_hook_that_fails_is_tried_again(
    night: Night, folder: Path, recorder: Recorder
) -> None:
    async with a_mirror(5) as mirror:
        bad = mirror.catalogue.products[2].id
        ran: list[str] = []
        fails = True

        async def hook(outcome: Outcome) -> None:
            ran.append(outcome.product.id)
            if fails and outcome.product.id == bad:
                raise ValueError("no room at the receiver")

        report = await night(mirror, after=hook)
        assert (len(ran), len(recorder.of(HookFailed)), report.ok) == (5, 1, False)
        for _ in range(2):
            ran.clear()
            report = await night(mirror, after=hook)
            assert (ran, report.hooks_due, report.ok) == ([bad], 1, False)
        assert records(folder)[bad].error == "ValueError: no room at the receiver"
        fails = False
        ran.clear()
        assert (await night(mirror, after=hook)).ok
        assert ran == [bad]
        ran.clear()
        assert (await night(mirror, after=hook, reconcile=True)).ok
        assert ran == []


async def test_row_10_10_a_hook_that_was_killed_runs_again(night: Night, folder: Path) -> None:
    async with a_mirror(1) as mirror:
        began = asyncio.Event()

        async def hang(_: Outcome) -> None:
            began.set()
            await asyncio.sleep(60)

        run = asyncio.ensure_future(night(mirror, after=hang))
        async with asyncio.timeout(20):
            await began.wait()
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run
        ran: list[Path | None] = []

        async def hook(outcome: Outcome) -> None:
            ran.append(outcome.path)

        assert (await night(mirror, after=hook)).ok
        assert ran == [folder / mirror.catalogue.products[0].name]


async def killed_and_ledger_lost(
    mirror: Emulator, night: Night, folder: Path, hook: Hook
) -> Product:
    """Leave the folder as a killed run does whose ledger is lost; return what it had published."""
    late = mirror.catalogue.products[1]
    mirror.catalogue.remove(late.id)
    assert (await night(mirror, after=hook)).ok
    state, before = folder / ".noa-async", folder.with_name("before")
    shutil.copytree(state, before)
    mirror.catalogue.add(late)
    assert (await night(mirror, after=hook, reconcile=True)).ok
    shutil.rmtree(state)
    before.rename(state)
    for file in state.glob("ledger.sqlite3*"):
        file.unlink()
    return late


async def test_row_10_10_a_hook_runs_if_its_run_was_killed_and_the_ledger_lost(
    night: Night, folder: Path
) -> None:
    """The file is known to the disk alone, so nobody knows whether its hook has passed."""
    ran: list[str] = []

    async def hook(outcome: Outcome) -> None:
        ran.append(outcome.product.id)

    async with a_mirror(3) as mirror:
        late = await killed_and_ledger_lost(mirror, night, folder, hook)
        ran.clear()
        served = mirror.stats.bytes_sent
        assert (await night(mirror, after=hook)).ok
        assert (ran, mirror.stats.bytes_sent) == ([late.id], served)
        ran.clear()
        assert (await night(mirror, after=hook, reconcile=True)).ok
        assert ran == []


async def test_row_10_10_download_tries_again_too(folder: Path) -> None:
    async with a_mirror(3) as mirror, NoaClient(settings_for(mirror), WHO) as noa:
        ran: list[str] = []

        async def hook(outcome: Outcome) -> None:
            ran.append(outcome.product.id)
            if len(ran) <= 3:
                raise ValueError

        for _ in range(3):
            outcomes = [one async for one in noa.download_all(noa.search(ALL), folder, after=hook)]
            assert len(outcomes) == 3
        assert len(ran) == 6


def script(folder: Path, text: str) -> str:
    """A program of its own; how to name it."""
    path = folder / "hook.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_row_10_10_a_hook_that_takes_its_file(open_mirror: Open) -> None:  # noqa: F811
    mirror, noa = await open_mirror(products=12)
    run = ("mirror", "--everything", "--output", "archive", "--reconcile")
    command = ("--exec", script(noa.folder, 'rm "$1"') + " {path}")
    ended = await noa(*run, *command)
    assert ended.code == 1
    assert "--exec-consumes" in ended.err
    mirror.stats.reset()
    assert (await noa(*run, *command, "--exec-consumes", "--accept-missing")).code == 0
    assert len(mirror.stats.downloads) == 12
    mirror.stats.reset()
    for more in ((), (*command, "--exec-consumes")):
        assert (await noa(*run, *more)).code == 0
    assert (await noa("download", "--everything", "--output", "archive")).code == 0
    assert mirror.stats.downloads == {}
    assert "consumed  12" in (await noa("status", "archive")).out
    assert (await noa("verify", "archive")).code == 0
    replaced = mirror.catalogue.products[2]
    mirror.catalogue.replace(replaced.id)
    assert (await noa(*run, *command, "--exec-consumes")).code == 0
    assert list(mirror.stats.downloads) == [replaced.id]


async def test_row_10_10_a_file_that_its_hook_takes_later(open_mirror: Open) -> None:  # noqa: F811
    """The hook hands it to a queue; something else moves it in the morning."""
    mirror, noa = await open_mirror(products=12)
    run = ("mirror", "--everything", "--output", "archive", "--exec", "true", "--exec-consumes")
    assert (await noa(*run)).code == 0
    for file in (noa.folder / "archive").glob("*.zip"):
        file.unlink()
    mirror.stats.reset()
    assert (await noa(*run)).code == 0
    assert mirror.stats.downloads == {}


async def test_row_10_10_a_command_has_a_time_limit(open_mirror: Open) -> None:  # noqa: F811
    _, noa = await open_mirror(products=2)
    run = ("mirror", "--everything", "--output", "archive")
    async with asyncio.timeout(30):
        ended = await noa(*run, "--exec", "sleep 3600", "--exec-timeout", "1s")
    assert ended.code == 1
    assert "sleep was terminated after 1 s (timeout)" in ended.err
    said = await noa("status", "archive")
    assert "--exec command not yet successful  2" in said.out
    assert "terminated after 1 s (timeout)" in said.out
    assert (await noa(*run, "--exec", "true")).code == 0
    assert "not yet successful" not in (await noa("status", "archive")).out


@pytest.mark.parametrize(
    "command", ["unzip {path} && rm {path}", "cat {path} | wc -c", "md5sum {path} > sums", "ls &"]
)
async def test_row_10_10_what_only_a_shell_knows_is_refused(
    open_mirror: Open,  # noqa: F811
    command: str,
) -> None:
    mirror, noa = await open_mirror(products=2)
    ended = await noa("download", "--everything", "--output", "archive", "--exec", command)
    assert ended.code == 2
    assert "sh -c" in ended.err
    assert mirror.stats.requests == 0


async def test_row_10_10_a_shell_that_is_named_runs_it(open_mirror: Open) -> None:  # noqa: F811
    _, noa = await open_mirror(products=2)
    quoted = """sh -c 'cat "$1" > /dev/null && touch "$1".seen' sh {path}"""
    ended = await noa("download", "--everything", "--output", "archive", "--exec", quoted)
    assert ended.code == 0
    assert len(list((noa.folder / "archive").glob("*.seen"))) == 2


# 10.11: what cannot be had again


async def test_row_10_11_a_damaged_product_stays_a_finding(open_mirror: Open) -> None:  # noqa: F811
    mirror, noa = await open_mirror(products=30)
    run = ("mirror", "--everything", "--output", "archive", "--reconcile")
    assert (await noa(*run)).code == 0
    gone = mirror.catalogue.products[4]
    [file] = (noa.folder / "archive").glob(f"{gone.name}*")
    mirror.catalogue.remove(gone.id)
    file.write_bytes(b"x" * file.stat().st_size)
    for _ in range(3):
        assert (await noa(*run)).code == 1
        assert (await noa("verify", "archive", "-q")).code == 1
        held = json.loads((await noa("status", "archive", "--format", "json")).out)
        assert sum(one["products"] for one in held["troubles"]) == 1
    assert (await noa("accept", "archive", "no-such-id")).code == 2
    assert (await noa("accept", "archive", gone.id)).code == 0
    assert (await noa(*run)).code == 0
    ended = await noa("verify", "archive")
    assert (ended.code, ended.out) == (0, "")
    assert "1 accepted" in ended.err
    held = json.loads((await noa("status", "archive", "--format", "json")).out)
    assert (held["troubles"], held["accepted"]) == ([], 1)


async def test_row_10_11_a_missing_product_can_be_forgotten(open_mirror: Open) -> None:  # noqa: F811
    mirror, noa = await open_mirror(products=30)
    run = ("mirror", "--everything", "--output", "archive", "--reconcile")
    await noa(*run)
    gone = mirror.catalogue.products[4]
    mirror.catalogue.remove(gone.id)
    next((noa.folder / "archive").glob(f"{gone.name}*")).unlink()
    for _ in range(2):
        assert (await noa(*run)).code == 1
    assert (await noa("forget", "archive", gone.name)).code == 0
    assert (await noa(*run)).code == 0
    assert gone.id not in records(noa.folder / "archive")
    (noa.folder / "archive/.noa-async/ledger.sqlite3").unlink()
    assert (await noa(*run)).code == 0
    assert gone.id not in records(noa.folder / "archive")


async def test_row_10_11_all_findings_can_be_accepted_and_come_back(
    open_mirror: Open,  # noqa: F811
) -> None:
    mirror, noa = await open_mirror(products=10)
    bad = mirror.catalogue.products[4]
    mirror.faults = FaultPlan([Fault(FaultKind.FORBIDDEN, product=bad.id, times=None)])
    run = ("mirror", "--everything", "--output", "archive", "--reconcile")
    assert (await noa(*run)).code == 1
    assert (await noa("accept", "archive", "--all")).code == 0
    mirror.stats.reset()
    assert (await noa(*run)).code == 0
    assert mirror.stats.downloads == {}
    mirror.faults = FaultPlan()
    mirror.catalogue.replace(bad.id)
    assert (await noa(*run)).code == 0
    assert list(mirror.stats.downloads) == [bad.id]
    assert (await noa("accept", "archive")).code == 2


# Point 6: what was removed or changed by hand


async def test_point_6_files_removed_or_changed_by_hand_are_noticed(
    night: Night, folder: Path
) -> None:
    """By the next run, though its listing meets none of them."""
    async with a_mirror(60) as mirror:
        await night(mirror)
        removed, cut, rotten, touched = mirror.catalogue.products[:4]
        (folder / removed.name).unlink()
        (folder / cut.name).write_bytes(b"cut")
        (folder / rotten.name).write_bytes(bytes(rotten.size))
        os.utime(folder / touched.name, (5, 5))
        mirror.stats.reset()
        report = await night(mirror)
        assert (report.full, report.absent) == (False, 0)
        assert set(mirror.stats.downloads) == {removed.id, cut.id, rotten.id}
        assert_right(mirror, folder, 60)
        mirror.stats.reset()
        assert (await night(mirror)).absent == 0
        assert mirror.stats.downloads == {}


async def test_point_6_a_switch_for_slow_file_systems(open_mirror: Open) -> None:  # noqa: F811
    mirror, noa = await open_mirror(products=40)
    run = ("mirror", "--everything", "--output", "archive")
    await noa(*run)
    first = min(mirror.catalogue.products, key=lambda one: one.published)
    [file] = (noa.folder / "archive").glob(f"{first.name}*")
    file.unlink()
    mirror.stats.reset()
    assert (await noa(*run, "--no-check-files")).code == 0
    assert mirror.stats.downloads == {}
    ended = await noa(*run)
    assert ended.code == 0
    assert f"40 files compared with the ledger: 1 missing, for example {file.name}" in ended.err
    assert list(mirror.stats.downloads) == [first.id]
    assert file.exists()


def test_md5_of_the_emulator_is_that_of_its_bytes() -> None:
    """What the tests above put into folders is what the service would send."""
    mirror = a_mirror(1)
    product = mirror.catalogue.products[0]
    data = bytes(mirror.content(product.id).read(0, product.size))
    assert hashlib.md5(data).hexdigest() == mirror.content(product.id).md5
