"""Manage the part files of attempts: each attempt has its own, and passes it on when it ends.

``<Id>.part`` belongs to the archive, ``<Id>.w-<12 digits>.part`` to an attempt, ``.s-`` to an
attempt that is complete. A lost worker may still have its file open, so its part file is copied,
never renamed. All functions block.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from noa_async.disk import blamed_on
from noa_async.errors import DestinationError
from noa_async.transfer.sink import note_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")

_WORKING = re.compile(r"\.w-([0-9a-f]{12})\.part$")
_ATTEMPT = re.compile(r"(?P<id>.+)\.[ws]-[0-9a-f]{12}")


_OWN = "noa-async-worker-"


def attempt_name(product_id: str) -> str:
    """Return a part file name that no other attempt has.

    >>> owner(attempt_name("0a5c").removesuffix(".part"))
    '0a5c'
    """
    return f"{product_id}.w-{uuid.uuid4().hex[:12]}.part"


def sealed(part: Path) -> Path:
    """Return the path of an attempt's part file once it is complete and closed.

    >>> from pathlib import Path
    >>> str(sealed(Path("parts/0a5c.w-0123456789ab.part")))
    'parts/0a5c.s-0123456789ab.part'
    """
    return part.with_name(_WORKING.sub(r".s-\1.part", part.name))


def owner(stem: str) -> str | None:
    """Return the product's Id in the name of an attempt's part file; None for another file.

    >>> owner("0a5c.w-0123456789ab"), owner("0a5c")
    ('0a5c', None)
    """
    match = _ATTEMPT.fullmatch(stem)
    return match["id"] if match else None


def size_of(part: Path) -> int:
    """Return the size of a part file; 0 if there is none."""
    try:
        return part.stat().st_size
    except OSError:
        return 0


def hand_on(part: Path, to: Path) -> bool:
    """Rename a part file and its note, which must not be open. Return whether it has any bytes."""
    with blamed_on(to):
        _rename(note_of(part), note_of(to))
        _rename(part, to)
    return size_of(to) > 0


def _rename(file: Path, to: Path) -> None:
    try:
        file.replace(to)
    except FileNotFoundError:
        to.unlink(missing_ok=True)


def take_over(part: Path, to: Path) -> None:
    """Copy the bytes that a lost worker left into a file that the worker does not know."""
    if sealed(part).exists():
        hand_on(sealed(part), to)
        return
    with blamed_on(to):
        if part.exists() and note_of(part).exists():
            draft = to.with_suffix(".copy")
            shutil.copyfile(part, draft)
            shutil.copyfile(note_of(part), note_of(to))
            draft.replace(to)
        else:  # without its note, no run could resume it
            to.unlink(missing_ok=True)
            note_of(to).unlink(missing_ok=True)
        part.unlink(missing_ok=True)
        note_of(part).unlink(missing_ok=True)


def adopt(folder: Path) -> set[str]:
    """Take over the part files of an earlier run's attempts. Return the Ids of the products."""
    found: dict[str, list[Path]] = {}
    for part in folder.glob("*.part"):
        if (product_id := owner(part.stem)) is not None:
            found.setdefault(product_id, []).append(part)
    for draft in folder.glob("*.copy"):
        draft.unlink(missing_ok=True)
    for note in folder.glob("*.json"):
        if owner(note.stem) is not None and not note.with_suffix(".part").exists():
            note.unlink(missing_ok=True)
    for product_id, parts in found.items():
        target = folder / f"{product_id}.part"
        parts.sort(key=size_of)
        if size_of(parts[-1]) > size_of(target):
            longest = parts.pop()
            (hand_on if sealed(longest) == longest else take_over)(longest, target)
        for part in parts:
            part.unlink(missing_ok=True)
            note_of(part).unlink(missing_ok=True)
    return set(found)


def seal(part: Path) -> None:
    """Rename a complete, closed part file and its note to the name that marks it as complete."""
    hand_on(part, sealed(part))


def unseal(part: Path) -> None:
    """Rename a complete part file back to its working name, if there is one."""
    if sealed(part).exists():
        hand_on(sealed(part), part)


def give_away(part: Path, publish: Callable[..., _T], arguments: Sequence[Any]) -> _T:
    """Call ``publish``, which takes a complete part file; delete its note only afterwards."""
    published = publish(*arguments)
    note_of(part).unlink(missing_ok=True)
    return published


def check_sealed(part: Path, size: int) -> None:
    """Raise DestinationError if a worker's complete part file has another size here."""
    if size_of(part) != size:
        raise DestinationError(
            f"A worker wrote {size} bytes to {part}, but the file has {size_of(part)} bytes here.",
            hint="All machines of the cluster must share the output folder.",
        )


def make_own_folder() -> Path:
    """Create a folder for this process, and delete those of processes that have ended."""
    for left in Path(tempfile.gettempdir()).glob(f"{_OWN}*-*"):
        number = left.name.removeprefix(_OWN).partition("-")[0]
        if number.isdecimal() and not _is_running(int(number)):
            drop_own_folder(left)
    return Path(tempfile.mkdtemp(prefix=f"{_OWN}{os.getpid()}-"))


def drop_own_folder(folder: Path) -> None:
    """Delete the folder and its content."""
    shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
