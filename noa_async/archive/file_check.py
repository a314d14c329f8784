"""Compare the name, size and time of every file with the ledger, to find removed or changed files.

Only file system metadata is read, so a million files take some seconds.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from noa_async.archive.destination import FileFacts
from noa_async.archive.states import HELD, State
from noa_async.archive.trash import path_in_trash
from noa_async.errors import FileInaccessible, FilesMissing
from noa_async.events import FilesChecked
from noa_async.tasks import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from noa_async.archive.archive import Archive
    from noa_async.archive.database import Database
    from noa_async.archive.destination import Destination
    from noa_async.archive.file_index import FileIndex
    from noa_async.archive.record import Record

CHECKED = "files_checked"
"""The name of the note with the time of the last check."""
_PAGE = 4000
_AT_ONCE = min(8, 2 * (os.cpu_count() or 1))
"""Number of pages checked concurrently, because network file systems serve concurrent requests."""
_REMEMBERED = 10_000
"""Maximum number of findings kept in memory; if there are more, the folder is scanned again."""
_TOGETHER = 500
"""Number of records looked up in the ledger at once."""
_ALWAYS_ACCEPTED = 10
"""Number of missing files that is always accepted."""
_SHARE = 0.2
_DEPTH = 2
"""Depth up to which a folder without any of its files counts as a disk that is not mounted."""
_HERE = f"state IN ({', '.join(repr(str(one)) for one in sorted(HELD))}) AND path IS NOT NULL"


class _Row(NamedTuple):
    """The ledger's columns about a file."""

    number: int
    id: str
    name: str
    path: str
    size: int | None
    mtime_ns: int | None
    hooked: float | None
    lost: bool = False
    """Whether it is missing, of another size, or inaccessible."""


_COLUMNS = ", ".join(_Row._fields[:-1])
_PATH = _Row._fields.index("path")
"""The columns of size and time follow it."""


@dataclass(slots=True)
class FileCheck:
    """The result of a check."""

    files: int = 0
    missing: int = 0
    changed: int = 0
    """Number of files with another size or time."""
    lost: int = 0
    """Number of files missing, of another size, or inaccessible, as on a disk that is not
    mounted."""
    example: str | None = None
    here: Counter[str] = field(default_factory=Counter)
    """Number of files by folder, in the ledger."""
    lost_in: Counter[str] = field(default_factory=Counter)
    found: list[_Row] = field(default_factory=list)
    """The first files that differ from the ledger."""

    def add(self, page: FileCheck) -> None:
        self.files += page.files
        self.missing += page.missing
        self.changed += page.changed
        self.lost += page.lost
        self.example = self.example or page.example
        self.here.update(page.here)
        self.lost_in.update(page.lost_in)
        self.found += page.found[: max(0, _REMEMBERED + 1 - len(self.found))]

    @property
    def wrong(self) -> int:
        return self.missing + self.changed


async def check_files(
    archive: Archive, *, accept_missing: bool = False, consumes: bool = False
) -> FileCheck:
    """Compare every present file with the ledger, and queue missing files for download.

    Changed files are queued by ``note_changed``. ``consumes``: a file whose hook has succeeded may
    be gone, and its product counts as done.

    Raise FilesMissing, before anything is stored, if so many files are missing, and not elsewhere
    in the folder, that a disk may not be mounted; not with ``accept_missing``.
    """
    check = FileCheck()
    async for page in _pages(archive, consumes=consumes):
        check.add(page)
    if not accept_missing and mass_missing(check):
        elsewhere = await _not_elsewhere(archive, check, consumes=consumes)
    else:
        elsewhere = check
    if not accept_missing and (why := mass_missing(elsewhere)):
        raise FilesMissing(
            f"{why} of {archive.folder.name} {'are' if check.lost != 1 else 'is'} missing or "
            "truncated, and nothing was downloaded. Is a disk not mounted?",
            hint="Mount it and start again; --accept-missing downloads them again.",
        )
    await _note_all(archive, check, missing=True, consumes=consumes)
    await archive.ledger.note(CHECKED, archive.clock())
    archive.observer(FilesChecked(check.files, check.missing, check.changed, check.example))
    return check


