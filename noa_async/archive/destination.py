"""The output folder on disk: its lock, its parts, and how a whole product gets its name."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from noa_async.disk import blamed_on, sync_folder
from noa_async.errors import DestinationInUse
from noa_async.transfer.checksum import ZIP_START
from noa_async.transfer.sink import note_of

if TYPE_CHECKING:
    from pathlib import Path, PurePosixPath

STATE_FOLDER = ".noa-async"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file looks like from outside."""

    size: int
    mtime_ns: int


class LocalFolder:
    """A folder that holds products, and beside them ``.noa-async/`` with all else. Blocks.

    Resources: ``open`` takes the lock, ``close`` gives it back.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / STATE_FOLDER
        self._lock = -1

    def open(self) -> Self:
        """Make the folder where it is missing, and lock it.

        Raises DestinationError where it cannot be written, DestinationInUse where another run
        holds it.
        """
        with blamed_on(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        with blamed_on(self.state):
            self.state.mkdir(mode=0o700, exist_ok=True)
            for name in ("parts", "quarantine"):
                (self.state / name).mkdir(exist_ok=True)
            self._take_lock()
        return self

    def _take_lock(self) -> None:
        path = self.state / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise DestinationInUse(
                f"{self.root} is in use by another run"
                + (f" (process {holder})." if holder else "."),
                hint="Wait for it to end, or name another folder.",
            ) from None
        except BaseException:
            os.close(lock)
            raise
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def close(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def part(self, product_id: str) -> Path:
        """Where a product's bytes gather; an Id is safe as a name (``Product.id``)."""
        return self.state / "parts" / f"{product_id}.part"

    def part_size(self, product_id: str) -> int:
        """Bytes of a product that have gathered."""
        try:
            return self.part(product_id).stat().st_size
        except OSError:
            return 0

    def place(self, path: PurePosixPath | str) -> Path:
        """A path from the output folder, on this machine."""
        return self.root.joinpath(path)

    def facts(self, path: PurePosixPath | str) -> FileFacts | None:
        """Size and time of a regular file; None where there is none."""
        try:
            found = os.lstat(self.place(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        regular = (found.st_mode & 0o170000) == 0o100000
        return FileFacts(found.st_size, found.st_mtime_ns) if regular else None

    def is_zip(self, part: Path) -> bool:
        """Whether a part begins as a zip does."""
        with blamed_on(part), part.open("rb") as file:
            return file.read(len(ZIP_START)) == ZIP_START

    def publish(self, part: Path, path: PurePosixPath) -> FileFacts:
        """Give a whole, checked, synced part its name, at once and for good."""
        target = self.place(path)
        with blamed_on(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part.replace(target)
            note_of(part).unlink(missing_ok=True)
            sync_folder(target.parent)
            found = target.stat()
        return FileFacts(found.st_size, found.st_mtime_ns)

    def quarantine(self, part: Path) -> Path:
        """Put wrong bytes out of the way, over those of an earlier try; where they lie now."""
        return self._move(part, self.state / "quarantine" / part.name)

    def put_aside(self, file: Path, product_id: str) -> Path:
        """Put what is in a product's way under ``quarantine/``, over nothing; where it lies now."""
        name = f"{product_id[:40]}_{file.name}"
        target = self.state / "quarantine" / name
        number = 1
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{name}.{number}")
        return self._move(file, target)

    def _move(self, file: Path, target: Path) -> Path:
        with blamed_on(target):
            file.replace(target)
        return target

    def room(self) -> int:
        """Bytes free for this user."""
        with blamed_on(self.root):
            return shutil.disk_usage(self.root).free
