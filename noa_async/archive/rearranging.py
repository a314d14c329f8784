"""Another layout for what is in a folder: files move, nothing is fetched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from noa_async.archive.places import Places, paths_of
from noa_async.events import FilePutAside, FilesMoved
from noa_async.tasks import in_thread

if TYPE_CHECKING:
    from noa_async.archive.database import Database
    from noa_async.archive.destination import Destination, FileFacts
    from noa_async.archive.layout import Layout
    from noa_async.archive.ledger import Ledger
    from noa_async.archive.record import Record
    from noa_async.events import Observer


async def rearrange(
    folder: Destination, ledger: Ledger, layout: Layout, observer: Observer
) -> None:
    """Move every file of the ledger to its path in ``layout``, and keep that as the folder's.

    Cut short at any point, also by a power cut, the next run goes on with it, for what it moves
    into is kept before the first file is, until the ledger is on stable storage. A file that lies
    at its new path already, as the ledger knows it, is only written down.
    """
    await in_thread(folder.begin_move, layout.template)
    moved = 0
    places = Places(ledger)
    async for record in ledger.records("path IS NOT NULL"):
        assert record.path is not None
        is_zip = record.path.lower().endswith(".zip")
        candidates = paths_of(record.product, layout, is_zip=is_zip)
        if record.path in candidates:
            continue
        path = places.choose(record.product, layout, is_zip=is_zip)
        facts, kept_at = await in_thread(_move, folder, record, path)
        if kept_at is not None:
            observer(FilePutAside(path, kept_at))
        if facts is not None:
            ledger.put(replace(record, path=path, size=facts.size, mtime_ns=facts.mtime_ns))
        else:
            ledger.put(replace(record, path=path))
        await ledger.settle()
        moved += 1
    await ledger.flush()
    if await ledger.ask(_is_synced):
        await in_thread(folder.keep_layout, layout.template)
    if moved:
        observer(FilesMoved(moved, layout.template))


def _is_synced(database: Database) -> bool:
    """Put the ledger on stable storage; not where somebody else reads it for too long."""
    done = database.row("PRAGMA wal_checkpoint(FULL)")  # busy, and how much
    return done is not None and done[0] == 0


def _move(folder: Destination, record: Record, path: str) -> tuple[FileFacts | None, str | None]:
    """Move one file; what it looks like there, where it is the one that the ledger knows, and where
    what lay in its way is now, if anything did.
    """
    assert record.path is not None
    known = (record.size, record.mtime_ns)
    there, here = folder.facts(path), folder.facts(record.path)
    if here is None:
        return None, None  # moved by a run that was cut short, or missing: the next look tells
    kept_at = None
    if there is not None and (there.size, there.mtime_ns) != known:
        kept_at = folder.put_aside(path, record.id)
    after = folder.move(record.path, path)
    return (after if (here.size, here.mtime_ns) == known else None), kept_at
