"""Real file systems: mounts in the tree, little room, failing disks, missing locks, planted links.

The names of the tests say which row of the list of faults they are about.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from noa_async import (
    DestinationError,
    DestinationInUse,
    FileInaccessible,
    MirrorReport,
    NoaClient,
    Outcome,
    ProductGone,
    ProductTooLarge,
    Query,
    Status,
)
from noa_async.archive import database
from noa_async.archive import folder as folder_module
from noa_async.archive.database import Database, read_database
from noa_async.archive.folder import LocalFolder
from noa_async.archive.folder_lock import FolderLock, Owner, is_stale, started, this_process
from noa_async.archive.record import Record
from noa_async.archive.rows import COLUMNS, record_of
from noa_async.archive.states import State
from noa_async.disk import COPYING, free_room
from noa_async.emulator import (
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    Product,
    make_product,
)
from noa_async.events import Event, FilePutAside, FileSystemLimited, Observer, ProductQueued
from tests.cli.conftest import Open, open_mirror, program  # noqa: F401 (fixtures)
from tests.integration.conftest import WHO, Recorder, settings_for

ALL = Query(everything=True)
MB = 1_000_000


class Killed(BaseException):
    """The end of a process, as far as a test can play it."""


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


Mount = Callable[[Path, str], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """``mount(folder, "24m")``: a file system in memory, of that size."""
    mounted: list[Path] = []

    def mount_at(place: Path, size: str) -> None:
        place.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
            reason = "mount is not allowed here (root is needed for another file system)"
            if os.environ.get("NOA_REQUIRE_PARTS"):
                raise RuntimeError(reason)
            pytest.skip(reason)
        mounted.append(place)

    yield mount_at
    for place in reversed(mounted):
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than ``folder``."""
    place = Path("/dev/shm") / f"noa-{os.getpid()}-{tmp_path.name}"
    try:
        place.mkdir()
    except OSError:
        pytest.skip("there is no /dev/shm to write to")
    if place.stat().st_dev == tmp_path.stat().st_dev:
        place.rmdir()
        pytest.skip("/dev/shm and the folder of the tests are one file system")
    yield place
    shutil.rmtree(place)


@asynccontextmanager
async def a_mirror(*sizes: int, **options: object) -> AsyncIterator[Emulator]:
    """A mirror of products of these sizes, named by their place."""
    async with Emulator(EmulatorSettings(products=0)) as mirror:
        for number, size in enumerate(sizes):
            name = f"S2A_MSIL2A_20260112T0923{number:02}_N0511_R093_T34SGH_2026.SAFE.zip"
            mirror.catalogue.add(make_product(name, size, **options))  # type: ignore[arg-type]
        yield mirror


async def download(
    mirror: Emulator,
    folder: Path,
    *,
    layout: str | None = None,
    recorder: Recorder | None = None,
    **settings: object,
) -> list[Outcome]:
    """One run of a client of its own."""
    made = settings_for(mirror, **settings)  # type: ignore[arg-type]
    async with NoaClient(made, WHO, observer=recorder or Recorder()) as noa:
        return [each async for each in noa.download_all(noa.search(ALL), folder, layout=layout)]


async def follow(
    mirror: Emulator, folder: Path, observer: Observer | None = None, **settings: object
) -> MirrorReport:
    """One run of a client of its own that mirrors all there is."""
    made = settings_for(mirror, **settings)  # type: ignore[arg-type]
    async with NoaClient(made, WHO, observer=observer or Recorder()) as noa:
        return await noa.mirror(ALL, folder)


def path_of(descriptor: int) -> str:
    """The path of an open file."""
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def counts(outcomes: list[Outcome]) -> dict[str, int]:
    return {
        str(status): number
        for status in Status
        if (number := sum(one.status is status for one in outcomes))
    }


def records(folder: Path) -> dict[str, Record]:
    with closing(read_database(folder / ".noa-async/ledger.sqlite3")) as database:
        rows = database.rows(f"SELECT {', '.join(COLUMNS)} FROM products")
    return {record.id: record for record in map(record_of, rows)}


def files(folder: Path) -> list[Path]:
    """All files that are not the archive's own, also behind links."""
    return [
        Path(above, name)
        for above, _, names in os.walk(folder, followlinks=True)
        for name in names
        if ".noa-async" not in Path(above).parts
    ]


def assert_whole(mirror: Emulator, folder: Path, number: int) -> None:
    """There are ``number`` files, and each is a product, byte for byte."""
    sums = {mirror.content(product.id).md5 for product in mirror.catalogue.products}
    found = files(folder)
    assert {hashlib.md5(file.read_bytes()).hexdigest() for file in found} <= sums
    assert len(found) == number


