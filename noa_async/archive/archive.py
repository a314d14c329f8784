"""An archive: a locked folder, its ledger and its layout; what is there, and where things go."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.archive.decisions import Sighting, counts, judge, sighted, wanted_checksum
from noa_async.archive.folder import LocalFolder
from noa_async.archive.layout import FLAT, Layout
from noa_async.archive.ledger import Ledger
from noa_async.archive.places import Places
from noa_async.archive.rearranging import rearrange
from noa_async.archive.record import Glance, Record, first_record
from noa_async.archive.states import State
from noa_async.archive.turns import Turns
from noa_async.errors import DestinationError, DestinationFull, ProductQuarantined
from noa_async.events import LedgerSetAside, Observer, Status, ignore
from noa_async.transfer.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from contextlib import AbstractAsyncContextManager

    from noa_async.archive.destination import Destination
    from noa_async.archive.targets import StoreUrl
    from noa_async.catalogue.product import Product
    from noa_async.errors import NoaError, ProductCorrupt, ProductOffline
    from noa_async.threads import Threads

_T = TypeVar("_T")
_SPARE = 16 << 20
"""Bytes that are left free, for the ledger and what the catalogue's sizes do not tell."""
FAILURES = 10
"""Runs that may fail for a product before later ones leave it alone."""


def destination_of(target: Path | StoreUrl) -> Destination:
    """The output that is meant, not opened yet."""
    if isinstance(target, Path):
        return LocalFolder(target)
    from noa_async.archive.objects import ObjectFolder  # noqa: PLC0415 (seldom asked for)

    return ObjectFolder(target)


