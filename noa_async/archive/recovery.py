"""Rebuild a lost or damaged ledger from a copy, the manifest, and what is still readable.

All functions block.
"""

from __future__ import annotations

import math
import os
import re
import time
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from noa_async.archive.database import (
    Database,
    LedgerDamaged,
    check_there,
    open_database,
    set_aside,
)
from noa_async.archive.journal import QUERY
from noa_async.archive.manifest import Manifest, records_in
from noa_async.archive.names import fold
from noa_async.archive.rows import COLUMNS, NAMES, record_of, row_of, upserts
from noa_async.archive.states import State
from noa_async.disk import (
    blamed_on,
    copy_synced,
    ensure_own,
    free_room,
    make_own_folder,
    open_own,
    sync_file,
    sync_folder,
)
from noa_async.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from noa_async.archive.record import Record

_COPIES = 3
_COPY_EVERY = 20 * 3600.0
_COPY_UNCHANGED = 3600.0
"""Seconds between copies if no file came or went: a look each minute would else write gigabytes."""
_SMALL = 32 << 20
"""A ledger up to this many bytes is copied after each run that changed files; a larger one once a
day."""
_BATCH = 500
_RANGE = 512
_CHECKSUM = re.compile(r"[a-z0-9-]{2,16}:[0-9a-f]{8,128}")
_YEAR_10000 = 253_402_300_800
_ROWS_A_PAGE = 40
"""More rows than fit on a page of the ledger."""


def copy_of(state: Path, number: int) -> Path:
    """Return the path of the ``number``-th copy of a ledger; 1 is the newest."""
    return state / "copies" / f"ledger-{number}.sqlite3"