def parts(folder: Path) -> set[str]:
    return {file.name for file in (folder / ".noa-async/parts").iterdir()}


def asked(mirror: Emulator) -> int:
    return sum(len(each) for each in mirror.stats.downloads.values())


# 4.1: a subfolder on another file system


async def test_row_4_1_a_link_to_another_file_system(folder: Path, elsewhere: Path) -> None:
    folder.mkdir()
    (folder / "2026").symlink_to(elsewhere)
    async with a_mirror(300_000, 2 * MB, 2_000) as mirror:
        for product in mirror.catalogue.products:
            assert product.start.year == 2026
        outcomes = await download(mirror, folder, layout="date")
        assert counts(outcomes) == {"downloaded": 3}
        assert_whole(mirror, folder, 3)
        assert len(files(elsewhere)) == 3
        assert parts(folder) == set()
        assert list((folder / ".noa-async/copying").iterdir()) == []
        assert counts(await download(mirror, folder)) == {"present": 3}


async def test_row_4_1_another_mount(folder: Path, mount: Mount) -> None:
    mount(folder / "2026", "24m")
    async with a_mirror(300_000, 2 * MB) as mirror:
        assert counts(await download(mirror, folder, layout="date")) == {"downloaded": 2}
        assert_whole(mirror, folder, 2)


async def test_row_4_1_the_copy_is_synced_before_it_has_the_name(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / "2026").symlink_to(elsewhere)
    done: list[str] = []
    fsync, rename = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        name = path_of(descriptor)
        if name.startswith(str(elsewhere)):
            done.append("folder" if Path(name).is_dir() else "file")
        fsync(descriptor)

    def replace_(self: Path, target: Path) -> Path:
        if self.name.endswith(COPYING):
            assert self.parent == Path(target).parent
            done.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace_)
    async with a_mirror(300_000) as mirror:
        await download(mirror, folder, layout="date")
    assert done[:3] == ["file", "rename", "folder"]


@pytest.mark.parametrize("moment", ["copied", "named"])
async def test_row_4_1_a_kill_leaves_nothing_broken(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    folder.mkdir()
    (folder / "2026").symlink_to(elsewhere)
    copy, sync = folder_module.copy_synced, folder_module.sync_folder

    def half_a_copy(source: Path, target: Path) -> None:
        copy(source, target)
        os.truncate(target, 100_000)
        raise Killed("Killed")

    def killed(_path: Path) -> None:
        raise Killed("Killed")

    async with a_mirror(2 * MB) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "_drop_draft", lambda *_: None)
            if moment == "copied":
                patch.setattr(folder_module, "copy_synced", half_a_copy)
            else:
                patch.setattr(folder_module, "sync_folder", killed)
            with pytest.raises((Killed, BaseExceptionGroup), match=r"Killed|1 sub-exc"):
                await download(mirror, folder, layout="date")
        left = files(elsewhere)
        assert len(left) == 1
        assert left[0].name.endswith(COPYING) == (moment == "copied")

        mirror.stats.reset()
        assert counts(await download(mirror, folder)) in ({"downloaded": 1}, {"present": 1})
        assert asked(mirror) == 0, "what has arrived is not fetched twice"
        assert_whole(mirror, folder, 1)
        assert parts(folder) == set()
    assert sync is folder_module.sync_folder


async def test_row_4_1_no_room_there_fails_the_product_and_keeps_its_bytes(
    folder: Path, mount: Mount
) -> None:
    mount(folder / "2026", "3m")
    async with a_mirror(5 * MB, 1 * MB, 300_000) as mirror:
        outcomes = await download(mirror, folder, layout="date", workers=1)
        assert counts(outcomes) == {"downloaded": 2, "failed": 1}
        [failed] = [one for one in outcomes if not one.ok]
        assert isinstance(failed.error, ProductTooLarge)
        assert "another file system" in str(failed.error)
        assert "5.00 MB" in str(failed.error)
        assert_whole(mirror, folder, 2)
        grow = ["mount", "-o", "remount,size=20m", str(folder / "2026")]
        subprocess.run(grow, check=True)
        mirror.stats.reset()
        assert counts(await download(mirror, folder)) == {"downloaded": 1, "present": 2}
        assert asked(mirror) == 0
        assert_whole(mirror, folder, 3)