async def note_changed(archive: Archive, check: FileCheck) -> None:
    """Queue the changed files, to be read.

    Call it after a listing, which may have learned that the catalogue has other bytes: the file may
    have them already, from a run that was killed.
    """
    if check.changed:
        await _note_all(archive, check, missing=False, consumes=False)


async def _not_elsewhere(archive: Archive, check: FileCheck, *, consumes: bool) -> FileCheck:
    """Return the check without files that are elsewhere in the folder, by their names and sizes."""
    index = await archive.file_index()
    most = await archive.in_thread(index.count) - (check.files - check.missing)
    if mass_missing(replace(check, lost=check.lost - most, lost_in=Counter())):
        return check
    left = replace(check, lost=0, lost_in=Counter())
    async for page in _pages(archive, consumes=consumes, most=_PAGE):
        await archive.in_thread(_look_elsewhere, index, page.found, left)
    return left


def _look_elsewhere(index: FileIndex, found: Sequence[_Row], left: FileCheck) -> None:
    """Count in ``left`` the lost files that are not elsewhere either. Blocks."""
    for row in found:
        if row.lost and not index.candidates(row.name, row.id, row.size):
            left.lost += 1
            left.lost_in.update(_folders(row.path.rpartition("/")[0]))


async def _note_all(archive: Archive, check: FileCheck, *, missing: bool, consumes: bool) -> None:
    if len(check.found) <= _REMEMBERED:
        ids = [row.id for row in check.found]
        _note(archive, ids, missing=missing, consumes=consumes)
    else:
        async for page in _pages(archive, consumes=consumes, most=_PAGE):
            ids = [row.id for row in page.found]
            _note(archive, ids, missing=missing, consumes=consumes)
            await archive.ledger.settle()
    await archive.ledger.flush()


def _note(archive: Archive, product_ids: Sequence[str], *, missing: bool, consumes: bool) -> None:
    """Store which files are ``missing``, or else changed; skip products that are being
    processed."""
    for number, product_id in enumerate(product_ids):
        if number % _TOGETHER == 0:
            archive.ledger.look_up(product_ids[number : number + _TOGETHER], whole=True)
        record = archive.ledger.get(product_id)
        if record is None or record.path is None or archive.is_held(product_id):
            continue
        try:
            facts: FileFacts | None = archive.folder.facts(record.path)
        except FileInaccessible:
            facts = FileFacts(-1, 0)
        if (facts is None) is not missing:
            continue
        thrown = (
            record.trash is not None
            and facts is None
            and archive.folder.facts(path_in_trash(record.trash)) is not None
        )
        after = looked_at(
            record, facts, archive.clock(), archive.ledger.next_place, consumes=consumes
        )
        if thrown:
            after = record.removed(archive.clock(), trash=record.trash)
        if after != record:
            archive.put_file(after)


def looked_at(
    record: Record,
    facts: FileFacts | None,
    now: float,
    place: Callable[[], int],
    *,
    consumes: bool,
) -> Record:
    """Return the record of a product whose file was compared with the ledger.

    ``consumes``: whether a hook of this archive may remove the files of its products.

    | the file   | the record          | becomes    | queued                |
    |------------|---------------------|------------|-----------------------|
    | unchanged  | held                | unchanged  | unchanged             |
    | is missing | held, hook          | consumed   | no                    |
    |            | succeeded, and      |            |                       |
    |            | hooks consume       |            |                       |
    | is missing | held                | missing    | yes                   |
    | changed    | held                | unchanged  | yes: a worker reads   |
    | any        | any other           | unchanged  | unchanged             |
    """
    if not record.held or (
        facts and (facts.size, facts.mtime_ns) == (record.size, record.mtime_ns)
    ):
        return record
    if facts is None and consumes and record.hooked is not None:
        return record.consumed(now)
    todo = record.todo or place()
    if facts is not None:
        return replace(record, todo=todo)
    error = f"{record.path} is missing."
    return record.moved(State.MISSING, now, todo=todo, error=error, reason=None)


