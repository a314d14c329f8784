"""Read an overview of an archive from its ledger, also during a run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from noa_async.archive.database import read_database
from noa_async.archive.destination import ledger_there
from noa_async.archive.file_check import CHECKED
from noa_async.archive.journal import Followed, Run, read_followed, read_runs
from noa_async.archive.mark import read_mark
from noa_async.archive.schema import TROUBLED
from noa_async.archive.targets import state_of
from noa_async.archive.trash import IN_TRASH

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.archive.database import Database
    from noa_async.archive.targets import StoreUrl

_EPOCH = date(1970, 1, 1)
_SUMS = "sum(products), sum(bytes) FROM sums"
_LAST = "(SELECT query FROM runs WHERE verb = 'mirror' ORDER BY number DESC LIMIT 1)"
"""The query followed last; a run only processes the queue of its own query."""
TROUBLES = f"""
    SELECT state, reason, count(*), count(todo) FILTER (WHERE query = {_LAST}), max(number)
    FROM products
    WHERE {TROUBLED}
        AND state IN ('damaged', 'failed', 'missing', 'quarantined', 'waiting')
        AND accepted IS NULL
    GROUP BY state, reason
"""  # noqa: S608 (made of constants)
TO_DO = f"""
    SELECT count(*) FILTER (WHERE query = {_LAST}), count(*)
    FROM products WHERE todo IS NOT NULL
"""  # noqa: S608
ACCEPTED = f"SELECT count(*) FROM products WHERE {TROUBLED} AND accepted IS NOT NULL"  # noqa: S608
TRASH = f"SELECT count(*), coalesce(sum(size), 0) FROM products WHERE {IN_TRASH}"  # noqa: S608
HOOKS = "SELECT count(*), max(number) FROM products WHERE hook_due IS NOT NULL"
GONE = "SELECT count(*) FROM products WHERE gone IS NOT NULL AND state <> 'removed'"


@dataclass(frozen=True, slots=True)
class Amount:
    """Number of products in a state, by the keys they are counted by; bytes on disk, or
    expected."""

    state: str
    products: int
    bytes: int
    platform: str | None = None
    """Empty if unknown, None if not counted by it; the same for ``product_type``."""
    product_type: str | None = None
    day: date | None = None
    """The sensing day (UTC); None if unknown, or not counted by it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Products with the same problem."""

    state: str
    reason: str | None
    """The class of the error; None if there was no error."""
    products: int
    retried: int
    """Number of these products that the next run retries (a run of the query followed last)."""
    example: str
    """The name of the newest of these products."""
    error: str | None
    """The error of the newest of these products."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What a folder holds, and what is to be done."""

    states: tuple[Amount, ...]
    types: tuple[Amount, ...]
    """By mission, type and state."""
    days: tuple[Amount, ...]
    """By sensing day and state, latest first."""
    troubles: tuple[Trouble, ...]
    """By state and reason, largest number first."""
    to_do: int
    """Number of products of the query followed last that its next run downloads or checks."""
    unfollowed: int
    """Number of queued products of other queries, or of none, which that run does not process."""
    gone: int
    """Number of products that are kept although the catalogue no longer lists them."""
    queries: tuple[Followed, ...]
    runs: tuple[Run, ...]
    """The last runs, newest first."""
    archive_id: str | None = None
    """The archive's Id; None if only versions opened it that do not assign one."""
    files_checked: float | None = None
    """When all files were last compared with the ledger, by size and time; seconds since 1970."""
    accepted: int = 0
    """Number of missing or wrong products that a user has accepted."""
    trash_files: int = 0
    """Number of files in the trash."""
    trash_bytes: int = 0
    hooks_due: int = 0
    """Number of products that are present, and whose hook has not succeeded."""
    hook_error: str | None = None
    """Why the hook of the newest one failed; None if it has not run yet."""


def read_overview(root: Path | StoreUrl, *, runs: int = 5) -> Overview:
    """Return the overview of the folder ``root`` with its last ``runs`` runs. Blocks; takes no
    lock.

    Raise DestinationError if there is no archive, or it is unreadable.
    """
    database = read_database(ledger_there(root))
    try:
        database.script("BEGIN")  # a consistent snapshot
        followed, all_of_them = database.row(TO_DO) or (0, 0)
        trash_files, trash_bytes = database.row(TRASH) or (0, 0)
        hooks_due, newest = database.row(HOOKS) or (0, None)
        failed = database.row("SELECT error FROM products WHERE number = ?", (newest,)) or (None,)
        checked = database.row("SELECT value FROM notes WHERE name = ?", (CHECKED,)) or (None,)
        mark = read_mark(state_of(root))
        return Overview(
            _states(database),
            _types(database),
            _days(database),
            _troubles(database),
            followed,
            all_of_them - followed,
            _count(database, GONE),
            tuple(read_followed(database)),
            tuple(read_runs(database, runs)),
            archive_id=None if mark is None else mark.id,
            files_checked=checked[0],
            accepted=_count(database, ACCEPTED),
            trash_files=trash_files,
            trash_bytes=trash_bytes,
            hooks_due=hooks_due,
            hook_error=failed[0],
        )
    finally:
        database.close()


def _states(database: Database) -> tuple[Amount, ...]:
    rows = database.rows(f"SELECT state, {_SUMS} GROUP BY state HAVING sum(products) > 0")
    return tuple(Amount(*row) for row in rows)


def _types(database: Database) -> tuple[Amount, ...]:
    keys = "platform, product_type, state"
    rows = database.rows(
        f"SELECT {keys}, {_SUMS} GROUP BY {keys} HAVING sum(products) > 0 ORDER BY {keys}"
    )
    return tuple(
        Amount(state, products, size, platform, kind)
        for platform, kind, state, products, size in rows
    )


def _days(database: Database) -> tuple[Amount, ...]:
    rows = database.rows(
        f"SELECT day, state, {_SUMS} GROUP BY day, state HAVING sum(products) > 0 "
        "ORDER BY day DESC, state"
    )
    return tuple(
        Amount(state, products, size, day=_day(day)) for day, state, products, size in rows
    )


def _day(number: int) -> date | None:
    """Return the day this many days after the start of 1970; None for -1."""
    return None if number < 0 else _EPOCH + timedelta(number)


def _troubles(database: Database) -> tuple[Trouble, ...]:
    found = []
    for state, reason, products, retried, newest in database.rows(TROUBLES):
        question = "SELECT name, error FROM products WHERE number = ?"
        name, error = database.row(question, (newest,)) or ("", None)
        found.append(Trouble(state, reason, products, retried, name, error))
    return tuple(sorted(found, key=lambda one: -one.products))


def _count(database: Database, question: str) -> int:
    [number] = database.row(question) or (0,)
    return int(number)
