"""Bytes that go on as they come, past the disk, to where their product is published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from noa_async.transfer.checksum import ZIP_START, hasher
from noa_async.transfer.resume import PartState
from noa_async.transfer.sink import PartFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from noa_async.transfer.resume import Validator


class NotPassed(Exception):
    """The bytes did not come to lie there: the product is to be fetched into a part."""


class PassageShut(NotPassed):
    """Nor would those of other products."""


class Passage(Protocol):
    """One product's; nobody sees what is on its way. All of it blocks."""

    is_zip: bool
    """What the product is taken for: its path depends on it."""

    def begin(self) -> None:
        """The product's first byte comes next; what went before is dropped."""

    def write(self, piece: bytes | memoryview) -> None:
        """Take the bytes that come next; they may change when this returns. Raises NotPassed."""

    def drop(self) -> None:
        """Leave nothing of what was not published."""


class PassedPart(PartFile):
    """A part of which nothing is on this disk.

    A later attempt of this run goes on with it, a later run does not. NotPassed is raised by
    ``append``.
    """

    def __init__(self, path: Path, algorithm: str, passage: Passage) -> None:
        """``path``: where the part would be."""
        super().__init__(path, algorithm)
        self._passage = passage

    def restart(
        self,
        validator: Validator,
        total: int | None,
        checksum: str | None,  # noqa: ARG002 (no note is kept)
    ) -> None:
        """As ``PartFile.restart``."""
        self._passage.begin()
        self._hash = hasher(self._algorithm)
        self.state = PartState(0, validator, total)

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send ``pieces`` on, and hash them."""
        self.look_at(pieces)
        known = self.state.length + sum(map(len, pieces)) >= len(ZIP_START)
        if known and self.is_zip != self._passage.is_zip:
            raise NotPassed("It is no zip." if self._passage.is_zip else "It is a zip.")
        length = self.state.length
        for piece in pieces:
            self._passage.write(piece)
            self._hash.update(piece)
            length += len(piece)
            self.state = PartState(length, self.state.validator, self.state.total)

    def seal(self, **_: Any) -> None:
        """Nothing here has to last."""
