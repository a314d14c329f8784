"""The lock of a state folder: flock, or a lock file if the file system has no working locks.

A lock file names its process, machine and boot, so that one that a crash left behind is replaced
by the next run on the same machine. Everything here blocks.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from noa_async.disk import open_own, sync_file
from noa_async.errors import DestinationInUse

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
"""What ``flock`` raises on a file system without locks."""
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_SETTLED = 60.0
"""Seconds after which an owner file without content, or a takeover, was cut short by a crash."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that an owner file names."""

    host: str
    boot: str
    """The machine's boot id; empty if the system has none."""
    space: str
    """The space of process ids, for containers have their own; empty if the system has none."""
    process: int
    started: str
    """When the process began, in the system's own unit; empty if the system does not tell."""


def is_stale(owner: Owner, here: Owner, started: Callable[[int], str | None]) -> bool:
    """Return whether the process that an owner file names is known to have ended.

    ``here`` is this process; ``started`` tells when a process of this machine began, None if there
    is no such process.

    | host    | boot    | space of process ids | process                 | stale |
    |---------|---------|----------------------|-------------------------|-------|
    | another |         |                      |                         | no    |
    | this    | another |                      |                         | yes   |
    | this    | this    | another              |                         | no    |
    | this    | this    | this                 | none with this id       | yes   |
    | this    | this    | this                 | one that began later    | yes   |
    | this    | this    | this                 | the same                | no    |
    """
    if owner.host != here.host:
        return False
    if owner.boot != here.boot:
        return True
    if owner.space != here.space:
        return False
    return started(owner.process) != owner.started


def this_process() -> Owner:
    """Return what an owner file says of this process."""
    process = os.getpid()
    return Owner(
        host=os.uname().nodename,
        boot=_text("/proc/sys/kernel/random/boot_id"),
        space=_link("/proc/self/ns/pid"),
        process=process,
        started=started(process) or "",
    )


def started(process: int) -> str | None:
    """Return when a process of this machine began; None if there is none, empty if unknown."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except (PermissionError, OverflowError):
        pass
    fields = _text(f"/proc/{process}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _text(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text(errors="replace").strip()
    return ""


def _link(path: str) -> str:
    with suppress(OSError):
        return os.readlink(path)  # noqa: PTH115 (its text is no path)
    return ""


class FolderLock:
    """The lock of one state folder.

    Resources: ``take`` takes it, ``release`` gives it back; a process that dies gives it back, too.
    Error handling: DestinationInUse if another run has it; OSError.
    """

    def __init__(self, state: Path, name: str) -> None:
        """``name``: what the archive is called in errors."""
        self._path = state / "lock"
        self._owner_file = state / "lock.owner"
        self._guard = state / "lock.takeover"
        self._name = name
        self._descriptor = -1
        self._process = 0
        self._owned = False
        self.suspect = False
        """Whether the last run did not end in order: its lock still named it."""
        self.missing: str | None = None
        """Why a lock file has to take the place of locks; None if the file system has them."""

    def take(self) -> None:
        """Take the lock. Raises DestinationInUse if another run has it."""
        descriptor = open_own(self._path, os.O_RDWR | os.O_CREAT)
        try:
            self.missing = self._flock(descriptor)
            if self.missing is not None or os.path.lexists(self._owner_file):
                self._take_owner_file()
            self.suspect = os.fstat(descriptor).st_size > 0
            name = f"{os.getpid()}\n".encode()
            os.pwrite(descriptor, name, 0)
            os.ftruncate(descriptor, len(name))
            # Otherwise a power cut may remove it, and the next run does not check the ledger.
            sync_file(descriptor)
        except BaseException:
            os.close(descriptor)
            self._release_owner_file()
            raise
        self._descriptor, self._process = descriptor, os.getpid()

    def release(self, *, in_order: bool) -> None:
        """Give the lock back; ``in_order``: the next run need not check the ledger.

        A forked child has a copy of the descriptor: it closes that, and the parent keeps the lock.
        """
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        is_ours = os.getpid() == self._process
        try:
            if is_ours and in_order:
                os.ftruncate(descriptor, 0)
            if is_ours and self.missing is None:
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may hold it open for longer
        finally:
            os.close(descriptor)
            if is_ours:
                self._release_owner_file()

    def _flock(self, descriptor: int) -> str | None:
        """Take the file system's own lock; return why it cannot be relied on, if so.

        It is asked for a second time: a file system that grants it twice has none.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            self._refuse(f"process {holder}" if holder else "")
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return error.strerror or str(error)
        second = os.open(self._path, _FLAGS)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        finally:
            os.close(second)
        return "it grants one lock twice"

    def _take_owner_file(self) -> None:
        """Create the owner file, in place of one whose process has ended."""
        here = this_process()
        try:
            self._create_owner_file(here)
        except FileExistsError:
            self._replace_owner_file(here)

    def _create_owner_file(self, here: Owner) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._owner_file, flags, 0o600)
        self._owned = True
        try:
            os.write(descriptor, json.dumps(asdict(here)).encode())
            sync_file(descriptor)
        finally:
            os.close(descriptor)

    def _replace_owner_file(self, here: Owner) -> None:
        """Replace a stale owner file. A folder keeps two runs from doing so at the same time."""
        self._check_stale(here)
        if _age(self._guard) > _SETTLED:
            with suppress(OSError):
                self._guard.rmdir()
        try:
            self._guard.mkdir()
        except FileExistsError:
            self._refuse("")
        try:
            self._check_stale(here)  # another run may have replaced it meanwhile
            self._owner_file.unlink(missing_ok=True)
            self._create_owner_file(here)
        finally:
            self._guard.rmdir()

    def _check_stale(self, here: Owner) -> None:
        """Raise DestinationInUse unless the process of the owner file has ended."""
        owner = self._read_owner()
        if owner is None:
            if 0 <= _age(self._owner_file) < _SETTLED:
                self._refuse("")
        elif not is_stale(owner, here, started):
            away = "" if owner.host == here.host else f" on {owner.host}"
            self._refuse(f"process {owner.process}{away}", delete=True)

    def _read_owner(self) -> Owner | None:
        """Return what the owner file says; None if it is cut short or gone."""
        try:
            descriptor = open_own(self._owner_file, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return Owner(**json.loads(os.read(descriptor, 4096)))
        except (ValueError, TypeError):
            return None
        finally:
            os.close(descriptor)

    def _release_owner_file(self) -> None:
        if self._owned:
            self._owned = False
            with suppress(OSError):
                self._owner_file.unlink()

    def _refuse(self, holder: str, *, delete: bool = False) -> NoReturn:
        hint = "Wait for it to end, or name another folder."
        if delete:
            hint += f" If that process is no more, delete {self._owner_file}."
        raise DestinationInUse(
            f"{self._name} is in use by another run" + (f" ({holder})." if holder else "."),
            hint=hint,
        ) from None


def _age(path: Path) -> float:
    """Return the seconds since a file or folder changed; negative if it is not there."""
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return -1.0
