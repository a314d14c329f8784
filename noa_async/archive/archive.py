"""An archive: a locked folder, its ledger and its layout; what is there, and where things go."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.archive.decisions import (
    Read,
    Right,
    Sighting,
    Wrong,
    judge,
    sighted,
    wanted_checksum,
)
from noa_async.archive.destination import LocalFolder
from noa_async.archive.layout import FLAT, PLAIN, Layout
from noa_async.archive.ledger import Ledger
from noa_async.archive.places import Places, paths_of
from noa_async.archive.reading import digest_of, has_checksum
from noa_async.archive.rearranging import rearrange
from noa_async.archive.record import Record, first_record
from noa_async.archive.states import State
from noa_async.archive.turns import Turns
from noa_async.errors import DestinationFull, ProductQuarantined
from noa_async.events import FilePutAside, LedgerSetAside, Observer, Status, ignore
from noa_async.transfer.checksum import OWN, broken_zip
from noa_async.transfer.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from noa_async.archive.destination import FileFacts
    from noa_async.catalogue.product import Product
    from noa_async.errors import NoaError, ProductCorrupt, ProductOffline
    from noa_async.transfer.download import Fetched

_T = TypeVar("_T")
_SPARE = 16 << 20
"""Bytes that are left free, for the ledger and what the catalogue's sizes do not tell."""
FAILURES = 10
"""Runs that may fail for a product before later ones leave it alone."""


