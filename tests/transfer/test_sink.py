"""Part files and the sink over them, on a real disk: resumes, torn notes, full disks, cancels."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import json
import os
import resource
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.errors import DestinationError, DestinationFull, ProductTooLarge
from noa_async.threads import Threads
from noa_async.transfer.resume import PartState, Validator
from noa_async.transfer.sink import WORTH_RESUMING, PartFile, Sink, WrongDigest

BIG = WORTH_RESUMING + 1
SUM = "md5:0123456789abcdef0123456789abcdef"
SEEN = Validator('"a"', "Mon, 12 Jan 2026 12:00:00 GMT")


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.fixture(autouse=True)
def no_file_is_left_open():
    before = open_files()
    yield
    assert open_files() <= before


@pytest.fixture
def path(tmp_path):
    return tmp_path / "0a5c8f2e.part"


@pytest.fixture
def pool():
    with Threads(2) as threads:
        yield threads


def note(path: Path) -> Path:
    return path.with_suffix(".json")


def leave(path: Path, *pieces: bytes, total: int = BIG, checksum: str | None = SUM) -> None:
    """A run that ended early: these bytes, and a note where one is due."""
    part = PartFile(path, "md5")
    part.open(checksum)
    part.restart(SEEN, total, checksum)
    part.append(list(pieces))
    part.close()


def state_after_open(path: Path, checksum: str | None = SUM) -> tuple[PartState, str, bytes]:
    """What a new run makes of it: the state, the hash, and the bytes on disk."""
    part = PartFile(path, "md5")
    part.open(checksum)
    state, digest = part.state, part.digest()
    part.close()
    return state, digest, path.read_bytes()


def test_a_new_part_is_empty(path):
    assert state_after_open(path) == (PartState(), md5(b""), b"")


def test_bytes_are_written_and_hashed_in_order(path):
    part = PartFile(path, "sha256")
    part.open(SUM)
    part.restart(SEEN, 11, SUM)
    part.append([b"hello", b" "])
    part.append([])
    part.append([b"", b"world"])
    assert part.state == PartState(11, SEEN, 11)
    assert part.digest() == hashlib.sha256(b"hello world").hexdigest()
    part.close()
    assert path.read_bytes() == b"hello world"


def test_more_pieces_than_one_call_takes(path):
    pieces = [bytes([number % 256]) * 3 for number in range(3000)]
    part = PartFile(path, "md5")
    part.open(None)
    part.append(pieces)
    part.close()
    assert path.read_bytes() == b"".join(pieces)
    assert part.digest() == md5(b"".join(pieces))


def test_a_part_with_its_note_is_gone_on_with(path):
    leave(path, b"first", b" half")
    assert state_after_open(path) == (PartState(10, SEEN, BIG), md5(b"first half"), b"first half")


def test_what_is_appended_then_follows_what_was_there(path):
    leave(path, b"first half")
    part = PartFile(path, "md5")
    part.open(SUM)
    part.append([b", second half"])
    part.close()
    assert path.read_bytes() == b"first half, second half"
    assert part.digest() == md5(b"first half, second half")


def test_a_part_cut_by_a_crash_is_gone_on_with_where_it_ends(path):
    leave(path, b"first half")
    os.truncate(path, 4)
    assert state_after_open(path) == (PartState(4, SEEN, BIG), md5(b"firs"), b"firs")


def test_a_part_without_a_note_is_dropped(path):
    leave(path, b"bytes")
    note(path).unlink()
    assert state_after_open(path) == (PartState(), md5(b""), b"")


def test_a_note_for_another_checksum_is_none(path):
    leave(path, b"bytes", checksum="md5:ffff")
    assert state_after_open(path) == (PartState(), md5(b""), b"")


def test_without_a_checksum_to_check_by_a_part_is_dropped(path):
    leave(path, b"bytes")
    assert state_after_open(path, None) == (PartState(), md5(b""), b"")


def test_a_note_beside_an_empty_part_is_of_no_use(path):
    leave(path)
    assert state_after_open(path) == (PartState(), md5(b""), b"")


def test_a_note_torn_anywhere_is_none_or_whole(path):
    leave(path, b"bytes")
    whole = note(path).read_bytes()
    for length in range(len(whole)):
        note(path).write_bytes(whole[:length])
        path.write_bytes(b"bytes")
        assert state_after_open(path) == (PartState(), md5(b""), b"")


@pytest.mark.parametrize(
    "content",
    [
        b"null",
        b"[]",
        b'"x"',
        b"5",
        b"{}",
        b"\xff\xfe",
        b"\0" * 90,
        json.dumps({"checksum": SUM}).encode(),
        json.dumps({"checksum": SUM, "etag": None, "last_modified": None, "total": None}).encode(),
        json.dumps({"checksum": SUM, "etag": None, "last_modified": None, "total": "x"}).encode(),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_a_note_that_makes_no_sense_is_none(path, content):
    leave(path, b"bytes")
    note(path).write_bytes(content)
    assert state_after_open(path) == (PartState(), md5(b""), b"")


def test_a_restart_drops_bytes_hash_and_note(path):
    leave(path, b"old bytes")
    part = PartFile(path, "md5")
    part.open(SUM)
    part.restart(Validator('"b"'), 3, SUM)
    assert (part.state, part.digest()) == (PartState(0, Validator('"b"'), 3), md5(b""))
    assert path.read_bytes() == b""
    assert not note(path).exists()
    part.append([b"new"])
    part.close()
    assert path.read_bytes() == b"new"


def test_a_restart_writes_the_note_anew(path):
    leave(path, b"old bytes")
    part = PartFile(path, "md5")
    part.open(SUM)
    part.restart(Validator('"b"'), BIG + 5, "md5:ffff")
    part.append([b"new"])
    part.close()
    expected = PartState(3, Validator('"b"'), BIG + 5)
    assert state_after_open(path, "md5:ffff") == (expected, md5(b"new"), b"new")


@pytest.mark.parametrize(
    ("total", "checksum", "kept"),
    [
        (BIG, SUM, True),
        (WORTH_RESUMING, SUM, False),
        (None, SUM, False),
        (BIG, None, False),
    ],
)
def test_a_note_is_kept_where_it_pays(path, total, checksum, kept):
    part = PartFile(path, "md5")
    part.open(SUM)
    part.restart(SEEN, total, checksum)
    part.close()
    assert note(path).exists() is kept


def test_a_forgotten_note_is_gone_and_may_be_forgotten_twice(path):
    leave(path, b"bytes")
    part = PartFile(path, "md5")
    part.open(SUM)
    part.forget_note()
    part.forget_note()
    part.close()
    assert not note(path).exists()


def test_the_answer_may_tell_the_total_later(path):
    part = PartFile(path, "md5")
    part.expect(None)
    assert part.state.total is None
    part.expect(7)
    part.expect(None)
    assert part.state.total == 7


@pytest.mark.parametrize(
    ("batches", "is_zip"),
    [
        ([[b"PK\x03\x04rest"]], True),
        ([[b"P"], [b"K\x03", b"\x04"], [b"rest"]], True),
        ([[b"", b"PK"], [], [b"\x03\x04"]], True),
        ([[b"PK\x03"]], False),
        ([[b"xPK\x03\x04"]], False),
        ([], False),
    ],
)
def test_a_zip_is_known_by_its_start(path, batches, is_zip):
    part = PartFile(path, "md5")
    part.open(SUM)
    part.restart(SEEN, BIG, SUM)
    for batch in batches:
        part.look_at(batch)
        part.append(batch)
    part.close()
    assert part.is_zip == is_zip
    later = PartFile(path, "md5")
    later.open(SUM)
    later.close()
    assert later.is_zip == is_zip


def test_another_start_is_another_kind(path):
    part = PartFile(path, "md5")
    part.open(None)
    part.append([b"PK\x03\x04rest"])
    part.restart(SEEN, BIG, SUM)
    part.append([b"no zip"])
    part.close()
    assert not part.is_zip


@pytest.mark.parametrize("call", ["fsync", "close"])
def test_a_loss_told_at_the_end_is_told(path, monkeypatch, call):
    """Network file systems tell of a full disk at the sync, or not before the file is closed."""
    real = getattr(os, call)

    def fail(descriptor: int) -> None:
        real(descriptor)
        full()

    part = PartFile(path, "md5")
    part.open(None)
    part.append([b"bytes"])
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(DestinationFull):
            part.seal()
    part.close()


def test_a_part_can_be_closed_twice(path):
    part = PartFile(path, "md5")
    part.open(None)
    part.close()
    part.close()
    part.close()


def test_no_one_else_may_write_the_files(path):
    before = os.umask(0)
    try:
        leave(path, b"bytes")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o022 == 0
    assert note(path).stat().st_mode & 0o022 == 0


@given(st.lists(st.lists(st.binary(max_size=9), max_size=5), max_size=5), st.integers(0, 40))
def test_any_cut_goes_on_to_the_same_bytes(tmp_path_factory, batches, kept):
    path = tmp_path_factory.mktemp("cut") / "x.part"
    data = b"".join(piece for batch in batches for piece in batch)
    leave(path, data[:kept])
    part = PartFile(path, "md5")
    part.open(SUM)
    assert part.state.length == min(kept, len(data))
    part.append([data[part.state.length :]])
    part.close()
    assert path.read_bytes() == data
    assert part.digest() == md5(data)


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_room_is_said_with_the_path(path, monkeypatch, number):
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    part = PartFile(path, "md5")
    part.open(SUM)
    part.append([b"kept"])
    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(DestinationFull) as caught:
        part.append([b"lost"])
    assert str(path) in str(caught.value)
    assert (part.state.length, part.digest()) == (4, md5(b"kept"))
    part.close()


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EACCES])
def test_other_disk_errors_are_the_destinations(path, monkeypatch, number):
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    part = PartFile(path, "md5")
    part.open(SUM)
    monkeypatch.setattr(os, "pwritev", fail)
    with pytest.raises(DestinationError) as caught:
        part.append([b"lost"])
    assert not isinstance(caught.value, DestinationFull)
    assert os.strerror(number) in str(caught.value)
    part.close()


def test_a_real_limit_on_the_files_size_concerns_one_product(path):
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    part = PartFile(path, "md5")
    part.open(SUM)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(ProductTooLarge, match="cannot grow further: File too large"):
            part.append([b"x" * 60_000, b"y" * 60_000])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
        part.close()
    # The bytes that did get there are the right ones: another run may go on behind them.
    there = path.read_bytes()
    assert (b"x" * 60_000 + b"y" * 60_000).startswith(there)


def test_a_device_that_is_always_full_is_not_written(path):
    path.symlink_to("/dev/full")
    part = PartFile(path, "md5")
    part.open(SUM)
    part.append([b"x"])
    part.close()
    assert not path.is_symlink()
    assert path.read_bytes() == b"x"


def test_a_short_write_is_gone_on_with(path, monkeypatch):
    pwritev = os.pwritev

    def short(descriptor: int, pieces: list[bytes], offset: int) -> int:
        return pwritev(descriptor, [b"".join(pieces)[:7]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    part = PartFile(path, "md5")
    part.open(SUM)
    part.append([b"hello", b" wide ", b"world"])
    part.append([b"!"])
    part.close()
    assert path.read_bytes() == b"hello wide world!"
    assert part.digest() == md5(b"hello wide world!")


def test_after_an_error_in_a_long_batch_length_and_hash_are_of_the_same_bytes(path, monkeypatch):
    pwritev, calls = os.pwritev, []

    def second_fails(descriptor: int, pieces: list[bytes], offset: int) -> int:
        calls.append(offset)
        return pwritev(descriptor, pieces, offset) if len(calls) == 1 else full()

    monkeypatch.setattr(os, "pwritev", second_fails)
    part = PartFile(path, "md5")
    part.open(SUM)
    with pytest.raises(DestinationFull):
        part.append([b"x"] * 1000)
    part.close()
    assert len(calls) == 2
    assert part.digest() == md5(b"x" * part.state.length)


def test_a_missing_folder_is_the_destinations(tmp_path):
    part = PartFile(tmp_path / "gone" / "x.part", "md5")
    with pytest.raises(DestinationError, match="gone"):
        part.open(SUM)
    part.close()


async def test_a_sink_writes_what_it_is_given(path, pool):
    async with Sink(PartFile(path, "md5"), pool) as sink:
        await sink.run(sink.part.open, SUM)
        for number in range(20):
            await sink.write([b"%d," % number])
        await sink.drain()
        assert sink.part.state.length == len(path.read_bytes()) == 50
        await sink.drain()
    assert path.read_bytes() == b"".join(b"%d," % number for number in range(20))


async def test_a_sink_gives_back_what_its_work_gives(path, pool):
    async with Sink(PartFile(path, "md5"), pool) as sink:
        await sink.run(sink.part.open, SUM)
        await sink.write([b"abc"])
        assert await sink.run(sink.part.digest) == md5(b"abc")
        with pytest.raises(KeyError):
            await sink.run({}.__getitem__, "x")


async def test_leaving_a_sink_closes_the_file_and_keeps_the_bytes(path, pool):
    sink = Sink(PartFile(path, "md5"), pool)
    with pytest.raises(RuntimeError, match="out of it"):
        async with sink:
            await sink.run(sink.part.open, SUM)
            await sink.run(sink.part.restart, SEEN, BIG, SUM)
            await sink.write([b"kept"])
            raise RuntimeError("out of it")
    assert sink.part._descriptor == -1
    assert state_after_open(path) == (PartState(4, SEEN, BIG), md5(b"kept"), b"kept")


async def test_a_failed_write_is_told_by_the_next_call(path, pool, monkeypatch):
    for call in ("write", "drain", "run"):
        async with Sink(PartFile(path, "md5"), pool) as sink:
            await sink.run(sink.part.open, SUM)
            with monkeypatch.context() as patch:
                patch.setattr(os, "pwritev", full)
                await sink.write([b"lost"])
                arguments = {"write": ([b"more"],), "drain": (), "run": (sink.part.digest,)}[call]
                with pytest.raises(DestinationFull):
                    await getattr(sink, call)(*arguments)


async def test_a_failed_write_nobody_asked_for_is_not_shouted_about(path, pool, monkeypatch):
    monkeypatch.setattr(os, "pwritev", full)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    async with Sink(PartFile(path, "md5"), pool) as sink:
        await sink.run(sink.part.open, SUM)
        await sink.write([b"lost"])
    del sink
    assert complaints == []


class SlowPart(PartFile):
    """A part whose writes wait until the test lets them go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "md5")
        self.started = threading.Event()
        self.go_on = threading.Event()

    def append(self, pieces: list[bytes]) -> None:
        self.started.set()
        assert self.go_on.wait(10)
        assert self._descriptor >= 0, "the file was closed under a write"
        super().append(pieces)


