"""Which products go straight on to where they are published, past the scratch."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from noa_async.archive.destination import Label
from noa_async.events import Observer, TransferRetried
from noa_async.transfer.checksum import strongest
from noa_async.transfer.passing import NotPassed, PassageShut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from pathlib import Path

    from noa_async.archive.admission import Admission
    from noa_async.archive.archive import Archive
    from noa_async.catalogue.product import Checksum, Product
    from noa_async.transfer.fetching import Fetched, Fetching
    from noa_async.transfer.passing import Passage

_T = TypeVar("_T")

SECONDS = 10.0
"""What comes sooner, a run that was killed fetches again: all else stays in the scratch."""
_WEIGHT = 0.25
"""Of the newest product, in the rate at which one comes."""


def goes_straight(size: int, rate: float) -> bool:
    """Whether a product of ``size`` bytes need not gather in the scratch.

    ``rate``: bytes a second of those before, 0 before the first.

    >>> goes_straight(128 << 20, 0.0), goes_straight(128 << 20, 6e6), goes_straight(12 << 20, 6e6)
    (False, False, True)
    """
    return size <= rate * SECONDS


class Straight:
    """Fetches products, straight where that is of use. For one loop.

    The first of a kind gather in the scratch: they tell how fast products pass, and whether those
    whose names end so are zips, on which the path depends. After one that the store did not take,
    all of them do.
    """

    def __init__(
        self,
        archive: Archive,
        admission: Admission,
        fetcher: Fetching,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive = archive
        self._admission = admission
        self._fetcher = fetcher
        self._observer = observer
        self._clock = clock
        self._rate = 0.0
        self._zips: dict[str, bool] = {}
        self._shut = False

    async def fetch(
        self,
        product: Product,
        part: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool,
    ) -> _T:
        """As ``Fetching.fetch``."""
        least = self._archive.folder.least_straight
        if self._shut or product.size is None or least is None or product.size < least:
            return await self._fetcher.fetch(product, part, admit, fresh=fresh)
        began = self._clock()

        async def learning(fetched: Fetched) -> _T:
            self._zips[_ending(product)] = fetched.whole.is_zip
            return await admit(fetched)

        brought = await self._bring(product, part, learning, fresh=fresh)
        if fresh:  # else some of it was here
            self._learn(product.size / max(self._clock() - began, 1e-6))
        return brought

    def _learn(self, rate: float) -> None:
        self._rate += (_WEIGHT if self._rate else 1.0) * (rate - self._rate)

    async def _bring(
        self,
        product: Product,
        part: Path,
        admit: Callable[[Fetched], Awaitable[_T]],
        *,
        fresh: bool,
    ) -> _T:
        if fresh and (checksum := self._may_go(product)):
            with self._passage(product, checksum) as passage:
                try:
                    return await self._fetcher.fetch(
                        product, part, admit, fresh=True, passage=passage
                    )
                except NotPassed as error:
                    task = asyncio.current_task()
                    if task is not None and task.cancelling():
                        raise asyncio.CancelledError from None  # both came: nobody waits for it
                    self._shut |= isinstance(error, PassageShut)
                    self._tell(product, str(error))
                finally:
                    await self._archive.in_thread(passage.drop)
        return await self._fetcher.fetch(product, part, admit, fresh=fresh)

    def _may_go(self, product: Product) -> Checksum | None:
        """By what it will be checked; None where it gathers in the scratch."""
        if _ending(product) in self._zips and goes_straight(product.size or 0, self._rate):
            return strongest(product.checksums)
        return None

    @contextmanager
    def _passage(self, product: Product, checksum: Checksum) -> Generator[Passage]:
        """A way to the product's place, which is kept for it meanwhile."""
        is_zip = self._zips[_ending(product)]
        path = self._admission.path_of(product, is_zip=is_zip)
        label = Label(product, str(checksum))
        with self._archive.places.claimed(path, product.id):
            yield self._archive.folder.passage(path, label, is_zip=is_zip)

    def _tell(self, product: Product, why: str) -> None:
        why = f"It could not go straight up, and is fetched again: {why}"
        self._observer(TransferRetried(product.id, product.name, 1, 0.0, why))


def _ending(product: Product) -> str:
    return PurePath(product.name).suffix
