"""What the service has no more: noted, and deleted where that is asked for and safe."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from noa_async.archive.following import may_delete
from noa_async.archive.states import State
from noa_async.events import ProductRemoved, RemovalsHeld
from noa_async.settings import OnRemoved

if TYPE_CHECKING:
    from noa_async.archive.archive import Archive
    from noa_async.archive.record import Record
    from noa_async.archive.sightings import Errand
    from noa_async.catalogue.pages import Catalogue
    from noa_async.events import Observer


async def remove_gone(
    archive: Archive, catalogue: Catalogue, errand: Errand, observer: Observer
) -> int:
    """Note what a complete listing of all of the query did not meet; how many files were deleted.

    A file is deleted only where the service, asked for this product alone, has it no more, and
    where not too large a part of the archive would go. What was never here is forgotten.
    """
    number, run, now = errand.followed.number, errand.run.number, archive.clock()
    mine = f"query = {number} AND state <> '{State.REMOVED}'"
    gone = f"{mine} AND seen < {run}"
    files = await archive.ledger.count(f"{gone} AND path IS NOT NULL")
    known = await archive.ledger.count(mine)
    deleting = errand.following.on_removed is OnRemoved.DELETE
    if deleting and not may_delete(files, known, errand.following):
        observer(RemovalsHeld(files, known, errand.following.max_delete))
        deleting = False
    deleted = 0
    async for record in archive.ledger.records(gone):
        await archive.drop_part(record)
        if record.path is None:
            archive.ledger.put(record.moved(State.REMOVED, now, todo=None, gone=now))
        elif deleting and not await catalogue.has(record.id):
            await archive.remove(record)
            observer(ProductRemoved(record.id, record.product.name, record.path))
            deleted += 1
        else:
            archive.ledger.put(_kept(record, now))
    await archive.ledger.flush()
    return deleted


def _kept(record: Record, now: float) -> Record:
    """The record of a file that stays though the catalogue lists it no more."""
    return replace(record, gone=record.gone or now, todo=None)
