"""Accept or forget findings that a user has examined."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from noa_async.archive.schema import TROUBLED
from noa_async.archive.states import DONE, State
from noa_async.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noa_async.archive.archive import Archive
    from noa_async.archive.database import Database
    from noa_async.archive.record import Record

FINDINGS = (
    f"{TROUBLED} AND state NOT IN ('{State.REMOVED}', '{State.CONSUMED}', '{State.LISTED}') "
    "AND accepted IS NULL"
)
"""What counts as a finding, as SQL: products that are merely queued do not."""


@dataclass(slots=True)
class Done:
    """The records that were changed (``done``), and those without a finding (``left``)."""

    done: list[Record] = field(default_factory=list)
    left: list[Record] = field(default_factory=list)


async def accept(archive: Archive, names: Sequence[str], *, everything: bool = False) -> Done:
    """Accept that products are missing or wrong, or that their hooks fail.

    They no longer count as findings, and are not downloaded again until the catalogue changes them.
    ``names`` are Ids or Names; ``everything``: all findings. Raise UsageError for an unknown name.
    """
    done = Done()
    now = archive.clock()
    for record in await _named(archive, names):
        after = accepted(record, now)
        (done.left if after is None else done.done).append(record)
        if after is not None:
            archive.put_file(after)
    if everything:
        async for record in archive.ledger.records(f"{FINDINGS} OR hook_due IS NOT NULL"):
            if (after := accepted(record, now)) is not None:
                archive.put_file(after)
                done.done.append(record)
    await archive.ledger.flush()
    return done


def accepted(record: Record, now: float) -> Record | None:
    """Return the record of an accepted finding; None if there is nothing to accept.

    | the record                      | becomes                                 |
    |---------------------------------|-----------------------------------------|
    | present, and its hook is due    | unchanged, without a due hook           |
    | present, consumed or removed    | None                                    |
    | any other                       | unchanged, accepted, no longer queued   |
    """
    if record.hook_due is not None and record.held:
        return replace(record, hook_due=None, todo=None, error=None, reason=None, updated=now)
    if record.state in DONE or record.state is State.REMOVED:
        return None
    return replace(record, accepted=now, todo=None, hook_due=None, updated=now)


async def forget(archive: Archive, names: Sequence[str]) -> list[Record]:
    """Delete the records of some products; their files, if any, are kept.

    The next full listing treats them as new. ``names`` are Ids or Names. Raise UsageError for an
    unknown name.
    """
    records = await _named(archive, names)
    for record in records:
        archive.manifest.forget(record.id)
        await archive.drop_part(record)
    await archive.ledger.forget([record.id for record in records])
    return records


async def _named(archive: Archive, names: Sequence[str]) -> list[Record]:
    await archive.ledger.flush()
    question = "SELECT id FROM products WHERE id = ? OR name = ?"

    def find(database: Database) -> list[str]:
        found = []
        for name in names:
            ids = [key for (key,) in database.rows(question, (name, name))]
            if not ids:
                raise UsageError(
                    f"The ledger of {archive.folder.name} has no product {name!r}.",
                    hint="Use the Id or the Name of a product, as in verify --format json.",
                )
            found += ids
        return found

    records = [archive.ledger.get(key) for key in dict.fromkeys(await archive.ledger.ask(find))]
    return [record for record in records if record is not None]
