"""Products that go up as they come: their pieces are in the store before their last byte is here.

Nobody sees them there before they are whole, and right. What ends before that is ended in the
store, too; where that fails, as where the run is killed, the next run does it (``uploads``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from noa_async.archive.objectstore import PIECE
from noa_async.errors import DestinationError
from noa_async.transfer.passing import NotPassed, PassageShut

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from noa_async.archive.objectstore import ObjectStore
    from noa_async.archive.sigv4 import Bucket
    from noa_async.archive.uploads import Uploads


class StorePassage:
    """One product's; all of it blocks.

    Resources: two pieces, or three where nothing else goes up; ``drop`` gives them back.
    """

    def __init__(
        self,
        store: ObjectStore,
        uploads: Uploads,
        bucket: Bucket,
        key: str,
        attributes: Mapping[str, str],
        *,
        is_zip: bool,
    ) -> None:
        """``bucket``: where ``uploads`` can end what was begun."""
        self.is_zip = is_zip
        self._store = store
        self._uploads = uploads
        self._bucket = bucket
        self._key = key
        self._attributes = attributes
        self._writer: Any = None
        self._note: Path | None = None
        self._size = 0

    def begin(self) -> None:
        """As ``Passage.begin``."""
        self.drop()
        self._size = 0
        with self._passing():
            self._writer = self._store.writer(self._key, self._attributes)

    def write(self, piece: bytes | memoryview) -> None:
        """As ``Passage.write``."""
        if self._note is None and self._size + len(piece) >= PIECE:  # now an upload is begun
            self._note = self._uploads.note(self._store.full(self._key))
        with self._passing():
            self._writer.write(bytes(piece))  # it keeps what it is given until that is sent
        self._size += len(piece)

    def check(self, key: str, attributes: Mapping[str, str]) -> None:
        """Raise NotPassed where the product is to lie elsewhere by now, or with another label."""
        if (key, attributes) != (self._key, self._attributes):
            raise NotPassed("The catalogue or the archive changed meanwhile.")

    def end(self) -> int:
        """Send the rest; from now on all of it is seen. How many bytes that are. NotPassed."""
        with self._passing():
            self._writer.close()
        self._writer = None
        self._store.went(self._key)
        self._forget_note()
        return self._size

    def drop(self) -> None:
        """Leave nothing in the store of what did not come to its end."""
        writer, self._writer = self._writer, None
        self._store.went(self._key)
        if writer is None or aborted(writer):
            self._forget_note()
        elif self._note is not None:
            note, self._note = self._note, None
            self._uploads.end(self._bucket, note)

    def _forget_note(self) -> None:
        note, self._note = self._note, None
        if note is not None:
            self._uploads.forget(note)

    @contextmanager
    def _passing(self) -> Generator[None]:
        """Whatever the store refuses, a part that is sent up once more meets, and tells."""
        try:
            with self._store.blamed("written"):
                yield
        except DestinationError as error:
            raise PassageShut(error.message) from None


def aborted(writer: Any) -> bool:
    """Whether an unfinished upload came to its end by obstore, which knows which one it is."""
    try:
        writer.__exit__(NotPassed, NotPassed(), None)
    except Exception:  # noqa: BLE001 (whatever it is, the upload may be there)
        return False
    return True
