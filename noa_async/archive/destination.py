"""Where products are published: what an archive asks of such a place, and a folder on disk."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, Self

from noa_async.archive.reading import hash_file
from noa_async.archive.scratch import Scratch, moved
from noa_async.archive.targets import StoreUrl, state_of
from noa_async.disk import blamed_on, sync_folder
from noa_async.errors import DestinationError
from noa_async.transfer.checksum import broken_zip

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from noa_async.catalogue.product import Product

_LAST_NS = 2**63 - 1


def ledger_of(target: Path | StoreUrl) -> Path:
    """Where the ledger of an output is."""
    return state_of(target) / "ledger.sqlite3"


def ledger_there(target: Path | StoreUrl) -> Path:
    """As ``ledger_of``, for those who only read it: DestinationError where a store has none here.

    Of a folder that is no archive, the ledger's own error tells.
    """
    ledger = ledger_of(target)
    if isinstance(target, StoreUrl):
        try:
            ledger.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DestinationError(
                f"This machine holds no ledger of {target}: it would be in {target.state}.",
                hint="Name the scratch folder that its runs had (--scratch, NOA_SCRATCH). Where "
                "that is lost, run mirror or download again: what is in the store is found by its "
                "labels, and not fetched again.",
            ) from None
        except OSError:
            return ledger  # it is there, and whoever opens it says what is the matter
    return ledger


def destination_of(target: Path | StoreUrl) -> Destination:
    """The output that is meant, not opened yet."""
    if isinstance(target, Path):
        return LocalFolder(target)
    from noa_async.archive.objects import ObjectFolder  # noqa: PLC0415 (seldom asked for)

    return ObjectFolder(target)


@dataclass(frozen=True, slots=True)
class Label:
    """What is told of a product where a place keeps such things beside it."""

    product: Product
    checksum: str
    """Of its bytes, as they were when they arrived."""


class FileFacts(NamedTuple):
    """What a file looks like from outside."""

    size: int
    mtime_ns: int
    """Within what a ledger can hold, 1677 to 2262: file systems know later times. Of an object, a
    number made of its ETag: it changes with its bytes."""

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


class Destination(Scratch, ABC):
    """Where products are published, under paths with ``/``, and the scratch they come through.

    What is published is whole and checked. All of it blocks but ``facts`` and ``url_of``.
    Resources: ``open`` takes the lock, ``close`` gives it back.
    Error handling: DestinationError; ``digest`` raises OSError for what is the matter with one.
    """

    root: Path | None = None
    """Where it is on this machine; None where it is elsewhere."""

    bare = False
    """Whether nothing lay here when it was opened."""

    hands = 1
    """How many products may be under way for each that can be received."""

    brief = False
    """Whether ``publish`` is a matter of the disk alone, where the part lies."""

    stable = False
    """Whether a part itself becomes the product: its bytes have to be on stable storage before."""

    @abstractmethod
    def open(self) -> Self:
        """Make it where it is missing, and lock it."""

    @abstractmethod
    def url_of(self, path: PurePosixPath | str) -> str | None:
        """Where it lies elsewhere; None where that is this machine."""

    @abstractmethod
    def facts(self, path: PurePosixPath | str) -> FileFacts | None:
        """What is there, as far as this run knows; None where no product can be."""

    @abstractmethod
    def publish(
        self,
        part: Path,
        path: PurePosixPath | str,
        newcomer: str | None = None,
        label: Label | None = None,
    ) -> tuple[FileFacts, str | None]:
        """Give a whole, checked, synced part its name, at once; ``sync`` makes that last.

        ``newcomer``: the Id of a product that had nothing here: what lies in its way is foreign,
        and put aside, not overwritten. Also where that lies now, if anything did.
        """

    @abstractmethod
    def sync(self) -> None:
        """Make the names last that were given since."""

    @abstractmethod
    def put_aside(self, path: PurePosixPath | str, product_id: str) -> str:
        """Put what is in a product's way out of it, over nothing; where it lies now."""

    @abstractmethod
    def move(self, path: PurePosixPath | str, to: PurePosixPath | str) -> FileFacts | None:
        """Give a product another path; what it looks like there."""

    @abstractmethod
    def remove(self, path: PurePosixPath | str) -> None:
        """Delete a product, if it is there."""

    @abstractmethod
    def files(self) -> Generator[PurePosixPath]:
        """All that is there and not ours to keep, in no special order."""

    @abstractmethod
    def digest(self, path: PurePosixPath | str, algorithm: str, stopped: Callable[[], bool]) -> str:
        """The hash of the bytes, read again; KeyError where it cannot be taken here."""

    @abstractmethod
    def instead(self, path: PurePosixPath | str) -> str:
        """What is where a product should be; empty where nothing is."""

    @abstractmethod
    def same(self, path: PurePosixPath | str, other: PurePosixPath | str) -> bool:
        """Whether two paths are one file, as on a file system that ignores letter case."""

    @abstractmethod
    def broken(self, path: PurePosixPath | str) -> str | None:
        """What is wrong with a zip's own structure and sums; None where nothing is."""

    @abstractmethod
    def vouched(self, path: PurePosixPath | str, product_id: str) -> str | None:
        """The checksum that a product's label tells, where there is one; it came with the bytes."""


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
        """Size and time of a regular file; None where there is none."""
        try:
            found = os.lstat(f"{self._root}{path}")
        except (FileNotFoundError, NotADirectoryError):
            return None
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
        place = self.place(path)
        if place.is_symlink():
            return "a link is in its place"
        return "no regular file is in its place" if place.exists() else ""

    def same(self, path: PurePosixPath | str, other: PurePosixPath | str) -> bool:
        """Whether two spellings are one file."""
        try:
            return os.path.samestat(os.lstat(self.place(path)), os.lstat(self.place(other)))
        except OSError:
            return False

    def broken(self, path: PurePosixPath | str) -> str | None:
        """As ``broken_zip``."""
        return broken_zip(self.place(path))

    def vouched(self, path: PurePosixPath | str, product_id: str) -> None:
        """A folder keeps no labels."""
