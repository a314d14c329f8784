"""An archive: a locked folder, its ledger and its layout; what is there, and where things go."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.archive.destination import FileFacts, LocalFolder
from noa_async.archive.ledger import Ledger, Record, State
from noa_async.archive.names import fold, safe_name, with_id, with_zip
from noa_async.disk import blamed_on
from noa_async.errors import DestinationFull, ProductQuarantined
from noa_async.events import Status
from noa_async.transfer.checksum import feed_file, hasher, strongest
from noa_async.transfer.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from noa_async.archive.layout import Layout
    from noa_async.catalogue.product import Product
    from noa_async.errors import NoaError, ProductCorrupt
    from noa_async.transfer.download import Fetched

_T = TypeVar("_T")
_RIGHT = frozenset({State.VERIFIED, State.UNVERIFIED})
_SPARE = 16 << 20
"""Bytes that are left free, for the ledger and what the catalogue's sizes do not tell."""


class Archive:
    """What one output folder holds. The caller keeps two tasks off one product (``only_one``).

    Resources: an async context manager; it holds the folder's lock and its ledger.
    Error handling: DestinationError where the folder cannot be read or written.
    """

    def __init__(self, root: Path, layout: Layout, pool: ThreadPoolExecutor) -> None:
        self.folder = LocalFolder(root)
        self.ledger = Ledger(self.folder.state / "ledger.sqlite3")
        self.layout = layout
        self._pool = pool
        self._under_way: dict[str, int] = {}
        self._claims: dict[str, str] = {}
        self._busy: dict[str, asyncio.Lock] = {}

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._in_thread(self.folder.open)
            stack.callback(self.folder.close)
            await stack.enter_async_context(self.ledger)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    @asynccontextmanager
    async def only_one(self, product_id: str) -> AsyncGenerator[None]:
        """Hold the part and the name of a product; who comes second waits."""
        lock = self._busy.setdefault(product_id, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._busy.get(product_id) is lock:
                del self._busy[product_id]

    async def present(self, product: Product) -> Outcome | None:
        """The product as it lies here, where it is right; None where it has to be fetched.

        A file that is as the ledger knows it is right. One that changed, or is not in the ledger,
        is read and compared with the catalogue's checksum.
        """
        record = self.ledger.get(product.id)
        wanted = strongest(product.checksums)
        if record is None or record.path is None:
            return await self._adopt(product)
        facts = self.folder.facts(record.path)
        if facts is None:
            return None
        expected = str(wanted) if wanted else record.checksum
        untouched = (facts.size, facts.mtime_ns) == (record.size, record.mtime_ns)
        known = record.state in _RIGHT and record.checksum == expected
        if untouched and known:
            return self._outcome(product, record)
        if expected is None or not await self._matches(record.path, expected):
            return None
        state = State.VERIFIED if wanted else State.UNVERIFIED
        return self._keep(replace(_with_facts(record, facts), state=state), product, expected)

    async def _adopt(self, product: Product) -> Outcome | None:
        """A file that has the product's name and checksum, though no ledger knows of it."""
        wanted = strongest(product.checksums)
        if wanted is None:
            return None
        name = safe_name(product.name, product.id)
        for plain in (name, with_id(name, product.id)):
            for candidate in dict.fromkeys((plain, with_zip(plain, is_zip=True))):
                path = self.layout.path(product, candidate)
                facts = self.folder.facts(path)
                if facts is None or self._owner(path) not in {None, product.id}:
                    continue
                if await self._matches(path, str(wanted)):
                    record = _with_facts(_record(product, State.VERIFIED, path), facts)
                    return self._keep(record, product, str(wanted))
        return None

    async def admit(self, fetched: Fetched, part: Path) -> Outcome:
        """Publish a whole, checked part under the product's name and write it down."""
        product = fetched.product
        is_zip = await self._in_thread(self.folder.is_zip, part)
        path, owned = self._claim(product, is_zip=is_zip)
        try:
            facts = await self._in_thread(self._publish, part, path, None if owned else product.id)
            state = State.VERIFIED if fetched.verified else State.UNVERIFIED
            record = _with_facts(_record(product, state, path), facts)
            record = replace(record, attempts=fetched.attempts)
            outcome = self._keep(record, product, str(fetched.checksum))
        finally:
            self._claims.pop(fold(str(path)), None)
        status = Status.DOWNLOADED if fetched.verified else Status.UNVERIFIED
        return replace(outcome, status=status, attempts=fetched.attempts)

    @contextmanager
    def room_for(self, product: Product) -> Generator[None]:
        """Keep room for what is missing of a product, where its size is known.

        Raises DestinationFull where the disk has less than all that is under way needs.
        """
        self._under_way[product.id] = product.size or 0
        try:
            self._check_room(product)
            yield
        finally:
            del self._under_way[product.id]

    def _check_room(self, product: Product) -> None:
        if product.size is None:
            return
        gathered = self.folder.part_size
        need = sum(max(0, size - gathered(key)) for key, size in self._under_way.items())
        free = self.folder.room()
        if free < need + _SPARE:
            raise DestinationFull(
                f"No room in {self.folder.root} for {product.name}: what is under way needs "
                f"{need} bytes more, {free} are free.",
                hint="Make room and start again: what has arrived is kept.",
            )

    def failed(self, product: Product, error: NoaError, state: State = State.FAILED) -> Outcome:
        """Write down why a product is not there."""
        record = self.ledger.get(product.id) or _record(product, state, None)
        record = replace(record, state=state, attempts=error.attempts, error=str(error))
        self.ledger.put(replace(record, updated=time.time()))
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    async def quarantine(self, product: Product, part: Path, error: ProductCorrupt) -> Outcome:
        """Put a part with wrong bytes aside; it is not fetched again before something changes."""
        where = await self._in_thread(self.folder.quarantine, part, part.name)
        error.hint = f"The bytes are kept at {where}."
        outcome = self.failed(product, error, State.QUARANTINED)
        wanted = strongest(product.checksums)
        held = self.ledger.get(product.id)
        assert held is not None
        self.ledger.put(replace(held, checksum=str(wanted) if wanted else None))
        return outcome

    def condemned(self, product: Product) -> Outcome | None:
        """The failed outcome of a product in quarantine of which the catalogue says nothing new."""
        record = self.ledger.get(product.id)
        wanted = strongest(product.checksums)
        known = str(wanted) if wanted else None
        if record is None or record.state is not State.QUARANTINED or record.checksum != known:
            return None
        error = ProductQuarantined(
            f"Not fetched again, for an earlier run found: {record.error}",
            hint="--retry-failed (retry_failed=True) fetches it again.",
        )
        return Outcome(product, Status.FAILED, error=error)

    def relative(self, path: Path) -> str:
        """A path from the output folder, with ``/``."""
        return path.relative_to(self.folder.root).as_posix()

    def _claim(self, product: Product, *, is_zip: bool) -> tuple[PurePosixPath, bool]:
        """The path that is this product's, and whether it was before; nobody else gets it now."""
        record = self.ledger.get(product.id)
        if record is not None and record.path is not None:
            path, owned = PurePosixPath(record.path), True
        else:
            name = with_zip(safe_name(product.name, product.id), is_zip=is_zip)
            path, owned = self.layout.path(product, name), False
            if self._owner(path) not in {None, product.id}:
                path = self.layout.path(product, with_id(name, product.id))
        self._claims[fold(str(path))] = product.id
        return path, owned

    def _owner(self, path: PurePosixPath) -> str | None:
        key = fold(str(path))
        return self._claims.get(key) or self.ledger.owner(key)

    def _publish(self, part: Path, path: PurePosixPath, newcomer: str | None) -> FileFacts:
        """In a thread. What lies where a newcomer goes is foreign: put aside, not overwritten."""
        target = self.folder.place(path)
        if newcomer is not None and os.path.lexists(target):
            self.folder.quarantine(target, f"{newcomer[:40]}_{path.name}")
        return self.folder.publish(part, path)

    async def _matches(self, path: PurePosixPath | str, expected: str) -> bool:
        stopped = threading.Event()
        try:
            where = self.folder.place(path)
            return await self._in_thread(_file_matches, where, expected, stopped.is_set)
        finally:
            stopped.set()

    def _keep(self, record: Record, product: Product, checksum: str) -> Outcome:
        record = replace(record, checksum=checksum, error=None, updated=time.time())
        self.ledger.put(record)
        return self._outcome(product, record)

    def _outcome(self, product: Product, record: Record) -> Outcome:
        assert record.path is not None
        verified = record.state is State.VERIFIED
        return Outcome(
            product,
            Status.PRESENT if verified else Status.UNVERIFIED,
            path=self.folder.place(record.path),
            bytes=record.size or 0,
            checksum=record.checksum if verified else None,
        )

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)


def _record(product: Product, state: State, path: PurePosixPath | None) -> Record:
    where = None if path is None else str(path)
    return Record(product.id, product.name, state, where, where and fold(where))


def _with_facts(record: Record, facts: FileFacts) -> Record:
    return replace(record, size=facts.size, mtime_ns=facts.mtime_ns)


def _file_matches(path: Path, expected: str, stopped: Callable[[], bool]) -> bool:
    """In a thread: whether a file's bytes have the checksum ``algorithm:hex``."""
    algorithm, _, value = expected.partition(":")
    digest = hasher(algorithm)
    with blamed_on(path), path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        feed_file(file.fileno(), digest, length, stopped=stopped)
    return digest.hexdigest() == value