async def test_row_4_1_a_copy_that_reads_back_differently_is_not_published(
    folder: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / "2026").symlink_to(elsewhere)
    copy = folder_module.copy_synced

    def spoil(source: Path, target: Path) -> None:
        copy(source, target)
        with Path(target).open("r+b") as file:
            file.seek(1000)
            file.write(b"spoilt")

    async with a_mirror(2 * MB) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(folder_module, "copy_synced", spoil)
            [outcome] = await download(mirror, folder, layout="date")
        assert isinstance(outcome.error, FileInaccessible)
        assert "other bytes than were written" in str(outcome.error)
        assert files(elsewhere) == []
        assert counts(await download(mirror, folder)) == {"downloaded": 1}


async def test_row_4_1_a_file_in_the_way_there_is_put_aside(
    folder: Path, elsewhere: Path, recorder: Recorder
) -> None:
    folder.mkdir()
    (folder / "2026").symlink_to(elsewhere)
    async with a_mirror(2_000) as mirror:
        [product] = mirror.catalogue.products
        foreign = elsewhere / product.start.strftime("%m/%d") / product.name
        foreign.parent.mkdir(parents=True)
        foreign.write_bytes(b"mine")
        await download(mirror, folder, layout="date", recorder=recorder)
        [event] = recorder.of(FilePutAside)
        assert Path(event.kept_at).read_bytes() == b"mine"
        assert_whole(mirror, folder, 1)


async def test_row_4_1_another_layout_moves_files_there_and_back(
    folder: Path, elsewhere: Path
) -> None:
    folder.mkdir()
    (folder / "2026").symlink_to(elsewhere)
    async with a_mirror(2_000, 300_000) as mirror:
        await download(mirror, folder, layout="flat")
        assert files(elsewhere) == []
        mirror.stats.reset()
        assert counts(await download(mirror, folder, layout="date")) == {"present": 2}
        assert len(files(elsewhere)) == 2
        assert counts(await download(mirror, folder, layout="flat")) == {"present": 2}
        assert files(elsewhere) == []
        assert asked(mirror) == 0
        assert_whole(mirror, folder, 2)


# 4.2 and 10.7: little room


async def test_row_4_2_what_fits_is_fetched(folder: Path, mount: Mount) -> None:
    mount(folder, "24m")
    async with a_mirror(*[4 * MB] * 12) as mirror:
        outcomes = await download(mirror, folder, workers=8, min_free=4 * MB)
        free = free_room(folder)
        assert counts(outcomes) == {"downloaded": 5, "failed": 7}
        assert free >= 4 * MB - 500_000, "the ledger alone may use some of the reserve"
        assert_whole(mirror, folder, 5)
        assert asked(mirror) == 5, "nothing is asked for that has no room"
        known = records(folder).values()
        assert {one.failures for one in known} == {0}, "no run gives them up for it"
        errors = [one.error for one in outcomes if one.error]
        assert {type(error) for error in errors} == {ProductTooLarge}
        subprocess.run(["mount", "-o", "remount,size=100m", str(folder)], check=True)
        assert counts(await download(mirror, folder)) == {"downloaded": 7, "present": 5}
        assert_whole(mirror, folder, 12)


async def test_row_4_2_the_sentence_has_sizes_and_the_reserve(
    open_mirror: Open,  # noqa: F811
    folder: Path,
    mount: Mount,
) -> None:
    mount(folder, "24m")
    _, noa = await open_mirror(make_product("small.SAFE.zip", MB), make_product(size=9 * MB))
    ended = await noa("download", "--everything", "--output", folder, "--no-progress")
    assert ended.code == 1
    assert "1 product failed" in ended.err + ended.out
    assert re.search(
        r"it needs 9\.00 MB more, 2\d\.\d MB are free, of which 16\.8 MB stay free "
        r"\(--min-free\)\. Make room, or lower --min-free; the next run tries again\.",
        ended.err + ended.out,
    )


@pytest.mark.parametrize("told", [True, False])
async def test_row_10_7_one_large_product_keeps_no_other_away(
    folder: Path, mount: Mount, told: bool
) -> None:
    """Also if only the answer tells its size, not the catalogue."""
    mount(folder, "24m")
    omit = () if told else ("ContentLength",)
    async with a_mirror(60 * MB, *[100_000] * 30, omit=omit) as mirror:
        outcomes = await download(mirror, folder, min_free=0)
        assert counts(outcomes) == {"downloaded": 30, "failed": 1}
        [failed] = [one for one in outcomes if not one.ok]
        assert isinstance(failed.error, ProductTooLarge)
        assert "60.0 MB" in str(failed.error)
        assert_whole(mirror, folder, 30)