class Archive:
    """What one output folder holds. The caller keeps two tasks off one product (``only_one``).

    Resources: an async context manager; it holds the folder's lock and its ledger.
    Error handling: DestinationError where the folder cannot be read or written.
    """

    def __init__(
        self,
        target: Path | StoreUrl,
        layout: Layout | None,
        pool: Threads,
        observer: Observer = ignore,
        *,
        clock: Callable[[], float] = time.time,
        anew: bool = True,
    ) -> None:
        """``layout``: None is the one that the folder has, else flat; ``anew`` as for Ledger."""
        self.folder = destination_of(target)
        self.ledger = Ledger(
            self.folder.state / "ledger.sqlite3", anew=anew, before_write=self.folder.sync
        )
        self.layout = layout or FLAT
        self.pool = pool
        self.clock = clock
        self.observer = observer
        self.places = Places(self.ledger)
        self._asked_layout = layout
        self._under_way: dict[str, int] = {}
        self._sizes = 0
        self._turns = Turns()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await self.in_thread(self.folder.open)
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
        """Move what is here into the layout that was asked for; first end a move that was begun."""
        if self.ledger.set_aside is not None:
            self.observer(LedgerSetAside(str(self.ledger.set_aside)))
        try:
            kept = await self.in_thread(self.folder.read_layout)
        except DestinationError:
            if self._asked_layout is None:
                raise
            kept = ""  # no layout: the ledger tells where the files are
        if self.ledger.fresh and kept is not None:
            self.observer(LedgerSetAside(None))
        if kept and self.folder.moving:
            await rearrange(self.folder, self.ledger, Layout.parse(kept), self.observer)
        if kept and self._asked_layout is None:
            self.layout = Layout.parse(kept)
        if kept is None:
            await self.in_thread(self.folder.keep_layout, self.layout.template)
        elif kept != self.layout.template:
            await rearrange(self.folder, self.ledger, self.layout, self.observer)

    def only_one(self, product_id: str) -> AbstractAsyncContextManager[None]:
        """Hold the part and the name of a product; who comes second waits."""
        return self._turns.only_one(product_id)

    def is_held(self, product_id: str) -> bool:
        """Whether somebody holds a product by ``only_one``."""
        return self._turns.is_held(product_id)

    def foresee(
        self, products: Sequence[Product], *, paths: bool = True, whole: bool = True
    ) -> None:
        """Have at hand what bringing these products will ask of the ledger: two questions for all.

        ``paths``: also whose the paths are of those that have none. ``whole``: as for
        ``Ledger.look_up``.
        """
        ledger = self.ledger
        ledger.look_up((product.id for product in products), whole=whole)
        if paths:
            new = [each for each in products if self._path(each) is None]
            self.places.look_up(new, self.layout)

    def _path(self, product: Product) -> str | None:
        glance = self.ledger.glance(product.id)
        return None if glance is None else glance.path

    def note(self, product: Product, sighting: Sighting) -> Record:
        """Write down a product that a listing met; the record says whether it is to be fetched."""
        record = self.ledger.get(product.id)
        verdict = None
        if record is not None and record.path is not None:
            verdict = judge(record, product, self.folder.facts(record.path))
        record = sighted(record, product, verdict, sighting, self.ledger.next_place)
        self.ledger.put(record)
        return record

    @contextmanager
    def room_for(self, product: Product) -> Generator[None]:
        """Keep room for what is missing of a product, where its size is known.

        Raises DestinationFull where the disk has less than all that is under way needs.
        """
        size = product.size or 0
        self._under_way[product.id] = size
        self._sizes += size
        try:
            if product.size is not None:
                self._check_room(product)
            yield
        finally:
            del self._under_way[product.id]
            self._sizes -= size

    def _check_room(self, product: Product) -> None:
        if self.folder.room_lately(product.size or 0) >= self._sizes + _SPARE:
            return  # room for all of them, whatever has gathered
        free = self.folder.room()
        gathered = self.folder.part_size
        need = sum(max(0, size - gathered(key)) for key, size in self._under_way.items())
        if free < need + _SPARE:
            raise DestinationFull(
                f"No room in {self.folder.scratch_name} for {product.name}: what is under way "
                f"needs {need} bytes more, {free} are free.",
                hint="Make room and start again: what has arrived is kept.",
            )

    def failed(self, product: Product, error: NoaError, *, others_came: bool) -> Outcome:
        """Write down why a product is not there; ``others_came`` as for ``counts``."""
        return self._give_up(
            State.FAILED, product, error, counted=counts(error, others_came=others_came)
        )

    def waiting(self, product: Product, error: ProductOffline) -> Outcome:
        """Write down that a product is still to come on line: no failure that counts."""
        record = self.begun(product)
        waiting = record.moved(State.WAITING, self.clock(), attempts=error.attempts)
        self.ledger.put(replace(waiting, error=str(error), reason=type(error).__name__))
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    async def quarantine(self, product: Product, part: Path, error: ProductCorrupt) -> Outcome:
        """Put a part with wrong bytes aside; it is not fetched again before something changes."""
        where = await self.in_thread(self.folder.quarantine, part)
        error.hint = f"The bytes are kept at {where}." if where else "The bytes were not kept."
        return self._give_up(State.QUARANTINED, product, error)

    def _give_up(
        self, state: State, product: Product, error: NoaError, *, counted: bool = True
    ) -> Outcome:
        limit = 0 if state is State.QUARANTINED else FAILURES
        record = self.begun(product).gave_up(
            state, error, self.clock(), limit=limit, counts=counted
        )
        self.ledger.put(record)
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    def begun(self, product: Product) -> Record:
        """The record as it is now, for a listing may have touched it, with this product.

        One that was removed is wanted again.
        """
        record = self.ledger.get(product.id)
        if record is None:
            return first_record(product, State.LISTED, self.clock())
        if record.state is State.REMOVED:
            record = record.listed_anew(self.clock(), gone=None)
        return replace(record, product=product)

    def known(self, product: Product) -> Product:
        """The product as the ledger has it; itself where it is not there."""
        record = self.ledger.get(product.id)
        return product if record is None else record.product

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
        """Delete a product's file, and what gathered of it: the service has it no more."""
        self.ledger.put(replace(record, todo=None))  # off the list before anybody can take it
        if record.path is not None:
            await self.in_thread(self.folder.remove, record.path)
        await self.drop_part(record)
        self.ledger.put(record.removed(self.clock()))

    async def drop_part(self, record: Record) -> None:
        """Delete what has gathered of a product: nobody has the rest any more."""
        await self.in_thread(self.folder.drop_part, record.id)

    def retry(self, product: Product) -> None:
        """Forget that a product failed."""
        record = self.ledger.get(product.id)
        if record is None:
            return
        if record.state in {State.QUARANTINED, State.FAILED}:
            self.ledger.put(record.listed_anew(self.clock()))
        elif record.failures:
            self.ledger.put(replace(record, failures=0, failed_at=None))

    def outcome(
        self,
        product: Product,
        record: Record | Glance,
        status: Status | None = None,
        *,
        attempts: int = 0,
    ) -> Outcome:
        """The outcome of a product that is here and right; of one that was before, unless told."""
        assert record.path is not None
        verified = record.state == State.VERIFIED
        return Outcome(
            product,
            status or (Status.PRESENT if verified else Status.UNVERIFIED),
            folder=self.folder.root,
            url=self.folder.url_of(record.path),
            key=record.path,
            bytes=record.size or 0,
            checksum=record.checksum if verified else None,
            attempts=attempts,
        )

    async def in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        return await self.pool.run(work, *arguments)
