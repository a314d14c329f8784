"""Write a list of an archive's files beside its ledger, from which the ledger can be rebuilt.

``manifest.jsonl`` has one line of JSON for each product that has or had a file: its Id, path, size,
checksum, and what the catalogue said about it. Lines are appended as files are added and deleted,
the last line of a product counts, and the manifest is rewritten from time to time. ``MD5SUMS``,
``SHA256SUMS`` and so on list the same files in the format of ``md5sum --check`` and similar tools.
"""

from __future__ import annotations

import json
import time
import zlib
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from noa_async.archive.rows import COLUMNS, record_of, row_of
from noa_async.archive.states import HELD, State
from noa_async.disk import blamed_on, open_own, sync_file, sync_folder
from noa_async.errors import NoaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from noa_async.archive.database import Database
    from noa_async.archive.record import Record

FILE = "manifest.jsonl"
_VERSION = 1
_LEFT_OUT = frozenset({"attempts", "failures", "failed_at", "looked", "todo", "seen", "path_key"})
"""Columns that are useless without the ledger that they were in."""
_DEFAULTS: dict[str, Any] = {
    "checksums": "", "online": 1, "attempts": 0, "failures": 0, "seen": 0, "absences": 0,
    "platform": "", "product_type": "", "level": "", "tile": "", "orbit": "",
}  # fmt: skip
_KEPT = [(place, name) for place, name in enumerate(COLUMNS) if name not in _LEFT_OUT]
_STATE, _PATH, _CHECKSUM = map(COLUMNS.index, ("state", "path", "checksum"))
_HERE = frozenset(map(str, HELD))
_encoded = json.JSONEncoder(ensure_ascii=False).encode
"""Like ``json.dumps``, which creates an encoder for each call."""
_HAS_FILE = f"path IS NOT NULL OR trash IS NOT NULL OR state = '{State.CONSUMED}'"
_SUMS = {"md5": "MD5SUMS", "sha1": "SHA1SUMS", "sha256": "SHA256SUMS", "sha512": "SHA512SUMS"}
_SUMS |= {"blake3": "B3SUMS"}
_PAGE = 2000
_SMALL = 20_000
"""Up to this many products, the manifest is rewritten after each run that changed it."""
_REWRITE_EVERY = 20 * 3600.0


