"""The client for scripts and notebooks: the same, with no ``await``.

It has an event loop of its own, in a thread: it works where another loop runs already, as in
Jupyter, and what was begun goes on while the caller does something else.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, Generic, Self, TypeVar

from noa_async.client import NoaClient
from noa_async.errors import UsageError
from noa_async.events import Observer, ignore
from noa_async.looping import LoopThread

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from noa_async.archive.mirror import MirrorReport
    from noa_async.auth.credentials import Credentials
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.hooks import Hook
    from noa_async.settings import Settings
    from noa_async.transfer.outcome import Outcome

_T = TypeVar("_T")
After = Callable[["Outcome"], object]
"""A plain function, called in a thread, or a `Command`."""


class _End:
    """The end of a stream."""


_END: Final = _End()


class SyncNoaClient:
    """A connection to a mirror for code that is not asynchronous; see `NoaClient` for what it does.

    ``settings``, ``credentials``, ``observer``: as there. The observer is called on the client's
    own thread, and cannot call the client.

    Error handling: as `NoaClient`. Ctrl-C cancels what is under way, keeps its part files, and is
    raised as KeyboardInterrupt.
    Resources: a context manager, or ``open`` and ``close``, which a notebook may do in two cells.
    What is not closed ends with the program, at once.

    >>> from noa_async import Credentials, Query, Service, Settings
    >>> from noa_async.emulator import Emulator
    >>> with LoopThread() as elsewhere:
    ...     mirror = elsewhere.run(Emulator().start())
    ...     service = Service(catalogue_url=mirror.catalogue_url, token_url=mirror.token_url)
    ...     who = Credentials("demo", "demo")
    ...     with SyncNoaClient(Settings(service=service), who) as noa:
    ...         noa.count(Query(everything=True))
    ...     elsewhere.run(mirror.stop())
    2000
    """

    def __init__(
        self,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        *,
        observer: Observer = ignore,
    ) -> None:
        self._client = NoaClient(settings, credentials, observer=observer)
        self._loop: LoopThread | None = None
        self._opening = threading.RLock()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, observer: Observer = ignore
    ) -> Self:
        """As ``NoaClient.from_env``. Raises SettingsError."""
        made = cls(observer=observer)
        made._client = NoaClient.from_env(environ, observer=observer)
        return made

    @property
    def settings(self) -> Settings:
        """Which mirror, and how."""
        return self._client.settings

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Self:
        """Open the client, and return it.

        Raise as entering a `NoaClient`; UsageError if it is open, or a fork's parent has it open.
        """
        self._check_not_open()
        with self._opening:
            self._check_not_open()  # another thread may have opened it meanwhile
            loop = self._loop = LoopThread(self.settings.service.catalogue_url)
            try:
                loop.__enter__()
                loop.run(self._client.__aenter__())
            except BaseException:
                self._leave(loop)
                raise
        return self

    def _check_not_open(self) -> None:
        if self._loop is not None:
            self._loop.check_process()
            raise UsageError("This client is open already.", hint="Close it first.")

    def close(self) -> None:
        """End what is under way, keep its part files, unlock the folders; a second call is nothing.

        In a forked process, leave the parent's client alone.
        """
        loop = self._loop
        if loop is None or not loop.is_own_process:
            return
        loop.check_thread()
        with self._opening:  # another thread may close it, too
            if self._loop is not None:
                self._leave(self._loop)

    def _leave(self, loop: LoopThread) -> None:
        """Close the client and end its loop, also if Ctrl-C interrupts it."""
        loop.check_thread()
        try:
            if loop.alive:
                loop.run(self._client.__aexit__(None, None, None))
        finally:
            try:
                loop.stop()
            finally:
                self._loop = None

    @property
    def _running(self) -> LoopThread:
        if self._loop is None:
            raise UsageError(
                "This client is not open.",
                hint="Use it inside 'with SyncNoaClient.from_env() as noa:', or call open().",
            )
        self._loop.check_process()
        return self._loop

    def log_in(self) -> float:
        """Try the credentials; seconds that the token they gave holds. Raises as `NoaClient`."""
        return self._running.run(self._client.log_in())

    def count(self, query: Query) -> int:
        """How many products match, by the service's own count."""
        return self._running.run(self._client.count(query))

    def search(self, query: Query, *, attributes: bool = False) -> Stream[Product]:
        """The products that match, by sensing time, each Id once; memory stays flat."""
        return self._stream(self._client.search(query, attributes=attributes))

    def download(
        self,
        product: Product,
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        retry_failed: bool = False,
        after: After | None = None,
    ) -> Outcome:
        """Bring one product into ``folder``, or find it there; its failure is in the outcome."""
        work = self._client.download(
            product, folder, layout=layout, retry_failed=retry_failed, after=_awaited(after)
        )
        return self._running.run(work)

    def download_all(
        self,
        products: Iterable[Product],
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        retry_failed: bool = False,
        after: After | None = None,
    ) -> Stream[Outcome]:
        """Bring products into ``folder``; outcomes come as they finish, in no order.

        It begins with the first outcome that is asked for, and goes on between two of them.
        ``products`` may be a ``search`` of this client, or made from one.
        """
        outcomes = self._client.download_all(
            self._feed(products),
            folder,
            layout=layout,
            retry_failed=retry_failed,
            after=_awaited(after),
        )
        return self._stream(outcomes)

    def mirror(
        self,
        query: Query,
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        reconcile: bool = False,
        retry_failed: bool = False,
        after: After | None = None,
        tell: After | None = None,
    ) -> MirrorReport:
        """Bring ``folder`` up to date with ``query``: one run; call it again to follow."""
        work = self._client.mirror(
            query,
            folder,
            layout=layout,
            reconcile=reconcile,
            retry_failed=retry_failed,
            after=_awaited(after),
            tell=_awaited(tell),
        )
        return self._running.run(work)

    def _stream(self, source: AsyncGenerator[_T]) -> Stream[_T]:
        return Stream(source, self._running)

    def _feed(self, products: Iterable[Product]) -> AsyncIterable[Product] | Iterable[Product]:
        """The same, such that reading it never holds the loop."""
        if isinstance(products, Stream) and products.loop is self._running:
            return _unwrapped(products)
        return products if isinstance(products, Sequence | Set) else _in_threads(products)


