"""The ledger: what is known of each product of a folder, written in batches.

Reads of one product happen on the event loop's thread from an own connection (microseconds, and
never blocked by the writer under WAL); writes go to one thread. Each connection is opened, used and
closed by one thread, and a call that is cancelled waits for that thread. A record that is not
committed yet is read back from memory.
"""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.archive.database import Database, LedgerDamaged, Statement
from noa_async.archive.record import Glance, Record
from noa_async.archive.recovery import open_recovered
from noa_async.archive.rows import NAMES, record_of, row_of, upserts
from noa_async.oldest import drop_oldest
from noa_async.tasks import end_tasks, finish
from noa_async.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_T = TypeVar("_T")

_COMMIT_EVERY = 0.5
_MOST_PENDING = 10_000
_MOST_AT_HAND = 1000
"""Committed records kept at hand: each is asked for several times while its product is brought.
As many paths that are known to be free."""
_PAGE = 500
_SELECT = f"SELECT {NAMES} FROM products "  # noqa: S608 (made of constants)
_GLANCE = f"SELECT {', '.join(Glance._fields)} FROM products "  # noqa: S608 (made of constants)
LAST_PLACE = "SELECT max(todo) FROM products WHERE todo IS NOT NULL"
"""As the index of what is to be done has it: the table is not read through for it."""

_RELEASE = "UPDATE products SET path_key = NULL WHERE id = ? AND path_key IS NOT ?"


