"""A folder on this machine as an output: products come to lie there by one rename."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

from noa_async.archive.destination import Destination, FileFacts, Label
from noa_async.archive.reading import hash_file
from noa_async.archive.scratch import moved
from noa_async.archive.targets import state_of
from noa_async.disk import (
    COPYING,
    NO_ROOM,
    blamed_on,
    check_no_link,
    copy_synced,
    file_error,
    make_own_folder,
    relocate,
    sync_folder,
    too_large,
    write_synced,
)
from noa_async.errors import DestinationError, FileInaccessible, ProductTooLarge
from noa_async.transfer.checksum import OWN
from noa_async.transfer.zips import broken_zip
from noa_async.values import bytes_text

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
        self._copying = self.state / "copying"
        """Notes of the copies to another file system that are under way."""

    def open(self) -> Self:
        """Make the folder where it is missing, and lock it.

        Raises DestinationError where it cannot be written, DestinationInUse where another run
        holds it.
        """
        with blamed_on(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        self.lock()
        try:
            self._look_around()
        except BaseException:
            self.close()
            raise
        return self

    def _look_around(self) -> None:
        with blamed_on(self.state):
            self._drop_drafts()
        with blamed_on(self.root), os.scandir(self.root) as entries:
            self.bare = all(entry.name == self.state.name for entry in entries)

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
        label: Label | None = None,
    ) -> tuple[FileFacts, str | None]:
        """As ``Destination.publish``: one rename, or a copy if that leads to another file system.

        Raises ProductTooLarge if a copy has no room, FileInaccessible if it is not what was copied.
        """
        target = f"{self._root}{path}"
        aside = None
        with blamed_on(target):
            if newcomer is not None and os.path.lexists(target):
                aside = self.put_aside(path, newcomer)
            try:
                self._give_name(part, target, label)
            except FileNotFoundError:
                self._make_folder(Path(target).parent)
                self._give_name(part, target, label)
            self._unsynced.add(target.rpartition("/")[0])
            self._begun.discard(part.stem)
            return FileFacts.of(os.stat(target)), aside  # noqa: PTH116 (as above)

    def _give_name(self, part: Path, target: str, label: Label | None) -> None:
        try:
            os.replace(part, target)  # noqa: PTH105 (for every product)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._publish_copy(part, Path(target), label)

    def _publish_copy(self, part: Path, target: Path, label: Label | None) -> None:
        """Publish by a copy: a subfolder, or a link to one, is on another file system.

        The part stays until the product has its name for good: a run that is killed, or a disk
        without room, costs no second download.
        """
        draft = self._draft_beside(target, part.stem)
        try:
            copy_synced(part, draft)
            self._check_copy(draft, part, label)
            draft.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise too_large(error, target) from error
            if error.errno in NO_ROOM:
                size = bytes_text(part.stat().st_size)
                raise ProductTooLarge(
                    f"No room in {target.parent}, another file system, for {target.name} ({size}): "
                    f"{error.strerror}.",
                    hint="It has arrived, and the next run publishes it: make room before that.",
                ) from error
            raise
        finally:
            self._drop_draft(draft, part.stem)
        with suppress(OSError):  # the product has its name
            part.unlink()

    def _check_copy(self, draft: Path, part: Path, label: Label | None) -> None:
        """Raise FileInaccessible if a copy is not what was copied."""
        expected = f"{OWN}:{hash_file(part, OWN)}" if label is None else label.checksum
        algorithm, _, value = expected.partition(":")
        if draft.stat().st_size != part.stat().st_size or hash_file(draft, algorithm) != value:
            raise FileInaccessible(
                f"{draft.parent}, another file system, gives back other bytes than were written.",
                hint="Check that disk or share. The product has arrived; the next run tries again.",
            )

    def _draft_beside(self, target: Path, key: str) -> Path:
        """Return a name beside ``target`` for a copy, noted so that a later run deletes it."""
        draft = target.with_name(f".{key[:100]}{COPYING}")
        make_own_folder(self._copying)
        write_synced(self._copying / key, os.fspath(draft.relative_to(self.root)))
        return draft

    def _drop_draft(self, draft: Path, key: str) -> None:
        """Delete an unfinished copy and its note; if that fails, the next run does."""
        with suppress(OSError):
            draft.unlink(missing_ok=True)
            (self._copying / key).unlink(missing_ok=True)

    def _drop_drafts(self) -> None:
        """Delete the copies that a killed run has left."""
        check_no_link(self._copying)
        for note in self._copying.glob("*"):
            path = PurePosixPath(note.read_text(errors="replace"))
            if path.name.endswith(COPYING) and not path.is_absolute() and ".." not in path.parts:
                with suppress(OSError):  # its disk may be gone, or read-only
                    (self.root / path).unlink()
            note.unlink(missing_ok=True)

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
            try:
                os.replace(source, target)  # noqa: PTH105 (as a call that a test can fail)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._move_across(source, target)
            sync_folder(target.parent)
        self._prune(source.parent)
        return self.facts(to)

    def _move_across(self, source: Path, target: Path) -> None:
        key = hashlib.sha256(os.fsencode(target)).hexdigest()[:32]
        draft = self._draft_beside(target, key)
        try:
            relocate(source, target, draft)
        finally:
            self._drop_draft(draft, key)

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
