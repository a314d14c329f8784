"""How a product gets into an archive: its file lies there, or its part is given its name."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.decisions import (
    Read,
    Right,
    Wrong,
    is_as_left,
    is_changed,
    is_superseded,
    judge,
    wanted_checksum,
)
from noa_async.archive.destination import Label
from noa_async.archive.layout import PLAIN
from noa_async.archive.places import paths_of
from noa_async.archive.reading import digest_of, has_checksum
from noa_async.archive.states import State
from noa_async.archive.trash import path_in_trash
from noa_async.disk import BAD_NAME, file_error
from noa_async.errors import DestinationError, FileInaccessible
from noa_async.events import FilePutAside, Status
from noa_async.transfer.checksum import OWN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from noa_async.archive.archive import Archive
    from noa_async.archive.decisions import Verdict
    from noa_async.archive.destination import FileFacts
    from noa_async.archive.record import Record
    from noa_async.catalogue.product import Product
    from noa_async.transfer.fetching import Fetched
    from noa_async.transfer.outcome import Outcome


_OWN_FAULTS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP,
     errno.ENOTEMPTY}
)  # fmt: skip
"""What publishing meets if something is in the way of one product, or of one subfolder."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A product that the ledger knows of, and what is in its place."""

    record: Record
    path: str
    facts: FileFacts | None
    verdict: Verdict


