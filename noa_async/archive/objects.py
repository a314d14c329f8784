"""An object store as an output: products gather in a scratch folder, and go up whole, checked."""

from __future__ import annotations

import errno
import time
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self

from noa_async.archive.destination import Destination, FileFacts, Label
from noa_async.archive.objectstore import PIECE, ObjectStore, facts_of
from noa_async.archive.providers import metadata_name
from noa_async.archive.targets import STATE_FOLDER
from noa_async.catalogue.times import format_instant
from noa_async.disk import blamed_on
from noa_async.errors import DestinationError
from noa_async.transfer.checksum import hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from noa_async.archive.targets import StoreUrl

    Sender = Callable[[Path, str, Mapping[str, str]], FileFacts]

_ID, _CHECKSUM = "noa-id", "noa-checksum"
_COPIED_AT_ONCE = 5_000_000_000
"""Bytes: S3 copies no more in one request; what is larger is read and sent again."""
_COPY_SECONDS = 600
"""An Azure store may say that it has copied before it has; it is waited for that long."""
_ENOUGH = 1 << 62


class ObjectFolder(Destination):
    """A prefix in a bucket. What is there is listed once, when it is opened, and kept in mind.

    Resources: some 200 bytes for each object.
    """

    def __init__(self, target: StoreUrl) -> None:
        super().__init__(target.state, target.url)
        self._target = target
        self._known: dict[str, FileFacts] = {}
        self._store = ObjectStore(target)
        self._asides: dict[str, str] = {}
        """Where that lies which was in the way of what is not published yet, by its key."""
        self._sender: Sender = self.send

    def send_by(self, sender: Sender) -> None:
        """Have parts sent as by ``send`` by whoever has them, from now on."""
        self._sender = sender

    @property
    def scratch_name(self) -> str:
        """The folder on this machine."""
        return str(self.state)

    def open(self) -> Self:
        """Lock the scratch folder, and list what is there."""
        with blamed_on(self.state.parent):
            self.state.parent.mkdir(parents=True, exist_ok=True)
        self._store.connect()
        self.lock()
        try:
            self.look()
        except BaseException:
            self.close()
            raise
        return self

    def look(self) -> None:
        """List what is there; this alone needs no scratch folder."""
        self._known = dict(self._listed())
        self.bare = not self._known

    def url_of(self, path: PurePosixPath | str) -> str:
        """Its address."""
        return f"{self.name}/{path}"

    def facts(self, path: PurePosixPath | str) -> FileFacts | None:
        """Size and ETag, as of the listing or of what this run did since."""
        return self._known.get(str(path))

    def publish(
        self,
        part: Path,
        path: PurePosixPath | str,
        newcomer: str | None = None,
        label: Label | None = None,
    ) -> tuple[FileFacts, str | None]:
        """As ``Destination.publish``: sent in pieces, seen by nobody before the last has come."""
        key, attributes = str(path), self._store.provider.named(_attributes(label))
        if newcomer is not None and key in self._known:
            self._asides[key] = self.put_aside(path, newcomer)
        facts = self._known[key] = self._sender(part, key, attributes)
        self._begun.discard(part.stem)
        return facts, self._asides.pop(key, None)

    def send(self, part: Path, key: str, attributes: Mapping[str, str]) -> FileFacts:
        """Put a part into the store, and delete it here."""
        with self._store.blamed("written"), blamed_on(part):
            size = part.stat().st_size
            self._store.put(part, key, attributes)
        with self._store.blamed("written"):
            facts = self._store.look_at(key)
        if facts.size != size:
            self.remove(key)
            raise DestinationError(
                f"{self.url_of(key)} came to be {facts.size} bytes, not {size}.",
                hint="The store took something else than what was sent: start again.",
            )
        with blamed_on(part):
            part.unlink()
        return facts

    def room(self) -> int:
        """As ``Scratch.room``; enough where parts gather elsewhere."""
        return super().room() if self._sender == self.send else _ENOUGH

    def sync(self) -> None:
        """What a store has taken lasts."""

    def put_aside(self, path: PurePosixPath | str, product_id: str) -> str:
        """Put what is in a product's way under ``.noa-async/quarantine/`` of the prefix."""
        name = f"{STATE_FOLDER}/quarantine/{product_id[:40]}_{PurePosixPath(path).name}"
        target, number = name, 1
        with self._store.blamed("read"):
            while self._head(target) is not None:
                number += 1
                target = f"{name}.{number}"
        self.move(path, target)
        del self._known[target]
        return self.url_of(target)

    def move(self, path: PurePosixPath | str, to: PurePosixPath | str) -> FileFacts | None:
        """Copy an object to another key, label and all, and delete it where it was."""
        obstore, store = self._store.connect()
        source, target = str(path), str(to)
        with self._store.blamed("written"):
            found = obstore.get(store, source)
            size = found.meta["size"]
            if size > _COPIED_AT_ONCE:
                pieces = found.stream(min_chunk_size=PIECE)
                obstore.put(store, target, pieces, attributes=found.attributes)
            else:
                del found
                obstore.copy(store, source, target)
            facts = self._copied(target, size)
        self.remove(source)
        self._known[target] = facts
        return facts

    def _copied(self, key: str, size: int) -> FileFacts:
        """The copy, once all of it is there."""
        wait, waited = 0.1, 0.0
        while (facts := self._store.look_at(key)).size != size:
            if waited > _COPY_SECONDS:
                raise DestinationError(
                    f"{self.url_of(key)} is a copy of {facts.size} bytes, not {size}.",
                    hint="What was copied is still there: start again when the store is well.",
                )
            time.sleep(wait)
            waited, wait = waited + wait, min(2 * wait, 5.0)
        return facts

    def remove(self, path: PurePosixPath | str) -> None:
        """Delete an object, if it is there."""
        obstore, store = self._store.connect()
        with self._store.blamed("written"), suppress(FileNotFoundError):
            obstore.delete(store, str(path))
        self._known.pop(str(path), None)

    def files(self) -> Generator[PurePosixPath]:
        """Every object under the prefix, as the listing has it now."""
        for key, _ in self._listed():
            yield PurePosixPath(key)

    def digest(self, path: PurePosixPath | str, algorithm: str, stopped: Callable[[], bool]) -> str:
        """The hash of an object's bytes, all of them read again."""
        (obstore, store), digest = self._store.connect(), hasher(algorithm)
        with self._store.blamed("read"):
            try:
                for piece in obstore.get(store, str(path)).stream(min_chunk_size=1 << 20):
                    digest.update(piece)
                    if stopped():
                        break
            except FileNotFoundError as error:
                raise FileNotFoundError(errno.ENOENT, "No such object", str(path)) from error
        return digest.hexdigest()

    def instead(self, path: PurePosixPath | str) -> str:  # noqa: ARG002 (of any)
        """Nothing can be."""
        return ""

    def same(self, path: PurePosixPath | str, other: PurePosixPath | str) -> bool:
        """Two keys are two objects."""
        return str(path) == str(other)

    def broken(self, path: PurePosixPath | str) -> str | None:  # noqa: ARG002 (of any)
        """Without a label it would have to be fetched to be looked at, and can as well be so."""
        return "an object without a label"

    def vouched(self, path: PurePosixPath | str, product_id: str) -> str | None:
        """The checksum in the object's label, where that is the product's."""
        with self._store.blamed("read"):
            attributes = self._head(str(path)) or {}
        return attributes.get(_CHECKSUM) if attributes.get(_ID) == product_id else None

    def _head(self, key: str) -> dict[str, str] | None:
        """An object's attributes; None where there is no object."""
        obstore, store = self._store.connect()
        try:
            found = obstore.get(store, key, options={"head": True})
        except FileNotFoundError:
            return None
        return {metadata_name(name): str(value) for name, value in found.attributes.items()}

    def _listed(self) -> Generator[tuple[str, FileFacts]]:
        obstore, store = self._store.connect()
        with self._store.blamed("listed"):
            for page in obstore.list(store, chunk_size=1000):
                for one in page:
                    if not one["path"].startswith(f"{STATE_FOLDER}/"):
                        yield one["path"], facts_of(one)


def _attributes(label: Label | None) -> dict[str, str]:
    if label is None:
        return {}
    product = label.product
    times = {
        "noa-sensing-start": product.sensing_start,
        "noa-sensing-end": product.sensing_end,
        "noa-published": product.published,
    }
    told = {name: format_instant(at) for name, at in times.items() if at is not None}
    return {_ID: product.id, _CHECKSUM: label.checksum} | told
