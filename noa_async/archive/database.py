"""SQLite, and nothing of what is kept in it: connections, transactions, migrations, its errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import suppress
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.archive.schema import MIGRATIONS
from noa_async.disk import create_own, destination_error, ensure_own
from noa_async.errors import DestinationError, DestinationFull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_T = TypeVar("_T")
Statement = tuple[str, "Iterable[Sequence[Any]]"]
"""SQL, and the values of each time it is to be done."""

_BUSY_SECONDS = 30
_BY_FOLDER = "&vfs=unix-dotfile"
"""Has SQLite lock by a folder beside the file, not by the file system's locks."""
_WITHOUT_LOCKS: set[Path] = set()
"""Folders whose file system has no locks; this process has the lock of each."""
_NO_SHARED_MEMORY = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_READONLY_CANTINIT,
        sqlite3.SQLITE_READONLY_CANTLOCK,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMLOCK,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
_FAULTS = (sqlite3.Error, UnicodeDecodeError, OverflowError)
"""What SQLite raises; a torn page can stand in the very text of its error. A number of more than
64 bits is an OverflowError."""
ANEW = "Run noa-async mirror once: it finds what is here by checksum."
"""What to do where a ledger does not know what lies in its folder."""


def without_locks(folder: Path) -> None:
    """Have the ledgers in a folder, of which the caller has the lock, opened without file locks.

    SQLite then locks by a folder beside the file, which a killed run leaves behind.
    """
    _WITHOUT_LOCKS.add(folder)
    for left in folder.glob("*.sqlite3*.lock"):
        with suppress(OSError):
            left.rmdir()


class LedgerDamaged(DestinationError):
    """The ledger's file is not what was written."""


