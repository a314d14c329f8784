"""Store the part files of a run: in a shared folder, or on the worker that downloads."""

from __future__ import annotations

import asyncio
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from noa_async.archive.destination import FileFacts
from noa_async.cluster.crew import WorkerLost
from noa_async.cluster.messages import Sending
from noa_async.cluster.parts import (
    adopt,
    attempt_name,
    check_sealed,
    give_away,
    hand_on,
    sealed,
    size_of,
    take_over,
)
from noa_async.failure import Failure
from noa_async.transfer.fetching import Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from noa_async.cluster.crew import Crew
    from noa_async.cluster.messages import Done, Order
    from noa_async.threads import Threads

_T = TypeVar("_T")


class Stock(Protocol):
    """Access to the part files; ``path`` is the archive's part file of a product."""

    async def begin(self, product_id: str, path: Path, *, fresh: bool) -> tuple[str, bool]:
        """Return the name of the part file for an attempt, and whether it may have content."""

    async def end(self, order: Order, path: Path, done: Done) -> None:
        """Take the part file back after an attempt whose worker has stopped writing."""

    async def rescue(self, order: Order, path: Path) -> None:
        """Take the part file back after an attempt whose worker may still be writing."""

    async def length(self, path: Path) -> int:
        """Return the size of the part file."""

    async def give_away(self, path: Path, publish: Callable[..., _T], *arguments: Any) -> _T:
        """Call ``publish`` for a complete part file. Raise WorkerLost if it is lost."""

    def whereabouts(self, product_id: str) -> str | None:
        """Return the worker that should resume a product; None if any worker can."""


class SharedStock:
    """A folder shared by coordinator and workers: any worker can resume what another left."""

    def __init__(self, folder: Path, pool: Threads) -> None:
        self._folder = folder
        self._pool = pool
        self._adopted: set[str] = set()
        """Ids with a part file taken over from an earlier run, even if the caller says
        ``fresh``."""

    async def open(self) -> None:
        """Take over the part files that an earlier run's workers left."""
        self._adopted = await self._pool.run(adopt, self._folder)

    async def close(self) -> None:
        """Leave the part files to a later run, with or without a cluster."""
        await asyncio.to_thread(adopt, self._folder)

    async def begin(self, product_id: str, path: Path, *, fresh: bool) -> tuple[str, bool]:
        """Rename the part file to the attempt's name."""
        part = path.with_name(attempt_name(product_id))
        if fresh and product_id not in self._adopted:
            return part.name, False
        self._adopted.discard(product_id)
        return part.name, await self._pool.run(hand_on, path, part)

    async def end(self, order: Order, path: Path, done: Done) -> None:
        """Rename the part file back. Raise DestinationError if it is not what the worker wrote."""
        part = path.with_name(order.part)
        if isinstance(done.result, Whole):
            part = sealed(part)
            await self._pool.run(check_sealed, part, done.length)
        await self._pool.run(hand_on, part, path)

    async def rescue(self, order: Order, path: Path) -> None:
        """Copy the content of the part file."""
        await self._pool.run(take_over, path.with_name(order.part), path)

    async def length(self, path: Path) -> int:
        """Return the size of the part file."""
        return await self._pool.run(size_of, path)

    async def give_away(self, path: Path, publish: Callable[..., _T], *arguments: Any) -> _T:
        """Publish from the shared folder."""
        return await self._pool.run(give_away, path, publish, arguments)

    def whereabouts(self, product_id: str) -> None:
        """Return None: any worker can."""


class OwnStocks:
    """Part files on each worker's own disk, from which the worker uploads to the object store
    itself.

    What a worker has not uploaded is lost with it, and downloaded again by another.
    """

    def __init__(self, url: str, crew: Crew, pool: Threads) -> None:
        """``url``: the URL of the store."""
        self._url = url
        self._crew = crew
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, Done] = {}
        """The result of the last attempt of each product, by Id, until it is uploaded."""
        self._uploads: dict[str, Future[FileFacts]] = {}
        """The uploads that threads wait for, by the product's Id."""

    async def begin(self, product_id: str, path: Path, *, fresh: bool) -> tuple[str, bool]:  # noqa: ARG002 (the worker decides)
        """Return the same name for all attempts; the worker checks for content itself."""
        return own_name(product_id), True

    async def end(self, order: Order, path: Path, done: Done) -> None:  # noqa: ARG002 (nothing is stored here)
        """Remember the result and its worker."""
        self._held[order.product.id] = done

    async def rescue(self, order: Order, path: Path) -> None:  # noqa: ARG002 (nothing is stored here)
        """Forget the product: its part file cannot be recovered."""
        self._held.pop(order.product.id, None)

    async def length(self, path: Path) -> int:
        """Return the size that the worker reported."""
        done = self._held.get(path.stem)
        return 0 if done is None else done.length

    async def give_away(self, path: Path, publish: Callable[..., _T], *arguments: Any) -> _T:
        """Call ``publish``, which calls ``send``, which makes the worker upload.

        A cancelled caller does not wait for the upload.
        """
        stop = partial(self._stop_waiting, path.stem)
        given: _T = await self._pool.run(give_away, path, publish, arguments, stop=stop)
        self._held.pop(path.stem, None)
        return given

    def whereabouts(self, product_id: str) -> str | None:
        """Return the worker that downloaded part of the product before."""
        done = self._held.get(product_id)
        return done.by if done is not None and done.length else None

    def send(self, part: Path, key: str, attributes: Mapping[str, str]) -> FileFacts:
        """Have the worker that holds a product upload it; like ``ObjectFolder.send``. Call from a
        thread.

        Raise WorkerLost, and the errors of the upload.
        """
        sending = self._send(part.stem, key, attributes)
        upload = asyncio.run_coroutine_threadsafe(sending, self._loop)
        self._uploads[part.stem] = upload
        try:
            return upload.result()
        finally:
            self._uploads.pop(part.stem, None)

    def _stop_waiting(self, product_id: str) -> None:
        upload = self._uploads.get(product_id)
        if upload is not None:
            upload.cancel()

    async def _send(self, product_id: str, key: str, attributes: Mapping[str, str]) -> FileFacts:
        held = self._held[product_id]
        name = own_name(product_id)
        sending = Sending(uuid.uuid4().hex, name, held.length, self._url, key, attributes)
        done = await self._crew.work(sending, _ignore, at=held.by)
        if isinstance(done.result, Failure):
            error = done.result.error()
            error.hint = f"{error.hint} It occurred on the worker {done.by}, with its own keys."
            raise error
        if not isinstance(done.result, FileFacts):
            raise WorkerLost(done.result)
        return done.result


def own_name(product_id: str) -> str:
    """Return a part file's name in a worker's own folder.

    >>> own_name("0a5c")
    '0a5c.w-000000000000.part'
    """
    return f"{product_id}.w-{0:012}.part"


def _ignore(_event: object) -> None:
    pass