class Stream(Iterator[_T], Generic[_T]):
    """What comes from the service, one at a time; dropping it early cancels what is under way."""

    def __init__(self, source: AsyncGenerator[_T], loop: LoopThread) -> None:
        self.source = source
        self.loop = loop

    def __next__(self) -> _T:
        item = self.loop.run(_next(self.source))
        if isinstance(item, _End):
            raise StopIteration
        return item

    def close(self) -> None:
        """Take no more, and wait until what is under way has ended."""
        if self.loop.is_own_process and self.loop.alive:  # else it has ended with the client
            self.loop.run(_close(self.source))


async def _next(source: AsyncGenerator[_T]) -> _T | _End:
    return await anext(source, _END)


async def _close(source: AsyncGenerator[object]) -> None:
    await source.aclose()


async def _unwrapped(stream: Stream[_T]) -> AsyncGenerator[_T]:
    """Its items, held for as long as they are read."""
    async with aclosing(stream.source) as source:
        async for item in source:
            yield item


async def _in_threads(items: Iterable[_T]) -> AsyncGenerator[_T]:
    """Items of any kind of source, such as one that asks this client."""
    iterator = iter(items)
    while not isinstance(item := await asyncio.to_thread(next, iterator, _END), _End):
        yield item


def _awaited(after: After | None) -> Hook | None:
    """A plain function as one that can be awaited, without holding the loop."""
    if after is None:
        return None

    async def hook(outcome: Outcome) -> None:
        done = await asyncio.to_thread(after, outcome)
        if inspect.isawaitable(done):
            await done

    return hook