async def test_row_10_7_they_do_not_count_as_the_services_failures(
    folder: Path, mount: Mount
) -> None:
    mount(folder, "4m")
    async with a_mirror(*[5 * MB] * 15, 2_000) as mirror:
        report = await follow(mirror, folder, min_free=0)
        assert dict(report.counts) == {Status.FAILED: 15, Status.DOWNLOADED: 1}
        assert not report.ok
        assert_whole(mirror, folder, 1)


async def test_row_4_2_a_product_waits_for_room_that_others_give_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As into a store: what was uploaded leaves the scratch folder."""
    free = {"room": 10 * MB}
    monkeypatch.setattr(LocalFolder, "room", lambda _: free["room"])
    sizes: dict[str, int] = {}
    monkeypatch.setattr(LocalFolder, "part_size", lambda _, key: sizes.get(key, 0))
    async with a_mirror(8 * MB, 6 * MB) as mirror, NoaClient(settings_for(mirror), WHO) as noa:
        first, second = [each async for each in noa.search(ALL)]
        archive = await noa._downloads.archive(folder, None)
        archive._rules = replace(archive._rules, min_free=MB)
        order: list[str] = []

        async def enter() -> None:
            async with archive.room_for(second):
                order.append("second")

        async with archive.room_for(first):
            sizes[first.id], free["room"] = 8 * MB, 2 * MB  # it has gathered
            waiting = asyncio.create_task(enter())
            await asyncio.sleep(0)
            assert not waiting.done()
            order.append("first")
            free["room"] = 10 * MB  # uploaded, and deleted here
            sizes.clear()
        await waiting
        assert order == ["first", "second"]
        free["room"] = 2 * MB
        archive.folder._room_until = 0.0
        with pytest.raises(ProductTooLarge):
            await enter()


def test_row_4_2_a_file_system_that_tells_no_size_is_large_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    assert free_room(tmp_path) == real.f_bavail * real.f_frsize
    fields = list(real)
    nothing = os.statvfs_result([*fields[:2], 0, 0, 0, *fields[5:]])
    monkeypatch.setattr(os, "statvfs", lambda _: nothing)
    assert free_room(tmp_path) > 1 << 50


async def test_row_6_14_a_limit_on_a_files_size_fails_that_product_alone(folder: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with a_mirror(5 * MB, *[100_000] * 12) as mirror:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MB, limits[1]))
        try:
            outcomes = await download(mirror, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert counts(outcomes) == {"downloaded": 12, "failed": 1}
        [failed] = [one for one in outcomes if not one.ok]
        assert isinstance(failed.error, ProductTooLarge)
        assert "File too large" in str(failed.error)
        assert {one.failures for one in records(folder).values()} == {0}
        assert counts(await download(mirror, folder)) == {"downloaded": 1, "present": 12}
        assert_whole(mirror, folder, 13)


# 6.5: a disk that fails


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_row_6_5_after_a_failed_sync_nothing_is_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if path_of(descriptor).endswith(".part"):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    async with a_mirror(3 * MB) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(DestinationError) as caught:
                await download(mirror, folder)
        assert caught.value.hint
        assert files(folder) == []
        assert parts(folder) == set()
        mirror.stats.reset()
        assert counts(await download(mirror, folder)) == {"downloaded": 1}
        assert mirror.stats.bytes_sent == 3 * MB
        assert_whole(mirror, folder, 1)


async def test_row_6_5_after_a_failed_write_nothing_is_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwritev, written = os.pwritev, 0

    def fail(descriptor: int, pieces: list[bytes], offset: int) -> int:
        nonlocal written
        if offset > MB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += 1
        return pwritev(descriptor, pieces, offset)

    async with a_mirror(5 * MB) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", fail)
            with pytest.raises(DestinationError, match="Input/output error") as caught:
                await download(mirror, folder)
        assert written
        assert "dmesg" in caught.value.hint
        assert parts(folder) == set()
        mirror.stats.reset()
        assert counts(await download(mirror, folder)) == {"downloaded": 1}
        assert mirror.stats.bytes_sent == 5 * MB


async def test_row_6_5_a_part_that_the_disk_has_lost_is_fetched_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preadv = os.preadv

    def fail(descriptor: int, blocks: list[memoryview], offset: int) -> int:
        if path_of(descriptor).endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(descriptor, blocks, offset)

    async with a_mirror(3 * MB) as mirror:
        [product] = mirror.catalogue.products
        mirror.faults = FaultPlan((Fault(FaultKind.CUT, product=product.id, times=None, at=0.5),))
        retry = replace(settings_for(mirror).retry, retries=0)
        assert counts(await download(mirror, folder, retry=retry)) == {"failed": 1}
        assert len(parts(folder)) == 2
        mirror.faults = FaultPlan()
        mirror.stats.reset()
        monkeypatch.setattr(os, "preadv", fail)
        assert counts(await download(mirror, folder)) == {"downloaded": 1}
        assert mirror.stats.bytes_sent == 3 * MB
        monkeypatch.undo()
        assert_whole(mirror, folder, 1)


async def test_row_6_5_a_failed_close_is_a_loss_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems may tell of it only then."""
    close = os.close

    def fail(descriptor: int) -> None:
        try:
            name = path_of(descriptor)
        except OSError:
            name = ""
        close(descriptor)
        if name.endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with a_mirror(3 * MB) as mirror:
        with monkeypatch.context() as patch:
            patch.setattr(os, "close", fail)
            with pytest.raises(DestinationError):
                await download(mirror, folder)
        assert parts(folder) == set()
        assert files(folder) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "mounted read-only"),
        (errno.EIO, "dmesg"),
        (errno.EDQUOT, "quota"),
        (errno.ESTALE, "remount the share"),
        (errno.EACCES, "may write to it"),
    ],
)
async def test_row_6_5_the_error_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    async with a_mirror(2_000) as mirror:
        monkeypatch.setattr(os, "pwritev", fail)
        with pytest.raises(DestinationError) as caught:
            await download(mirror, folder)
        assert os.strerror(number) in caught.value.message
        assert words in caught.value.hint
        assert caught.value.exit_code == 5


