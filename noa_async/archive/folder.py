"""A folder on this machine as an output: products come to lie there by one rename."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from noa_async.archive.destination import Destination, FileFacts, Label
from noa_async.archive.reading import hash_file
from noa_async.archive.scratch import moved
from noa_async.archive.targets import state_of
from noa_async.disk import blamed_on, file_error, sync_folder
from noa_async.errors import DestinationError
from noa_async.transfer.zips import broken_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_NOT_THERE = (PermissionError, FileNotFoundError, NotADirectoryError)


def _unreadable(error: OSError, folder: Path) -> DestinationError:
    return DestinationError(
        f"{folder} cannot be read: {error.strerror or error}.",
        hint="Check that it is there, that this user may read it, and that its disk is well.",
    )


class LocalFolder(Destination):
    """A folder that holds products, and beside them ``.noa-async/`` with all else."""

    brief = stable = True

    def __init__(self, root: Path) -> None:
        super().__init__(state_of(root), str(root))
        self.root: Path = root
        self._root = os.path.join(root, "")  # noqa: PTH118 (for every product)
        self._unsynced: set[str] = set()

    def open(self) -> Self:
        """Make the folder where it is missing, and lock it.

        Raises DestinationError where it cannot be written, DestinationInUse where another run
        holds it.
        """
        with blamed_on(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        self.lock()
        with blamed_on(self.root), os.scandir(self.root) as entries:
            self.bare = all(entry.name == self.state.name for entry in entries)
        return self

    def place(self, path: PurePosixPath | str) -> Path:
        """A path from the output folder, on this machine."""
        return self.root.joinpath(path)

    def url_of(self, path: PurePosixPath | str) -> None:
        """It lies here."""

    def facts(self, path: PurePosixPath | str) -> FileFacts | None:
        """Size and time of a regular file; None if there is none.

        Raises FileInaccessible if nobody can say, such as of a file in a folder that this user may
        not search.
        """
        try:
            found = os.lstat(f"{self._root}{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise file_error(error, f"{self._root}{path}") from error
        regular = (found.st_mode & 0o170000) == 0o100000
        return FileFacts.of(found) if regular else None

    def publish(
        self,
        part: Path,
        path: PurePosixPath | str,
        newcomer: str | None = None,
        label: Label | None = None,  # noqa: ARG002 (a folder keeps none)
    ) -> tuple[FileFacts, str | None]:
        """As ``Destination.publish``: one rename."""
        target = f"{self._root}{path}"
        aside = None
        with blamed_on(target):
            if newcomer is not None and os.path.lexists(target):
                aside = self.put_aside(path, newcomer)
            try:
                os.replace(part, target)  # noqa: PTH105 (for every product)
            except FileNotFoundError:
                self._make_folder(Path(target).parent)
                os.replace(part, target)  # noqa: PTH105 (as above)
            self._unsynced.add(target.rpartition("/")[0])
            self._begun.discard(part.stem)
            return FileFacts.of(os.stat(target)), aside  # noqa: PTH116 (as above)

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

    def put_aside(self, path: PurePosixPath | str, product_id: str) -> str:
        """Put what is in a product's way under ``quarantine/``, over nothing; where it lies now."""
        file = self.place(path)
        name = f"{product_id[:40]}_{file.name}"
        target = self.state / "quarantine" / name
        number = 1
        while os.path.lexists(target):
            number += 1
            target = target.with_name(f"{name}.{number}")
        return str(moved(file, target))

    def move(self, path: PurePosixPath | str, to: PurePosixPath | str) -> FileFacts | None:
        """Give a product's file another path, and drop the folders that this leaves empty."""
        source, target = self.place(path), self.place(to)
        with blamed_on(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            sync_folder(target.parent)
        self._prune(source.parent)
        return self.facts(to)

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

    def digest(self, path: PurePosixPath | str, algorithm: str, stopped: Callable[[], bool]) -> str:
        """The hash of a file's bytes; a link is not followed."""
        return hash_file(self.place(path), algorithm, stopped)

    def instead(self, path: PurePosixPath | str) -> str:
        """What is where a file should be; empty where nothing is."""
        try:
            mode = os.lstat(f"{self._root}{path}").st_mode
        except OSError:
            return ""
        return f"{'a link' if stat.S_ISLNK(mode) else 'no regular file'} is in its place"

    def same(self, path: PurePosixPath | str, other: PurePosixPath | str) -> bool:
        """Whether two spellings are one file."""
        try:
            return os.path.samestat(os.lstat(self.place(path)), os.lstat(self.place(other)))
        except OSError:
            return False

    def broken(self, path: PurePosixPath | str) -> str | None:
        """As ``broken_zip``; a file that cannot be read is broken, too."""
        try:
            return broken_zip(self.place(path))
        except OSError as error:
            return error.strerror or str(error)

    def vouched(self, path: PurePosixPath | str, product_id: str) -> None:
        """A folder keeps no labels."""