class Ledger:
    """The ledger of one folder, which the caller has locked.

    Resources: an async context manager; leaving it commits what is pending.
    Error handling: DestinationError where the file cannot be read or written; a write that failed
    in the background is raised by the next ``put`` or on leaving. A file that is damaged or no
    ledger is set aside and made again from what can be read of it, the last copy and the manifest.
    """

    def __init__(
        self,
        path: Path,
        *,
        anew: bool = True,
        before_write: Callable[[], object] = lambda: None,
    ) -> None:
        """``anew``: as for ``open_database``; ``before_write``: called in a thread ahead of each
        write of records, to make last what they tell of.
        """
        self.path = path
        self._before_write = before_write
        self._anew = anew
        self._broken = False
        self.changed = False
        """Whether anything was written since it was opened."""
        self._pending: dict[str, Record] = {}
        self._pending_paths: dict[str, str] = {}
        self._looked_up: dict[str, Record | Glance | None] = {}
        self._free_paths: dict[str, None] = {}
        self._failure: Exception | None = None
        self._wake = asyncio.Event()
        self._committing = asyncio.Lock()
        self._databases: tuple[Database, ...] = ()

    async def open(self, *, suspect: bool = False) -> Self:
        """Open it; ``suspect`` as for ``open_database``."""
        self._thread = Threads(1, "noa-ledger")
        try:
            await self._thread.run(self._open_writer, suspect)
            self._reader = Database(self.path)
            self._databases = (self._writer, self._reader)
            (last,) = await self.ask(lambda database: database.row(LAST_PLACE)) or (None,)
        except BaseException as error:
            self._broken = isinstance(error, LedgerDamaged)
            await self._close_databases()
            raise
        self._places: Iterator[int] = count((last or 0) + 1)
        self._flusher = asyncio.create_task(self._flush_often())
        return self

    def _open_writer(self, suspect: bool) -> None:
        self._writer = open_recovered(
            self.path, suspect=suspect, anew=self._anew, read=read_through
        )
        self._databases = (self._writer,)

    async def _close_databases(self) -> None:
        """Close each database in the thread that opened it, and end the ledger's thread."""
        try:
            for database in self._databases[1:]:
                database.close()
            for database in self._databases[:1]:
                await self._thread.complete(database.close)
        finally:
            self._thread.close()

    async def close(self) -> None:
        """Commit what is pending, and close."""
        await finish(self._close())

    async def _close(self) -> None:
        try:
            await end_tasks(self._flusher)
        finally:
            try:
                await self.flush()
            finally:
                await self._close_databases()

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def damaged(self) -> bool:
        """Whether the file was found broken, and is so still."""
        return self._broken or any(database.damaged for database in self._databases)

    @property
    def set_aside(self) -> Path | None:
        """Where the damaged ledger is now in whose place this one was begun."""
        return self._writer.set_aside

    @property
    def without_log(self) -> str | None:
        """Why there is no write-ahead log; None if there is one."""
        return self._writer.without_log

    @property
    def recovered(self) -> int:
        """Products that a lost or damaged ledger was made again with."""
        return self._writer.recovered

    @property
    def fresh(self) -> bool:
        """Whether there was no ledger before this one."""
        return self._writer.fresh

    def get(self, product_id: str) -> Record | None:
        """The record of a product."""
        found = self._at_hand(product_id)
        if isinstance(found, Glance):
            self.look_up((product_id,), whole=True)
            found = self._looked_up[product_id]
        assert not isinstance(found, Glance)
        return found

    def glance(self, product_id: str) -> Glance | None:
        """What the record of a product says of its file."""
        found = self._at_hand(product_id)
        return found.glance if isinstance(found, Record) else found

    def _at_hand(self, product_id: str) -> Record | Glance | None:
        pending = self._pending.get(product_id)
        if pending is not None:
            return pending
        if product_id not in self._looked_up:
            self.look_up((product_id,), whole=True)
        return self._looked_up[product_id]

    def look_up(self, product_ids: Iterable[str], *, whole: bool = False) -> None:
        """Have several products at hand: one question for all.

        For ``get`` with the ``whole`` records; else for ``glance``, which most need that lie here
        as they were left, and which takes a fraction of the time.
        """
        pending, at_hand = self._pending, self._looked_up
        wanted = [
            key
            for key in product_ids
            if key not in pending
            and (key not in at_hand or (whole and isinstance(at_hand[key], Glance)))
        ]
        if wanted:
            among = _among("id", wanted)
            found: Sequence[Record | Glance] = (
                self._reader.made(record_of, _SELECT + among, wanted)
                if whole
                else self._reader.made(Glance._make, _GLANCE + among, wanted)
            )
            _make_room(at_hand, len(wanted))
            at_hand.update(dict.fromkeys(wanted))
            at_hand.update((one.id, one) for one in found)

    def look_up_paths(self, path_keys: Iterable[str]) -> None:
        """Have at hand for ``owner`` which of several paths are nobody's."""
        pending, free = self._pending_paths, self._free_paths
        wanted = [key for key in path_keys if key not in pending and key not in free]
        if wanted:
            question = f"SELECT path_key FROM products {_among('path_key', wanted)}"  # noqa: S608 (of ours)
            taken = {key for (key,) in self._reader.rows(question, wanted)}
            _make_room(free, len(wanted))
            free.update(dict.fromkeys(key for key in wanted if key not in taken))

    def owner(self, path_key: str) -> str | None:
        """The Id of the product that lies at a path."""
        return self._at(path_key)[0]

    def stored(self, path_key: str) -> str | None:
        """The path that the ledger has for what lies there, in its own letter case."""
        return self._at(path_key)[1]

    def _at(self, path_key: str) -> tuple[str | None, str | None]:
        """Id and path of the product that lies at a path."""
        product_id = self._pending_paths.get(path_key)
        if product_id is not None:
            return product_id, self._pending[product_id].path
        if path_key in self._free_paths:
            return None, None
        try:
            path_key.encode()
        except UnicodeEncodeError:  # a name that is no text; no product's is such
            return None, None
        question = "SELECT id, path FROM products WHERE path_key = ?"
        product_id, path = self._reader.row(question, (path_key,)) or (None, None)
        return (None, None) if product_id in self._pending else (product_id, path)

    def put(self, record: Record) -> None:
        """Keep ``record``; it is committed within half a second."""
        if self._failure is not None:
            raise self._failure
        before = self._pending.get(record.id)
        if before is not None:
            self._forget_path(before)
        self._pending[record.id] = record
        self._looked_up.pop(record.id, None)
        path_key = record.path_key
        if path_key is not None:
            self._pending_paths[path_key] = record.id
            self._free_paths.pop(path_key, None)
        self._wake.set()

    def _forget_path(self, record: Record) -> None:
        """What is pending of a record's path, where that is still its own."""
        if record.path_key is not None and self._pending_paths.get(record.path_key) == record.id:
            del self._pending_paths[record.path_key]

    def next_place(self) -> int:
        """A place at the end of the list of what is to be fetched."""
        return next(self._places)

    async def settle(self) -> None:
        """Wait where records come faster than they can be written."""
        if len(self._pending) > _MOST_PENDING:
            await self.flush()

    async def flush(self) -> None:
        """Commit what is pending now."""
        async with self._committing:
            batch = list(self._pending.values())
            if not batch:
                return
            await self._thread.complete(self._write, batch)
            for record in batch:
                if self._pending.get(record.id) is record:
                    del self._pending[record.id]
                    self._forget_path(record)

    def _write(self, batch: Sequence[Record]) -> None:
        self.changed = True
        self._before_write()
        # Products of one batch may have exchanged their paths: release all that change first.
        released = [(record.id, record.path_key) for record in batch]
        self._writer.write([(_RELEASE, released), *upserts(map(row_of, batch))])

    async def todo(self, query: int, after: int, limit: int) -> Sequence[Record]:
        """The records of a followed query that come next in the list of what is to be fetched."""
        await self.flush()
        question = _SELECT + "WHERE query = ? AND todo > ? ORDER BY todo LIMIT ?"
        values = (query, after, limit)
        return await self.ask(lambda database: database.made(record_of, question, values))

    async def records(self, where: str = "1") -> AsyncGenerator[Record]:
        """All committed records for which ``where`` (SQL of ours) holds, in no special order."""
        await self.flush()
        last = 0
        while True:
            page = await self.ask(partial(numbered, where=where, after=last))
            for number, record in page:
                last = number
                yield record
            if len(page) < _PAGE:
                return

    async def count(self, where: str) -> int:
        """How many committed records there are for which ``where`` (SQL of ours) holds."""
        await self.flush()
        question = f"SELECT count(*) FROM products WHERE {where}"  # noqa: S608 (SQL of ours)
        found = await self.ask(lambda database: database.row(question))
        return int(found[0]) if found else 0

    async def ask(self, question: Callable[[Database], _T]) -> _T:
        """Ask what takes longer, in the ledger's thread."""
        return await self._thread.run(lambda: question(self._writer))

    async def tell(self, *statements: Statement) -> None:
        """Write what is no product's, behind all records put before, in one transaction."""
        self.changed = True
        await self.flush()
        await self._thread.complete(lambda: self._writer.write(statements))

    async def forget(self, product_ids: Sequence[str]) -> None:
        """Delete the records of some products."""
        await self.tell(("DELETE FROM products WHERE id = ?", [(key,) for key in product_ids]))
        for key in product_ids:
            self._looked_up.pop(key, None)

    async def note(self, name: str, value: float | str | None) -> None:
        """Keep a fact about the whole folder, in place of the last one of that name."""
        upsert = "INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)"
        await self.tell((upsert, [(name, value)]))

    async def _flush_often(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_COMMIT_EVERY)
            self._wake.clear()
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 (whatever it is, the next put raises it)
                self._failure = error
                return