# Kept back with section 4: what file systems lack


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
async def test_row_4_folders_that_cannot_be_synced(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fsync, refused = os.fsync, []

    def refuse(descriptor: int) -> None:
        name = path_of(descriptor)
        if Path(name).is_dir():
            refused.append(name)
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    async with a_mirror(2_000, 2 * MB) as mirror:
        assert counts(await download(mirror, folder, layout="date")) == {"downloaded": 2}
        assert_whole(mirror, folder, 2)
    assert refused


async def test_row_4_a_folder_that_loses_a_name_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if path_of(descriptor) == str(folder):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    async with a_mirror(2_000) as mirror:
        with pytest.raises(DestinationError, match="Input/output error"):
            await download(mirror, folder)


def no_locks(number: int) -> Callable[[int, int], None]:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, None])
async def test_row_4_locks_that_are_missing_or_lie(
    folder: Path, monkeypatch: pytest.MonkeyPatch, recorder: Recorder, number: int | None
) -> None:
    """A lock file takes their place; None: every lock is granted."""
    flock = (lambda *_: None) if number is None else no_locks(number)
    monkeypatch.setattr(fcntl, "flock", flock)
    async with a_mirror(2_000, 300_000) as mirror:
        async with NoaClient(settings_for(mirror), WHO, observer=recorder) as noa:
            first, second = [each async for each in noa.search(ALL)]
            assert (await noa.download(first, folder)).ok
            with pytest.raises(DestinationInUse, match=f"process {os.getpid()}"):
                await download(mirror, folder)
            assert (await noa.download(second, folder)).ok
        [event] = recorder.of(FileSystemLimited)
        assert "a lock file takes their place" in event.limit
        assert counts(await download(mirror, folder)) == {"present": 2}
    assert not (folder / ".noa-async/lock.owner").exists()


async def test_row_4_without_locks_a_killed_run_is_followed_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOLCK))
    async with a_mirror(2_000) as mirror:
        await download(mirror, folder)
        state = folder / ".noa-async"
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        owner = asdict(this_process()) | {"process": ended.pid}
        (state / "lock.owner").write_text(json.dumps(owner))
        (state / "ledger.sqlite3.lock").mkdir()
        assert counts(await download(mirror, folder)) == {"present": 1}