class Archive:
    """What one output folder holds. The caller keeps two tasks off one product (``only_one``).

    Resources: an async context manager; it holds the folder's lock and its ledger.
    Error handling: DestinationError where the folder cannot be read or written.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout | None,
        pool: ThreadPoolExecutor,
        observer: Observer = ignore,
        *,
        clock: Callable[[], float] = time.time,
        anew: bool = True,
    ) -> None:
        """``layout``: None is the one that the folder has, else flat; ``anew`` as for Ledger."""
        self.folder = LocalFolder(root)
        self.ledger = Ledger(self.folder.state / "ledger.sqlite3", anew=anew)
        self.layout = layout or FLAT
        self.pool = pool
        self.clock = clock
        self._asked_layout = layout
        self._observer = observer
        self._under_way: dict[str, int] = {}
        self._places = Places(self.ledger)
        self._turns = Turns()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self._in_thread(self.folder.open)
            stack.callback(self._unlock)
            await self.ledger.open(suspect=self.folder.suspect)
            stack.push_async_callback(self.ledger.close)
            await self._settle_layout()
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._resources.aclose()

    def _unlock(self) -> None:
        self.folder.close(in_order=not self.ledger.damaged)

    async def _settle_layout(self) -> None:
        """Move what is here into the layout that was asked for."""
        if self.ledger.set_aside is not None:
            self._observer(LedgerSetAside(str(self.ledger.set_aside)))
        kept = await self._in_thread(self.folder.read_layout)
        if self.ledger.fresh and kept is not None:
            self._observer(LedgerSetAside(None))
        if kept is not None and self._asked_layout is None:
            self.layout = Layout.parse(kept)
        if kept is not None and kept != self.layout.template:
            await rearrange(self.folder, self.ledger, self.layout, self._observer)
        if kept != self.layout.template:
            await self._in_thread(self.folder.keep_layout, self.layout.template)

    def only_one(self, product_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the part and the name of a product; who comes second waits."""
        return self._turns.only_one(product_id)

    async def present(self, product: Product) -> Outcome | None:
        """The product as it lies here, where it is right; None where it has to be fetched.

        A file that is as the ledger knows it is right. One that changed, or is not in the ledger,
        is read and compared with the catalogue's checksum.
        """
        record = self.ledger.get(product.id)
        if record is None or record.path is None:
            return await self._adopt(product)
        facts = self.folder.facts(record.path)
        match judge(record, product, facts):
            case Right():
                if record.todo is not None:
                    self.ledger.put(replace(record, todo=None))
                return self.outcome(product, record)
            case Wrong(state):
                self._spoilt(product, state)
                return None
            case Read(expected):
                if not await has_checksum(self.folder.place(record.path), expected, self.pool):
                    self._spoilt(product, State.DAMAGED)
                    return None
        assert facts is not None
        return self._keep(product, record.path, facts, expected)

    def _spoilt(self, product: Product, state: State) -> None:
        """Note that a file that was right is so no more."""
        record = self.ledger.get(product.id)
        if record is not None and record.held:
            self.ledger.put(record.spoilt(state, self.clock()))

    def note(self, product: Product, sighting: Sighting) -> Record:
        """Write down a product that a listing met; the record says whether it is to be fetched."""
        record = self.ledger.get(product.id)
        verdict = None
        if record is not None and record.path is not None:
            verdict = judge(record, product, self.folder.facts(record.path))
        record = sighted(record, product, verdict, sighting, self.ledger.next_place)
        self.ledger.put(record)
        return record

    async def _adopt(self, product: Product) -> Outcome | None:
        """A file that has the product's name and checksum, though no ledger knows of it."""
        paths = [
            path
            for layout in dict.fromkeys((self.layout, *PLAIN))
            for is_zip in (False, True)
            for path in paths_of(product, layout, is_zip=is_zip)
        ]
        for path in dict.fromkeys(paths):
            if self.folder.facts(path) is None or not self._places.is_free(path, product.id):
                continue
            with self._places.claimed(path, product.id):
                outcome = await self._adopt_file(product, path)
            if outcome is not None:
                return outcome
        return None

    async def _adopt_file(self, product: Product, path: PurePosixPath) -> Outcome | None:
        """The file as the product's. Where no checksum can tell, size and zip must be right."""
        facts = self.folder.facts(path)
        where = self.folder.place(path)
        wanted = wanted_checksum(product)
        if facts is None:
            return None
        if wanted is not None:
            if not await has_checksum(where, wanted, self.pool):
                return None
            return self._keep(product, path, facts, wanted)
        if facts.size != product.size or await self._in_thread(broken_zip, where) is not None:
            return None
        found = await digest_of(where, OWN, self.pool)
        return self._keep(product, path, facts, f"{OWN}:{found}")

    async def admit(self, fetched: Fetched, part: Path) -> Outcome:
        """Publish a whole, checked part under the product's name and write it down."""
        product = fetched.product
        is_zip = await self._in_thread(self.folder.is_zip, part)
        record = self.ledger.get(product.id)
        owned = record is not None and record.path is not None
        if record is not None and record.path is not None:
            path = PurePosixPath(record.path)
        else:
            path = self._places.choose(product, self.layout, is_zip=is_zip)
        with self._places.claimed(path, product.id):
            if not owned or self.folder.facts(path) is None:
                await self._make_way(path, product)
            facts = await self._in_thread(self.folder.publish, part, path)
            checksum = str(fetched.checksum)
            state = State.VERIFIED if fetched.verified else State.UNVERIFIED
            begun = replace(self._begun(product), attempts=fetched.attempts)
            record = begun.found_right(state, path, facts, checksum, self.clock())
            self.ledger.put(record)
        status = Status.DOWNLOADED if fetched.verified else Status.UNVERIFIED
        outcome = self.outcome(product, record)
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
        return self._give_up(State.FAILED, product, error)

    def waiting(self, product: Product, error: ProductOffline) -> Outcome:
        """Write down that a product is still to come on line: no failure that counts."""
        record = self._begun(product)
        waiting = record.moved(State.WAITING, self.clock(), attempts=error.attempts)
        self.ledger.put(replace(waiting, error=str(error), reason=type(error).__name__))
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    async def quarantine(self, product: Product, part: Path, error: ProductCorrupt) -> Outcome:
        """Put a part with wrong bytes aside; it is not fetched again before something changes."""
        where = await self._in_thread(self.folder.quarantine, part)
        error.hint = f"The bytes are kept at {where}."
        return self._give_up(State.QUARANTINED, product, error)

    def _give_up(self, state: State, product: Product, error: NoaError) -> Outcome:
        limit = 0 if state is State.QUARANTINED else FAILURES
        record = self._begun(product).gave_up(state, error, self.clock(), limit=limit)
        self.ledger.put(record)
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    def _begun(self, product: Product) -> Record:
        """The record as it is now, for a listing may have touched it, with this product."""
        record = self.ledger.get(product.id)
        if record is None:
            return first_record(product, State.LISTED, self.clock())
        return replace(record, product=product)

    def condemned(self, product: Product) -> Outcome | None:
        """The failed outcome of a product in quarantine of which the catalogue says nothing new."""
        record = self.ledger.get(product.id)
        if record is None or record.state is not State.QUARANTINED:
            return None
        if wanted_checksum(record.product) != wanted_checksum(product):
            self.retry(product)
            return None
        return self.given_up(product, record)

    def given_up(self, product: Product, record: Record) -> Outcome:
        """The failed outcome of a product that is not tried again unasked."""
        error = ProductQuarantined(
            f"Not fetched again, for an earlier run found: {record.error}",
            hint="--retry-failed (retry_failed=True) fetches it again.",
        )
        return Outcome(product, Status.FAILED, error=error)

    async def remove(self, record: Record) -> None:
        """Delete a product's file: the service has it no more."""
        if record.path is not None:
            await self._in_thread(self.folder.remove, record.path)
        now = self.clock()
        nothing = {"path": None, "size": None, "mtime_ns": None, "checksum": None}
        self.ledger.put(record.moved(State.REMOVED, now, todo=None, gone=now, **nothing))

    async def drop_part(self, record: Record) -> None:
        """Delete what has gathered of a product: nobody has the rest any more."""
        await self._in_thread(self.folder.drop_part, record.id)

    def retry(self, product: Product) -> None:
        """Forget that a product failed."""
        record = self.ledger.get(product.id)
        if record is not None and record.state in {State.QUARANTINED, State.FAILED}:
            listed = record.moved(State.LISTED, self.clock(), failures=0, failed_at=None)
            self.ledger.put(listed)

    def relative(self, path: Path) -> str:
        """A path from the output folder, with ``/``."""
        return path.relative_to(self.folder.root).as_posix()

    async def _make_way(self, path: PurePosixPath, product: Product) -> None:
        """What lies where a newcomer goes is foreign: put aside, not overwritten."""
        target = self.folder.place(path)
        if os.path.lexists(target):  # noqa: ASYNC240 (one call a product)
            kept_at = await self._in_thread(self.folder.put_aside, target, product.id)
            self._observer(FilePutAside(str(path), str(kept_at)))

    def _keep(
        self, product: Product, path: PurePosixPath | str, facts: FileFacts, checksum: str
    ) -> Outcome:
        """Write down a file that was read and found right; what gathered beside it is of no use."""
        self.folder.drop_part(product.id)
        state = State.VERIFIED if wanted_checksum(product) else State.UNVERIFIED
        right = self._begun(product).found_right(state, path, facts, checksum, self.clock())
        self.ledger.put(right)
        return self.outcome(product, right)

    def outcome(self, product: Product, record: Record) -> Outcome:
        """The outcome of a product that is here and right."""
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
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, *arguments)
