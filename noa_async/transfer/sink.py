"""Socket to disk: a part file that is hashed while it is written, in a thread, off the loop."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from noa_async.disk import (
    LOST,
    blamed_on,
    create_own,
    free_room,
    open_own,
    sync_file,
    too_large,
    write_all,
)
from noa_async.errors import ProductTooLarge
from noa_async.transfer.checksum import ZIP_START, feed_file, hasher
from noa_async.transfer.resume import PartState, Validator
from noa_async.values import bytes_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from noa_async.response import Keep
    from noa_async.threads import Job, Threads

_T = TypeVar("_T")
_Kept = TypeVar("_Kept", bound="Store")

WORTH_RESUMING = 1 << 20
"""Bytes: below it, what a later run could save does not pay for a note beside the part."""

SMALL = 256 << 10
"""Bytes that take no longer to hash and to write than a thread takes to begin."""

_MOST_PIECES = 512


def is_small(size: int | None) -> bool:
    """Whether a product of ``size`` bytes is, as far as that is known."""
    return size is not None and size <= SMALL


class WrongDigest(Exception):
    """The bytes are not what they should be."""


class Store(Protocol):
    """Where bytes are kept; all of it blocks but ``stop``."""

    def append(self, pieces: Sequence[bytes | memoryview]) -> None: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...


def note_of(part: Path) -> Path:
    """Where the note about a part lies."""
    return part.with_suffix(".json")


class PartFile:
    """The bytes of one product that are there so far, and their hash.

    A note beside the part (``<Id>.json``) keeps what a later run must know to go on with it: the
    validator, the total, and the checksum the product had. All methods block; ``Sink`` calls them
    in a thread.
    """

    def __init__(self, path: Path, algorithm: str) -> None:
        self.path = path
        self.state = PartState()
        self._algorithm = algorithm
        self._hash = hasher(algorithm)
        self._descriptor = -1
        self._start = b""
        self._noted = False
        """Whether a note may lie beside it."""
        self._stopped = False

    def stop(self) -> None:
        """From another thread: nobody waits for ``open`` any more; it need not read to the end."""
        self._stopped = True

    def open(self, checksum: str | None) -> None:
        """Open or make the part; what is there is gone on with where its note vouches for it.

        ``checksum`` is the product's (None: none to check the whole by, so an old part is dropped:
        after a power cut nothing could tell its bytes from zeros).
        """
        self._noted = True
        with blamed_on(self.path):
            length = self._open_existing()
            known = self._read_note(checksum) if length and checksum else None
            if known is None or not self._read_through(known, length):
                self.close()
                self._descriptor = create_own(self.path, 0o644)

    def _read_through(self, known: PartState, length: int) -> bool:
        """Hash the bytes that are there; return False if the disk has lost some of them."""
        try:
            self._start = os.pread(self._descriptor, len(ZIP_START), 0)
            length = feed_file(self._descriptor, self._hash, length, stopped=lambda: self._stopped)
        except OSError as error:
            if error.errno not in LOST:
                raise
            self._hash, self._start = hasher(self._algorithm), b""
            return False
        self.state = replace(known, length=length)
        return True

    def _open_existing(self) -> int:
        """Open the part that an earlier attempt left; return its size, 0 if there is none to use.

        A link is none: it could lead into a file of somebody else.
        """
        try:
            self._descriptor = open_own(self.path, os.O_RDWR, 0o644)
        except FileNotFoundError:
            return 0
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                return 0
            raise
        found = os.fstat(self._descriptor)
        if found.st_nlink > 1:
            return 0
        if hasattr(os, "posix_fadvise"):  # read what the disk has, not what the cache believes
            with suppress(OSError):
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return found.st_size

    def begin(self, validator: Validator, total: int | None) -> None:
        """What comes next is the product from byte 0; ``restart`` makes the file so."""
        self.state = PartState(0, validator, total)
        self._start = b""

    def restart(
        self,
        validator: Validator,
        total: int | None,
        checksum: str | None,
        most: int | None = None,
    ) -> None:
        """Drop all bytes, of an earlier run too; those of another state, or none, come next.

        ``total``: bytes that HTTP announces; ``most``: bytes that are read of them at most.
        """
        with blamed_on(self.path):
            if self._descriptor < 0:
                self._descriptor = create_own(self.path, 0o644)
            else:
                os.ftruncate(self._descriptor, 0)
            self._hash = hasher(self._algorithm)
            self.state = PartState(0, validator, total)
            if checksum and total is not None and total > WORTH_RESUMING:
                note = asdict(validator) | {"total": total, "checksum": checksum}
                self._noted = True
                with os.fdopen(create_own(note_of(self.path)), "w") as file:
                    json.dump(note, file)
            elif self._noted:
                self.forget_note()
        if total is not None and total > WORTH_RESUMING:
            self._check_room(total if most is None else min(total, most))

    def _check_room(self, total: int) -> None:
        """Raise ProductTooLarge if an answer announces more than the disk has room for.

        The catalogue may have told no size, or a smaller one.
        """
        with blamed_on(self.path):
            free = free_room(self.path.parent)
        if total > free:
            raise ProductTooLarge(
                f"No room in {self.path.parent}: the product has {bytes_text(total)}, "
                f"{bytes_text(free)} are free.",
                hint="The next run tries again: make room before it.",
            )

    def expect(self, total: int | None) -> None:
        """Take over the product's size where the answer tells it."""
        self.state = replace(self.state, total=total or self.state.total)

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write and hash ``pieces`` at the end."""
        self.look_at(pieces)
        length = self.state.length
        with blamed_on(self.path):
            try:
                for first in range(0, len(pieces), _MOST_PIECES):
                    some = pieces[first : first + _MOST_PIECES]
                    length += write_all(self._descriptor, some, length)
                    for piece in some:
                        self._hash.update(piece)
                    self.state = PartState(length, self.state.validator, self.state.total)
            except OSError as error:
                if error.errno == errno.EIO:  # the disk may lack any byte of the part by now
                    self._drop()
                if error.errno == errno.EFBIG:
                    raise too_large(error, self.path) from error
                raise

    def digest(self) -> str:
        """The hash of all bytes so far, hexadecimal."""
        return self._hash.hexdigest()

    def seal(self, *, stable: bool = True) -> None:
        """The file closed, ``stable``: its bytes on stable storage.

        Some file systems tell a loss only then.
        """
        with blamed_on(self.path):
            try:
                if stable:
                    sync_file(self._descriptor)
                descriptor, self._descriptor = self._descriptor, -1
                os.close(descriptor)
            except OSError:  # nothing tells which bytes the disk has
                self._drop()
                raise

    def _drop(self) -> None:
        """Delete part and note, as far as the disk lets us; no run resumes from them.

        After a failed sync the kernel takes the lost bytes for written: the part would read as
        right until the cache is dropped.
        """
        for path in (note_of(self.path), self.path):
            with suppress(OSError):
                path.unlink()
        self._noted = False

    def hand_over(
        self, expected: str, publish: Callable[..., _T], *arguments: Any, stable: bool = True
    ) -> _T:
        """The bytes checked, sealed, ``publish``ed; only then goes the note that vouches for them.

        Raises WrongDigest where their hash is not ``expected``: nothing has happened then.
        """
        if self.digest() != expected:
            raise WrongDigest
        self.seal(stable=stable)
        published = publish(*arguments)
        if self._noted:
            self.forget_note()
        return published

    def look_at(self, pieces: Sequence[bytes | memoryview]) -> None:
        """What comes next, told ahead of ``append``: the first bytes say what it is."""
        if (length := self.state.length) < len(ZIP_START):
            start = b"".join(bytes(piece[: len(ZIP_START)]) for piece in pieces)
            self._start = (self._start[:length] + start)[: len(ZIP_START)]

    @property
    def is_small(self) -> bool:
        """Whether the whole is."""
        return is_small(self.state.total)

    @property
    def is_zip(self) -> bool:
        """Whether the bytes begin as a zip does."""
        return self._start == ZIP_START

    def close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def forget_note(self) -> None:
        """No later attempt or run goes on with these bytes."""
        with blamed_on(self.path):
            note_of(self.path).unlink(missing_ok=True)
        self._noted = False

    def _read_note(self, checksum: str) -> PartState | None:
        """The state that the note tells of; None where it is not about this ``checksum``."""
        try:
            note = json.loads(note_of(self.path).read_text())
            if note["checksum"] != checksum:
                return None
            validator = Validator(note["etag"], note["last_modified"])
            return PartState(0, validator, int(note["total"]))
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None


class Sink(Generic[_Kept]):
    """A file driven from the event loop: one thread job at a time, the next batch meanwhile.

    Resources: an async context manager; leaving it waits for the job under way, even when
    cancelled, and closes the file. What was written stays.
    """

    def __init__(self, part: _Kept, pool: Threads) -> None:
        self.part = part
        self._pool = pool
        self._put_off: list[Callable[[], object]] = []
        self._job: Job[None] | None = None
        self.has_last = False
        """Whether all bytes are here, the last of them to be written yet."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        job, self._job = self._job, None
        try:
            if job is not None:
                with suppress(Exception):  # whoever leaves early has no use for it
                    await self._seen_through(job)
        finally:
            self.part.close()

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Hand ``pieces`` to the thread; waits while it is still busy with those before.

        The thread reads them until the next ``write`` or ``drain`` has returned.

        Raises DestinationError for this batch or the one before.
        """
        await self._wait()
        self._job = self._submit(self.part.append, pieces)

    async def draw(self, source: Callable[[Keep], int]) -> int:
        """Have the thread run ``source``, which reads, and appends what it has read; what it gives.

        Raises DestinationError, and what ``source`` does.
        """
        await self._wait()
        return await self._seen_through(self._submit(source, self.part.append))

    async def write_last(self, pieces: Sequence[bytes | memoryview]) -> None:
        """As ``write``, but ahead of what the thread does next, as by ``later``: all is here."""
        await self._wait()
        self.later(self.part.append, pieces)
        self.has_last = True

    def later(self, work: Callable[..., object], *arguments: Any) -> None:
        """Do ``work`` ahead of what the thread does next: two jobs for the price of one.

        What is still put off when the sink is left is not done.
        """
        self._put_off.append(partial(work, *arguments))

    async def drain(self) -> None:
        """Wait until all that was handed over is written, and what was put off is done."""
        await self._wait()
        if self._put_off:
            self._job = self._submit(_nothing)
            await self._wait()
        self.has_last = False

    async def _wait(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            await self._seen_through(job)

    async def run(self, work: Callable[..., _T], *arguments: Any, brief: bool = False) -> _T:
        """Do ``work`` in the thread, after all writes before it.

        ``brief``: or here, where that and what was put off take less time.
        """
        await self._wait()
        return await self._seen_through(self._submit(work, *arguments, brief=brief))

    def _submit(self, work: Callable[..., _T], *arguments: Any, brief: bool = False) -> Job[_T]:
        before, self._put_off = self._put_off, []

        def job() -> _T:
            for one in before:
                one()
            return work(*arguments)

        return self._pool.submit_brief(job) if brief else self._pool.submit(job)

    async def _seen_through(self, job: Job[_T]) -> _T:
        return await job.finished(self.part.stop)


def _nothing() -> None:
    pass
