"""``--report``: how each product ended, as one JSON object, written while the run goes on."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TextIO

from noa_async.catalogue.times import format_instant
from noa_async.disk import destination_error
from noa_async.events import Status

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.cli.tally import Tally
    from noa_async.transfer.outcome import Outcome

VERSION = 1


class Report:
    """A report that gets its name when the run is over, however it ends.

    ``path`` ``-`` is standard output. Products are written as they end, and not held.

    Error handling: DestinationError where the report cannot be written.
    Resources: a context manager; leaving it completes the report with the ``tally`` as it is then.
    """

    def __init__(self, path: Path, folder: Path, filter_: str, tally: Tally) -> None:
        self.path = path
        self._folder = folder.absolute()
        self._filter = filter_
        self._tally = tally
        self._first = True

    def __enter__(self) -> Self:
        with self._blamed():
            self._file, self._draft = _open_draft(self.path)
            head = {"version": VERSION, "filter": self._filter, "started": _now()}
            self._file.write(json.dumps(head)[:-1] + ', "products": [')
        return self

    def add(self, outcome: Outcome) -> None:
        """Write one more product."""
        line = json.dumps(product_entry(outcome, self._folder))
        with self._blamed():
            self._file.write(("\n" if self._first else ",\n") + line)
        self._first = False

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._blamed():
                self._finish()
        except Exception:
            self._drop()
            if kind is None:
                raise

    def _finish(self) -> None:
        counts = {str(status): self._tally.counts[status] for status in Status}
        tail = {"finished": _now(), "bytes": self._tally.bytes, "counts": counts}
        self._file.write("\n], " + json.dumps(tail)[1:] + "\n")
        self._file.flush()
        if self._draft is None:
            self._file.seek(0)
            shutil.copyfileobj(self._file, sys.stdout)
        else:
            os.fsync(self._file.fileno())
            self._draft.replace(self.path)
        self._file.close()

    def _drop(self) -> None:
        with suppress(OSError):
            self._file.close()
        if self._draft is not None:
            with suppress(OSError):
                self._draft.unlink()

    def _blamed(self) -> _Blamed:
        return _Blamed(self.path)


class _Blamed:
    """Turns an OSError into a DestinationError about the report; a closed pipe stays itself."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise destination_error(error, self._path) from error


def product_entry(outcome: Outcome, folder: Path) -> dict[str, Any]:
    """One product of a report; its path is told from ``folder``."""
    path = outcome.path
    return {
        "id": outcome.product.id,
        "name": outcome.product.name,
        "path": None if path is None else path.relative_to(folder).as_posix(),
        "status": str(outcome.status),
        "bytes": outcome.bytes,
        "checksum": outcome.checksum,
        "attempts": outcome.attempts,
        "error": None if outcome.error is None else str(outcome.error),
    }


def _open_draft(path: Path) -> tuple[TextIO, Path | None]:
    if str(path) == "-":
        return tempfile.TemporaryFile("w+", encoding="utf-8"), None
    if path.is_dir():
        raise IsADirectoryError(21, "It is a folder", str(path))
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)  # of a run that was killed
    return draft.open("x", encoding="utf-8"), draft


def _now() -> str:
    return format_instant(datetime.now(UTC))
