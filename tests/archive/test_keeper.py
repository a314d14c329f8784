"""A keeper on a real folder: whatever the ledger holds of a product, and however a fetch ends."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import product as pairs
from pathlib import Path
from typing import Any

import pytest

from noa_async import Product, RetryPolicy, Status
from noa_async.archive.archive import Archive
from noa_async.archive.keeper import Keeper
from noa_async.archive.states import DONE, State
from noa_async.catalogue.product import Checksum
from noa_async.errors import (
    NoaError,
    ProductCorrupt,
    ProductOffline,
    ProductUnavailable,
    ServiceFault,
)
from noa_async.pipeline import Later
from noa_async.threads import Threads
from noa_async.transfer.fetching import Fetched, Whole
from noa_async.transfer.outcome import Outcome
from noa_async.transfer.sink import WrongDigest

from ..cluster.crowd import until
from .products import product, record

DATA = b"PK\x03\x04 and the rest"
RIGHT = product(size=len(DATA), checksums=(Checksum("md5", hashlib.md5(DATA).hexdigest()),))
NEWER = product(size=len(DATA), checksums=(Checksum("md5", "0" * 32),))


class Fetching:
    """A fetcher that ends as a test wants; ``meanwhile`` is what happens during it."""

    hands = 1

    def __init__(self, error: NoaError | None, meanwhile: Callable[[], object] = int) -> None:
        self._error = error
        self._meanwhile = meanwhile

    async def fetch(
        self,
        product: Product,
        part: Path,
        admit: Callable[[Fetched], Awaitable[Outcome]],
        *,
        fresh: bool,
    ) -> Outcome:
        part.write_bytes(DATA)
        self._meanwhile()
        if self._error is not None:
            raise self._error
        [checksum] = product.checksums
        return await admit(Fetched(Whole(product, checksum, True, 1, True), hand_over))


async def hand_over(
    publish: Callable[..., Any], *arguments: object, brief: bool, stable: bool
) -> Any:
    return publish(*arguments)


class NoOrders:
    """A service that takes none."""

    async def order(self, _: str) -> bool:
        return False

    def has(self, _: str) -> bool:
        return False

    def forget(self, _: str) -> None: ...


def keeper_of(archive: Archive, fetching: Fetching, wait: float = 0.0, **options: bool) -> Keeper:
    retry = RetryPolicy(offline_wait=wait)
    return Keeper(archive, fetching, NoOrders(), retry, **options)  # type: ignore[arg-type]


ENDINGS: dict[str, Callable[[], NoaError | None]] = {
    "comes": lambda: None,
    "is refused": lambda: ProductUnavailable("404"),
    "breaks": lambda: ServiceFault("500"),
    "is off line": lambda: ProductOffline("202"),
    "is wrong": lambda: ProductCorrupt("no zip"),
}


@pytest.mark.parametrize("retry_failed", [False, True])
@pytest.mark.parametrize("wait", [0.0, 100.0])
@pytest.mark.parametrize(("state", "ending"), list(pairs([None, *State], ENDINGS)))
async def test_whatever_was_known_any_ending_can_be_written_down(
    tmp_path: Path, state: State | None, ending: str, *, wait: float, retry_failed: bool
) -> None:
    """The ledger's file is gone where there was one, so that a fetch is needed."""
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            if state is not None:
                gone = 5.0 if state is State.REMOVED else None
                archive.ledger.put(record(state, product=RIGHT, gone=gone))
            fetching = Fetching(ENDINGS[ending]())
            keeper = keeper_of(archive, fetching, wait, retry_failed=retry_failed)
            outcome = await keeper.bring(RIGHT)
            known = archive.ledger.get(RIGHT.id)
    assert known is not None
    if isinstance(outcome, Later):
        assert (ending, known.state) == ("is off line", State.WAITING)
    else:
        assert outcome.ok == (known.state in DONE)
        assert outcome.ok or known.state not in {State.REMOVED, State.LISTED}
    assert known.gone is None


async def test_a_product_that_a_listing_replaces_while_its_old_bytes_come_is_outdated(
    tmp_path: Path,
) -> None:
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            archive.ledger.put(record(State.LISTED, product=RIGHT, query=1, todo=3))

            def listing() -> None:
                archive.ledger.put(record(State.LISTED, product=NEWER, query=1, seen=2, todo=3))

            outcome = await keeper_of(archive, Fetching(None, listing)).bring(RIGHT)
            known = archive.ledger.get(RIGHT.id)
    assert isinstance(outcome, Outcome)
    assert outcome.status is Status.DOWNLOADED
    assert known is not None
    assert (known.state, known.product, known.todo) == (State.OUTDATED, NEWER, 3)
    assert (tmp_path / RIGHT.name).read_bytes() == DATA


@pytest.mark.parametrize(("others", "counted"), [(False, 0), (True, 1)])
async def test_a_fault_of_the_service_counts_only_where_others_came(
    tmp_path: Path, *, others: bool, counted: int
) -> None:
    other = product("other", name="other.zip", size=len(DATA), checksums=RIGHT.checksums)

    class FaultyFor(Fetching):
        async def fetch(self, product: Product, *more: Any, **options: Any) -> Outcome:
            if product.id == other.id:
                return await super().fetch(product, *more, **options)
            if others:
                await keeper.bring(other)
            raise ServiceFault("503")

    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            keeper = keeper_of(archive, FaultyFor(None))
            await keeper.bring(RIGHT)
            known = archive.ledger.get(RIGHT.id)
    assert known is not None
    assert (known.state, known.failures) == (State.FAILED, counted)