class Manifest:
    """The manifest of one archive, which the caller has locked.

    Call ``note`` and ``forget`` in the event loop's thread; all else blocks, for one thread at a
    time.
    """

    def __init__(self, state: Path) -> None:
        self.path = state / FILE
        self._state = state
        self._pending: dict[str, Record | None] = {}
        self._changed = False
        self._began = False
        self.outdated = False
        """Whether it must be rewritten: files have other paths than it says."""

    @property
    def changed(self) -> bool:
        """Whether files were added, removed or changed since it was last rewritten."""
        return self._changed or self.outdated

    def note(self, record: Record) -> None:
        """Append a record at the next ``flush``."""
        self._pending[record.id] = record

    def forget(self, product_id: str) -> None:
        """Append at the next ``flush`` that a product was removed from the ledger."""
        self._pending[product_id] = None

    def flush(self) -> None:
        """Write the pending lines. Raise DestinationError."""
        if not self._pending:
            return
        noted, self._pending = self._pending, {}
        self._changed = True
        lines = [_noted(product_id, record) for product_id, record in noted.items()]
        try:
            with blamed_on(self.path), open(self.path, "ab", opener=_private) as file:
                if not self._began and file.tell():
                    file.write(b"\n")  # a kill may have left an incomplete line
                self._began = True
                file.write(("\n".join(lines) + "\n").encode())
        except BaseException:
            self._pending = noted | self._pending
            self._began = False  # an incomplete line may be there
            raise

    def is_due(self, products: int) -> bool:
        """Return whether to rewrite it: after each run that changed a small one, once a day a large
        one."""
        if self.outdated or not self.path.exists():
            return True
        if not self._changed:
            return False
        with blamed_on(self.path):
            age = time.time() - (self._state / _SUMS["md5"]).stat().st_mtime if self._sums() else -1
        return products <= _SMALL or not 0 <= age < _REWRITE_EVERY

    def _sums(self) -> bool:
        return (self._state / _SUMS["md5"]).exists()

    def rewrite(self, database: Database, archive_id: str, layout: str) -> None:
        """Rewrite it from a ledger, with the lists of checksums.

        Raise DestinationError; the previous files are kept until the new ones are complete.
        """
        drafts: dict[Path, TextIO] = {}
        with blamed_on(self.path), ExitStack() as stack:

            def draft(name: str) -> TextIO:
                target = self._state / name
                if target not in drafts:
                    path = target.with_name(f"{name}.draft")
                    opened = open(  # noqa: SIM115 (with a mode; closed by the stack)
                        path, "w", encoding="utf-8", errors="surrogateescape", opener=_private
                    )
                    drafts[target] = stack.enter_context(opened)
                return drafts[target]

            manifest = draft(FILE)
            draft(_SUMS["md5"])
            head = {"manifest": _VERSION, "archive": archive_id, "layout": layout}
            manifest.write(_checked(head) + "\n")
            for number, filter_, service, listed in database.rows(
                "SELECT number, filter, service, listed FROM queries"
            ):
                held = {"query": number, "filter": filter_, "service": service, "listed": listed}
                manifest.write(_checked(held) + "\n")
            for row in _rows(database):
                manifest.write(line_of(row) + "\n")
                if entry := _sum_of(row):
                    draft(entry[0]).write(entry[1])
            for file in drafts.values():
                file.flush()
                sync_file(file.fileno())
        with blamed_on(self.path):
            for target in drafts:
                target.with_name(f"{target.name}.draft").replace(target)
            for name in _SUMS.values():
                if self._state / name not in drafts:
                    (self._state / name).unlink(missing_ok=True)
            sync_folder(self._state)
        self._changed = self.outdated = False

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield every line that is intact; nothing if there is no manifest."""
        with suppress(OSError), self.path.open("rb") as file:
            for line in file:
                if (held := _unchecked(line)) is not None:
                    yield held


def _private(path: str, flags: int) -> int:
    """Open a file that only its owner can read."""
    return open_own(path, flags)


def _noted(product_id: str, record: Record | None) -> str:
    if record is None:
        return _checked({"id": product_id, "forgotten": True})
    return line_of(row_of(record))


def _rows(database: Database) -> Iterator[tuple[Any, ...]]:
    last = 0
    question = (
        f"SELECT number, {', '.join(COLUMNS)} FROM products "  # noqa: S608 (made of constants)
        f"WHERE number > ? AND ({_HAS_FILE}) ORDER BY number LIMIT {_PAGE}"
    )
    while page := database.rows(question, (last,)):
        for row in page:
            yield row[1:]
        last = page[-1][0]


def line_of(row: Sequence[Any]) -> str:
    """Return a row of the ledger as a line, without empty values."""
    held = {}
    for place, name in _KEPT:
        value = row[place]
        if value is not None and value != "":
            held[name] = value
    return _checked(held)


def _checked(held: dict[str, Any]) -> str:
    """Return an object as JSON, with a checksum of it as its last key."""
    text = _encoded(held)
    return f'{text[:-1]}, "crc32": {zlib.crc32(text.encode("utf-8", "replace"))}}}'


def _unchecked(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line; None if its checksum does not match."""
    try:
        held = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(held, dict):
        return None
    found = held.pop("crc32", None)
    text = _encoded(held)
    return held if found == zlib.crc32(text.encode("utf-8", "replace")) else None


def records_in(lines: Iterable[dict[str, Any]]) -> Iterator[Record | str]:
    """Yield the records of a manifest's lines, and the Ids of removed products."""
    for held in lines:
        product_id = held.get("id")
        if not isinstance(product_id, str):
            continue
        if held.get("forgotten"):
            yield product_id
            continue
        row = [held.get(name, _DEFAULTS.get(name)) for name in COLUMNS]
        with suppress(TypeError, ValueError, OverflowError, AttributeError, NoaError):
            yield record_of(row)


def _sum_of(row: Sequence[Any]) -> tuple[str, str] | None:
    """Return the name of the list that a file's checksum belongs to, and its line there."""
    algorithm, _, value = str(row[_CHECKSUM] or "").partition(":")
    here = row[_PATH] and row[_STATE] in _HERE
    if not here or algorithm not in _SUMS or not value:
        return None
    return _SUMS[algorithm], f"{value}  {row[_PATH]}\n"
