"""Where products are published: what an archive asks of such a place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from noa_async.archive.scratch import Scratch
from noa_async.archive.targets import StoreUrl, state_of
from noa_async.errors import DestinationError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator
    from pathlib import Path, PurePosixPath

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

    brief = False
    """Whether ``publish`` is a matter of the disk alone, where the part lies; else an upload."""

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
