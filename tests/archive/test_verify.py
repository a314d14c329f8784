"""``verify``: what it finds of each file, what the ledger learns, and in which order it samples."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from hashlib import md5
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from blake3 import blake3

from noa_async.archive import reading, repairing
from noa_async.archive.archive import Archive
from noa_async.archive.destination import FileFacts
from noa_async.archive.folder import LocalFolder
from noa_async.archive.record import Record, first_record
from noa_async.archive.repairing import ANY_WRONG, has_wrong, wrong_products
from noa_async.archive.states import HELD, State
from noa_async.archive.verify import (
    Condition,
    Finding,
    Selection,
    after,
    measure,
    verify,
)
from noa_async.catalogue.product import Checksum, Product
from noa_async.errors import DestinationError
from noa_async.threads import Threads

NOW = 1_800_000_000.0
BEFORE = NOW - 86400
DATA = bytes(range(256)) * 1500  # more than one block


@dataclass
class Store:
    """An archive with files in it; its clock goes on a second each time it is asked."""

    archive: Archive
    root: Path

    def add(self, key: str, data: bytes = DATA, *, sums: bool = True, **changes: object) -> Record:
        """A product that is here and right."""
        path = self.root / f"{key}.zip"
        path.write_bytes(data)
        checksum = Checksum("md5", md5(data).hexdigest())
        product = Product(key, f"S2A_{key}", len(data), (checksum,) if sums else ())
        state = State.VERIFIED if sums else State.UNVERIFIED
        held = str(checksum) if sums else f"blake3:{blake3(data).hexdigest()}"
        facts = FileFacts(len(data), path.stat().st_mtime_ns)
        record = first_record(product, state, BEFORE)
        record = record.found_right(state, path.name, facts, held, BEFORE)
        record = replace(record, **changes)  # type: ignore[arg-type]
        self.archive.ledger.put(record)
        return record

    def get(self, key: str) -> Record:
        record = self.archive.ledger.get(key)
        assert record is not None
        return record

    async def findings(self, **selection: float) -> list[Finding]:
        extent = await measure(self.archive, Selection(**selection))
        async with aclosing(verify(self.archive, extent)) as found:
            return [finding async for finding in found]

    async def only(self) -> Finding:
        [finding] = await self.findings()
        return finding


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        pool = stack.enter_context(Threads(2))
        root = tmp_path / "archive"
        ticks = count(int(NOW) + 1)
        store = Store(Archive(root, None, pool, clock=lambda: float(next(ticks))), root)
        await stack.enter_async_context(store.archive)
        yield store


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(len(DATA) - 1)
        file.write(b"X")


def in_place(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


SPOILT = {
    "flipped": (flip, Condition.DAMAGED, "its md5 is"),
    "truncated": (lambda path: os.truncate(path, 10), Condition.DAMAGED, "10 bytes, not"),
    "emptied": (lambda path: os.truncate(path, 0), Condition.DAMAGED, "0 bytes, not"),
    "grown": (lambda path: path.write_bytes(DATA + b"X"), Condition.DAMAGED, "bytes, not"),
    "deleted": (Path.unlink, Condition.MISSING, ""),
    "folder": (in_place(Path.mkdir), Condition.MISSING, "no regular file is in its place"),
    "pipe": (in_place(os.mkfifo), Condition.MISSING, "no regular file is in its place"),
    "link": (
        in_place(lambda path: path.symlink_to("/dev/zero")), Condition.MISSING, "a link is in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("sums", [True, False], ids=["catalogued", "our own sum"])
@pytest.mark.parametrize("name", SPOILT)
async def test_what_is_wrong_is_found_and_put_on_the_list(store: Store, name: str, sums: bool):
    spoil, condition, why = SPOILT[name]
    store.add("good", sums=sums)
    record = store.add("bad", sums=sums, query=1)
    spoil(store.root / "bad.zip")
    found = {one.product_id: one for one in await store.findings() if one.product_id}
    assert found["good"].condition is Condition.RIGHT
    assert found["bad"].condition is condition
    assert (why.replace("md5", "md5" if sums else "blake3")) in found["bad"].why
    assert found["bad"].name == "S2A_bad"
    after_it = store.get("bad")
    assert after_it.state == condition
    assert after_it.todo is not None
    assert after_it.error is not None
    assert "bad.zip" in after_it.error
    assert after_it.verified == record.verified
    assert [one.id for one in await store.archive.ledger.todo(1, 0, 10)] == ["bad"]
    assert [one.id async for one in wrong_products(store.root)] == ["bad"]
    assert has_wrong(store.root)


@pytest.mark.parametrize("sums", [True, False])
async def test_what_is_right_is_dated_and_not_changed_otherwise(store: Store, sums: bool):
    record = store.add("one", sums=sums, todo=None)
    os.utime(store.root / "one.zip", ns=(5, 5))
    finding = await store.only()
    assert (finding.condition, finding.read) == (Condition.RIGHT, len(DATA))
    found = store.get("one")
    assert found.verified == NOW + 1
    found = replace(found, product=record.product)  # with what its name tells
    assert found == replace(record, verified=found.verified, looked=found.verified, mtime_ns=5)


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("state", [State.DAMAGED, State.MISSING, State.FAILED, State.QUARANTINED])
async def test_what_is_right_again_is_held_again(store: Store, state: State, sums: bool):
    store.add("one", sums=sums, state=state, todo=3, error="was wrong", failures=2)
    assert (await store.only()).condition is Condition.RIGHT
    found = store.get("one")
    assert found.state is (State.VERIFIED if sums else State.UNVERIFIED)
    assert (found.todo, found.error, found.failures) == (None, None, 0)


async def test_what_is_wrong_still_is_told_again_and_keeps_its_place(store: Store):
    store.add("one", state=State.DAMAGED, todo=3)
    flip(store.root / "one.zip")
    assert (await store.only()).condition is Condition.DAMAGED
    assert store.get("one").todo == 3
    (store.root / "one.zip").unlink()
    assert (await store.only()).condition is Condition.MISSING
    assert (store.get("one").state, store.get("one").todo) == (State.MISSING, 3)


async def test_a_fetch_that_was_given_up_is_not_taken_up_again(store: Store):
    store.add("failed", state=State.FAILED, failures=10)
    store.add("shut", state=State.QUARANTINED, failures=1)
    for key in ("failed", "shut"):
        flip(store.root / f"{key}.zip")
    assert {one.condition for one in await store.findings()} == {Condition.DAMAGED}
    assert (store.get("failed").state, store.get("failed").todo) == (State.DAMAGED, None)
    assert (store.get("shut").state, store.get("shut").todo) == (State.QUARANTINED, None)


@pytest.mark.parametrize("state", [State.OUTDATED, State.REMOVED, State.FAILED])
async def test_a_file_whose_successor_is_still_to_come_is_neither_wrong_nor_foreign(
    store: Store, state: State
):
    record = store.add("one", b"old")
    newer = replace(record.product, checksums=(Checksum("md5", md5(b"new").hexdigest()),))
    for checksum in (record.checksum, None):
        known = replace(record, product=newer, state=state, checksum=checksum)
        store.archive.ledger.put(known)
        assert await store.findings() == []
        assert store.get("one").state is state


async def test_a_damaged_file_is_compared_with_what_the_catalogue_has_by_now(store: Store):
    record = store.add("one", b"old")
    newer = replace(record.product, checksums=(Checksum("md5", md5(b"new").hexdigest()),))
    store.archive.ledger.put(replace(record, product=newer, state=State.DAMAGED))
    assert (await store.only()).condition is Condition.DAMAGED
    (store.root / "one.zip").write_bytes(b"new")
    assert (await store.only()).condition is Condition.RIGHT
    assert store.get("one").checksum == f"md5:{md5(b'new').hexdigest()}"


async def test_foreign_files_are_told_and_left_alone(store: Store):
    store.add("one")
    for path in ("x.txt", "2026/deep/y.zip", "2026/.hidden"):
        (store.root / path).parent.mkdir(parents=True, exist_ok=True)
        (store.root / path).write_text("mine")
    (store.root / "away").symlink_to("/")
    (store.root / "ONE.ZIP").touch()
    apart = (store.root / "ONE.ZIP").stat().st_size == 0  # on some file systems that is one.zip
    found = await store.findings()
    foreign = {one.path for one in found if one.condition is Condition.FOREIGN}
    assert foreign == {"x.txt", "2026/deep/y.zip", "2026/.hidden", "away"} | (
        {"ONE.ZIP"} if apart else set()
    )
    assert len(found) == len(foreign) + 1
    assert (store.root / "2026/deep/y.zip").read_text() == "mine"
    for selection in ({"sample": 1.0}, {"since": 0.0}):
        assert [one.path for one in await store.findings(**selection)] == ["one.zip"]


async def test_another_spelling_of_a_products_file_is_not_foreign(store: Store):
    """As a folder that ignores letter case shows it: one file, told by another name."""
    record = store.add("one")
    store.archive.ledger.put(replace(record, path="One.ZIP"))
    os.link(store.root / "one.zip", store.root / "One.ZIP")
    found = await store.findings()
    assert [(one.condition, one.path) for one in found] == [(Condition.RIGHT, "One.ZIP")]


def in_two_folders(root: Path) -> tuple[LocalFolder, Path, Generator[PurePosixPath]]:
    """A scan that has told the file of one folder; the one that is still to come."""
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        (root / name / "file").touch()
    folder = LocalFolder(root)
    files = folder.files()
    first = next(files)
    assert first.name == "file"
    [other] = {"a", "b"} - {first.parent.name}
    return folder, root / other, files


def test_a_folder_that_goes_during_the_scan_holds_nothing(tmp_path: Path):
    _, other, files = in_two_folders(tmp_path / "one")
    shutil.rmtree(other)
    assert list(files) == []
    _, other, files = in_two_folders(tmp_path / "two")
    shutil.rmtree(other)
    other.touch()
    assert list(files) == []
    folder, _, _ = in_two_folders(tmp_path / "three")
    shutil.rmtree(tmp_path / "three")
    with pytest.raises(DestinationError, match=r"three cannot be read: No such file"):
        list(folder.files())


async def test_a_foreign_name_that_is_no_text(store: Store):
    store.add("one")
    (store.root / "caf\udce9.zip").touch()
    found = {one.path: one.condition for one in await store.findings()}
    assert found == {"one.zip": Condition.RIGHT, "caf\udce9.zip": Condition.FOREIGN}


async def test_a_file_of_another_age_of_the_world(store: Store):
    store.add("one")
    ns = 2**63 + 5  # in the year 2262
    os.utime(store.root / "one.zip", ns=(ns, ns))
    assert (await store.only()).condition is Condition.RIGHT
    await store.archive.ledger.flush()
    facts = store.archive.folder.facts("one.zip")
    assert facts is not None
    assert store.get("one").mtime_ns == facts.mtime_ns
    part = store.archive.folder.part("two")
    part.touch()
    os.utime(part, ns=(ns, ns))
    assert (
        store.archive.folder.publish(part, PurePosixPath("two.zip"))[0].mtime_ns == facts.mtime_ns
    )


async def test_a_folder_that_nobody_may_read_is_foreign(store: Store, monkeypatch):
    (store.root / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(path: Path):
        if str(path).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    finding = await store.only()
    assert (finding.condition, finding.path) == (Condition.FOREIGN, "lost+found")


@pytest.mark.parametrize(
    ("number", "condition"),
    [(errno.EACCES, Condition.UNREADABLE), (errno.EIO, Condition.DAMAGED)],
)
async def test_a_file_that_cannot_be_read_is_a_finding(
    store: Store, monkeypatch, number, condition
):
    record = store.add("bad")
    store.add("good")
    preadv, broken = os.preadv, (store.root / "bad.zip").stat().st_ino

    def read(descriptor: int, *arguments: object) -> int:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(number, os.strerror(number))
        return preadv(descriptor, *arguments)

    monkeypatch.setattr(os, "preadv", read)
    found = {one.product_id: one for one in await store.findings()}
    assert found["good"].condition is Condition.RIGHT
    assert found["bad"].condition is condition
    assert found["bad"].why == os.strerror(number)
    if condition is Condition.UNREADABLE:
        assert replace(store.get("bad"), product=record.product, looked=None) == record
    else:
        assert store.get("bad").state is State.DAMAGED
        assert record.checksum is not None
        archive = store.archive
        has = reading.has_checksum(archive.folder, "bad.zip", record.checksum, archive.pool)
        assert not await has


async def test_a_ledger_with_sums_of_a_kind_unknown_here(store: Store):
    store.add("one", checksum="crc32:12345678")
    finding = await store.only()
    assert (finding.condition, finding.why) == (
        Condition.DAMAGED,
        "no checksum is known that this machine can compute",
    )


async def test_ten_samples_of_a_tenth_are_all(store: Store):
    for number in range(100):
        store.add(f"p{number:03}", b"%d" % number, verified=None if number % 3 else BEFORE)
    seen: Counter[str | None] = Counter()
    for turn in range(10):
        found = await store.findings(sample=0.1)
        assert len(found) == 10
        assert turn > 5 or all(int(one.path[1:4]) % 3 for one in found)  # never verified first
        seen.update(one.product_id for one in found)
    assert set(seen.values()) == {1}
    assert len(seen) == 100
    assert len(await store.findings(sample=0.0001)) == 1
    assert len(await store.findings(sample=0.101)) == 11
    assert len(await store.findings(sample=1.0)) == 100


async def test_what_is_wrong_does_not_come_back_in_every_sample(store: Store):
    for number in range(4):
        store.add(f"p{number}")
        (store.root / f"p{number}.zip").unlink()
    store.add("right")
    found = [one for _ in range(5) for one in await store.findings(sample=0.2)]
    assert Counter(one.condition for one in found) == {Condition.MISSING: 4, Condition.RIGHT: 1}


async def test_what_cannot_be_read_does_not_come_back_in_every_sample(store: Store, monkeypatch):
    for number in range(4):
        store.add(f"p{number}")
    preadv, broken = os.preadv, (store.root / "p0.zip").stat().st_ino

    def read(descriptor: int, *arguments: object) -> int:
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return preadv(descriptor, *arguments)

    monkeypatch.setattr(os, "preadv", read)
    found = [one for _ in range(8) for one in await store.findings(sample=0.25)]
    assert Counter(one.path for one in found) == {f"p{number}.zip": 2 for number in range(4)}
    assert [one.condition for one in found].count(Condition.UNREADABLE) == 2


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (Path.unlink, ""),
        (in_place(lambda path: path.symlink_to("/dev/zero")), "a link is in its place"),
    ],
)
async def test_a_file_that_goes_while_it_is_looked_at_is_missing(
    store: Store, monkeypatch, spoil, why
):
    store.add("one")
    folder = store.archive.folder
    facts = folder.facts

    def spoilt_behind_it(path: str) -> FileFacts | None:
        found = facts(path)
        spoil(folder.place(path))
        return found

    monkeypatch.setattr(folder, "facts", spoilt_behind_it)
    extent = await measure(store.archive, Selection(sample=1.0))
    async with aclosing(verify(store.archive, extent)) as found:
        [finding] = [one async for one in found]
    assert (finding.condition, finding.why) == (Condition.MISSING, why)
    assert store.get("one").state is State.MISSING


async def test_what_is_wrong_is_read_by_pages_and_not_on_the_loop(store: Store, monkeypatch):
    missing = replace(store.add("one"), state=State.MISSING)
    assert not has_wrong(store.root)
    keys = {f"p{number:04}" for number in range(1203)}
    for key in keys:
        product = replace(missing.product, id=key)
        store.archive.ledger.put(replace(missing, product=product, path=f"{key}.zip"))
    await store.archive.ledger.flush()
    assert has_wrong(store.root)
    read, threads = repairing.numbered, set()

    def noted(*arguments: Any) -> Any:
        threads.add(threading.current_thread())
        return read(*arguments)

    monkeypatch.setattr(repairing, "numbered", noted)
    assert {one.id async for one in wrong_products(store.root)} == keys
    assert threads
    assert threading.current_thread() not in threads
    plan = await store.archive.ledger.ask(
        lambda database: database.rows(f"EXPLAIN QUERY PLAN {ANY_WRONG}")
    )
    assert "USING INDEX products_troubled" in plan[0][-1]


async def test_since_is_by_when_the_file_came_not_when_it_was_read(store: Store):
    store.add("old", updated=BEFORE)
    store.add("new", updated=NOW)
    await store.findings()
    assert [one.product_id for one in await store.findings(since=NOW)] == ["new"]
    assert await store.findings(since=NOW + 1, sample=0.5) == []
    assert len(await store.findings(since=BEFORE, sample=0.5)) == 1


async def test_the_extent_is_what_is_read(store: Store):
    for number in range(5):
        store.add(f"p{number}", b"x" * 100)
    extent = await measure(store.archive, Selection())
    assert (extent.products, extent.bytes, extent.everything) == (5, 500, True)
    extent = await measure(store.archive, Selection(sample=0.4))
    assert (extent.products, extent.bytes, extent.everything) == (2, 200, False)


async def test_leaving_early_condemns_nothing(store: Store, monkeypatch):
    """Threads stop in the middle of a file, whose hash is then none."""
    for number in range(40):
        store.add(f"p{number:02}")
    extent = await measure(store.archive, Selection())
    async with aclosing(verify(store.archive, extent)) as found:
        async for _ in found:
            break
    states = Counter(store.get(f"p{number:02}").state for number in range(40))
    assert states == {State.VERIFIED: 40}
    assert {one.condition for one in await store.findings()} == {Condition.RIGHT}


async def test_a_product_that_is_being_fetched_is_looked_at_as_it_is_then(store: Store):
    store.add("one")
    async with aclosing(verify(store.archive, await measure(store.archive, Selection()))) as found:
        async with store.archive.only_one("one"):
            coming = asyncio.ensure_future(anext(found))
            while store.archive._turns._queues["one"].users != 2:
                await asyncio.sleep(0.001)
            newer = store.add("one", b"newer")
        assert (await coming).condition is Condition.RIGHT
    assert store.get("one").checksum == newer.checksum


RIGHT, WRONG = Finding(Condition.RIGHT, "a.zip"), Finding(Condition.DAMAGED, "a.zip", "why")
GONE = Finding(Condition.MISSING, "a.zip")


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("finding", [RIGHT, WRONG, GONE], ids=lambda one: one.condition.value)
def test_every_state_can_be_found_anything(state: State, finding: Finding):
    """Never an illegal move, and what is right is held."""
    product = Product("a", "A", 1, (Checksum("md5", "0" * 32),))
    record = Record(product, state, "a.zip", 1, 1, "md5:" + "0" * 32)
    found = after(record, finding, FileFacts(1, 2), NOW, lambda: 7)
    if finding is RIGHT:
        assert (found.state in HELD, found.verified) == (True, NOW)
    else:
        rests = state in HELD | {State.DAMAGED, State.MISSING}
        assert found.todo == (7 if rests else None)
        assert found.state not in HELD
