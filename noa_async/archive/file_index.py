"""Index an archive's files by product name, to find files that the ledger does not know."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Self

from noa_async.archive.database import Database, scratch_database
from noa_async.archive.names import fold, safe_name, with_ids
from noa_async.errors import FileInaccessible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noa_async.archive.destination import Destination

_ENDINGS = re.compile(r"(?:\.(?:zip|safe|sen3))+\Z")
_AT_ONCE = 2000
_MOST_CANDIDATES = 16
"""Maximum number of files of one name and size that are read to find a product."""
_SCHEMA = """
    CREATE TABLE files (key TEXT NOT NULL, size INTEGER NOT NULL, path TEXT NOT NULL);
"""


class FileIndex:
    """An index of a folder's files with their sizes, by name without ``.zip``, ``.SAFE`` and
    ``.SEN3``.

    All methods block; safe for threads.
    Resources: a temporary file of about 150 MB for a million files, deleted by ``close``.
    """

    def __init__(self, folder: Destination, most: int | None = None) -> None:
        """``most``: maximum number of files to index."""
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._stopped = False

    def stop(self) -> None:
        """From another thread: end ``build`` early, for the index is not needed any more."""
        self._stopped = True

    def build(self) -> Self:
        """Scan the folder. Raise DestinationError if it is unreadable."""
        with self._lock:
            self._database = database = scratch_database(self._folder.state / "files.sqlite3")
            database.script(_SCHEMA)
            rows = islice(self._rows(), self._most)
            insert = "INSERT INTO files (key, size, path) VALUES (?, ?, ?)"
            while some := list(islice(rows, _AT_ONCE)):
                database.write([(insert, some)])
            database.script("CREATE INDEX files_key ON files (key);")
        return self

    def _rows(self) -> Iterator[tuple[str, int, str]]:
        for path in self._folder.files():
            if self._stopped:
                return
            text = str(path)
            with suppress(FileInaccessible, UnicodeEncodeError):
                text.encode()  # a name that is not text is not a product's
                facts = self._folder.facts(text)
                if facts is not None:
                    yield _key(path.name), facts.size, text

    def count(self) -> int:
        """Return the number of files."""
        with self._lock:
            database = self._database
            [number] = (database and database.row("SELECT count(*) FROM files")) or (0,)
        return int(number)

    def candidates(self, name: str, product_id: str, size: int | None) -> list[str]:
        """Return the paths at which a product may be, by its name, and its size if that is
        known."""
        safe = safe_name(name, product_id)
        keys = list({_key(one) for one in (safe, *with_ids(safe, product_id))})
        question = f"SELECT path FROM files WHERE key IN ({', '.join('?' * len(keys))})"  # noqa: S608 (of ours)
        values: list[str | int] = [*keys]
        if size is not None:
            question += " AND size = ?"
            values.append(size)
        with self._lock:
            if self._database is None:
                return []
            rows = self._database.rows(f"{question} LIMIT {_MOST_CANDIDATES}", values)
        return [path for (path,) in rows]

    def close(self) -> None:
        """Delete the temporary file."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database.path.unlink(missing_ok=True)
                self._database = None


def _key(name: str) -> str:
    """Return a name without letter case and suffixes.

    >>> _key("S1A_X.SAFE.zip"), _key("s1a_x")
    ('s1a_x', 's1a_x')
    """
    return _ENDINGS.sub("", fold(name))
