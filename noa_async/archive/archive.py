"""An archive: a locked folder, its ledger and its layout; what is there, and where things go."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.archive.database import without_locks
from noa_async.archive.decisions import (
    Read,
    Sighting,
    counts,
    judge,
    sighted,
    wanted_checksum,
)
from noa_async.archive.file_index import FileIndex
from noa_async.archive.folder import LocalFolder
from noa_async.archive.layout import FLAT, Layout
from noa_async.archive.ledger import Ledger
from noa_async.archive.manifest import Manifest
from noa_async.archive.mark import (
    Mark,
    check_archive,
    new_mark,
    read_mark,
    recall,
    remember,
    write_mark,
)
from noa_async.archive.places import Places
from noa_async.archive.rearranging import rearrange
from noa_async.archive.record import Glance, Record, first_record
from noa_async.archive.recovery import is_copy_old, keep_copy
from noa_async.archive.states import HELD, State
from noa_async.archive.trash import throw_away
from noa_async.archive.turns import Turns
from noa_async.errors import (
    DestinationError,
    FileInaccessible,
    NoaError,
    ProductQuarantined,
    ProductTooLarge,
    SettingsError,
)
from noa_async.events import FileSystemLimited, LedgerSetAside, Observer, Status, ignore
from noa_async.tasks import finish
from noa_async.transfer.outcome import Outcome
from noa_async.values import bytes_text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from noa_async.archive.database import Database
    from noa_async.archive.decisions import Verdict
    from noa_async.archive.destination import Destination
    from noa_async.archive.targets import StoreUrl
    from noa_async.catalogue.product import Product
    from noa_async.errors import ProductCorrupt, ProductGone, ProductOffline
    from noa_async.threads import Threads

_T = TypeVar("_T")
_IS_NEW = "ledger_is_new"
"""The note that says so until a run has ended well: 1, or 2 if the ledger was made again."""
_MOST_INDEXED = 200_000
"""Files that are looked through in a folder that was no archive before, such as a home folder."""
FAILURES = 10
"""Runs that may fail for a product before later ones leave it alone."""


_TAKEN = (
    "it passed, but moved, changed or deleted the product's file, which the next run fetches "
    "again; with --exec-consumes (hooks.Consuming) such a product counts as done"
)


@dataclass(frozen=True, slots=True)
class FolderRules:
    """Which archive a folder must hold, and how much of its disk may be used; see `Settings`."""

    archive_id: str | None = None
    new_archive: bool = False
    any_archive: bool = False
    """Whether it may be another than the machine remembers there; for those that begin none."""
    min_free: int = 16 << 20


def _is_new(database: Database) -> int:
    [value] = database.row("SELECT value FROM notes WHERE name = ?", (_IS_NEW,)) or (0,)
    return int(value)


def _follows(database: Database) -> bool:
    return database.row("SELECT 1 FROM queries LIMIT 1") is not None


def _some_files(database: Database) -> list[str]:
    """Some files, of those that came first and last."""
    question = "SELECT path FROM products WHERE path IS NOT NULL ORDER BY number {} LIMIT 8"
    return [
        str(path) for order in ("", "DESC") for (path,) in database.rows(question.format(order))
    ]


def _parsed(templates: Iterable[str]) -> Iterator[Layout]:
    """The layouts of those templates that are any."""
    for template in templates:
        with suppress(SettingsError):
            yield Layout.parse(template)


ANY_ARCHIVE = FolderRules(any_archive=True)


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
        rules: FolderRules = FolderRules(),
    ) -> None:
        """``layout``: None is the one that the folder has, else flat; ``anew`` as for Ledger."""
        self.folder = destination_of(target)
        self.ledger = Ledger(
            self.folder.state / "ledger.sqlite3", anew=anew, before_write=self._before_write
        )
        self.manifest = Manifest(self.folder.state)
        self.layout = layout or FLAT
        self.pool = pool
        self.clock = clock
        self.observer = observer
        self.places = Places(self.ledger)
        self._asked_layout = layout
        self._brings = anew
        """Whether this run downloads. A run that only checks files does not look for files that the
        ledger lacks."""
        self.layouts: tuple[Layout, ...] = ()
        """Others that products may lie in: a move into another one had not ended."""
        self.ledger_is_new = False
        """Whether the folder may hold products that the ledger does not know of: it was lost, or
        files were being moved, and no run has ended well since."""
        self.ledger_is_remade = False
        """Whether the ledger was lost and made again, and no run has ended well since: the last
        products that came, and whether their hooks have passed, are not in it."""
        self.id = ""
        """The archive's, once it is open."""
        self._rules = rules
        self._new_id: str | None = None
        self._mark: Mark
        self.follows = False
        """Whether a query was followed here, now or before."""
        self._looked_through = False
        """Whether the ledger was opened; one that is suspect is read through then."""
        self._remembered = False
        self._was_there = False
        self._index: FileIndex | None = None
        self._indexing = asyncio.Lock()
        self._under_way: dict[str, int] = {}
        self._sizes = 0
        self._ended = asyncio.Event()
        """Set, and replaced, whenever a product that is under way ends."""
        self._turns = Turns()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            mark = await self.in_thread(self._check_mark)
            stack.callback(self._unlock)  # also if the thread takes the lock after a cancellation
            await self.in_thread(self.folder.open)
            await self.in_thread(self._keep_mark, mark)
            if (lack := self.folder.lock_missing) is not None:
                without_locks(self.folder.state)
                what = (
                    f"no working file locks ({lack}): a lock file takes their place, and the "
                    "ledger is kept without a write-ahead log"
                )
                self.observer(FileSystemLimited(str(self.folder.state), what))
            await self.ledger.open(suspect=self.folder.suspect)
            stack.push_async_callback(self.ledger.close)
            self._looked_through = True
            await self._look_around()
            await self._settle_layout()
            stack.push_async_exit(self._back_up)
            self._resources = stack.pop_all()
        return self

    async def __aexit__(self, *ending: Any) -> None:
        await finish(self._resources.__aexit__(*ending))

    def _check_mark(self) -> Mark | None:
        """The mark of this archive. Raises ArchiveMissing if another, or none, should be here."""
        root, state = self.folder.root, self.folder.state
        mark = read_mark(state)
        if root is None:
            return mark
        known = recall(root)
        rules, wanted = self._rules, self._rules.archive_id
        if rules.new_archive:
            self._new_id = wanted
            return mark
        if rules.any_archive:
            self._new_id = known.id if known else None
            return mark
        is_there = os.path.isdir(state) or (  # noqa: PTH112 (one that is out of reach is none)
            known is not None and known.has_files
        )
        check_archive(root, mark, known, is_there=is_there, wanted=wanted)
        self._new_id = wanted or (known.id if known else None)
        return mark

    def _keep_mark(self, mark: Mark | None) -> None:
        if mark is None:
            mark = new_mark(self._new_id)
            write_mark(self.folder.state, mark)
        self.id = mark.id
        self._mark = mark

    def _remember(self, files: Sequence[str]) -> None:
        """Remember on this machine that this archive lies in this folder, with some of its files.

        Not before it holds any, and follows a query: a folder with downloads may be deleted and
        filled again without a word.
        """
        if files and self.follows and self.folder.root is not None:
            self._remembered = True
            remember(self.folder.root, self._mark, files)

    def _unlock(self) -> None:
        doubtful = self.folder.suspect and not self._looked_through
        self.folder.close(in_order=not (doubtful or self.ledger.damaged))

    async def _look_around(self) -> None:
        """Find out whether the ledger may lack what lies here, before anything is moved."""
        lack = self.ledger.without_log
        if lack is not None and self.folder.lock_missing is None:
            what = f"no shared memory ({lack}): the ledger is kept without a write-ahead log"
            self.observer(FileSystemLimited(str(self.folder.state), what))
        if self.ledger.set_aside is not None:
            self.observer(LedgerSetAside(str(self.ledger.set_aside), self.ledger.recovered))
        known = await self.in_thread(self.folder.kept_layouts)
        self.layouts = tuple(_parsed(known))
        self._was_there = bool(known)
        self.ledger_is_new = (
            self.ledger.fresh or self.ledger.set_aside is not None or self.folder.moving
        )
        noted = await self.ledger.ask(_is_new)
        self.ledger_is_remade = self.ledger.recovered > 0 or noted > 1
        if self.ledger_is_new:
            await self.ledger.note(_IS_NEW, 2 if self.ledger_is_remade else 1)
        self.ledger_is_new = self.ledger_is_new or noted > 0
        self.follows = await self.ledger.ask(_follows)
        files = await self.ledger.ask(_some_files)
        await self.in_thread(self._remember, files)

    async def _settle_layout(self) -> None:
        """Move what is here into the layout that was asked for; first end a move that was begun."""
        try:
            kept = await self.in_thread(self.folder.read_layout)
        except DestinationError:
            if self._asked_layout is None:
                raise
            kept = ""  # no layout: the ledger tells where the files are
        if self.ledger.fresh and kept is not None:
            self.observer(LedgerSetAside(None, self.ledger.recovered))
        if kept and self.folder.moving:
            self.manifest.outdated = True
            await rearrange(self.folder, self.ledger, Layout.parse(kept), self.observer)
        if kept and self._asked_layout is None:
            self.layout = Layout.parse(kept)
        if kept is None:
            await self.in_thread(self.folder.keep_layout, self.layout.template)
        elif kept != self.layout.template:
            self.manifest.outdated = True
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
            verdict = self._judged(record, record.path, product)
        record = sighted(record, product, verdict, sighting, self.ledger.next_place)
        self.ledger.put(record)
        return record

    def _judged(self, record: Record, path: str, product: Product) -> Verdict:
        """What a record's file is; one that is out of reach has to be read, which will say why."""
        try:
            return judge(record, product, self.folder.facts(path))
        except FileInaccessible:
            return Read(record.checksum or "")

    @asynccontextmanager
    async def room_for(self, product: Product) -> AsyncGenerator[None]:
        """Reserve room for what is missing of a product, if its size is known.

        If it would fit but for other products under way, wait until one of them has ended: it may
        give room back, as an upload does. Raises ProductTooLarge if there is no room.
        """
        size = product.size or 0
        while product.size is not None and not self._has_room(product, size):
            await self._ended.wait()
        self._under_way[product.id] = size
        self._sizes += size
        try:
            yield
        finally:
            del self._under_way[product.id]
            self._sizes -= size
            self._ended.set()
            self._ended = asyncio.Event()

    def _has_room(self, product: Product, size: int) -> bool:
        """Return whether a product has room beside all that is under way.

        Raises ProductTooLarge if it would have none even without that.
        """
        reserve = self._rules.min_free
        if self.folder.room_lately(size) >= self._sizes + size + reserve:
            return True  # room for all of them, whatever has gathered
        free, gathered = self.folder.room(), self.folder.part_size
        there = {key: gathered(key) for key in self._under_way}
        missing = max(0, size - gathered(product.id))
        spare = free - reserve - missing
        if spare >= sum(max(0, self._under_way[key] - length) for key, length in there.items()):
            return True
        if there and spare + sum(there.values()) >= 0:
            return False
        raise ProductTooLarge(
            f"No room in {self.folder.scratch_name} for {product.name}: it needs "
            f"{bytes_text(missing)} more, {bytes_text(free)} are free, of which "
            f"{bytes_text(reserve)} stay free (--min-free).",
            hint="Make room, or lower --min-free; the next run tries again.",
        )

    def failed(self, product: Product, error: NoaError, *, others_came: bool) -> Outcome:
        """Write down why a product is not there; ``others_came`` as for ``counts``."""
        return self._give_up(
            State.FAILED, product, error, counted=counts(error, others_came=others_came)
        )

    def inaccessible(self, product: Product, error: NoaError) -> Outcome:
        """Record that a product's own file is out of reach, or that it has no room here.

        Later runs try again, always.

        One that was right may be so still: it is to be looked at.
        """
        record = self.begun(product)
        if record.state is State.QUARANTINED:  # and stays there
            return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)
        if record.state not in HELD:
            return self._give_up(State.FAILED, product, error, counted=False)
        todo = record.todo or (None if record.query is None else self.ledger.next_place())
        reason = type(error).__name__
        self.ledger.put(replace(record, error=str(error), reason=reason, todo=todo))
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

    def gone(self, product: Product, error: ProductGone) -> Outcome:
        """Record that the service has removed a product between its listing and its download.

        If an older file of it is here, or was, that is a finding still: the outcome is a failure.
        """
        record, now = self.begun(product), self.clock()
        record = replace(record, error=str(error), reason=type(error).__name__)
        if record.path is None:
            self.ledger.put(record.removed(now))
            return Outcome(product, Status.GONE, attempts=error.attempts, error=error)
        todo = None if record.hook_due is None else record.todo
        self.ledger.put(replace(record, gone=record.gone or now, todo=todo))
        return Outcome(product, Status.FAILED, attempts=error.attempts, error=error)

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

    async def remove(self, record: Record, *, keep: bool = False) -> None:
        """Delete a product's file, and what gathered of it: the service has it no more.

        ``keep``: the file goes into the trash, if this is a folder on this machine.
        """
        self.ledger.put(replace(record, todo=None))  # off the list before anybody can take it
        trash = None
        if record.path is not None and keep and self.folder.root is not None:
            trash = await throw_away(self, record)
        elif record.path is not None:
            await self.in_thread(self.folder.remove, record.path)
        await self.drop_part(record)
        self.put_file(record.removed(self.clock(), trash=trash))

    def put_file(self, record: Record) -> None:
        """Keep a record that says something new of a file: the manifest says so, too."""
        self.ledger.put(record)
        self.manifest.note(record)
        if not self._remembered and record.path is not None:
            self._remember([record.path])

    def _before_write(self) -> None:
        self.folder.sync()
        self.manifest.flush()

    async def _back_up(self, kind: type[BaseException] | None, *_: object) -> None:
        """Keep a copy of the ledger and write the manifest, as far as they are due.

        Not if the run was interrupted. A disk that has no room for them costs the archive nothing.
        """
        if kind is not None and not issubclass(kind, NoaError):
            return
        with suppress(DestinationError):
            await self.ledger.flush()
            if kind is None and self.ledger_is_new and self._brings:
                await self.ledger.note(_IS_NEW, 0)
            await self.ledger.ask(self._write_copies)

    def _write_copies(self, database: Database) -> None:
        self.manifest.flush()
        news = self.manifest.changed
        if self.ledger.changed and not database.damaged:
            products = database.row("SELECT sum(products) FROM sums") or (0,)
            if self.manifest.is_due(products[0] or 0):
                self.manifest.rewrite(database, self.id, self.layout.template)
            if news or is_copy_old(self.folder.state):
                keep_copy(database, self._rules.min_free)
            self._remember(_some_files(database))

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
        """The outcome of a product that is here and right; of one that was before, unless told.

        Of one that its hook has consumed nothing says where it is.
        """
        if record.state == State.CONSUMED:
            return Outcome(product, Status.PRESENT, bytes=record.size or 0)
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

    def owes_hook(self, product_id: str) -> bool:
        """Whether the hook of a product that is here has yet to pass."""
        record = self.ledger.get(product_id)
        return record is not None and record.held and record.hook_due is not None

    async def hook_ended(
        self, product_id: str, reason: str | None, *, consumes: bool
    ) -> str | None:
        """Write down how a product's hook ended; why it did not end well, None if it did.

        ``reason`` is that of ``run_hook``; ``consumes``: the hook may have taken the file.

        | the hook | the file          | it may take it | becomes                                  |
        |----------|-------------------|----------------|------------------------------------------|
        | failed   |                   |                | due still: the next run tries again      |
        | passed   | as it was         |                | done                                     |
        | passed   | gone, or another  | yes            | done, and the product consumed           |
        | passed   | gone, or another  | no             | done; the file is missing, or to be read |
        | passed   | out of reach      |                | done                                     |
        """
        async with self.only_one(product_id):
            record = self.ledger.get(product_id)
            if record is None or not record.held or record.path is None:
                return reason
            now = self.clock()
            if reason is not None:
                due = record.hook_due or now
                why = {"error": reason, "reason": "HookFailed"}
                failed = record.moved(record.state, now, hook_due=due, **why)
                self.ledger.put(failed)
                return reason
            passed = {"hook_due": None, "hooked": now, "error": None, "reason": None}
            done = record.moved(record.state, now, **passed)
            try:
                facts = self.folder.facts(record.path)
            except FileInaccessible as error:  # the next look at it tells
                self.put_file(done)
                return str(error)
            if facts is not None and (facts.size, facts.mtime_ns) == (record.size, record.mtime_ns):
                self.put_file(done)
                return None
            if consumes:
                self.put_file(done.consumed(now))
                return None
            self.put_file(
                done if facts is not None else done.moved(State.MISSING, now, error=_TAKEN)
            )
            return _TAKEN

    async def file_index(self) -> FileIndex:
        """All files by name; the folder is gone through once, when that is first needed."""
        async with self._indexing:
            if self._index is None:
                index = FileIndex(self.folder, None if self._was_there else _MOST_INDEXED)
                self._resources.push_async_callback(self.pool.complete, index.close)
                self._index = await self.in_thread(index.build, stop=index.stop)
        return self._index

    async def in_thread(
        self, work: Callable[..., _T], *arguments: Any, stop: Callable[[], object] | None = None
    ) -> _T:
        """Do ``work`` in a thread, and wait for its end even if cancelled; see ``Threads.run``."""
        return await self.pool.run(work, *arguments, stop=stop)
