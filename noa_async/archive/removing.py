"""What the service has no more: noted, and deleted where that is asked for and safe."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from noa_async.archive.following import may_delete
from noa_async.archive.states import State
from noa_async.events import ProductRemoved, RemovalsHeld
from noa_async.pipeline import run_pipeline
from noa_async.settings import OnRemoved

if TYPE_CHECKING:
    from noa_async.archive.archive import Archive
    from noa_async.archive.record import Record
    from noa_async.archive.sightings import Errand
    from noa_async.catalogue.pages import Catalogue
    from noa_async.events import Observer

_AT_ONCE = 4
"""Products that the service is asked for at the same time."""
_TOLD_EXACTLY = 100
"""So many that are gone are counted though they are too many to delete."""


async def remove_gone(
    archive: Archive, catalogue: Catalogue, errand: Errand, observer: Observer
) -> int:
    """Note what a complete listing of all of the query did not meet; how many files were deleted.

    A file is deleted only where the service, asked for this product alone, has it no more, and
    where not too many of them would go. What was never here is forgotten, but where something has
    gathered of it, or it is to be fetched, only when the service says so, too: it may have left
    the query, or be listed late. Safe while products are fetched.

    Error handling: raises what the catalogue raises; what was noted until then is kept.
    """
    removal = _Removal(archive, catalogue, errand)
    deleted = 0
    if errand.following.on_removed is OnRemoved.DELETE:
        denied, known = await removal.denied()
        if may_delete(len(denied), known, errand.following):
            for product_id in denied:
                if (record := await removal.delete(product_id)) is not None:
                    observer(ProductRemoved(record.id, record.product.name, record.path or ""))
                    deleted += 1
        else:
            observer(RemovalsHeld(len(denied), known, errand.following.max_delete))
    await removal.note()
    await archive.ledger.flush()
    return deleted


class _Removal:
    """One run's look at the products that its listing did not meet."""

    def __init__(self, archive: Archive, catalogue: Catalogue, errand: Errand) -> None:
        self._archive = archive
        self._catalogue = catalogue
        self._following = errand.following
        self._mine = f"query = {errand.followed.number} AND state <> '{State.REMOVED}'"
        self._unseen = f"{self._mine} AND seen < {errand.run.number}"

    async def denied(self) -> tuple[list[str], int]:
        """The Ids of files that the service has no more, and how many products there are.

        Where they are too many to be deleted, not all of them.
        """
        known = await self._archive.ledger.count(self._mine)
        denied: list[str] = []

        async def ask(record: Record) -> str | None:
            return None if await self._catalogue.has(record.id) else record.id

        unseen = self._archive.ledger.records(f"{self._unseen} AND path IS NOT NULL")
        answers = run_pipeline(unseen, ask, workers=_AT_ONCE, depth=_AT_ONCE)
        async with aclosing(answers):
            async for product_id in answers:
                if product_id is not None:
                    denied.append(product_id)
                enough = len(denied) >= _TOLD_EXACTLY
                if enough and not may_delete(len(denied), known, self._following):
                    break
        return denied, known

    async def delete(self, product_id: str) -> Record | None:
        """Delete a product's file; its record as it was, None where there is no file any more."""
        async with self._archive.only_one(product_id):
            record = self._archive.ledger.get(product_id)
            if record is None or record.path is None:
                return None
            await self._archive.remove(record)
            return record

    async def note(self) -> None:
        """Note what was not met. What is noted as gone already is left as it is."""
        news = self._archive.ledger.records(f"{self._unseen} AND (path IS NULL OR gone IS NULL)")
        noted = run_pipeline(news, self._note, workers=_AT_ONCE, depth=_AT_ONCE)
        async with aclosing(noted):
            async for _ in noted:
                await self._archive.ledger.settle()

    async def _note(self, record: Record) -> None:
        pending = record.todo is not None or self._archive.folder.part_size(record.id) > 0
        there = pending and await self._catalogue.has(record.id)
        async with self._archive.only_one(record.id):
            now = self._archive.ledger.get(record.id)
            if now is None or now.path != record.path:
                return  # it came just now: the next look tells
            after = unmet(now, self._archive.clock(), there=there)
            if after != now:
                self._archive.ledger.put(after)
            if pending and not there:
                await self._archive.drop_part(record)


def unmet(record: Record, now: float, *, there: bool) -> Record:
    """The record of a product that a complete listing did not meet.

    ``there``: the service, asked for it alone, has it. It is asked where a part has gathered, or
    the product is to be fetched; the part goes with that.

    | its file | the service         | becomes                         |
    |----------|---------------------|---------------------------------|
    | none     | is not asked        | removed                         |
    | none     | has it no more      | removed                         |
    | none     | has it              | as it is, still to be fetched   |
    | there    | is not asked        | noted as gone                   |
    | there    | has it no more      | noted as gone, nothing to do    |
    | there    | has it              | noted as gone, still to be done |
    """
    if record.path is None:
        return record if there else record.removed(now)
    return replace(record, gone=record.gone or now, todo=record.todo if there else None)