async def test_row_4_without_locks_the_ledger_can_be_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would take a file system without locks for one that is locked, and wait."""
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOLCK))
    async with a_mirror(2_000) as mirror:
        await download(mirror, folder)
    monkeypatch.setattr(fcntl, "lockf", no_locks(errno.ENOLCK))
    monkeypatch.setattr(database, "_WITHOUT_LOCKS", set())  # as in another process
    file = folder / ".noa-async/ledger.sqlite3"
    guard = file.with_name(f"{file.name}.lock")
    with closing(read_database(file)) as ledger:
        assert len(ledger.rows("SELECT id FROM products")) == 1
        ledger.rows("BEGIN")
        ledger.rows("SELECT id FROM products")
        assert guard.is_dir(), "it is locked by a folder, not by the file system"
    assert not guard.exists()


async def test_row_4_a_lock_file_of_another_machine_is_respected(folder: Path) -> None:
    """Also here, where locks work: that machine may see none."""
    async with a_mirror(2_000) as mirror:
        await download(mirror, folder)
        file = folder / ".noa-async/lock.owner"
        file.write_text(json.dumps(asdict(replace(this_process(), host="other", process=7))))
        with pytest.raises(DestinationInUse, match="process 7 on other") as caught:
            await download(mirror, folder)
        assert f"delete {file}" in caught.value.hint
        file.unlink()
        assert counts(await download(mirror, folder)) == {"present": 1}


HERE = Owner("here", "boot 1", "pid:[1]", 10, "100")
RUNNING = {10: "100", 11: "500"}


@pytest.mark.parametrize(
    ("owner", "stale"),
    [
        (HERE, False),
        (replace(HERE, host="there", process=99), False),
        (replace(HERE, boot="boot 0"), True),
        (replace(HERE, space="pid:[2]", process=99), False),
        (replace(HERE, process=99), True),
        (replace(HERE, process=11), True),
        (replace(HERE, process=11, started="500"), False),
    ],
)
def test_row_4_which_lock_files_are_stale(owner: Owner, stale: bool) -> None:
    assert is_stale(owner, HERE, RUNNING.get) is stale


def test_row_4_processes_are_told_apart() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert started(ended.pid) is None
    assert started(os.getpid()) == this_process().started
    assert started(os.getppid()) not in {None, this_process().started}


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_row_4_a_lock_file_that_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOLCK))
    file = tmp_path / "lock.owner"
    file.write_text(content)
    with pytest.raises(DestinationInUse):
        FolderLock(tmp_path, "x").take()
    os.utime(file, (0, 0))
    lock = FolderLock(tmp_path, "x")
    lock.take()
    lock.release(in_order=True)
    assert not file.exists()


def test_row_4_of_two_that_take_a_lock_over_one_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks(errno.ENOLCK))
    (tmp_path / "lock.owner").write_text(json.dumps(asdict(replace(this_process(), boot="0"))))
    (tmp_path / "lock.takeover").mkdir()
    with pytest.raises(DestinationInUse):
        FolderLock(tmp_path, "x").take()
    os.utime(tmp_path / "lock.takeover", (0, 0))
    lock, other = FolderLock(tmp_path, "x"), FolderLock(tmp_path, "y")
    lock.take()
    with pytest.raises(DestinationInUse):
        other.take()
    lock.release(in_order=True)
    other.take()
    other.release(in_order=True)


@pytest.mark.parametrize("before", [False, True])
async def test_row_4_no_shared_memory_for_the_ledger(
    folder: Path, recorder: Recorder, before: bool
) -> None:
    """A folder in place of SQLite's shared memory: no log can be used, ``before`` one was."""
    async with a_mirror(2_000, 300_000) as mirror:
        if before:
            await download(mirror, folder)
        shared = folder / ".noa-async/ledger.sqlite3-shm"
        shared.mkdir(parents=True)
        outcomes = await download(mirror, folder, recorder=recorder)
        assert counts(outcomes) == ({"present": 2} if before else {"downloaded": 2})
        [event] = recorder.of(FileSystemLimited)
        assert "write-ahead log" in event.limit
        assert (await follow(mirror, folder)).ok
        assert {one.state for one in records(folder).values()} == {State.VERIFIED}
        ledger = Database(folder / ".noa-async/ledger.sqlite3")
        with closing(ledger):
            assert ledger.row("PRAGMA journal_mode") == ("delete",)