class Stages(Fetching):
    """Products that stay in their download and in their upload until a test lets one go on."""

    def __init__(self) -> None:
        super().__init__(None)
        self.may_download, self.may_upload = asyncio.Semaphore(0), asyncio.Semaphore(0)
        self.downloading = self.waiting = self.uploading = 0
        self.most = (0, 0, 0)
        """Of the downloads, of the uploads, and of all together."""

    def count(self, *, downloading: int = 0, waiting: int = 0, uploading: int = 0) -> None:
        self.downloading += downloading
        self.waiting += waiting
        self.uploading += uploading
        downloads = self.downloading + self.waiting
        now = (downloads, self.uploading, downloads + self.uploading)
        self.most = tuple(map(max, self.most, now))  # type: ignore[assignment]

    async def fetch(self, product: Product, part: Path, admit: Any, **_: Any) -> Outcome:
        self.count(downloading=1)
        try:
            await self.may_download.acquire()
        finally:
            self.count(downloading=-1)
        part.write_bytes(DATA)
        whole = Whole(product, product.checksums[0], True, 1, True)
        self.count(waiting=1)
        begun = False

        async def upload(publish: Callable[..., Any], *arguments: object, **_: bool) -> Any:
            nonlocal begun
            begun = True
            self.count(waiting=-1, uploading=1)
            try:
                await self.may_upload.acquire()
                return publish(*arguments)
            finally:
                self.count(uploading=-1)

        try:
            return await admit(Fetched(whole, upload))  # type: ignore[no-any-return]
        finally:
            if not begun:
                self.count(waiting=-1)

    def stand(self, *wanted: int) -> Callable[[], bool]:
        """Whether so many download, wait for their upload, and are in it."""
        return lambda: (self.downloading, self.waiting, self.uploading) == wanted


def many(count: int) -> list[Product]:
    return [
        product(str(number), name=f"{number}.zip", size=len(DATA), checksums=RIGHT.checksums)
        for number in range(count)
    ]


@asynccontextmanager
async def into_a_store(folder: Path, stages: Stages) -> AsyncIterator[Keeper]:
    """A keeper whose publishing is an upload, for two connections."""
    with Threads(1) as pool:
        async with Archive(folder, None, pool) as archive:
            archive.folder.brief = False
            keeper = keeper_of(archive, stages)
            assert keeper.hands(2) == 4
            yield keeper


async def test_two_download_while_two_others_are_uploaded(tmp_path: Path) -> None:
    stages = Stages()
    async with into_a_store(tmp_path, stages) as keeper, asyncio.TaskGroup() as group:
        tasks = [group.create_task(keeper.bring(one)) for one in many(8)]
        await until(stages.stand(2, 0, 0))
        stages.may_download.release()
        await until(stages.stand(2, 0, 1))
        for _ in range(3):
            stages.may_download.release()
        await until(stages.stand(0, 2, 2))  # a slow store: nothing more is downloaded
        stages.may_upload.release()
        await until(stages.stand(1, 1, 2))
        for _ in tasks:
            stages.may_download.release()
            stages.may_upload.release()
    assert all(isinstance(one.result(), Outcome) for one in tasks)
    assert stages.most == (2, 2, 4)


@pytest.mark.parametrize(("downloaded", "state"), [(0, (2, 0, 0)), (2, (2, 0, 2)), (4, (0, 2, 2))])
async def test_who_is_cancelled_leaves_its_permits_to_others(
    tmp_path: Path, downloaded: int, state: tuple[int, ...]
) -> None:
    """In a download, in an upload, and in between."""
    stages = Stages()
    async with into_a_store(tmp_path, stages) as keeper:
        tasks = [asyncio.create_task(keeper.bring(one)) for one in many(4)]
        for _ in range(downloaded):
            stages.may_download.release()
        await until(stages.stand(*state))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert stages.stand(0, 0, 0)()
        async with asyncio.TaskGroup() as group:
            for one in many(8)[4:]:
                group.create_task(keeper.bring(one))
            stages.may_download.release()
            stages.may_download.release()
            await until(stages.stand(2, 0, 2))
            for _ in range(4):
                stages.may_download.release()
                stages.may_upload.release()


async def test_a_product_that_is_admitted_twice_gives_its_permit_back_once(tmp_path: Path) -> None:
    """Its bytes were wrong after all, and it was downloaded again."""

    class WrongAtFirst(Stages):
        wrong = True

        async def fetch(self, product: Product, part: Path, admit: Any, **_: Any) -> Outcome:
            async def refuse(*_: object, **__: bool) -> Any:
                raise WrongDigest

            if self.wrong:
                self.wrong = False
                with suppress(WrongDigest):
                    whole = Whole(product, product.checksums[0], True, 1, True)
                    await admit(Fetched(whole, refuse))
            return await super().fetch(product, part, admit)

    stages = WrongAtFirst()
    async with into_a_store(tmp_path, stages) as keeper:
        stages.may_download.release()
        stages.may_upload.release()
        assert isinstance(await keeper.bring(RIGHT), Outcome)
        async with asyncio.TaskGroup() as group:
            for one in many(8):
                group.create_task(keeper.bring(one))
            await until(stages.stand(2, 0, 0))
            for _ in range(4):
                stages.may_download.release()
            await until(stages.stand(0, 2, 2))
            for _ in range(8):
                stages.may_download.release()
                stages.may_upload.release()
    assert stages.most == (2, 2, 4)


async def test_a_folder_has_no_second_pool(tmp_path: Path) -> None:
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            assert keeper_of(archive, Fetching(None)).hands(3) == 3
