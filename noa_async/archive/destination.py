"""The output folder on disk: its lock, its parts, and how a whole product gets its name."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from noa_async.disk import blamed_on, destination_error, sync_folder, write_all
from noa_async.errors import DestinationError, DestinationInUse
from noa_async.transfer.sink import note_of

if TYPE_CHECKING:
    from collections.abc import Generator

STATE_FOLDER = ".noa-async"
_LAST_NS = 2**63 - 1
_ROOM_SECONDS = 1.0


def ledger_of(root: Path) -> Path:
    """Where the ledger of an output folder is."""
    return root / STATE_FOLDER / "ledger.sqlite3"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file looks like from outside."""

    size: int
    mtime_ns: int
    """Within what a ledger can hold, 1677 to 2262: file systems know later times."""

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Those of a file that was asked."""
        return cls(found.st_size, max(-_LAST_NS, min(found.st_mtime_ns, _LAST_NS)))


_NOT_THERE = (PermissionError, FileNotFoundError, NotADirectoryError)


def _unreadable(error: OSError, folder: Path) -> DestinationError:
    return DestinationError(
        f"{folder} cannot be read: {error.strerror or error}.",
        hint="Check that it is there, that this user may read it, and that its disk is well.",
    )


class LocalFolder:
    """A folder that holds products, and beside them ``.noa-async/`` with all else. Blocks.

    Resources: ``open`` takes the lock, ``close`` gives it back.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / STATE_FOLDER
        self._kept_layout = self.state / "layout"
        self._next_layout = self.state / "layout.next"
        self._parts = os.path.join(self.state, "parts", "")  # noqa: PTH118 (for every product)
        self._begun: set[str] = set()
        self._unsynced: set[str] = set()
        self._room, self._room_until = 0, 0.0
        self._lock = -1
        self.suspect = False
        """Whether the last run did not end in order: its lock still named it."""
        self.bare = False
        """Whether no product lay here, nor any other file, when it was opened."""

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
            with os.scandir(self.root) as entries:
                self.bare = all(entry.name == STATE_FOLDER for entry in entries)
            self._look_at_parts()
        return self

    def _look_at_parts(self) -> None:
        """What earlier runs left; a note whose part has been given its name is of no use."""
        parts = Path(self._parts)
        self._begun = {file.stem for file in parts.glob("*.part")}
        for note in parts.glob("*.json"):
            if note.stem not in self._begun:
                note.unlink(missing_ok=True)

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
        self.suspect = os.fstat(lock).st_size > 0
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        os.fsync(lock)  # or a power cut takes the name, and nobody looks through the ledger
        self._lock = lock

    def close(self, *, in_order: bool = True) -> None:
        """Give the lock back; ``in_order``: nothing here has to be looked through next time."""
        if self._lock >= 0:
            if in_order:
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = -1

    def read_layout(self) -> str | None:
        """The layout that products lie in, or are being moved into; None where none was kept.

        Raises DestinationError where what was kept cannot be read, or is no layout.
        """
        return _template(self._next_layout) or _template(self._kept_layout)

    @property
    def moving(self) -> bool:
        """Whether a move into another layout has begun, and not ended."""
        return self._next_layout.exists()

    def begin_move(self, template: str) -> None:
        """Keep what layout all is moved into, before the first file is."""
        _write_synced(self._next_layout, f"{template}\n")

    def keep_layout(self, template: str) -> None:
        """Keep the layout that all lies in, for good: it outlives the ledger. Ends a move."""
        _write_synced(self._kept_layout, f"{template}\n")
        with blamed_on(self._next_layout):
            self._next_layout.unlink(missing_ok=True)

    def part(self, product_id: str) -> Path:
        """Where a product's bytes gather; an Id is safe as a name (``Product.id``)."""
        return Path(f"{self._parts}{product_id}.part")

    def begin(self, product_id: str) -> bool:
        """A product's bytes will gather; whether some may be there from before."""
        before = product_id in self._begun
        self._begun.add(product_id)
        return before

    def part_size(self, product_id: str) -> int:
        """Bytes of a product that have gathered."""
        try:
            return self.part(product_id).stat().st_size
        except OSError:
            return 0

    def drop_part(self, product_id: str) -> None:
        """Delete what has gathered of a product that is not wanted any more, if anything has."""
        part = self.part(product_id)
        with blamed_on(part):
            part.unlink(missing_ok=True)
            note_of(part).unlink(missing_ok=True)
        self._begun.discard(product_id)

    def place(self, path: PurePosixPath | str) -> Path:
        """A path from the output folder, on this machine."""
        return self.root.joinpath(path)

    def relative(self, path: Path) -> str:
        """A path below the output folder from there on, with ``/``."""
        return os.fspath(path)[len(os.path.join(self.root, "")) :]  # noqa: PTH118 (as below)

    def facts(self, path: PurePosixPath | str) -> FileFacts | None:
        """Size and time of a regular file; None where there is none."""
        try:
            found = os.lstat(os.path.join(self.root, path))  # noqa: PTH118 (for every product)
        except (FileNotFoundError, NotADirectoryError):
            return None
        regular = (found.st_mode & 0o170000) == 0o100000
        return FileFacts.of(found) if regular else None

    def publish(
        self, part: Path, path: PurePosixPath, newcomer: str | None = None
    ) -> tuple[FileFacts, Path | None]:
        """Give a whole, checked, synced part its name, at once; ``sync`` makes that last.

        ``newcomer``: the Id of a product that had no file here: what lies in its way is foreign,
        and put aside, not overwritten. Also where that lies now, if anything did.
        """
        target = os.path.join(self.root, path)  # noqa: PTH118 (for every product)
        aside = None
        with blamed_on(target):
            if newcomer is not None and os.path.lexists(target):
                aside = self.put_aside(Path(target), newcomer)
            try:
                os.replace(part, target)  # noqa: PTH105
            except FileNotFoundError:
                self._make_folder(Path(target).parent)
                os.replace(part, target)  # noqa: PTH105
            self._unsynced.add(os.path.dirname(target))  # noqa: PTH120
            self._begun.discard(part.stem)
            return FileFacts.of(os.stat(target)), aside  # noqa: PTH116

    def _make_folder(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        above = [each for each in folder.parents if each.is_relative_to(self.root)]
        self._unsynced.update(map(os.fspath, above))

    def sync(self) -> None:
        """Make the names last that were given since."""
        while self._unsynced:
            folder = self._unsynced.pop()
            try:
                with blamed_on(folder), suppress(FileNotFoundError):  # removed since
                    sync_folder(folder)
            except BaseException:
                self._unsynced.add(folder)
                raise

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

    def move(self, path: PurePosixPath | str, to: PurePosixPath | str) -> None:
        """Give a product's file another path, and drop the folders that this leaves empty."""
        source, target = self.place(path), self.place(to)
        with blamed_on(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            sync_folder(target.parent)
        self._prune(source.parent)

    def remove(self, path: PurePosixPath | str) -> None:
        """Delete a product's file, and the folders that this leaves empty."""
        file = self.place(path)
        with blamed_on(file):
            file.unlink(missing_ok=True)
        self._prune(file.parent)

    def _prune(self, folder: Path) -> None:
        while folder != self.root and self.root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent

    def files(self) -> Generator[PurePosixPath]:
        """Every file and link under the folder that is not ours to keep, in no special order.

        A folder that this user may not read, such as ``lost+found``, is told as itself; one that
        goes meanwhile holds nothing. Raises DestinationError where the disk, or the folder
        itself, cannot be read.
        """
        heap = [self.root]
        while heap:
            folder = heap.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        path = Path(entry.path)
                        if path == self.state:
                            continue
                        if entry.is_dir(follow_symlinks=False):
                            heap.append(path)
                        else:
                            yield PurePosixPath(path.relative_to(self.root))
            except OSError as error:
                if folder == self.root or not isinstance(error, _NOT_THERE):
                    raise _unreadable(error, folder) from error
                if isinstance(error, PermissionError):
                    yield PurePosixPath(folder.relative_to(self.root))

    def room(self) -> int:
        """Bytes free for this user."""
        with blamed_on(self.root):
            return shutil.disk_usage(self.root).free

    def room_lately(self, more: int) -> int:
        """As ``room``, asked at most once a second, less the bytes that came ``more`` since."""
        now = time.monotonic()
        if now < self._room_until:
            self._room -= more
        else:
            self._room, self._room_until = self.room(), now + _ROOM_SECONDS
        return self._room


def _write_synced(path: Path, text: str) -> None:
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


def _template(path: Path) -> str | None:
    """The layout in a file; None where there is no file."""
    try:
        text = path.read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        [*_, file] = [folder for folder in path.parents if not folder.is_dir()]
        raise destination_error(error, file) from error
    except OSError as error:
        raise destination_error(error, path) from error
    if "{name" not in text:
        raise DestinationError(
            f"{path} holds no layout: nobody knows where products belong in this folder.",
            hint="Name the layout that it has with --layout; files that lie elsewhere are moved.",
        )
    return text
