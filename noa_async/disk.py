"""Map the operating system's errors to ours, and wrap the few file calls that need care.

Everything here blocks.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import AbstractContextManager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING

from noa_async.errors import DestinationError, DestinationFull, FileInaccessible, ProductTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNKNOWN_ROOM = 1 << 62
"""Free bytes of a file system that does not tell its size."""
LOST = frozenset({errno.EIO, errno.EILSEQ, getattr(errno, "EUCLEAN", errno.EIO)})
"""How a read says that the disk has lost bytes of that file; others may be readable."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
BAD_NAME = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ})
"""How a file system says that it cannot hold a name, as FAT and CIFS some."""
NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""How a file system says that it cannot sync; some network and FUSE file systems do."""
_NO_FOLDER_SYNC = NO_SYNC | {errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}
_COPY_BLOCK = 4 << 20
COPYING = ".noa-async-copying"
"""How the name of a file ends that is being copied from another file system."""

_RETRY = "Start again afterwards: verified products stay, interrupted ones resume."
_HINTS = {
    errno.EIO: "The disk or the connection to it fails: see the system log (dmesg) and check the "
    f"disk or remount the share. {_RETRY}",
    errno.EROFS: "The file system is mounted read-only; Linux also does that after disk errors: "
    f"see dmesg, then remount it writable. {_RETRY}",
    errno.ESTALE: f"The file server has replaced the folder: remount the share. {_RETRY}",
    errno.ENAMETOOLONG: "Name another folder, or another --layout with shorter names.",
    errno.ELOOP: "No file of the state folder is ever a link: find out who made it; delete it.",
}


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


def too_large(error: OSError, path: Path | str) -> ProductTooLarge:
    """Return the error for a file that may not grow further (EFBIG): others may be smaller."""
    return ProductTooLarge(
        f"{path} cannot grow further: {error.strerror}.",
        hint="The file system, or a limit of this process (ulimit -f), allows no larger file: "
        "raise the limit or use another file system (FAT ends at 4 GiB).",
    )


def destination_error(error: OSError, path: Path | str) -> DestinationError:
    """Return what an OSError at ``path`` means for the whole run."""
    reason = error.strerror or str(error)
    if error.errno == errno.ELOOP:
        path, reason = error.filename or path, "a link is in its place"
    if error.errno == errno.EDQUOT:
        return DestinationFull(
            f"No room for {path}: {reason}.",
            hint=f"Free some of this user's quota or have it raised. {_RETRY}",
        )
    if error.errno in {errno.ENOSPC, errno.EFBIG}:
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
        hint=_HINTS.get(
            error.errno or 0,
            "Check that the folder is there and that this user may write to it.",
        ),
    )


def file_error(error: OSError, path: Path | str) -> FileInaccessible:
    """What an OSError means that concerns one product's file, not the whole folder."""
    if error.errno in BAD_NAME:
        hint = "Its file system cannot hold such a name: use another --layout or file system."
    else:
        hint = "Check what lies there, and that this user may read and write it."
    return FileInaccessible(f"{path} cannot be used: {error.strerror or error}.", hint=hint)


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


def free_room(path: Path | str) -> int:
    """Return the bytes that this user may still write at ``path``.

    A file system that reports no size at all, as some network ones do, counts as large enough.
    """
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize if found.f_blocks else UNKNOWN_ROOM