@pytest.mark.parametrize("waiting_in", ["leaving", "drain", "run", "write"])
async def test_a_cancel_waits_for_the_write_and_closes_the_file(path, pool, waiting_in):
    part = SlowPart(path)
    part.go_on.set()
    entered = asyncio.Event()

    async def work() -> None:
        async with Sink(part, pool) as sink:
            await sink.run(part.open, SUM)
            await sink.run(part.restart, SEEN, BIG, SUM)
            await sink.write([b"before,"])
            await sink.drain()
            part.go_on.clear()
            part.started.clear()
            await sink.write([b"during"])
            entered.set()
            if waiting_in == "drain":
                await sink.drain()
            elif waiting_in == "run":
                await sink.run(part.digest)
            elif waiting_in == "write":
                await sink.write([b"never"])

    task = asyncio.create_task(work())
    await entered.wait()
    await asyncio.to_thread(part.started.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.wait({task}, timeout=0.01)
        assert not task.done()
    part.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert part._descriptor == -1
    assert part.state.length == 13
    state, digest, data = state_after_open(path)
    assert (state.length, digest, data) == (13, md5(b"before,during"), b"before,during")


async def test_a_write_that_fails_under_a_cancel_is_not_shouted_about(path, pool, monkeypatch):
    monkeypatch.setattr(os, "pwritev", full)
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    part = SlowPart(path)

    async def work() -> None:
        async with Sink(part, pool) as sink:
            await sink.run(part.open, SUM)
            await sink.write([b"lost"])
            await sink.drain()

    task = asyncio.create_task(work())
    await asyncio.to_thread(part.started.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    part.go_on.set()
    await asyncio.wait({task})
    assert task.cancelled()
    del task
    gc.collect()
    assert complaints == []


async def test_many_sinks_leak_no_files(tmp_path, pool):
    async def one(number: int) -> None:
        async with Sink(PartFile(tmp_path / f"{number}.part", "md5"), pool) as sink:
            await sink.run(sink.part.open, SUM)
            await sink.write([b"x" * number])

    await one(0)  # the pool's threads and the loop's own pipes are there from now on
    before = open_files()
    tasks = [asyncio.create_task(one(number)) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert open_files() <= before


async def test_what_is_put_off_is_done_ahead_of_what_comes_next(path, pool):
    done: list[str] = []
    async with Sink(PartFile(path, "md5"), pool) as sink:
        sink.later(sink.part.open, SUM)
        sink.later(done.append, "one")
        assert not path.exists()
        await sink.write([b"bytes"])
        await sink.run(done.append, "two")
        assert (done, path.read_bytes()) == (["one", "two"], b"bytes")
        sink.later(done.append, "three")
        await sink.drain()
        assert done == ["one", "two", "three"]
        sink.later(done.append, "never")
    assert done == ["one", "two", "three"]


async def test_the_last_bytes_are_written_with_what_comes_next_in_one_job(path, pool):
    part, jobs = PartFile(path, "md5"), []
    submit = pool.submit
    pool.submit = lambda *work: jobs.append(work) or submit(*work)
    async with Sink(part, pool) as sink:
        part.begin(SEEN, 5)
        sink.later(part.restart, SEEN, 5, SUM)
        await sink.write_last([b"whole"])
        assert (sink.has_last, path.exists()) == (True, False)
        published = await sink.run(part.hand_over, md5(b"whole"), path.read_bytes)
    assert published == b"whole"
    assert len(jobs) == 1


async def test_bytes_that_are_wrong_are_not_published(path, pool):
    part = PartFile(path, "md5")
    async with Sink(part, pool) as sink:
        part.begin(SEEN, BIG)
        sink.later(part.restart, SEEN, BIG, SUM)
        await sink.write_last([b"wrong"])
        with pytest.raises(WrongDigest):
            await sink.run(part.hand_over, md5(b"right"), path.unlink)
        await sink.drain()
        assert not sink.has_last
    assert path.read_bytes() == b"wrong"
    assert note(path).exists()


def test_the_note_goes_behind_the_name(path):
    part = PartFile(path, "md5")
    part.open(SUM)
    part.restart(SEEN, BIG, SUM)
    part.append([b"whole"])
    assert part.hand_over(md5(b"whole"), note(path).exists)
    assert not note(path).exists()
