"""An object store as an output: products gather in a scratch folder, and go up whole, checked."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self

from noa_async.archive.destination import Destination, FileFacts, Label
from noa_async.archive.providers import metadata_name, plain, provider_of
from noa_async.archive.sigv4 import Bucket
from noa_async.archive.targets import STATE_FOLDER
from noa_async.archive.uploads import Uploads
from noa_async.catalogue.times import format_instant
from noa_async.disk import blamed_on
from noa_async.errors import DestinationError, SettingsError
from noa_async.transfer.checksum import hasher

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import ModuleType

    from noa_async.archive.targets import StoreUrl

    Sender = Callable[[Path, str, Mapping[str, str]], FileFacts]

_ID, _CHECKSUM = "noa-id", "noa-checksum"
_CODE = re.compile(r"<Code>([A-Za-z0-9_.-]{1,60})</Code>")
_STATUS = re.compile(r"\b([45][0-9][0-9])\b [A-Z]")
_COPIED_AT_ONCE = 5_000_000_000
"""Bytes: S3 copies no more in one request; what is larger is read and sent again."""
_COPY_SECONDS = 600
"""An Azure store may say that it has copied before it has; it is waited for that long."""
_ENOUGH = 1 << 62
_PIECES_AT_ONCE = 2
"""Of one product. As many products go up at once as there are workers; with obstore's 12 of each, a
store on the same two cores took a third longer, and the pieces three times the memory."""
PIECE = 5 << 20
"""Bytes: what is larger goes up in pieces of so many."""
_RETRIES = {"max_retries": 10, "retry_timeout": timedelta(minutes=3)}


class ObjectFolder(Destination):
    """A prefix in a bucket. What is there is listed once, when it is opened, and kept in mind.

    Resources: some 200 bytes for each object.
    """

    hands = 2
    """While one goes up, another one comes."""

    def __init__(self, target: StoreUrl) -> None:
        super().__init__(target.state, target.url)
        self._target = target
        self._provider = provider_of(target.scheme)
        self._known: dict[str, FileFacts] = {}
        self._uploads = Uploads(self.state / "uploads")
        self._obstore: ModuleType | None = None
        self._store: Any = None
        self.sender: Sender = self.send
        """As ``send``, by whoever has the part."""

    @property
    def scratch_name(self) -> str:
        """The folder on this machine."""
        return str(self.state)

    def open(self) -> Self:
        """Lock the scratch folder, end what a killed run was sending, and list what is there."""
        with blamed_on(self.state.parent):
            self.state.parent.mkdir(parents=True, exist_ok=True)
        self._connect()
        self.lock()
        try:
            self._uploads.clear(self._bucket())
            self.look()
        except BaseException:
            self.close()
            raise
        return self

    def look(self) -> None:
        """List what is there; this alone needs no scratch folder."""
        self._known = dict(self._listed())
        self.bare = not self._known

    def _bucket(self) -> Bucket | None:
        """None where it is not S3, or keys are none of ours to sign with."""
        if self._target.scheme != "s3":
            return None
        return Bucket.of(self._target.bucket, self._provider.options(os.environ), os.environ)

    def _noted(self, key: str, size: int | None) -> AbstractContextManager[None]:
        """Note what goes up, where the store would keep the pieces of what is cut off."""
        if size is not None and size < PIECE:
            return nullcontext()
        return self._uploads.noted(f"{self._target.prefix}{key}")

    def _connect(self) -> ModuleType:
        if self._obstore is None:
            try:
                import obstore  # noqa: PLC0415 (heavy, and an extra)
            except ImportError:
                raise SettingsError(
                    f"{self.name} needs obstore, which is not installed.",
                    hint="pip install 'noa-async[s3]'",
                ) from None
            options = self._provider.options(os.environ)
            try:
                self._store = obstore.store.from_url(
                    self.name,
                    config=options or None,
                    client_options={"allow_http": True} if plain(options) else None,
                    retry_config=_RETRIES,
                )
            except obstore.exceptions.BaseError:
                raise SettingsError(
                    f"{self.name} cannot be opened as the variables of its kind say.",
                    hint=f"Check what gives its keys ({self._provider.keys}) and its address.",
                ) from None  # its text may hold them
            self._obstore = obstore
        return self._obstore

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
        key, aside = str(path), None
        if newcomer is not None and key in self._known:
            aside = self.put_aside(path, newcomer)
        try:
            size = part.stat().st_size
        except FileNotFoundError:
            size = None  # it is not here, but with whoever sends it
        with self._noted(key, size):
            facts = self.sender(part, key, self._provider.named(_attributes(label)))
        self._known[key] = facts
        self._begun.discard(part.stem)
        return facts, aside

    def send(self, part: Path, key: str, attributes: Mapping[str, str]) -> FileFacts:
        """Put a part into the store, and delete it here."""
        obstore = self._connect()
        with self._blamed("written"), blamed_on(part):
            obstore.put(
                self._store,
                key,
                part,
                attributes=dict(attributes),
                chunk_size=PIECE,
                max_concurrency=_PIECES_AT_ONCE,
            )
            facts = _facts(obstore.head(self._store, key))
        with blamed_on(part):
            size = part.stat().st_size
            if facts.size != size:
                self.remove(key)
                raise DestinationError(
                    f"{self.url_of(key)} came to be {facts.size} bytes, not {size}.",
                    hint="The store took something else than what was sent: start again.",
                )
            part.unlink()
        return facts

    def room(self) -> int:
        """As ``Scratch.room``; enough where parts gather elsewhere."""
        return super().room() if self.sender == self.send else _ENOUGH

    def sync(self) -> None:
        """What a store has taken lasts."""

    def put_aside(self, path: PurePosixPath | str, product_id: str) -> str:
        """Put what is in a product's way under ``.noa-async/quarantine/`` of the prefix."""
        name = f"{STATE_FOLDER}/quarantine/{product_id[:40]}_{PurePosixPath(path).name}"
        target, number = name, 1
        with self._blamed("read"):
            while self._head(target) is not None:
                number += 1
                target = f"{name}.{number}"
        self.move(path, target)
        del self._known[target]
        return self.url_of(target)

    def move(self, path: PurePosixPath | str, to: PurePosixPath | str) -> FileFacts | None:
        """Copy an object to another key, label and all, and delete it where it was."""
        obstore, source, target = self._connect(), str(path), str(to)
        with self._blamed("written"):
            found = obstore.get(self._store, source)
            size = found.meta["size"]
            if size > _COPIED_AT_ONCE:
                pieces = found.stream(min_chunk_size=PIECE)
                with self._noted(target, size):
                    obstore.put(self._store, target, pieces, attributes=found.attributes)
            else:
                del found
                obstore.copy(self._store, source, target)
            facts = self._copied(target, size)
        self.remove(source)
        self._known[target] = facts
        return facts

    def _copied(self, key: str, size: int) -> FileFacts:
        """The copy, once all of it is there."""
        obstore, wait, waited = self._connect(), 0.1, 0.0
        while (facts := _facts(obstore.head(self._store, key))).size != size:
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
        obstore = self._connect()
        with self._blamed("written"), suppress(FileNotFoundError):
            obstore.delete(self._store, str(path))
        self._known.pop(str(path), None)

    def files(self) -> Generator[PurePosixPath]:
        """Every object under the prefix, as the listing has it now."""
        for key, _ in self._listed():
            yield PurePosixPath(key)

    def digest(self, path: PurePosixPath | str, algorithm: str, stopped: Callable[[], bool]) -> str:
        """The hash of an object's bytes, all of them read again."""
        obstore, digest = self._connect(), hasher(algorithm)
        with self._blamed("read"):
            try:
                for piece in obstore.get(self._store, str(path)).stream(min_chunk_size=1 << 20):
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
        with self._blamed("read"):
            attributes = self._head(str(path)) or {}
        return attributes.get(_CHECKSUM) if attributes.get(_ID) == product_id else None

    def _head(self, key: str) -> dict[str, str] | None:
        """An object's attributes; None where there is no object."""
        try:
            found = self._connect().get(self._store, key, options={"head": True})
        except FileNotFoundError:
            return None
        return {metadata_name(name): str(value) for name, value in found.attributes.items()}

    def _listed(self) -> Generator[tuple[str, FileFacts]]:
        obstore = self._connect()
        with self._blamed("listed"):
            for page in obstore.list(self._store, chunk_size=1000):
                for one in page:
                    if not one["path"].startswith(f"{STATE_FOLDER}/"):
                        yield one["path"], _facts(one)

    @contextmanager
    def _blamed(self, what: str) -> Generator[None]:
        """Turn what obstore raises into a DestinationError; an OSError of this machine stays."""
        try:
            yield
        except (DestinationError, SettingsError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise self._refusal(error, what) from None  # its text may hold what was signed

    def _refusal(self, error: Exception, what: str) -> DestinationError:
        text = str(error)
        found = _CODE.search(text) or _STATUS.search(text)
        code = found[1] if found else type(error).__name__.removesuffix("Error")
        said, hint = self._provider.refusal(text, code, type(error).__name__)
        return DestinationError(f"{self.name} cannot be {what}: {said}.", hint=hint)


def _facts(meta: Any) -> FileFacts:
    """Size, and a number of the ETag; of the second it was written where there is none."""
    tag = meta.get("e_tag")
    if not tag:
        return FileFacts(meta["size"], int(meta["last_modified"].timestamp()) * 10**9)
    stamp = hashlib.sha256(tag.strip('"').encode()).digest()
    return FileFacts(meta["size"], int.from_bytes(stamp[:8], "big") >> 1)


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
