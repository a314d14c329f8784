"""Verify an archive: read all files, and find those that are damaged, missing or foreign."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING

from noa_async.archive.database import ANEW, Database
from noa_async.archive.decisions import wanted_checksum
from noa_async.archive.file_check import CHECKED
from noa_async.archive.names import fold
from noa_async.archive.reading import VANISHED, is_lost
from noa_async.archive.states import HELD, MOVES, State
from noa_async.archive.trash import take_back
from noa_async.errors import DestinationError, FileInaccessible
from noa_async.pipeline import run_pipeline
from noa_async.tasks import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import PurePosixPath

    from noa_async.archive.archive import Archive
    from noa_async.archive.destination import Destination, FileFacts
    from noa_async.archive.record import Record

_ENTRIES = 500
_HERE = "path IS NOT NULL AND state IN ('verified', 'unverified')"
_EXPECTED_HERE = "path IS NOT NULL AND state NOT IN ('outdated', 'removed')"
_AT_REST = HELD | {State.DAMAGED, State.MISSING}
"""States in which no download was tried since the file was last checked."""
_AGE = "CAST(max(coalesce(looked, 0), coalesce(verified, 0)) * 1000 AS INTEGER)"


class Condition(StrEnum):
    """The result of checking a file."""

    RIGHT = "right"
    """Its content has the right checksum."""
    DAMAGED = "damaged"
    """Its content differs, or the disk cannot read it any more."""
    MISSING = "missing"
    """There is no regular file."""
    UNREADABLE = "unreadable"
    """This user may not read it, so its condition is unknown."""
    ACCEPTED = "accepted"
    """Not right, but accepted by a user."""
    FOREIGN = "foreign"
    """In the folder, but not a product's file."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A file and its condition."""

    condition: Condition
    path: str
    """Relative to the output folder, with ``/``."""
    why: str = ""
    """Details; empty if the condition says enough."""
    product_id: str | None = None
    name: str | None = None
    """The product's name."""
    read: int = 0
    """Number of bytes read from it."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which products to verify; by default all, and foreign files are found as well."""

    since: float | None = None
    """Only products whose file was downloaded or changed since then; seconds since 1970."""
    sample: float | None = None
    """Only this fraction (0 to 1) of the files present: those checked longest ago."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The size of a selection."""

    where: str
    """The selected products, as SQL."""
    products: int
    bytes: int
    everything: bool
    """Whether nothing is left out."""


_KNOWS_NOTHING = """
    SELECT NOT EXISTS (SELECT 1 FROM products)
        AND NOT EXISTS (SELECT 1 FROM queries WHERE reconciled IS NOT NULL)
"""


async def check_known(archive: Archive) -> None:
    """Raise DestinationError if there are files, but the ledger is new and empty.

    Otherwise all files would count as foreign, and none as wrong.
    """
    [nothing] = await archive.ledger.ask(lambda base: base.row(_KNOWS_NOTHING)) or (True,)
    if nothing and await in_thread(_batch, archive.folder.files()):
        raise DestinationError(
            f"The ledger of {archive.folder.name} has no products, but the folder has files.",
            hint=ANEW,
        )


async def measure(archive: Archive, selection: Selection) -> Extent:
    """Return how much a selection has to read."""
    await archive.ledger.flush()
    return await archive.ledger.ask(lambda database: _extent(database, selection))


def _extent(database: Database, selection: Selection) -> Extent:
    where = _EXPECTED_HERE if selection.sample is None else _HERE
    if selection.since is not None:
        where += f" AND updated >= {selection.since!r}"
    if selection.sample is not None:
        where += f" AND {_oldest(database, where, selection.sample)}"
    sums = f"SELECT count(*), coalesce(sum(size), 0) FROM products WHERE {where}"  # noqa: S608
    products, size = database.row(sums) or (0, 0)
    return Extent(where, products, size, selection == Selection())


def _oldest(database: Database, where: str, share: float) -> str:
    """Return the ``share`` of products checked longest ago, at least one, as an SQL condition.

    The last of them is looked up once, so that reading pages of the ledger needs no sort. Ages are
    integers, so that they can be written as text without loss.
    """
    [count] = database.row(f"SELECT count(*) FROM products WHERE {where}") or (0,)  # noqa: S608
    last = max(1, min(count, ceil(count * share - 1e-6))) - 1  # rounded up
    question = (
        f"SELECT {_AGE}, number FROM products "  # noqa: S608 (SQL of ours)
        f"WHERE {where} ORDER BY 1, 2 LIMIT 1 OFFSET {last}"
    )
    age, number = database.row(question) or (0, 0)
    return f"({_AGE}, number) <= ({age}, {number})"


async def verify(archive: Archive, extent: Extent) -> AsyncGenerator[Finding]:
    """Read the files of ``extent`` on all cores and compare them with the ledger's checksums.

    Files that a user moved back out of the trash belong to their products again. If ``extent`` is
    everything, foreign files are reported at the end, and left alone. The results are stored in the
    ledger: right files with the time of the check, wrong ones are queued for download. Products
    being downloaded are waited for.

    Error handling: an unreadable file is a finding; DestinationError if the folder or the ledger is
    unreadable.
    Resources: closing the generator stops the reading. The results so far are kept.
    """
    if archive.folder.root is not None:
        await take_back(archive)
    cores = os.cpu_count() or 1
    stopped = threading.Event()
    pool = ThreadPoolExecutor(cores, thread_name_prefix="noa-verify")

    async def check(record: Record) -> Finding | None:
        return await _check(archive, record.id, pool, stopped.is_set)

    found = run_pipeline(
        archive.ledger.records(extent.where), check, workers=2 * cores, depth=8 * cores
    )
    try:
        async with aclosing(found):
            async for finding in found:
                if finding is not None:
                    yield finding
                await archive.ledger.settle()
        if extent.everything:
            async with aclosing(_foreign(archive)) as others:
                async for finding in others:
                    yield finding
            await archive.ledger.note(CHECKED, archive.clock())
    finally:
        stopped.set()
        pool.shutdown()


