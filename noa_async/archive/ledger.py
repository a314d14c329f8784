"""The ledger: what is known of each product in a folder, in SQLite, written in batches.

Reads happen on the event loop's thread from an own connection (microseconds, and never blocked by
the writer under WAL); writes go to one thread. A record that is not committed yet is read back
from memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.disk import destination_error
from noa_async.errors import DestinationError, DestinationFull

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_T = TypeVar("_T")

_COMMIT_EVERY = 0.5
_MIGRATIONS = (
    """
    CREATE TABLE products (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        path TEXT,
        path_key TEXT UNIQUE,
        size INTEGER,
        mtime_ns INTEGER,
        checksum TEXT,
        attempts INTEGER NOT NULL,
        error TEXT,
        updated REAL NOT NULL
    ) WITHOUT ROWID;
    """,
)
"""One script for each schema version, oldest first; ``PRAGMA user_version`` counts those done."""


class State(StrEnum):
    """What the folder holds of a product."""

    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    FAILED = "failed"
    QUARANTINED = "quarantined"


_STATES = frozenset(State)


@dataclass(frozen=True, slots=True)
class Record:
    """One product's line; the fields are the table's columns."""

    id: str
    name: str
    state: State
    path: str | None = None
    """From the output folder, with ``/``."""
    path_key: str | None = None
    """The path as a file system that ignores letter case sees it."""
    size: int | None = None
    mtime_ns: int | None = None
    checksum: str | None = None
    """``algorithm:hex`` of the bytes as they were published."""
    attempts: int = 0
    error: str | None = None
    updated: float = 0.0
    """Seconds since 1970."""


_COLUMNS = ", ".join(field.name for field in fields(Record))
_PLACES = ", ".join("?" for _ in fields(Record))
_SELECT = f"SELECT {_COLUMNS} FROM products WHERE "  # noqa: S608 (made of field names)
_CHANGES = ", ".join(f"{field.name} = excluded.{field.name}" for field in fields(Record))
_UPSERT = (
    f"INSERT INTO products ({_COLUMNS}) VALUES ({_PLACES}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {_CHANGES}"
)


class Ledger:
    """The ledger of one folder, which the caller has locked.

    Resources: an async context manager; leaving it commits what is pending.
    Error handling: DestinationError where the file cannot be written; a write that failed in the
    background is raised by the next ``put`` or on leaving. A file that is no ledger is set aside
    and begun anew: products that lie in the folder are found again by their checksums.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: dict[str, Record] = {}
        self._pending_paths: dict[str, str] = {}
        self._failure: DestinationError | None = None
        self._wake = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            self._writer = await self._in_thread(_open, self.path)
            self._reader = _connect(self.path)
        except BaseException:
            self._thread.shutdown()
            raise
        self._flusher = asyncio.create_task(self._flush_often())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._flusher.cancel()
        await asyncio.wait({self._flusher})
        try:
            await self._commit()
        finally:
            self._reader.close()
            await self._in_thread(self._writer.close)
            self._thread.shutdown()

    def get(self, product_id: str) -> Record | None:
        """The record of a product."""
        return self._pending.get(product_id) or self._select("id = ?", product_id)

    def owner(self, path_key: str) -> str | None:
        """The Id of the product that lies at a path."""
        if path_key in self._pending_paths:
            return self._pending_paths[path_key]
        record = self._select("path_key = ?", path_key)
        return record.id if record else None

    def put(self, record: Record) -> None:
        """Keep ``record``; it is committed within half a second."""
        if self._failure is not None:
            raise self._failure
        self._pending[record.id] = record
        if record.path_key is not None:
            self._pending_paths[record.path_key] = record.id
        self._wake.set()

    def _select(self, where: str, value: str) -> Record | None:
        try:
            row = self._reader.execute(_SELECT + where, (value,)).fetchone()
        except sqlite3.Error as error:
            raise _ledger_error(error, self.path) from error
        return _record_of(row) if row else None

    async def _flush_often(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_COMMIT_EVERY)
            self._wake.clear()
            try:
                await self._commit()
            except DestinationError as error:
                self._failure = error
                return

    async def _commit(self) -> None:
        batch = list(self._pending.values())
        if not batch:
            return
        await self._in_thread(_write, self._writer, batch, self.path)
        for record in batch:
            if self._pending.get(record.id) is record:
                del self._pending[record.id]
                if self._pending_paths.get(record.path_key or "") == record.id:
                    del self._pending_paths[record.path_key or ""]

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)


def _row(record: Record) -> tuple[Any, ...]:
    """The columns; half a surrogate in a server's text, which no file can hold, is replaced."""
    return tuple(
        value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for value in astuple(record)
    )


def _record_of(row: tuple[Any, ...]) -> Record:
    key, name, state, *rest = row
    known = State(state) if state in _STATES else State.FAILED
    return Record(key, name, known, *rest)


def _open(path: Path) -> sqlite3.Connection:
    """The writer's connection, the schema brought up to date."""
    try:
        try:
            return _migrated(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                file = path.with_name(name)
                if file.exists():
                    file.replace(file.with_name(f"{name}.damaged-{int(time.time())}"))
            return _migrated(path)
    except OSError as error:
        raise destination_error(error, path) from error
    except sqlite3.Error as error:
        raise _ledger_error(error, path) from error


def _migrated(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    connection = _connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        _check_version(version, path)
        for number, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
    except BaseException:
        connection.close()
        raise
    return connection


def _check_version(version: int, path: Path) -> None:
    if version > len(_MIGRATIONS):
        raise DestinationError(
            f"{path} was written by a newer version of this program.",
            hint="Use that version, or another folder.",
        )


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _write(connection: sqlite3.Connection, batch: Sequence[Record], path: Path) -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_UPSERT, map(_row, batch))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise _ledger_error(error, path) from error


def _ledger_error(error: sqlite3.Error, path: Path) -> DestinationError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return DestinationFull(f"No room for {path}.", hint="Make room and start again.")
    return DestinationError(
        f"The ledger {path} cannot be used: {error}.",
        hint="Move it away to begin anew: products in the folder are found by their checksums.",
    )