class Database:
    """One connection to a ledger's file. Blocks. The thread that opens it uses and closes it.

    Error handling: DestinationError; LedgerDamaged where the file itself is broken, and
    ``damaged`` says so afterwards.
    """

    set_aside: Path | None = None
    """Where the damaged ledger is now in whose place this one was begun."""
    fresh = False
    """Whether there was no ledger before this one."""
    without_log: str | None = None
    """Why it is kept without a write-ahead log; None if it has one."""
    recovered = 0
    """Products that it was made again with, from what was left of the one before."""

    def __init__(self, path: Path, *, manner: str = "mode=rw", locked: bool = False) -> None:
        """``manner``: the parameters of SQLite's address.

        ``locked``: the caller has a lock that keeps all threads but one out; without it, SQLite
        refuses every thread but the one that opened the connection.
        """
        self.path = path
        self.damaged = False
        if path.parent in _WITHOUT_LOCKS:
            manner += _BY_FOLDER
        try:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{manner}",
                uri=True,
                isolation_level=None,
                check_same_thread=not locked,
                timeout=_BUSY_SECONDS,
            )
        except _FAULTS as error:
            raise self._blamed(error) from error

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a question."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except _FAULTS as error:
            raise self._blamed(error) from error

    def made(
        self, make: Callable[[Sequence[Any]], _T], sql: str, values: Sequence[Any] = ()
    ) -> list[_T]:
        """What ``make`` makes of the rows of a question; where it cannot, the file is damaged."""
        rows = self.rows(sql, values)
        try:
            return [make(row) for row in rows]
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise self.broken(f"a row is none of ours: {error}") from error

    def row(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a question; None where there is none."""
        return next(iter(self.rows(sql, values)), None)

    def write(self, statements: Iterable[Statement]) -> None:
        """Do all of it in one transaction, or nothing."""
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    connection.executemany(sql, values)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except _FAULTS as error:
            raise self._blamed(error) from error

    def script(self, text: str) -> None:
        """Do several statements, as they stand."""
        try:
            self._connection.executescript(text)
        except _FAULTS as error:
            raise self._blamed(error) from error

    def copy_into(self, path: Path) -> None:
        """Write all of it into a new file, whole and as of now. Raises LedgerDamaged."""
        self.rows("VACUUM INTO ?", (str(path),))

    def close(self) -> None:
        self._connection.close()

    def check(self) -> None:
        """Read the file through. Raises LedgerDamaged."""
        found = self.rows("PRAGMA quick_check(1)")
        if found != [("ok",)]:
            raise self.broken(str(found[0][0] if found else "it holds nothing"))

    def broken(self, why: str) -> LedgerDamaged:
        """The error for a file that is found not to be what was written."""
        self.damaged = True
        return LedgerDamaged(
            f"The ledger {self.path} is damaged: {why}.",
            hint="Run noa-async mirror: a damaged ledger is set aside and made anew from the "
            "folder and the catalogue.",
        )

    def _blamed(self, error: Exception) -> DestinationError:
        if _is_damage(error):
            return self.broken(str(error))
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return DestinationFull(f"No room for {self.path}.", hint="Make room and start again.")
        hint = _hint(error, self.path)
        return DestinationError(f"The ledger {self.path} cannot be used: {error}.", hint=hint)


_OUT_OF_REACH = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
)
_HELD = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def _hint(error: Exception, path: Path) -> str:
    """What to do about an error of SQLite's that is no damage; empty where nobody knows."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without what further tells its kind
    if code in _OUT_OF_REACH:
        return _whose(path)
    if code in _HELD:
        return "Another program holds it: wait until that has ended."
    if "no such table" in str(error) or " column" in str(error):
        return "Move it away to begin anew: products in the folder are found by their checksums."
    return ""


def _whose(path: Path) -> str:
    """Who may use a ledger."""
    try:
        owner = path.parent.owner()
    except (OSError, KeyError):  # out of sight, or a user that this machine does not know
        return "This user must be able to read it, and to write into its folder."
    return f"Only a user who may read it and write into its folder can use it: it is {owner}'s."


def _is_damage(error: Exception) -> bool:
    """Whether the file is broken, not merely busy, full or out of reach."""
    garbled = isinstance(error, UnicodeDecodeError) or "Could not decode" in str(error)
    return garbled or type(error) is sqlite3.DatabaseError


def open_database(
    path: Path,
    *,
    suspect: bool = False,
    anew: bool = True,
    read: Callable[[Database], None] = lambda _: None,
) -> Database:
    """The ledger at ``path``, its schema brought up to date.

    ``suspect``: the last run did not end in order, so the file is read through first, and then by
    ``read``, which raises LedgerDamaged for what only we can tell; one of an older schema is read
    through, too. ``anew``: one that is missing is made; one that is damaged, or no ledger, is set
    aside under another name (``Database.set_aside``) and begun anew. Else both raise.
    """
    try:
        fresh = not path.exists() or path.stat().st_size == 0
        if fresh and not anew:
            raise DestinationError(f"The ledger {path} is empty.", hint=ANEW)
        ensure_own(path)
        try:
            database = _made_ready(path, suspect=suspect)
            if suspect:
                _read_by(read, database)
        except LedgerDamaged:
            if not anew:
                raise
            aside = set_aside(path)
            ensure_own(path)
            database = _made_ready(path)
            database.set_aside = aside
    except OSError as error:
        raise destination_error(error, path) from error
    database.fresh = fresh
    return database


def _read_by(read: Callable[[Database], None], database: Database) -> None:
    try:
        read(database)
    except BaseException:
        database.close()
        raise


def _made_ready(path: Path, *, suspect: bool = False) -> Database:
    """The ledger, sound where it is ``suspect``, and of this version."""
    database = _connect(path)
    try:
        done = _version(database)
        if suspect or done < len(MIGRATIONS):
            database.check()
        _migrate(database, done)
    except BaseException:
        database.close()
        raise
    return database


def _connect(path: Path) -> Database:
    """Return a ledger with a write-ahead log, or with a journal if its file system can have none.

    A log needs memory that connections share, which network file systems may lack.
    """
    database = Database(path)
    try:
        why = _begin_log(database)
        if why is None:
            return database
        database.close()
        database = Database(path)
        database.without_log = why
        database.rows("PRAGMA locking_mode = EXCLUSIVE")  # reads a log without shared memory
        database.row("SELECT count(*) FROM sqlite_master")
        database.rows("PRAGMA journal_mode = DELETE")
        database.rows("PRAGMA locking_mode = NORMAL")
        database.row("SELECT count(*) FROM sqlite_master")
        database.rows("PRAGMA synchronous = FULL")  # less could damage it in a power cut
    except BaseException:
        database.close()
        raise
    return database


def _begin_log(database: Database) -> str | None:
    """Keep a write-ahead log, and try it; return why that cannot be, None if it can."""
    try:
        mode = database.row("PRAGMA journal_mode = WAL")
        database.write(())
    except DestinationError as error:
        cause = error.__cause__
        if getattr(cause, "sqlite_errorcode", None) not in _NO_SHARED_MEMORY:
            raise
        return str(cause)
    if mode != ("wal",):
        return "its files cannot be mapped"
    database.rows("PRAGMA synchronous = NORMAL")
    return None


def _migrate(database: Database, done: int) -> None:
    for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
        try:
            database.script(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")
        except DestinationError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):  # it held when it was written
                raise database.broken(str(error.__cause__)) from error
            raise


def check_there(path: Path) -> None:
    """Raise DestinationError where there is no ledger at ``path``, or none that can be seen."""
    try:
        there = S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        there = False
    except OSError as error:
        text = f"The ledger {path} cannot be read: {error.strerror}."
        raise DestinationError(text, hint=_whose(path)) from error
    if not there:
        raise DestinationError(
            f"{path.parent.parent} holds no archive: there is no ledger in it.",
            hint="Name the folder that --output named.",
        )


def read_database(path: Path) -> Database:
    """The ledger at ``path`` to read alone, also while a run writes it.

    Where its folder cannot be written and it has no log, SQLite is told that nobody changes it:
    else it would write beside it even to read it.

    Raises DestinationError where there is none, or one of another version.
    """
    check_there(path)
    log = path.with_name(f"{path.name}-wal")
    sealed = not log.exists() and not os.access(path.parent, os.W_OK)
    manner = "immutable=1&mode=ro" if sealed else "mode=ro"
    if not sealed and path.parent not in _WITHOUT_LOCKS and not _has_locks(path.parent):
        manner += _BY_FOLDER
    database = Database(path, manner=manner)
    try:
        version = _version(database)
    except BaseException:
        database.close()
        raise
    if version == len(MIGRATIONS):
        return database
    database.close()
    raise DestinationError(
        f"{path} was written by an older version of this program.",
        hint="Any run on this folder brings it up to date.",
    )


def _has_locks(state: Path) -> bool:
    """Return whether the file system of a state folder has the locks that SQLite uses."""
    try:
        descriptor = os.open(state / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def scratch_database(path: Path) -> Database:
    """A new database for one run's use, by threads that hold a lock: a kill leaves it useless."""
    try:
        os.close(create_own(path))
    except OSError as error:
        raise destination_error(error, path) from error
    database = Database(path, locked=True)
    for name, value in (("journal_mode", "OFF"), ("synchronous", "OFF")):
        database.rows(f"PRAGMA {name} = {value}")
    return database


def _version(database: Database) -> int:
    found = database.row("PRAGMA user_version")
    version = int(found[0]) if found else 0
    if version > len(MIGRATIONS):
        raise DestinationError(
            f"{database.path} was written by a newer version of this program.",
            hint="Use that version, or another folder.",
        )
    return version


def set_aside(path: Path) -> Path:
    """Give the ledger, and what belongs to it, other names; the ledger's."""
    aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
    for log in ("", "-wal", "-shm"):
        file = path.with_name(f"{path.name}{log}")
        if file.exists():
            file.replace(aside.with_name(f"{aside.name}{log}"))
    return aside