def mass_missing(check: FileCheck) -> str:
    """Describe what is missing if it is so much that a disk may not be mounted; empty otherwise.

    >>> mass_missing(FileCheck(files=100, lost=30, missing=30))
    '30 of 100 files'
    >>> mass_missing(FileCheck(files=100, lost=10, missing=10))
    ''
    """
    if check.lost > _ALWAYS_ACCEPTED and check.lost > _SHARE * check.files:
        return f"{check.lost} of {check.files} files"
    for folder, lost in check.lost_in.items():
        if lost > _ALWAYS_ACCEPTED and lost == check.here[folder]:
            return f"All {lost} files in the folder {folder}"
    return ""


async def _pages(
    archive: Archive, *, consumes: bool, most: int = _REMEMBERED + 1
) -> AsyncGenerator[FileCheck]:
    """Yield the result for each page of the ledger; pages are checked while the next ones are
    read."""
    loop = asyncio.get_running_loop()
    await archive.ledger.flush()
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="noa-check")
    under_way: list[asyncio.Future[FileCheck]] = []
    last = 0
    try:
        while rows := await archive.ledger.ask(lambda database: _rows(database, last)):  # noqa: B023
            last = rows[-1][0]
            look = loop.run_in_executor(pool, _look, archive.folder, rows, most, consumes)
            under_way.append(look)
            if len(under_way) >= _AT_ONCE:
                yield await under_way.pop(0)
        while under_way:
            yield await under_way.pop(0)
    finally:
        for look in under_way:
            look.cancel()
        await in_thread(pool.shutdown)


def _rows(database: Database, after: int) -> list[tuple[Any, ...]]:
    question = (
        f"SELECT {_COLUMNS} FROM products "  # noqa: S608 (SQL of ours)
        f"WHERE number > ? AND {_HERE} ORDER BY number LIMIT {_PAGE}"
    )
    rows = database.rows(question, (after,))
    if not all(isinstance(row[_PATH], str) for row in rows):
        raise database.broken("it contains a path that is not text")
    return rows


def _look(
    folder: Destination, rows: Sequence[tuple[Any, ...]], most: int, consumes: bool
) -> FileCheck:
    """Check the files of a page. Blocks."""
    found = FileCheck(files=len(rows))
    facts_of = folder.facts
    here: Counter[str] = Counter()
    lost_in: Counter[str] = Counter()
    for row in rows:
        path, size, mtime_ns = row[_PATH], row[_PATH + 1], row[_PATH + 2]
        here[path.rpartition("/")[0]] += 1
        try:
            facts = facts_of(path)
        except FileInaccessible:
            facts = FileFacts(-1, 0)
        if facts is not None and facts.size == size and facts.mtime_ns == mtime_ns:
            continue
        known = _Row._make((*row, facts is None or facts.size != size))
        if len(found.found) < most:
            found.found.append(known)
        if facts is None and consumes and known.hooked is not None:
            continue
        if facts is None:
            found.missing += 1
        else:
            found.changed += 1
        if known.lost:
            found.lost += 1
            lost_in[path.rpartition("/")[0]] += 1
        found.example = found.example or path
    found.here, found.lost_in = _by_folder(here), _by_folder(lost_in)
    return found


def _by_folder(counts: Counter[str]) -> Counter[str]:
    """Return the number of files below each folder, from the number of files in each."""
    sums: Counter[str] = Counter()
    for folder, files in counts.items():
        for above in _folders(folder):
            sums[above] += files
    return sums


def _folders(folder: str) -> list[str]:
    """Return a folder and its parents within the output folder, down to ``_DEPTH``.

    >>> _folders("2026/01/12"), _folders("")
    (['2026', '2026/01'], [])
    """
    parts = folder.split("/", _DEPTH)[:_DEPTH] if folder else []
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