def _among(column: str, values: Sequence[str]) -> str:
    """The condition that ``column`` has one of so many values."""
    return f"WHERE {column} IN ({', '.join('?' * len(values))})"


def _make_room(at_hand: dict[str, Any], more: int) -> None:
    """Drop the oldest of what is at hand for so many new ones."""
    drop_oldest(at_hand, len(at_hand) + more - _MOST_AT_HAND)


def numbered(database: Database, where: str, after: int) -> list[tuple[int, Record]]:
    """A page of the records for which ``where`` (SQL of ours) holds, each with its row's number."""
    question = (
        f"SELECT number, {NAMES} FROM products "  # noqa: S608 (SQL of ours)
        f"WHERE number > ? AND ({where}) ORDER BY number LIMIT {_PAGE}"
    )
    return database.made(lambda row: (row[0], record_of(row[1:])), question, (after,))


def records_of(database: Database, where: str) -> Iterator[Record]:
    """All records for which ``where`` (SQL of ours) holds, read by pages.

    Nothing is held open between two pages, however slowly they are read.
    """
    last = 0
    while page := numbered(database, where, last):
        for last, record in page:  # noqa: B007 (the next page begins behind it)
            yield record


def read_through(database: Database) -> None:
    """Read every record. Raises LedgerDamaged: garbage within a text breaks no page."""
    for _ in records_of(database, "1"):
        pass
