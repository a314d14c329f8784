"""Socket to disk: a part file that is hashed while it is written, in a thread, off the loop."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from noa_async.disk import blamed_on, write_all
from noa_async.transfer.checksum import ZIP_START, feed_file, hasher
from noa_async.transfer.resume import PartState, Validator

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

_T = TypeVar("_T")
_Kept = TypeVar("_Kept", bound="Store")

WORTH_RESUMING = 1 << 20
"""Bytes: below it, what a later run could save does not pay for a note beside the part."""

_MOST_PIECES = 512


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
        self._stopped = threading.Event()

    def stop(self) -> None:
        """From another thread: nobody waits for ``open`` any more; it need not read to the end."""
        self._stopped.set()

    def open(self, checksum: str | None) -> None:
        """Open or make the part; what is there is gone on with where its note vouches for it.

        ``checksum`` is the product's (None: none to check the whole by, so an old part is dropped:
        after a power cut nothing could tell its bytes from zeros).
        """
        with blamed_on(self.path):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o644)
            length = os.fstat(self._descriptor).st_size
            known = self._read_note(checksum) if length and checksum else None
            if known is None:
                self._truncate()
            else:
                stopped = self._stopped.is_set
                self._start = os.pread(self._descriptor, len(ZIP_START), 0)
                length = feed_file(self._descriptor, self._hash, length, stopped=stopped)
                self.state = replace(known, length=length)

    def restart(self, validator: Validator, total: int | None, checksum: str | None) -> None:
        """Drop all bytes; those of another state of the product, or none, come next."""
        with blamed_on(self.path):
            self._truncate()
            self._hash = hasher(self._algorithm)
            self.state = PartState(0, validator, total)
            if checksum and total is not None and total > WORTH_RESUMING:
                note = asdict(validator) | {"total": total, "checksum": checksum}
                with open(note_of(self.path), "w", opener=_private) as file:
                    json.dump(note, file)
            else:
                note_of(self.path).unlink(missing_ok=True)

    def expect(self, total: int | None) -> None:
        """Take over the product's size where the answer tells it."""
        self.state = replace(self.state, total=total or self.state.total)

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write and hash ``pieces`` at the end."""
        length = self.state.length
        if length < len(ZIP_START):
            start = b"".join(bytes(piece[: len(ZIP_START)]) for piece in pieces)
            self._start = (self._start[:length] + start)[: len(ZIP_START)]
        with blamed_on(self.path):
            for first in range(0, len(pieces), _MOST_PIECES):
                some = pieces[first : first + _MOST_PIECES]
                length += write_all(self._descriptor, some, length)
                for piece in some:
                    self._hash.update(piece)
                self.state = replace(self.state, length=length)

    def digest(self) -> str:
        """The hash of all bytes so far, hexadecimal."""
        return self._hash.hexdigest()

    def seal(self) -> None:
        """The bytes on stable storage, the file closed; some file systems tell a loss only then."""
        with blamed_on(self.path):
            os.fsync(self._descriptor)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

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
        """These bytes are wrong: no later attempt or run goes on with them."""
        with blamed_on(self.path):
            note_of(self.path).unlink(missing_ok=True)

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

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, 0)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class Sink(Generic[_Kept]):
    """A file driven from the event loop: one thread job at a time, the next batch meanwhile.

    Resources: an async context manager; leaving it waits for the job under way, even when
    cancelled, and closes the file. What was written stays.
    """

    def __init__(self, part: _Kept, pool: ThreadPoolExecutor) -> None:
        self.part = part
        self._pool = pool
        self._put_off: list[Callable[[], object]] = []
        self._job: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        job, self._job = self._job, None
        try:
            if job is not None:
                await self._see_through(job)
                job.exception()  # whoever leaves early has no use for it
        finally:
            self.part.close()

    async def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Hand ``pieces`` to the thread; waits while it is still busy with those before.

        The thread reads them until the next ``write`` or ``drain`` has returned.

        Raises DestinationError for this batch or the one before.
        """
        await self._wait()
        self._job = self._submit(self.part.append, pieces)

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

    async def _wait(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            await self._see_through(job)
            job.result()

    async def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do ``work`` in the thread, after all writes before it."""
        await self._wait()
        job = self._submit(work, *arguments)
        await self._see_through(job)
        return job.result()

    def _submit(self, work: Callable[..., _T], *arguments: Any) -> asyncio.Future[_T]:
        before, self._put_off = self._put_off, []

        def job() -> _T:
            for one in before:
                one()
            return work(*arguments)

        return asyncio.get_running_loop().run_in_executor(self._pool, job)

    async def _see_through(self, job: asyncio.Future[Any]) -> None:
        """Wait for the thread's job to its end, even when cancelled: it uses our file."""
        cancelled: asyncio.CancelledError | None = None
        while not job.done():
            try:
                await asyncio.wait({job})
            except asyncio.CancelledError as error:
                self.part.stop()
                cancelled = error
        if cancelled is not None:
            job.exception()  # nobody else will ask for it
            raise cancelled


def _nothing() -> None:
    pass