def keep_copy(database: Database, spare: int) -> bool:
    """Copy a ledger, if that is due and leaves ``spare`` bytes free. Return whether it was copied.

    The newest copy is from the last run; each older one is at least a day older. A ledger with any
    inconsistency is not copied, so that the older copies stay.
    """
    state = database.path.parent
    newest = copy_of(state, 1)
    with blamed_on(newest.parent):
        size = database.path.stat().st_size
        make_own_folder(newest.parent, 0o700)
        if size > _SMALL and 0 <= _age(newest) < _COPY_EVERY:
            return False
        if free_room(state) < 2 * size + spare:
            return False
        draft = newest.with_name("draft.sqlite3")
        draft.unlink(missing_ok=True)
        database.copy_into(draft)
        draft.chmod(0o600)
        descriptor = open_own(draft, os.O_RDONLY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
        for number in range(_COPIES - 1, 0, -1):
            older, copy = copy_of(state, number + 1), copy_of(state, number)
            if copy.exists() and not 0 <= _age(older) < _COPY_EVERY:
                copy.replace(older)
        draft.replace(newest)
    return True


def is_copy_old(state: Path) -> bool:
    """Whether there is no copy of the last hour."""
    return not 0 <= _age(copy_of(state, 1)) < _COPY_UNCHANGED


def _age(path: Path) -> float:
    """Return the seconds since a file was written; negative if it does not exist, or is in the
    future."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return -1.0


def open_recovered(
    path: Path, *, suspect: bool, anew: bool, read: Callable[[Database], None]
) -> Database:
    """Open a ledger like ``open_database``, and rebuild it as far as possible if it is lost or
    damaged.

    It is rebuilt if ``anew``, or if there is a copy or a manifest. The rebuilt ledger gets its name
    when it is complete; after a kill, the next call starts again. ``Database.recovered`` is the
    number of products recovered.
    """
    with blamed_on(path):
        lost = not path.exists() or path.stat().st_size == 0
        cut_short = lost and _draft_of(path).exists()
        asides = sorted(path.parent.glob(f"{path.name}.damaged-*[0-9]")) if cut_short else []
    aside = asides[-1] if asides else None
    if not lost:
        try:
            return open_database(path, suspect=suspect, anew=False, read=read)
        except LedgerDamaged:
            if not (anew or has_sources(path)):
                raise
            with blamed_on(path):
                ensure_own(_draft_of(path))  # marks the rebuilding, in case of a kill
            aside = set_aside(path)
    elif aside is None and not has_sources(path):
        return open_database(path, anew=anew)
    recovered = _rebuild(path, aside)
    database = open_database(path)
    database.fresh, database.set_aside = aside is None, aside
    database.recovered = recovered
    return database


def _rebuild(path: Path, aside: Path | None) -> int:
    """Rebuild a ledger from a copy, the manifest and the old ledger ``aside``. Return its
    products."""
    draft = _draft_of(path)
    with blamed_on(draft):
        for log in ("", "-wal", "-shm"):
            draft.with_name(f"{draft.name}{log}").unlink(missing_ok=True)
        ensure_own(draft)
    seed(path, draft)
    with closing(open_database(draft)) as database:
        recovered = recover(database, aside, Manifest(path.parent))
        database.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with blamed_on(path):
        for log in ("-wal", "-shm"):  # they belong to the old ledger
            path.with_name(f"{path.name}{log}").unlink(missing_ok=True)
        draft.replace(path)
        sync_folder(path.parent)
    return recovered


def _draft_of(path: Path) -> Path:
    """Return the path of a ledger that is being rebuilt."""
    return path.with_name("ledger.draft.sqlite3")


def check_ledger(path: Path) -> None:
    """Raise DestinationError if there is no ledger at ``path``, and nothing to rebuild it from."""
    if not has_sources(path):
        check_there(path)


def has_sources(path: Path) -> bool:
    """Return whether a ledger at ``path`` could be rebuilt if it were lost."""
    state = path.parent
    copies = any(copy_of(state, number).exists() for number in range(1, _COPIES + 1))
    return copies or Manifest(state).path.exists()


def seed(path: Path, draft: Path) -> bool:
    """Create a draft of a ledger from its newest intact copy. Return whether there is one."""
    for number in range(1, _COPIES + 1):
        copy = copy_of(path.parent, number)
        if not copy.exists():
            continue
        manner = "mode=ro&immutable=1"
        with suppress(DestinationError), closing(Database(copy, manner=manner)) as database:
            database.check()
            with blamed_on(draft):
                copy_synced(copy, draft)
                draft.chmod(0o600)
            return True
    return False


def recover(database: Database, damaged: Path | None, manifest: Manifest) -> int:
    """Fill a new ledger, or one from a copy. Return how many products it then has.

    Uses the manifest, and what is readable of the ``damaged`` ledger; the newest record of each
    product counts. Every followed query will be listed completely again.
    """
    _merge(database, records_in(manifest.read()), doubt=False)
    _insert_queries(database, _queries_in(manifest))
    if damaged is not None:
        with suppress(DestinationError), closing(Database(damaged)) as source:
            _merge(database, _salvaged(source), doubt=True)
            with suppress(DestinationError):
                _insert_queries(database, _salvaged_queries(source))
        with blamed_on(damaged):  # the content of its log has been read
            for log in ("-wal", "-shm"):
                damaged.with_name(f"{damaged.name}{log}").unlink(missing_ok=True)
    database.script(
        """
        UPDATE products SET seen = 0;
        UPDATE queries SET watermark = NULL, reconciled = NULL, tried = NULL, full_run = NULL;
        """
    )
    [number] = database.row("SELECT count(*) FROM products") or (0,)
    return int(number)


def merged(
    known: Record | None, found: Record, *, doubt: bool, now: float = math.inf
) -> Record | None:
    """Return the valid one of a known record and a found one; None for the known one.

    ``doubt``: the found record may be corrupted. If it describes another file than the known
    record, the file must be read before the record is trusted.

    A record with a time in the future was written with a wrong clock: it counts as older than all
    others.

    | known         | found            | in doubt | valid                      |
    |---------------|------------------|----------|----------------------------|
    | nothing       |                  | no       | the found one              |
    | nothing       |                  | yes      | the found one, to be read  |
    | something     | as old, or older |          | the known one              |
    | the same file | newer            |          | the found one              |
    | another file  | newer            | no       | the found one              |
    | another file  | newer            | yes      | the found one, to be read  |
    """
    if known is None:
        return replace(found, mtime_ns=None) if doubt and found.held else found
    if _age_of(found, now) <= _age_of(known, now):
        return None
    same = (found.path, found.size, found.checksum) == (known.path, known.size, known.checksum)
    return replace(found, mtime_ns=None) if doubt and found.held and not same else found


def _age_of(record: Record, now: float) -> tuple[bool, float]:
    """Return the sort key of a record; the oldest is first."""
    return record.updated <= now, record.updated


def _merge(database: Database, found: Iterable[Record | str], *, doubt: bool) -> None:
    """Merge records into a ledger; an Id alone is a product that was removed from it."""
    records = iter(found)
    while batch := list(islice(records, _BATCH)):
        _merge_batch(database, batch, doubt=doubt)


def _merge_batch(database: Database, batch: list[Record | str], *, doubt: bool) -> None:
    chosen: dict[str, Record] = {}
    forgotten: set[str] = set()
    ids = [one if isinstance(one, str) else one.id for one in batch]
    known = {one.id: one for one in _by(database, "id", ids)}
    for one in batch:
        if isinstance(one, str):
            forgotten.add(one)
            chosen.pop(one, None)
            continue
        before = None if one.id in forgotten else chosen.get(one.id) or known.get(one.id)
        record = merged(before, one, doubt=doubt, now=time.time())
        if record is not None:
            chosen[one.id] = record
            forgotten.discard(one.id)
    keys = {one.path_key: one.id for one in chosen.values() if one.path_key is not None}
    for other in _by(database, "path_key", list(keys)):
        if other.id in chosen or other.id in forgotten:
            continue
        rival = chosen[keys[other.path_key or ""]]
        if _age_of(other, time.time()) > _age_of(rival, time.time()):
            del chosen[rival.id]
        else:
            forgotten.add(other.id)
    alone: dict[str, Record] = {}  # one product per path
    for record in sorted(chosen.values(), key=lambda one: _age_of(one, time.time())):
        alone[record.path_key or f"/{record.id}"] = record
    rows = [row_of(record) for record in alone.values()]
    gone = [(key,) for key in (*forgotten, *(chosen.keys() - {one.id for one in alone.values()}))]
    freed = [(record.id,) for record in alone.values()]
    database.write(
        [
            ("DELETE FROM products WHERE id = ?", gone),
            ("UPDATE products SET path_key = NULL WHERE id = ?", freed),
            *upserts(iter(rows)),
        ]
    )


def _by(database: Database, column: str, values: list[str]) -> list[Record]:
    """Return the records that have one of some values in a column."""
    among = ", ".join("?" * len(values))
    question = f"SELECT {NAMES} FROM products WHERE {column} IN ({among})"  # noqa: S608 (of ours)
    return database.made(record_of, question, values)


def _salvaged(source: Database) -> Iterator[Record]:
    """Yield the records of a damaged ledger that are readable and plausible."""
    there = {str(name) for _, name, *_ in source.rows("PRAGMA table_info(products)")}
    names = [name for name in COLUMNS if name in there]
    if "number" not in there:
        return
    question = f"SELECT {', '.join(names)} FROM products WHERE number BETWEEN ? AND ?"  # noqa: S608
    for span in _spans(source):
        for row in _rows_in(source, question, span):
            record = plausible(dict(zip(names, row, strict=True)))
            if record is not None:
                yield record


def _rows_in(source: Database, question: str, span: tuple[int, int]) -> Iterator[tuple[Any, ...]]:
    """The rows of a span of numbers that can be read."""
    ranges = [span]
    while ranges:
        low, high = ranges.pop()
        try:
            rows = source.rows(question, (low, high))
        except LedgerDamaged:
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
            continue
        yield from rows


def _spans(source: Database) -> Iterator[tuple[int, int]]:
    """Spans that hold the numbers of all records; a garbled number may be far beyond the others."""
    top = _last_number(source)
    [pages] = source.row("PRAGMA page_count") or (0,)
    low = 1
    while low <= top:
        yield low, min(low + _RANGE - 1, top)
        low += _RANGE
        if top >= low > int(pages) * _ROWS_A_PAGE:
            question = "SELECT min(number) FROM products WHERE number >= ?"
            try:
                [found] = source.row(question, (low,)) or (None,)
            except LedgerDamaged:
                return
            if found is None:
                return
            low = int(found)


def _last_number(source: Database) -> int:
    """Return the highest number of a record, or an upper bound."""
    with suppress(LedgerDamaged):
        [number] = source.row("SELECT max(number) FROM products") or (0,)
        return int(number or 0)
    [pages] = source.row("PRAGMA page_count") or (0,)
    return int(pages) * _ROWS_A_PAGE


def plausible(held: dict[str, Any]) -> Record | None:
    """Return the record of a row's columns; None if its values are impossible."""
    empty = {"checksums": "", "online": 1, "attempts": 0, "failures": 0, "seen": 0, "absences": 0}
    row = [held.get(name, empty.get(name)) for name in COLUMNS]
    try:
        record = record_of(row)
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None
    product = record.product
    texts = (product.id, product.name, held.get("state"))
    others = (record.error, record.reason, record.trash, product.content_type, product.footprint)
    times = (
        *(record.updated, record.verified, record.looked, record.failed_at),
        *(record.gone, record.hook_due, record.hooked, record.accepted),
    )
    numbers = (record.size, product.size, record.mtime_ns, record.todo, record.query)
    counts = (record.attempts, record.failures, record.seen, record.absences)
    good = (
        all(isinstance(text, str) and text for text in texts)
        and held["state"] in set(State)
        and isinstance(record.updated, float)
        and all(isinstance(at, float | None) and 0 <= (at or 0) < _YEAR_10000 for at in times)
        and all(isinstance(number, int | None) for number in numbers)
        and all(isinstance(number, int) and number >= 0 for number in counts)
        and all(isinstance(text, str | None) for text in others)
        and isinstance(record.path, str | None)
        and held.get("path_key") == (None if record.path is None else fold(record.path))
        and isinstance(record.checksum, str | None)
        and (record.checksum is None or _CHECKSUM.fullmatch(record.checksum) is not None)
        and (record.path is not None or not record.held)
    )
    return record if good else None


def _insert_queries(database: Database, found: Iterable[dict[str, Any]]) -> None:
    """Insert followed queries with their numbers."""
    names = ("number", "filter", "service", "listed")
    insert = f"INSERT OR IGNORE INTO queries ({', '.join(names)}) VALUES (?, ?, ?, ?)"  # noqa: S608
    rows = [tuple(held[name] for name in names) for held in found]
    database.write([(insert, rows)])


def _queries_in(manifest: Manifest) -> Iterator[dict[str, Any]]:
    for held in manifest.read():
        number, filter_ = held.get("query"), held.get("filter")
        if isinstance(number, int) and isinstance(filter_, str) and "id" not in held:
            listed = held.get("listed")
            yield {
                "number": number,
                "filter": filter_,
                "service": str(held.get("service") or ""),
                "listed": listed if isinstance(listed, int) else None,
            }


def _salvaged_queries(source: Database) -> Iterator[dict[str, Any]]:
    there = {str(name) for _, name, *_ in source.rows("PRAGMA table_info(queries)")}
    names = [name for name in QUERY if name in there]
    for row in source.rows(f"SELECT {', '.join(names)} FROM queries"):  # noqa: S608 (of ours)
        held = dict(zip(names, row, strict=True))
        if isinstance(held.get("number"), int) and isinstance(held.get("filter"), str):
            listed = held.get("listed")
            yield {
                "number": held["number"],
                "filter": held["filter"],
                "service": str(held.get("service") or ""),
                "listed": listed if isinstance(listed, int) else None,
            }