class Admission:
    """The way into one open archive. The caller keeps two tasks off one product (``only_one``).

    Error handling: DestinationError if the folder cannot be read or written; FileInaccessible if
    that is so of this product's own file or folder alone.
    """

    def __init__(self, archive: Archive, *, hooked: bool = False) -> None:
        """``hooked``: a hook is due for each product that is published."""
        self._hooked = hooked
        self._archive = archive
        self._folder = archive.folder
        self._ledger = archive.ledger
        self._places = archive.places
        self._pool = archive.pool

    def present_at_once(self, product: Product) -> Outcome | None:
        """The product as it lies here, where its file is as the ledger knows it; else None."""
        glance = self._ledger.glance(product.id)
        if glance is None or glance.path is None or (self._hooked and glance.hook_due is not None):
            return None
        try:
            if glance.todo is None and is_as_left(glance, product, self._folder.facts(glance.path)):
                return self._archive.outcome(product, glance)
            found = self._look(product)
        except FileInaccessible:  # a worker finds it so, too, and fails this product
            return None
        if found is None or not isinstance(found.verdict, Right):
            return None
        return self._right(product, found.record)

    def _look(self, product: Product) -> _Found | None:
        """What the ledger and the folder say of a product; None where it has no file there."""
        record = self._ledger.get(product.id)
        if record is None or record.path is None:
            return None
        facts = self._folder.facts(record.path)
        return _Found(record, record.path, facts, judge(record, product, facts))

    def _right(self, product: Product, record: Record) -> Outcome:
        if record.todo is not None:
            self._ledger.put(replace(record, todo=None))
        return self._archive.outcome(product, record)

    async def present(self, product: Product) -> Outcome | None:
        """The product as it lies here, if it is right; None if it has to be fetched.

        A file that is as the ledger knows it is right. One that changed, or is not in the ledger,
        is read and compared with the catalogue's checksum. If the ledger's file is gone, or there
        is no ledger, the product is looked for in the whole folder, and in the trash.
        """
        found = self._look(product)
        if found is None:
            record = self._ledger.get(product.id)
            if record is not None and record.state is State.CONSUMED:
                if not is_changed(record.product, product):
                    return self._archive.outcome(product, record)
                self._ledger.put(record.listed_anew(self._archive.clock()))
            return await self._adopt(product, everywhere=self._archive.ledger_is_new)
        match found.verdict:
            case Right():
                return self._right(product, found.record)
            case Wrong(state):
                gone = found.facts is None
                adopted = await self._adopt(product, everywhere=True) if gone else None
                if adopted is None:
                    self._spoilt(product, state)
                return adopted
            case Read(expected):
                if not await self._has(found.path, expected):
                    self._spoilt(product, State.DAMAGED)
                    return None
        assert found.facts is not None
        return self._keep(product, found.record.product, found.path, found.facts, expected)

    async def _adopt(self, product: Product, *, everywhere: bool) -> Outcome | None:
        """A file that has the product's name and checksum, though no ledger knows of it.

        It is looked for in the layouts that the folder has, is moved into, or may have had, then
        in the trash; ``everywhere``: then under its name in all of the folder.
        """
        if self._folder.bare:
            return None
        paths = [
            path
            for layout in dict.fromkeys((self._archive.layout, *self._archive.layouts, *PLAIN))
            for is_zip in (False, True)
            for path in paths_of(product, layout, is_zip=is_zip)
        ]
        outcome = await self._adopt_first(product, dict.fromkeys(paths))
        if outcome is not None:
            return outcome
        if (outcome := await self._adopt_trash(product)) is not None or not everywhere:
            return outcome
        files, known = await self._archive.file_index(), self._ledger.get(product.id)
        sizes = {product.size, None if known is None else known.size} - {None}
        found = [
            path
            for size in sizes or {None}
            for path in await self._archive.in_thread(
                files.candidates, product.name, product.id, size
            )
        ]
        return await self._adopt_first(product, [path for path in found if path not in paths])

    async def _adopt_first(self, product: Product, paths: Iterable[str]) -> Outcome | None:
        """The first of several files that is the product."""
        for path in paths:
            with suppress(FileInaccessible):  # it is looked for elsewhere, else fetched
                if self._folder.facts(path) is None:
                    continue
                if not self._places.is_free(path, product.id):
                    continue
                with self._places.claimed(path, product.id):
                    outcome = await self._adopt_file(product, path)
                if outcome is not None:
                    return outcome
        return None

    async def _adopt_trash(self, product: Product) -> Outcome | None:
        """The product's file out of the trash: the service has the product again."""
        record = self._ledger.get(product.id)
        if record is None or record.trash is None:
            return None
        trash, wanted = path_in_trash(record.trash), wanted_checksum(product)
        facts = self._folder.facts(trash)
        if facts is None or wanted is None or record.checksum != wanted:
            return None
        if not await self._has(trash, wanted):
            return None
        is_zip = trash.lower().endswith(".zip")
        path = self._places.choose(product, self._archive.layout, is_zip=is_zip)
        if self._folder.facts(path) is not None or self._folder.instead(path):
            return None
        with self._places.claimed(path, product.id):
            moved = await self._archive.in_thread(self._folder.move, trash, path)
            if moved is None:
                return None
            return self._keep(product, record.product, path, moved, wanted)

    async def _adopt_file(self, product: Product, path: str) -> Outcome | None:
        """The file as the product's. Where no checksum can tell, size and zip must be right."""
        before = self._archive.known(product)
        facts = self._folder.facts(path)
        wanted = wanted_checksum(product)
        if facts is None:
            return None
        vouched = await self._archive.in_thread(self._folder.vouched, path, product.id)
        if wanted is not None:
            if vouched != wanted and not await self._has(path, wanted):
                return None
            return self._keep(product, before, path, facts, wanted)
        if facts.size != product.size:
            return None
        if vouched is None:
            if await self._archive.in_thread(self._folder.broken, path) is not None:
                return None
            vouched = f"{OWN}:{await digest_of(self._folder, path, OWN, self._pool)}"
        return self._keep(product, before, path, facts, vouched)

    async def _has(self, path: str, expected: str) -> bool:
        return await has_checksum(self._folder, path, expected, self._pool)

    async def admit(self, fetched: Fetched, before: Product, part: Path) -> Outcome:
        """Publish a whole, checked part under the product's name and write it down.

        ``before`` is the product as the ledger had it when the fetch began (``Archive.known``).
        """
        whole = fetched.whole
        product = whole.product
        record = self._ledger.get(product.id)
        owned = None if record is None else record.path
        path = owned or self._places.choose(product, self._archive.layout, is_zip=whole.is_zip)
        newcomer = None if owned and self._folder.facts(path) is not None else product.id
        hook_due = self._archive.clock() if self._hooked else None
        label = Label(product, str(whole.checksum))
        with self._places.claimed(path, product.id):
            try:
                facts, aside = await fetched.hand_over(
                    self._folder.publish,
                    part,
                    path,
                    newcomer,
                    label,
                    brief=self._folder.brief,
                    stable=self._folder.stable,
                )
            except BaseException as error:
                self._folder.bare = False  # the thread may have given the name all the same
                if isinstance(error, DestinationError) and self._concerns_one(path, error):
                    raise self._own_fault(path, error) from error
                raise
            if aside is not None:
                self._archive.observer(FilePutAside(path, aside))
            begun, attempts = self._archive.begun(product), whole.attempts
            state = State.VERIFIED if whole.verified else State.UNVERIFIED
            now = self._archive.clock()
            right = begun.found_right(
                state, path, facts, label.checksum, now, attempts=attempts, hook_due=hook_due
            )
            self._write(right, before)
        status = Status.DOWNLOADED if whole.verified else Status.UNVERIFIED
        return self._archive.outcome(product, right, status, attempts=attempts)

    def _concerns_one(self, path: str, error: DestinationError) -> bool:
        """Whether publishing failed by what lies at a product's path, not by the whole folder.

        | where the product goes            | the fault                          | its own |
        |-----------------------------------|------------------------------------|---------|
        | a subfolder                       | no permission, a link in a circle, | yes     |
        |                                   | or that leads nowhere, a file      |         |
        | the folder itself, an address     | the same                           | no      |
        | a folder, or a subfolder          | it cannot hold such a name         | yes     |
        | any                               | no room, an I/O error, ...         | no      |
        """
        cause = error.__cause__
        if not isinstance(cause, OSError) or self._folder.root is None:
            return False
        return cause.errno in BAD_NAME or (cause.errno in _OWN_FAULTS and "/" in path)

    def _own_fault(self, path: str, error: DestinationError) -> FileInaccessible:
        assert isinstance(error.__cause__, OSError)
        return file_error(error.__cause__, f"{self._folder.name}/{path}")

    def _keep(
        self,
        product: Product,
        before: Product,
        path: str,
        facts: FileFacts,
        checksum: str,
    ) -> Outcome:
        """Record a file that was read and found right, and drop what is left of a download of it.

        If the ledger was lost and does not know the file, a run that was killed may have published
        it: its hook is due, for nothing says that it has passed.
        """
        self._folder.drop_part(product.id)
        state = State.VERIFIED if wanted_checksum(product) else State.UNVERIFIED
        begun, now = self._archive.begun(product), self._archive.clock()
        is_due = self._hooked and self._archive.ledger_is_remade and begun.path is None
        hook_due = now if is_due else None
        right = begun.found_right(state, path, facts, checksum, now, hook_due=hook_due)
        self._write(right, before)
        return self._archive.outcome(product, right)

    def _write(self, right: Record, before: Product) -> None:
        """Write down a right file; as outdated where a listing met newer bytes meanwhile."""
        known = self._ledger.get(right.id)
        if known is not None and is_superseded(before, right, known.product):
            outdated = right.spoilt(State.OUTDATED, self._archive.clock())
            todo = known.todo or (None if known.query is None else self._ledger.next_place())
            right = replace(outdated, product=known.product, todo=todo)
        self._archive.put_file(right)

    def _spoilt(self, product: Product, state: State) -> None:
        """Note that a file that was right is so no more."""
        record = self._ledger.get(product.id)
        if record is not None and record.held:
            self._ledger.put(record.spoilt(state, self._archive.clock()))
