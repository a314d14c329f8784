"""An archive: a locked folder, its ledger and its layout; what is there, and where things go."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.archive.destination import FileFacts, LocalFolder
from noa_async.archive.ledger import Ledger, Record, State
from noa_async.archive.names import fold, safe_name, with_ids, with_zip
from noa_async.disk import blamed_on
from noa_async.errors import DestinationFull, ProductQuarantined
from noa_async.events import FilePutAside, Observer, Status, ignore
from noa_async.transfer.checksum import OWN, broken_zip, feed_file, hasher, strongest
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


@dataclass(slots=True)
class _Queue:
    """Who works on a product, and who waits for that."""

    users: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Archive:
    """What one output folder holds. The caller keeps two tasks off one product (``only_one``).

    Resources: an async context manager; it holds the folder's lock and its ledger.
    Error handling: DestinationError where the folder cannot be read or written.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout,
        pool: ThreadPoolExecutor,
        observer: Observer = ignore,
    ) -> None:
        self.folder = LocalFolder(root)
        self.ledger = Ledger(self.folder.state / "ledger.sqlite3")
        self.layout = layout
        self._pool = pool
        self._observer = observer
        self._under_way: dict[str, int] = {}
        self._claims: dict[str, str] = {}
        self._busy: dict[str, _Queue] = {}

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
        queue = self._busy.setdefault(product_id, _Queue())
        queue.users += 1
        try:
            async with queue.lock:
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del self._busy[product_id]

    async def present(self, product: Product) -> Outcome | None:
        """The product as it lies here, where it is right; None where it has to be fetched.

        A file that is as the ledger knows it is right. One that changed, or is not in the ledger,
        is read and compared with the catalogue's checksum.
        """
        record = self.ledger.get(product.id)
        wanted = _catalogued(product)
        if record is None or record.path is None:
            return await self._adopt(product)
        facts = self.folder.facts(record.path)
        if facts is None:
            return None
        expected = wanted or record.checksum
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
        name = safe_name(product.name, product.id)
        for plain in (name, *with_ids(name, product.id)):
            for candidate in dict.fromkeys((plain, with_zip(plain, is_zip=True))):
                path = self.layout.path(product, candidate)
                if self.folder.facts(path) is None or self._owner(path) not in {None, product.id}:
                    continue
                with self._claimed(path, product.id):
                    outcome = await self._adopt_file(product, path)
                if outcome is not None:
                    return outcome
        return None

    async def _adopt_file(self, product: Product, path: PurePosixPath) -> Outcome | None:
        """The file as the product's. Where no checksum can tell, size and zip must be right."""
        facts = self.folder.facts(path)
        wanted = _catalogued(product)
        if facts is None:
            return None
        if wanted is not None:
            if not await self._matches(path, wanted):
                return None
            record = _with_facts(_record(product, State.VERIFIED, path), facts)
            return self._keep(record, product, wanted)
        if facts.size != product.size:
            return None
        where = self.folder.place(path)
        if await self._in_thread(broken_zip, where) is not None:
            return None
        record = _with_facts(_record(product, State.UNVERIFIED, path), facts)
        return self._keep(record, product, f"{OWN}:{await self._digest(path, OWN)}")

    async def admit(self, fetched: Fetched, part: Path) -> Outcome:
        """Publish a whole, checked part under the product's name and write it down."""
        product = fetched.product
        is_zip = await self._in_thread(self.folder.is_zip, part)
        path, owned = self._choose(product, is_zip=is_zip)
        with self._claimed(path, product.id):
            if not owned:
                await self._make_way(path, product)
            facts = await self._in_thread(self.folder.publish, part, path)
            state = State.VERIFIED if fetched.verified else State.UNVERIFIED
            record = _with_facts(_record(product, state, path), facts)
            record = replace(record, attempts=fetched.attempts)
            outcome = self._keep(record, product, str(fetched.checksum))
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

    def failed(self, product: Product, error: NoaError) -> Outcome:
        """Write down why a product is not there."""
        record = self.ledger.get(product.id) or _record(product, State.FAILED, None)
        return self._give_up(replace(record, state=State.FAILED), product, error)

    async def quarantine(self, product: Product, part: Path, error: ProductCorrupt) -> Outcome:
        """Put a part with wrong bytes aside; it is not fetched again before something changes."""
        where = await self._in_thread(self.folder.quarantine, part)
        error.hint = f"The bytes are kept at {where}."
        state = State.QUARANTINED
        record = self.ledger.get(product.id) or _record(product, state, None)
        return self._give_up(
            replace(record, state=state, checksum=_catalogued(product)), product, error
        )

    def _give_up(self, record: Record, product: Product, error: NoaError) -> Outcome:
        told = replace(record, attempts=error.attempts, error=str(error), updated=time.time())
        self.ledger.put(told)
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    def condemned(self, product: Product) -> Outcome | None:
        """The failed outcome of a product in quarantine of which the catalogue says nothing new."""
        record = self.ledger.get(product.id)
        if record is None or record.state is not State.QUARANTINED:
            return None
        if record.checksum != _catalogued(product):
            return None
        error = ProductQuarantined(
            f"Not fetched again, for an earlier run found: {record.error}",
            hint="--retry-failed (retry_failed=True) fetches it again.",
        )
        return Outcome(product, Status.FAILED, error=error)

    def relative(self, path: Path) -> str:
        """A path from the output folder, with ``/``."""
        return path.relative_to(self.folder.root).as_posix()

    def _choose(self, product: Product, *, is_zip: bool) -> tuple[PurePosixPath, bool]:
        """The path for this product, and whether it was its own before."""
        record = self.ledger.get(product.id)
        if record is not None and record.path is not None:
            return PurePosixPath(record.path), True
        name = with_zip(safe_name(product.name, product.id), is_zip=is_zip)
        paths = [self.layout.path(product, each) for each in (name, *with_ids(name, product.id))]
        free = (path for path in paths if self._owner(path) in {None, product.id})
        return next(free, paths[-1]), False

    @contextmanager
    def _claimed(self, path: PurePosixPath, product_id: str) -> Generator[None]:
        """Keep a path for one product until the ledger knows of it."""
        key = fold(str(path))
        self._claims[key] = product_id
        try:
            yield
        finally:
            del self._claims[key]

    def _owner(self, path: PurePosixPath) -> str | None:
        key = fold(str(path))
        return self._claims.get(key) or self.ledger.owner(key)

    async def _make_way(self, path: PurePosixPath, product: Product) -> None:
        """What lies where a newcomer goes is foreign: put aside, not overwritten."""
        target = self.folder.place(path)
        if os.path.lexists(target):  # noqa: ASYNC240 (one call a product)
            kept_at = await self._in_thread(self.folder.put_aside, target, product.id)
            self._observer(FilePutAside(str(path), str(kept_at)))

    async def _matches(self, path: PurePosixPath | str, expected: str) -> bool:
        """Whether a file's bytes have the checksum ``algorithm:hex``."""
        algorithm, _, value = expected.partition(":")
        try:
            return await self._digest(path, algorithm) == value
        except KeyError:  # a ledger of another making
            return False

    async def _digest(self, path: PurePosixPath | str, algorithm: str) -> str:
        """A file's hash; the thread that takes it stops where nobody waits for it any more."""
        stopped = threading.Event()
        try:
            where = self.folder.place(path)
            return await self._in_thread(_file_digest, where, algorithm, stopped.is_set)
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


def _catalogued(product: Product) -> str | None:
    """The checksum that decides, as a record has it."""
    checksum = strongest(product.checksums)
    return str(checksum) if checksum else None


def _with_facts(record: Record, facts: FileFacts) -> Record:
    return replace(record, size=facts.size, mtime_ns=facts.mtime_ns)


def _file_digest(path: Path, algorithm: str, stopped: Callable[[], bool]) -> str:
    digest = hasher(algorithm)
    with blamed_on(path), path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        feed_file(file.fileno(), digest, length, stopped=stopped)
    return digest.hexdigest()