def sync_file(descriptor: int) -> None:
    """Put a file's bytes on stable storage; do nothing if its file system cannot sync.

    After any other error the kernel may have dropped bytes that it still serves from its cache:
    the file must not be used any more.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


def sync_folder(path: Path | str) -> None:
    """Put a folder's entries, such as a fresh rename, on stable storage.

    Do nothing if the file system cannot sync folders, or the folder cannot be opened for it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def open_own(path: Path | str, flags: int, mode: int = 0o600) -> int:
    """Open a file of the state folder for writing; raise OSError (ELOOP) for a link.

    A link, a pipe or a device that was planted there could lead into a file of somebody else.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    try:
        _check_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(found: os.stat_result, path: Path | str) -> None:
    if not S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, "it is no regular file", str(path))


def create_own(path: Path | str, mode: int = 0o600, flags: int = os.O_RDWR) -> int:
    """Create a file of the state folder, in place of whatever has its name."""
    flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108 (a path as text)
        return os.open(path, flags, mode)


def ensure_own(path: Path) -> None:
    """Create an empty file of the state folder if it is missing; raise OSError for a link."""
    os.close(open_own(path, os.O_RDWR | os.O_CREAT))


def make_own_folder(path: Path, mode: int = 0o777) -> None:
    """Create a folder in the state folder if it is missing; raise OSError (ELOOP) for a link."""
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
        return
    check_no_link(path)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def check_no_link(path: Path) -> None:
    """Raise OSError (ELOOP) if a folder of the state folder is a link."""
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link", str(path))


def check_owner(state: Path) -> None:
    """Raise DestinationError if another user could plant files in a state folder.

    It must belong to this user (root may use any) and not be writable by everybody. A file system
    without owners or modes of its own, such as FAT or a CIFS share, shows a new file with the
    same owner and mode: then nothing is to be seen, and nothing is refused.
    """
    found = state.lstat()
    foreign = os.geteuid() not in {0, found.st_uid}
    open_to_all = bool(found.st_mode & 0o002)
    if not foreign and not open_to_all:
        return
    probe = state / f"owner-{os.getpid()}.tmp"
    descriptor = create_own(probe)
    try:
        made = os.fstat(descriptor)
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
    if foreign and made.st_uid != found.st_uid:
        raise DestinationError(
            f"{state} belongs to another user (id {found.st_uid}), who could change what is "
            "written there.",
            hint="Run as that user, or name another folder.",
        )
    if open_to_all and not made.st_mode & 0o077:
        raise DestinationError(
            f"Every user may write into {state}, and so could change what is written there.",
            hint=f"Check what lies there, then run: chmod go-w {state}",
        )


def relocate(source: Path, target: Path, draft: Path) -> None:
    """Move a file or link over ``target``, also from another file system; raise OSError.

    In that case it is copied to ``draft``, beside the target, which gets its name when it is whole
    and on stable storage; only then does the source go.
    """
    try:
        os.replace(source, target)  # noqa: PTH105 (as a call that a test can fail)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    if source.is_symlink():
        draft.unlink(missing_ok=True)
        draft.symlink_to(source.readlink())
    elif source.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft, symlinks=True)
    else:
        copy_synced(source, draft)
    draft.replace(target)
    sync_folder(target.parent)
    if source.is_dir() and not source.is_symlink():
        shutil.rmtree(source)
    else:
        source.unlink()


def copy_synced(source: Path | str, target: Path | str) -> None:
    """Copy a file into a new one on stable storage, times included; raise OSError.

    ``target`` is removed again if that fails.
    """
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(reading)
        writing = create_own(target, found.st_mode & 0o777)
        try:
            _copy(reading, writing)
            with suppress(OSError):  # some file systems keep no times
                os.utime(writing, ns=(found.st_atime_ns, found.st_mtime_ns))
            sync_file(writing)
        except BaseException:
            os.close(writing)
            with suppress(OSError):
                os.unlink(target)  # noqa: PTH108 (a path as text)
            raise
        os.close(writing)
    finally:
        os.close(reading)


def _copy(reading: int, writing: int) -> None:
    offset = 0
    while block := os.pread(reading, _COPY_BLOCK, offset):
        offset += write_all(writing, [block], offset)


def write_synced(path: Path, text: str) -> None:
    """Put ``text`` in a small file, for good: a power cut leaves it as it was or as it is now."""
    with blamed_on(path):
        draft = path.with_name(f"{path.name}.draft")
        descriptor = create_own(draft)
        try:
            try:
                write_all(descriptor, [text.encode()], 0)
                sync_file(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            with suppress(OSError):
                draft.unlink()
            raise
        draft.replace(path)
        sync_folder(path.parent)
