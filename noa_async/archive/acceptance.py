"""Findings that a person has looked at: accepted, or forgotten."""

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
"""What counts as a finding, as SQL: what is merely to be fetched does not."""


@dataclass(slots=True)
class Done:
    """What was done, and of what there was nothing to do."""

    done: list[Record] = field(default_factory=list)
    left: list[Record] = field(default_factory=list)


async def accept(archive: Archive, names: Sequence[str], *, everything: bool = False) -> Done:
    """Accept that products are not here, or not right, or that their hooks do not pass.

    They no longer count as findings, and are not fetched again before the catalogue says something
    new of them. ``names`` are Ids or Names; ``everything``: all findings. Raises UsageError for a
    name that the ledger does not have.
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
    """The record of a finding that is accepted; None if there is nothing to accept.

    | the record                  | becomes                                  |
    |-----------------------------|------------------------------------------|
    | here, with a hook that is   | as it is, with no hook to run            |
    | due                         |                                          |
    | here, consumed, or removed  | None                                     |
    | any other                   | as it is, accepted: nothing is to be done |
    """
    if record.hook_due is not None and record.held:
        return replace(record, hook_due=None, todo=None, error=None, reason=None, updated=now)
    if record.state in DONE or record.state is State.REMOVED:
        return None
    return replace(record, accepted=now, todo=None, hook_due=None, updated=now)


async def forget(archive: Archive, names: Sequence[str]) -> list[Record]:
    """Delete all that is known of some products; their files, if there are any, stay.

    The next listing of all that meets one takes it for new. ``names`` are Ids or Names. Raises
    UsageError for a name that the ledger does not have.
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
                    f"{archive.folder.name} knows of no product {name!r}.",
                    hint="Give the Id or the Name of one, as verify --format json tells them.",
                )
            found += ids
        return found

    records = [archive.ledger.get(key) for key in dict.fromkeys(await archive.ledger.ask(find))]
    return [record for record in records if record is not None]
