"""Record products that the service no longer has, and move their files to the trash if
configured."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from noa_async.archive.following import may_delete
from noa_async.archive.journal import past
from noa_async.archive.states import HELD, State
from noa_async.errors import DestinationError, FileInaccessible
from noa_async.events import ProductRemoved, RemovalRefused, RemovalsHeld
from noa_async.pipeline import run_pipeline
from noa_async.settings import OnRemoved

if TYPE_CHECKING:
    from noa_async.archive.archive import Archive
    from noa_async.archive.destination import FileFacts
    from noa_async.archive.record import Record
    from noa_async.archive.sightings import Errand
    from noa_async.catalogue.pages import Catalogue
    from noa_async.events import Observer

_AT_ONCE = 4
"""Number of concurrent requests to the service."""
_COUNT_EXACTLY = 100
"""Up to this many, products that are gone are counted exactly, even if too many to delete."""
_HERE = f"path IS NOT NULL AND state IN ({', '.join(repr(str(one)) for one in sorted(HELD))})"


async def remove_gone(
    archive: Archive,
    catalogue: Catalogue,
    errand: Errand,
    observer: Observer,
    *,
    only_note: bool = False,
) -> tuple[int, int]:
    """Record the products missing in a complete full listing, and delete files if allowed.

    ``only_note``: delete nothing, because the listing was far shorter than the one before. Return
    how many files were deleted, and how many would have been, if they had not been too many.

    A file is deleted only if enough listings in a row, over enough days, did not contain its
    product (``Following.gone_listings``, ``gone_for``), if the service, asked for this product, no
    longer has it, if the fraction of files to delete is not too large, and if the file is the
    recorded one. The state of a product without a file becomes ``removed``. If the product has a
    part file or is queued, the service is asked first, because it may have left the query or be
    listed late. Safe during downloads.

    Error handling: raises the catalogue's errors; what was recorded before is kept.
    """
    removal = _Removal(archive, catalogue, errand, observer)
    await removal.note()
    await archive.ledger.flush()
    if only_note or errand.following.on_removed is OnRemoved.KEEP:
        return 0, 0
    denied, here = await removal.denied()
    if not may_delete(len(denied), here, errand.following):
        observer(RemovalsHeld(len(denied), here, errand.following.max_delete))
        return 0, len(denied)
    deleted = 0
    for product_id in denied:
        deleted += await removal.delete(product_id)
    await archive.ledger.flush()
    return deleted, 0


class _Removal:
    """One run's processing of the products missing in its listing."""

    def __init__(
        self, archive: Archive, catalogue: Catalogue, errand: Errand, observer: Observer
    ) -> None:
        self._archive = archive
        self._catalogue = catalogue
        self._following = errand.following
        self._observer = observer
        self._mine = f"query = {errand.followed.number} AND state <> '{State.REMOVED}'"
        self._unseen = f"{self._mine} AND seen < {errand.run.number}"
        deletes = self._following.on_removed is OnRemoved.DELETE
        self._counted = self._following.gone_listings if deletes else 0

    async def denied(self) -> tuple[list[str], int]:
        """Return the Ids of files to delete, which the service no longer has, and the number of
        files.

        If they are too many to delete, the list is incomplete.
        """
        here = await self._archive.ledger.count(f"{self._mine} AND {_HERE}")
        denied: list[str] = []

        async def ask(record: Record) -> str | None:
            return None if await self._catalogue.has(record.id) else record.id

        since = self._archive.clock() - self._following.gone_for.total_seconds()
        due = (
            f"{self._unseen} AND path IS NOT NULL AND accepted IS NULL "
            f"AND absences >= {self._counted} AND gone <= {since!r}"
        )
        unseen = self._archive.ledger.records(due)
        answers = run_pipeline(unseen, ask, workers=_AT_ONCE, depth=_AT_ONCE)
        async with aclosing(answers):
            async for product_id in answers:
                if product_id is not None:
                    denied.append(product_id)
                enough = len(denied) >= _COUNT_EXACTLY
                if enough and not may_delete(len(denied), here, self._following):
                    break
        return denied, here

    async def delete(self, product_id: str) -> bool:
        """Delete a product's file. Return False if there is none, it is not the recorded one, or it
        cannot be deleted; the other removals continue.
        """
        async with self._archive.only_one(product_id):
            record = self._archive.ledger.get(product_id)
            if record is None or record.path is None:
                return False
            try:
                facts = self._archive.folder.facts(record.path)
                instead = "" if facts else self._archive.folder.instead(record.path)
                why = why_kept(record, facts, instead)
                if not why:
                    await self._archive.remove(record, keep=bool(self._following.keep_trash))
            except (FileInaccessible, DestinationError) as error:
                if not isinstance(error.__cause__, OSError):  # of the ledger
                    raise
                why = f"it cannot be deleted: {error.__cause__.strerror}"
            if why:
                self._observer(RemovalRefused(record.id, record.product.name, record.path, why))
                return False
            self._observer(ProductRemoved(record.id, record.product.name, record.path))
            return True

    async def note(self) -> None:
        """Record the missing products; those already recorded often enough are unchanged."""
        news = self._archive.ledger.records(
            f"{self._unseen} AND ((path IS NULL AND (state <> '{State.CONSUMED}' OR gone IS NULL))"
            f" OR gone IS NULL OR absences < {self._counted})"
        )
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
                return  # it was just downloaded: the next listing decides
            after = unmet(now, self._archive.clock(), there=there)
            if after != now:
                self._archive.ledger.put(after)
            if pending and not there:
                await self._archive.drop_part(record)


def why_kept(record: Record, facts: FileFacts | None, instead: str) -> str:
    """Return why a product's file is not deleted; empty if it may be.

    | found at its path                        | deleted                 |
    |------------------------------------------|-------------------------|
    | nothing                                  | yes: only a record left |
    | the recorded file                        | yes                     |
    | a file of another size or time           | no                      |
    | a link, a folder or another special file | no                      |
    """
    if facts is None:
        return instead
    if (facts.size, facts.mtime_ns) != (record.size, record.mtime_ns):
        return "it is not the recorded file: its size or time differs"
    return ""


def unmet(record: Record, now: float, *, there: bool) -> Record:
    """Return the record of a product that a complete listing did not contain.

    ``there``: whether the service, asked for this product, has it. It is asked if the product has a
    part file or is queued.

    | its file | the service       | becomes                                        |
    |----------|-------------------|------------------------------------------------|
    | none     | is not asked      | removed                                        |
    | none     | no longer has it  | removed                                        |
    | none     | has it            | unchanged, still queued                        |
    | consumed |                   | recorded as gone                               |
    | present  | is not asked      | recorded as gone, counted                      |
    | present  | no longer has it  | recorded as gone, counted, no longer queued    |
    | present  | has it            | recorded as gone, counted, still queued        |

    Counted: one more listing did not contain it (``absences``). It is gone since the first of those
    listings; a time in the future is ignored.
    """
    if record.path is None and record.state is not State.CONSUMED:
        return record if there else record.removed(now)
    return replace(
        record,
        gone=past(record.gone, now) or now,
        absences=record.absences + 1,
        todo=record.todo if there or record.hook_due is not None else None,
    )