async def _foreign(archive: Archive) -> AsyncGenerator[Finding]:
    """Yield the files in the folder that do not belong to a product."""
    files = archive.folder.files()
    await archive.ledger.flush()
    while batch := await in_thread(_batch, files):
        for path in batch:
            stored = archive.ledger.stored(fold(str(path)))
            if stored == str(path):
                continue
            if stored is None or not await in_thread(archive.folder.same, stored, path):
                yield Finding(Condition.FOREIGN, str(path))


def _batch(files: Generator[PurePosixPath]) -> list[PurePosixPath]:
    return list(islice(files, _ENTRIES))


async def _check(
    archive: Archive, product_id: str, pool: ThreadPoolExecutor, stopped: Callable[[], bool]
) -> Finding | None:
    """Check a product's file and store the result. Return None if there is no file to check any
    more."""
    async with archive.only_one(product_id):
        record = archive.ledger.get(product_id)
        if record is None or record.path is None or _is_older(record):
            return None
        loop = asyncio.get_running_loop()
        facts, finding = await loop.run_in_executor(pool, _look, archive.folder, record, stopped)
        place = archive.ledger.next_place
        known = after(record, finding, facts, archive.clock(), place)
        archive.ledger.put(known)
        if record.accepted is not None and not record.held and not known.held:
            return replace(finding, condition=Condition.ACCEPTED)
        return finding


def _is_older(record: Record) -> bool:
    """Return whether the file is an older version, kept until the new one can be downloaded."""
    if record.state in _AT_REST:
        return False
    if record.checksum is None:
        return True
    wanted = wanted_checksum(record.product) or record.checksum
    same_kind = wanted.partition(":")[0] == record.checksum.partition(":")[0]
    return same_kind and record.checksum != wanted


def _expected(record: Record) -> str | None:
    """Return the checksum that the file must have: the recorded one if it was right."""
    wanted = wanted_checksum(record.product)
    return (record.checksum or wanted) if record.held else (wanted or record.checksum)


def _look(
    folder: Destination, record: Record, stopped: Callable[[], bool]
) -> tuple[FileFacts | None, Finding]:
    """Check the file of a record. Blocks."""
    assert record.path is not None
    finding = Finding(Condition.RIGHT, record.path, "", record.id, record.product.name)
    try:
        facts = folder.facts(record.path)
        if facts is None:
            why = folder.instead(record.path)
            return None, replace(finding, condition=Condition.MISSING, why=why)
        if record.size is not None and facts.size != record.size:
            why = f"its size is {facts.size} bytes, not {record.size}"
            return facts, replace(finding, condition=Condition.DAMAGED, why=why)
        why = _read(folder, record.path, _expected(record), stopped)
    except (OSError, FileInaccessible) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        assert isinstance(cause, OSError)
        if cause.errno in VANISHED:
            why = folder.instead(record.path)
            return None, replace(finding, condition=Condition.MISSING, why=why)
        condition = Condition.DAMAGED if is_lost(cause) else Condition.UNREADABLE
        return None, replace(finding, condition=condition, why=cause.strerror or str(cause))
    condition = Condition.DAMAGED if why else Condition.RIGHT
    return facts, replace(finding, condition=condition, why=why, read=facts.size)


def _read(folder: Destination, path: str, expected: str | None, stopped: Callable[[], bool]) -> str:
    """Return why a file's content is wrong; empty if it is right. Raise OSError."""
    algorithm, _, value = (expected or "").partition(":")
    try:
        found = folder.digest(path, algorithm, stopped)
    except KeyError:
        return "no checksum is known that this machine can compute"
    return "" if found == value else f"its {algorithm} is {found}, not {value}"


def after(
    record: Record,
    finding: Finding,
    facts: FileFacts | None,
    now: float,
    place: Callable[[], int],
) -> Record:
    """Return the record of a product whose file was checked.

    | the file   | the record             | becomes              | queued    |
    |------------|------------------------|----------------------|-----------|
    | right      | held                   | unchanged, verified  | unchanged |
    | right      | any other              | verified, unverified | no        |
    | wrong      | held, damaged, missing | damaged or missing   | yes       |
    | wrong      | these, but accepted    | damaged or missing   | no        |
    | wrong      | failed                 | damaged or missing   | unchanged |
    | wrong      | any other              | unchanged            | unchanged |
    | unreadable | any                    | unchanged            | unchanged |

    In every case the time of the check is recorded.
    """
    record = replace(record, looked=now)
    if finding.condition is Condition.UNREADABLE:
        return record
    if finding.condition is Condition.RIGHT and facts is not None:
        if record.held:
            return replace(record, verified=now, size=facts.size, mtime_ns=facts.mtime_ns)
        state = State.VERIFIED if wanted_checksum(record.product) else State.UNVERIFIED
        checksum = _expected(record)
        assert checksum is not None
        return record.found_right(state, finding.path, facts, checksum, now)
    state = State.MISSING if finding.condition is Condition.MISSING else State.DAMAGED
    if state is not record.state and state not in MOVES[record.state]:
        return record
    to_be_done = record.state in _AT_REST and (record.held or record.accepted is None)
    todo = record.todo or (place() if to_be_done else None)
    error = f"{finding.path} is {finding.condition}: {finding.why}".removesuffix(": ") + "."
    return record.moved(state, now, todo=todo, error=error, reason=None)
