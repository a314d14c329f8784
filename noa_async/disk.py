"""The file system's errors made ours, and the few calls that need care. All of it blocks."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from noa_async.errors import DestinationError, DestinationFull, FileInaccessible

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class blamed_on(AbstractContextManager[None]):  # noqa: N801 (called as a function is)
    """Turn an OSError inside into a DestinationError that names ``path``.

    A class, for each product enters some: a generator's context costs several times as much.
    """

    __slots__ = ("_path",)

    def __init__(self, path: Path | str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise destination_error(error, self._path) from error


def destination_error(error: OSError, path: Path | str) -> DestinationError:
    """What an OSError met at ``path`` means for the user."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return DestinationFull(
            f"No room for {path}: {reason}.",
            hint="Make room and start again: what has arrived is kept.",
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST}:
        return DestinationError(
            f"{path} cannot be a folder: a file is in the way.", hint="Name another folder."
        )
    return DestinationError(
        f"{path} cannot be written: {reason}.",
        hint="Check that the folder is there and that this user may write to it.",
    )


def file_error(error: OSError, path: Path | str) -> FileInaccessible:
    """What an OSError means that concerns one product's file, not the whole folder."""
    return FileInaccessible(
        f"{path} cannot be used: {error.strerror or error}.",
        hint="Check what lies there, and that this user may read and write it.",
    )


def write_all(descriptor: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
    """Write ``pieces`` one behind the other at ``offset``; how many bytes that were."""
    expected = sum(map(len, pieces))
    written = os.pwritev(descriptor, pieces, offset)
    if written == expected:
        return expected
    # A short write is rare (a signal, a disk about to be full): go on flat from where it ended.
    rest = memoryview(b"".join(pieces))[written:]
    while rest:
        written = os.pwrite(descriptor, rest, offset + expected - len(rest))
        rest = rest[written:]
    return expected


def sync_folder(path: Path | str) -> None:
    """Put a folder's entries, such as a fresh rename, on stable storage."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, text: str) -> None:
    """Put ``text`` in a small file, for good: a power cut leaves it as it was or as it is now."""
    with blamed_on(path):
        draft = path.with_name(f"{path.name}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, [text.encode()], 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        sync_folder(path.parent)