async def test_row_4_a_log_that_a_killed_run_left_is_read_without_shared_memory(
    folder: Path, tmp_path: Path
) -> None:
    async with a_mirror(2_000, 300_000) as mirror:
        copied = tmp_path / "killed"

        async with NoaClient(settings_for(mirror), WHO) as noa:
            _ = [each async for each in noa.download_all(noa.search(ALL), folder)]
            archive = await noa._downloads.archive(folder, None)
            await archive.ledger.flush()
            shutil.copytree(folder, copied)
        state = copied / ".noa-async"
        assert (state / "ledger.sqlite3-wal").stat().st_size
        (state / "ledger.sqlite3-shm").unlink()
        (state / "ledger.sqlite3-shm").mkdir()
        assert counts(await download(mirror, copied)) == {"present": 2}


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ])
@pytest.mark.parametrize("layout", ["flat", "date"])
async def test_row_4_a_name_that_the_file_system_cannot_hold_fails_that_product(
    folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, layout: str
) -> None:
    rename = os.replace

    def refuse(source: str, target: str) -> None:
        if "092301" in Path(target).name and ".noa-async" not in str(target):
            raise OSError(number, os.strerror(number))
        rename(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    async with a_mirror(2_000, 2_000, 2_000) as mirror:
        outcomes = await download(mirror, folder, layout=layout)
        assert counts(outcomes) == {"downloaded": 2, "failed": 1}
        [failed] = [one for one in outcomes if not one.ok]
        assert isinstance(failed.error, FileInaccessible)
        assert failed.product.name in str(failed.error)


# 6.14: planted links, foreign state folders

PLANTED = (
    "lock", "lock.owner", "layout", "layout.draft", "layout.next", "archive.json",
    "archive.json.draft", "ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-journal",
    "ledger.draft.sqlite3", "manifest.jsonl", "manifest.jsonl.draft", "MD5SUMS", "MD5SUMS.draft",
    "copies/draft.sqlite3", "parts/ID.part", "parts/ID.json", "copying/ID", "copying/ID.draft",
    "files.sqlite3",
)  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
async def test_row_6_14_planted_links_are_not_followed(
    folder: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    text = b"mine, " * 1000
    victim.write_bytes(text)
    async with a_mirror(2 * MB) as mirror:
        [product] = mirror.catalogue.products
        planted = folder / ".noa-async" / name.replace("ID", product.id)
        planted.parent.mkdir(parents=True)
        planted.symlink_to(victim)
        with contextlib.suppress(DestinationError):
            assert (await follow(mirror, folder)).ok
            assert_whole(mirror, folder, 1)
        assert victim.read_bytes() == text
        assert victim.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", [".", "parts", "quarantine", "copies", "trash", "copying"])
async def test_row_6_14_linked_folders_are_refused(folder: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    for file in ("settings.json", "x.part", "draft.sqlite3", f"a{COPYING}"):
        (victim / file).write_text("mine")
    before = sorted(file.name for file in victim.iterdir())
    async with a_mirror(2_000) as mirror:
        folder.mkdir()
        planted = folder / ".noa-async" / name
        planted.parent.mkdir(exist_ok=True)
        planted.symlink_to(victim)
        with pytest.raises(DestinationError, match="a link is in its place") as caught:
            await download(mirror, folder)
        assert str(planted).rstrip("/.") in str(caught.value)
        assert "delete it" in caught.value.hint
    assert sorted(file.name for file in victim.iterdir()) == before
    assert {(victim / file).read_text() for file in before} == {"mine"}


async def test_row_6_14_a_link_in_place_of_a_part_goes_and_the_product_comes(
    folder: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    async with a_mirror(2 * MB) as mirror:
        [product] = mirror.catalogue.products
        place = folder / ".noa-async/parts"
        place.mkdir(parents=True)
        (place / f"{product.id}.part").symlink_to(victim)
        os.link(victim, place / f"{product.id}.json")
        assert counts(await download(mirror, folder)) == {"downloaded": 1}
        assert_whole(mirror, folder, 1)
    assert victim.read_bytes() == b"mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
@pytest.mark.parametrize("mapped", [False, True])
async def test_row_6_14_another_users_state_folder_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mapped: bool
) -> None:
    """``mapped``: the file system shows one owner for all files, as CIFS does."""
    state = folder / ".noa-async"
    async with a_mirror(2_000) as mirror:
        state.mkdir(parents=True)
        if not mapped:
            os.chown(state, 4321, -1)
        monkeypatch.setattr(os, "geteuid", lambda: 1234)
        if mapped:
            assert counts(await download(mirror, folder)) == {"downloaded": 1}
            return
        with pytest.raises(DestinationError, match=r"belongs to another user \(id 4321\)"):
            await download(mirror, folder)
    assert list(state.iterdir()) == []


@pytest.mark.parametrize("modeless", [False, True])
async def test_row_6_14_a_state_folder_that_all_may_write_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, modeless: bool
) -> None:
    """``modeless``: the file system shows one mode for all files, as FAT does."""
    state = folder / ".noa-async"
    async with a_mirror(2_000) as mirror:
        state.mkdir(parents=True)
        state.chmod(0o777)
        if modeless:
            create = os.open

            def open_for_all(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
                descriptor = create(path, flags, mode, **more)
                if flags & os.O_CREAT:
                    os.fchmod(descriptor, 0o777)
                return descriptor

            monkeypatch.setattr(os, "open", open_for_all)
            assert counts(await download(mirror, folder)) == {"downloaded": 1}
            return
        with pytest.raises(DestinationError, match="Every user may write") as caught:
            await download(mirror, folder)
        assert f"chmod go-w {state}" in caught.value.hint


# 5.1: a product that goes between listing and download


class Remover(Recorder):
    """Takes products out of the catalogue as soon as they are listed."""

    def __init__(self, mirror: Emulator, names: set[str]) -> None:
        super().__init__()
        self._mirror = mirror
        self._names = names

    def __call__(self, event: Event, /) -> None:
        super().__call__(event)
        if isinstance(event, ProductQueued) and event.name in self._names:
            self._mirror.catalogue.remove(event.product_id)
            self._names.discard(event.name)


async def test_row_5_1_a_product_that_goes_is_recorded_as_removed(folder: Path) -> None:
    async with a_mirror(2_000, 2_000, 2_000) as mirror:
        gone: Product = mirror.catalogue.products[1]
        report = await follow(mirror, folder, Remover(mirror, {gone.name}))
        assert dict(report.counts) == {Status.DOWNLOADED: 2, Status.GONE: 1}
        assert report.ok
        assert report.absent == 0
        record = records(folder)[gone.id]
        assert record.state is State.REMOVED
        assert record.gone is not None
        assert record.reason == "ProductGone"
        assert_whole(mirror, folder, 2)
        mirror.stats.reset()
        assert (await follow(mirror, folder)).ok
        assert gone.id not in mirror.stats.downloads
        mirror.catalogue.add(replace(gone, published=gone.published))
        assert (await follow(mirror, folder)).counts[Status.DOWNLOADED] in {0, 1}
        client = NoaClient(settings_for(mirror), WHO)
        async with client as noa:
            assert (await noa.mirror(ALL, folder, reconcile=True)).ok
        assert_whole(mirror, folder, 3)


async def test_row_5_1_a_download_tells_it_too(folder: Path) -> None:
    async with a_mirror(2_000, 2_000) as mirror:
        remover = Remover(mirror, {mirror.catalogue.products[0].name})
        outcomes = await download(mirror, folder, recorder=remover)
        assert counts(outcomes) == {"downloaded": 1, "gone": 1}
        [gone] = [one for one in outcomes if not one.ok]
        assert isinstance(gone.error, ProductGone)


async def test_row_5_1_the_exit_code(
    open_mirror: Open,  # noqa: F811
    folder: Path,
) -> None:
    mirror, noa = await open_mirror(make_product("a.SAFE.zip", 2_000))
    mirror.faults = FaultPlan(
        (
            Fault(FaultKind.NOT_FOUND, times=None),
            Fault(FaultKind.PAGE_ENTRY_MISSING, times=None),
        )
    )
    ended = await noa("mirror", "--everything", "--output", folder, "--no-progress")
    assert ended.code == 0, ended.err
    assert "gone  a.SAFE.zip: the service removed it after it was listed" in ended.err


async def test_row_5_1_a_product_whose_entry_is_there_has_failed(folder: Path) -> None:
    async with a_mirror(2_000) as mirror:
        mirror.faults = FaultPlan((Fault(FaultKind.NOT_FOUND, times=None),))
        report = await follow(mirror, folder)
        assert dict(report.counts) == {Status.FAILED: 1}
        assert {one.state for one in records(folder).values()} == {State.FAILED}
        mirror.faults = FaultPlan()
        assert (await follow(mirror, folder)).ok


@pytest.mark.parametrize("kind", [FaultKind.FORBIDDEN, FaultKind.REVOKED_TOKEN])
async def test_row_5_1_another_refusal_says_nothing_of_the_product(
    folder: Path, kind: FaultKind
) -> None:
    async with a_mirror(2_000) as mirror:
        missing = Fault(FaultKind.PAGE_ENTRY_MISSING, times=None)
        mirror.faults = FaultPlan((Fault(kind, times=None), missing))
        report = await follow(mirror, folder)
        assert report.counts[Status.FAILED] == 1
        assert {one.gone for one in records(folder).values()} == {None}


async def test_row_5_1_a_file_that_cannot_be_had_again_is_a_finding(folder: Path) -> None:
    async with a_mirror(2_000) as mirror:
        [product] = mirror.catalogue.products
        await follow(mirror, folder)
        [file] = files(folder)
        file.unlink()
        report = await follow(mirror, folder, Remover(mirror, {product.name}))
        assert report.counts[Status.FAILED] == 1
        assert report.absent == 1
        assert records(folder)[product.id].gone is not None
