"""Read and write the mark of an archive, and remember which archives were in which folders.

An archive's Id is in ``.noa-async/archive.json``. The user's state folder remembers the archive of
each folder, so that an empty mount point is not mistaken for a new archive. All functions block.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noa_async.archive.targets import default_scratch
from noa_async.catalogue.times import format_instant
from noa_async.disk import write_synced
from noa_async.errors import ArchiveMissing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MARK = "archive.json"
_VERSION = 1
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Mark:
    """Identifies an archive."""

    id: str
    created: str
    """When it was created, as ISO 8601."""
    version: int = _VERSION


@dataclass(frozen=True, slots=True)
class Known:
    """The archive that was in a folder when this user last used it."""

    path: str
    """The folder, with symbolic links resolved."""
    id: str
    seen: str
    """When it was last used, as ISO 8601."""
    files: tuple[str, ...] = ()
    """Some of its files, relative to the folder."""

    @property
    def has_files(self) -> bool:
        """Whether any of these files still exists."""
        return any(os.path.lexists(Path(self.path, name)) for name in self.files)


def new_mark(archive_id: str | None = None) -> Mark:
    """Return the mark of a new archive."""
    return Mark(archive_id or str(uuid.uuid4()), format_instant(datetime.now(UTC)))


def read_mark(state: Path) -> Mark | None:
    """Return the mark in a state folder; None if there is no valid one."""
    held = _json(state / MARK)
    archive_id, created = held.get("id"), held.get("created")
    if not isinstance(archive_id, str) or not _ID.fullmatch(archive_id):
        return None
    return Mark(archive_id, created if isinstance(created, str) else "")


def write_mark(state: Path, mark: Mark) -> None:
    """Write a mark to a state folder. Raise DestinationError."""
    write_synced(state / MARK, json.dumps(asdict(mark)) + "\n")


def state_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder with this user's state: NOA_STATE_HOME, else the default."""
    named = environ.get("NOA_STATE_HOME")
    return Path(named) if named else default_scratch()


def recall(root: Path) -> Known | None:
    """Return what is remembered of a folder; None if nothing is, or it cannot be read."""
    with suppress(OSError, RuntimeError):  # links in a circle, or a user without a home directory
        path = str(root.resolve())
        return _recalled(path, _json(_file_of(path)))
    return None


def _recalled(path: str, held: dict[str, Any]) -> Known | None:
    archive_id, seen = held.get("id"), held.get("seen")
    if held.get("path") != path or not isinstance(archive_id, str):
        return None
    files = held.get("files")
    some = tuple(map(str, files)) if isinstance(files, list) else ()
    return Known(path, archive_id, seen if isinstance(seen, str) else "", some)


def remember(root: Path, mark: Mark, files: Sequence[str]) -> None:
    """Remember which archive is in a folder, and some of its files.

    Errors are ignored.
    """
    with suppress(OSError, RuntimeError):
        path = str(root.resolve())
        known = Known(path, mark.id, format_instant(datetime.now(UTC)), tuple(files))
        file = _file_of(path)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = file.with_name(f"{file.name}.{os.getpid()}.draft")
        draft.write_text(json.dumps(asdict(known)) + "\n", encoding="utf-8")
        draft.replace(file)


def _file_of(path: str) -> Path:
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    return state_home() / "archives" / f"{name}.json"


def _json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        held = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(held, dict):
            return held
    return {}


def check_archive(
    root: Path, mark: Mark | None, known: Known | None, *, is_there: bool, wanted: str | None
) -> None:
    """Raise ArchiveMissing if a folder does not hold the archive that it should.

    ``mark``: the folder's mark. ``known``: what is remembered of the folder. ``is_there``: whether
    the folder has a ``.noa-async``, with any content, or one of the remembered files. ``wanted``:
    the requested Id.

    | requested | remembered | the folder has                |                        |
    |-----------|------------|-------------------------------|------------------------|
    | X         |            | the mark X                    | good                   |
    | X         |            | another mark                  | raises                 |
    | X         | X          | no mark, but ``is_there``     | good: the mark is lost |
    | X         | any other  | no mark                       | raises                 |
    | nothing   | nothing    |                               | good                   |
    | nothing   | X          | the mark X                    | good                   |
    | nothing   | X          | another mark                  | raises                 |
    | nothing   | X          | no mark, but ``is_there``     | good: the mark is lost |
    | nothing   | X          | nothing of it                 | raises                 |
    """
    expected = wanted or (known.id if known else None)
    if expected is None or (mark is not None and mark.id == expected):
        return
    if mark is not None:
        raise ArchiveMissing(
            f"{root} holds the archive {mark.id}, not {expected}, which "
            f"{'was requested' if wanted else 'was there before'}.",
            hint="Is another disk mounted there? If this is the right archive, use --archive-id "
            f"{mark.id}.",
        )
    if is_there and known is not None and known.id == expected:
        return
    when = f" when it was last used, {known.seen}" if known and known.seen else ""
    held = f"held an archive{when}, but holds none now" if known else f"does not hold {expected}"
    raise ArchiveMissing(
        f"{root} {held}. Is its disk not mounted?",
        hint="Mount it and start again. If the archive was moved or deleted on purpose, "
        "--new-archive creates a new one there.",
    )
