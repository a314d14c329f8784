"""NoaClient: what a library user holds."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Self

from noa_async.archive.archive import Archive
from noa_async.archive.keeper import Keeper
from noa_async.archive.layout import Layout
from noa_async.archive.mirror import Mirror, MirrorReport, Pool
from noa_async.archive.targets import target_of
from noa_async.assembly import Parts, open_parts
from noa_async.auth.accounts import find_accounts
from noa_async.errors import SettingsError, UsageError
from noa_async.events import AllQueued, Observer, ProductQueued, ignore
from noa_async.hooks import Hook, run_hook
from noa_async.pipeline import Later, run_pipeline
from noa_async.settings import Settings
from noa_async.streams import each

if TYPE_CHECKING:
    import os
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Iterable,
        Mapping,
        Sequence,
    )

    from noa_async.archive.targets import StoreUrl
    from noa_async.auth.credentials import Credentials
    from noa_async.auth.tokens import Token
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.cluster.opening import Cluster
    from noa_async.transfer.fetching import Fetching
    from noa_async.transfer.outcome import Outcome

_QUEUED_PER_WORKER = 8
_SIZE_STEP = 4 << 20
"""Bytes: what takes about as long to bring goes in the order of coming, by sensing time."""


class NoaClient:
    """A connection to a mirror: search it, and bring products home.

    ``settings`` say which mirror and how; ``credentials`` who asks (found as the command line finds
    them where None: of several accounts with ``settings.accounts``); ``observer`` is told what
    happens (see ``noa_async.events``).

    Resources: an async context manager. Leaving it closes all connections and gives back the output
    folders; part files stay and are gone on with next time. It can be entered again, and goes on
    with the log-in that it had.

    Error handling: CredentialsError, ServiceError and DestinationError where nothing can go on;
    what concerns one product is told in its ``Outcome``.

    >>> from noa_async.emulator import Emulator
    >>> async def first_name() -> str:
    ...     async with Emulator() as mirror:
    ...         service = Service(catalogue_url=mirror.catalogue_url, token_url=mirror.token_url)
    ...         who = Credentials("demo", "demo")
    ...         async with NoaClient(Settings(service=service), who) as noa:
    ...             async for product in noa.search(Query(everything=True)):
    ...                 return product.name[:2]
    >>> import asyncio
    >>> from noa_async import Credentials, Query, Service, Settings
    >>> asyncio.run(first_name())
    'S...
    """

    def __init__(
        self,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        *,
        observer: Observer = ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock``: seconds since 1970, as an archive writes them down.

        Raises SettingsError where the settings name a Dask scheduler and Dask is not installed.
        """
        self.settings = settings or Settings()
        self._credentials = credentials
        self._observer = observer
        self._clock = clock
        self._cluster = _cluster(self.settings, observer)
        self._environ: Mapping[str, str] | None = None
        self._stack = AsyncExitStack()
        self._parts: Parts | None = None
        self._who: Sequence[Credentials] = ()
        self._held: dict[Credentials, Token | None] = {}
        self._archives: dict[Path | StoreUrl, Archive] = {}
        self._opening = asyncio.Lock()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, observer: Observer = ignore
    ) -> Self:
        """A client with ``NOA_*`` settings (of ``os.environ``), NOA's mirror by default.

        Credentials are looked for there, too, when the client is entered. Raises SettingsError for
        a variable that makes no sense.
        """
        client = cls(Settings.from_env(environ), observer=observer)
        client._environ = environ
        return client

    async def __aenter__(self) -> Self:
        if self._credentials is None:
            self._who = find_accounts(self.settings, self._environ)
        else:
            self._who = (self._credentials,)
        self._parts = await open_parts(
            self._stack, self.settings, self._who, observer=self._observer, held=self._held
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._parts is not None:
            tokens = self._parts.tokens
            self._held = {who: one.held for who, one in zip(self._who, tokens, strict=True)}
        self._parts = None
        await self._stack.aclose()
        self._archives.clear()

    @property
    def _open(self) -> Parts:
        if self._parts is None:
            raise UsageError(
                "This client is not open.", hint="Use it inside 'async with NoaClient() as noa:'."
            )
        return self._parts

    async def log_in(self) -> float:
        """Try the credentials, of each account; seconds that all the tokens they gave hold.

        Raises CredentialsRefused, or ServiceError where the service cannot be asked.
        """
        for tokens in self._open.tokens:
            await tokens.token()
        return min(tokens.expires_in for tokens in self._open.tokens)

    @property
    def renewable_for(self) -> float:
        """Seconds that the log-in can be renewed without the password; 0 where it cannot."""
        return min(tokens.refresh_expires_in for tokens in self._open.tokens)

    async def count(self, query: Query) -> int:
        """How many products match, by the service's own count; ``query.limit`` caps it."""
        return await self._open.catalogue.count(query)

    async def search(self, query: Query, *, attributes: bool = False) -> AsyncGenerator[Product]:
        """The products that match, by sensing time, each Id once; memory stays flat.

        ``attributes`` asks the service for each product's attributes too (larger answers).
        Raises ServiceError where a page cannot be had: a list never just ends early.
        """
        async with aclosing(self._open.catalogue.pages(query, attributes=attributes)) as pages:
            async for page in pages:
                for product in page:
                    yield product

    async def product(self, product_id: str) -> Product | None:
        """The product of an Id, as the catalogue has it now; None where it has none."""
        return await self._open.catalogue.entry(product_id)

    async def download(
        self,
        product: Product,
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        retry_failed: bool = False,
        after: Hook | None = None,
    ) -> Outcome:
        """Bring one product into ``folder``, or find it there; its failure is in the outcome.

        What is off line is ordered and waited for, as long as ``RetryPolicy.offline_wait`` says.
        ``layout``: ``flat``, ``date``, or a template (see ``Layout``); None is the one that the
        folder has, else flat; another one moves what is there. ``retry_failed``: fetch it even
        where an earlier run had to put its bytes in quarantine. ``after`` is awaited with the
        outcome where the product came now; what it raises is told as HookFailed and leaves the
        product alone.
        """
        keeper = await self._keeper(folder, layout, retry_failed=retry_failed)
        bring = self._bringing(keeper, after)
        self._open.fetcher.expect(product)
        outcome = await bring(product)
        while isinstance(outcome, Later):
            await asyncio.sleep(outcome.seconds)
            outcome = await bring(product)
        return outcome

    async def download_all(
        self,
        products: AsyncIterable[Product] | Iterable[Product],
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        retry_failed: bool = False,
        after: Hook | None = None,
    ) -> AsyncGenerator[Outcome]:
        """Bring products into ``folder``; outcomes come as they finish, in no order.

        Downloads begin while ``products`` still comes in. One failure ends nothing, and what is off
        line keeps nobody waiting but those who want the last outcome. Leaving early cancels what
        runs and keeps its part files. ``layout``, ``retry_failed``, ``after``: see ``download``;
        ``after`` is awaited by the worker that brought the product, so at most ``workers`` of them
        run at once (for an object store twice as many), and a slow one holds its worker.
        """
        keeper = await self._keeper(folder, layout, retry_failed=retry_failed)
        workers = keeper.hands(self.settings.limits.workers)
        with self._open.traffic.tail.more_to_come() as over:
            outcomes = run_pipeline(
                self._announced(products),
                self._bringing(keeper, after),
                workers=workers,
                depth=workers * _QUEUED_PER_WORKER,
                at_once=keeper.at_once,
                size=self._queued,
                drained=over,
            )
            async with aclosing(outcomes):
                async for outcome in outcomes:
                    yield outcome

    async def mirror(
        self,
        query: Query,
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        reconcile: bool = False,
        retry_failed: bool = False,
        after: Hook | None = None,
        tell: Callable[[Outcome], Awaitable[object]] | None = None,
    ) -> MirrorReport:
        """Bring ``folder`` up to date with ``query``: one run; call it again to follow.

        The first run lists all; later ones ask for what was published since, and now and then for
        all again (``Settings.following`` says when, and what becomes of products that the service
        removed). ``reconcile`` asks for all now; ``retry_failed`` tries again also what earlier
        runs gave up. ``tell`` is awaited for each outcome, one at a time; ``layout``, ``after``:
        see ``download``.

        Raises UsageError for a query with a limit, for nothing could follow it. Where the listing
        breaks off, its error is raised after what it found is fetched; the next run lists again.
        """
        if query.limit is not None:
            raise UsageError(
                "A mirror keeps all that matches: its query has no limit.",
                hint="Narrow the query, or use download for a part of it.",
            )
        keeper = await self._keeper(folder, layout, retry_failed=retry_failed)
        parts, workers = self._open, keeper.hands(self.settings.limits.workers)
        parts.traffic.health.renew()
        with parts.traffic.tail.more_to_come() as over:
            bring, depth = self._bringing(keeper, after), workers * _QUEUED_PER_WORKER
            mirror = Mirror(
                await self._archive(folder, layout),
                parts.catalogue,
                keeper,
                Pool(bring, workers, depth, over, self._queued),
                self.settings.following,
                self._observer,
            )
            return await mirror.run(
                query, tell or _heed_nothing, reconcile=reconcile, retry_failed=retry_failed
            )

    def _bringing(
        self, keeper: Keeper, after: Hook | None
    ) -> Callable[[Product], Awaitable[Outcome | Later]]:
        """What a worker does with a product: bring it, then what comes after."""
        waits = self._open.waits

        async def bring(product: Product) -> Outcome | Later:
            outcome = await keeper.bring(product)
            if isinstance(outcome, Later):
                return Later(waits.of(outcome.seconds))
            if after is not None:
                await run_hook(after, outcome, self._observer)
            return outcome

        return bring

    def _queued(self, product: Product) -> int | None:
        """A product waits for a worker: how large it is, for its place among those that do."""
        self._open.fetcher.expect(product)
        return None if product.size is None else product.size // _SIZE_STEP

    async def _announced(
        self, products: AsyncIterable[Product] | Iterable[Product]
    ) -> AsyncGenerator[Product]:
        async with aclosing(each(products)) as source:
            async for product in source:
                self._observer(ProductQueued(product.id, product.name, product.size))
                yield product
        self._observer(AllQueued())

    async def _keeper(
        self, folder: str | os.PathLike[str], layout: str | None, *, retry_failed: bool
    ) -> Keeper:
        archive = await self._archive(folder, layout)
        parts, retry = self._open, self._open.waits.retry
        fetcher: Fetching = parts.fetcher
        if self._cluster is not None:
            fetcher = await self._cluster.fetcher(self._stack, archive.folder, parts)
        return Keeper(
            archive, fetcher, parts.orders, retry, self._observer, retry_failed=retry_failed
        )

    async def _archive(self, folder: str | os.PathLike[str], layout: str | None) -> Archive:
        """The archive in ``folder``, locked at its first use until the client is closed."""
        root = target_of(folder, self.settings.scratch)
        if isinstance(root, Path):
            root = root.resolve()
        wanted = None if layout is None else Layout.parse(layout)
        async with self._opening:
            archive = self._archives.get(root)
            if archive is None:
                archive = Archive(root, wanted, self._open.pool, self._observer, clock=self._clock)
                await self._stack.enter_async_context(archive)
                self._archives[root] = archive
        if wanted is not None and archive.layout != wanted:
            raise SettingsError(f"{root} is in use with another layout, {archive.layout.template}.")
        return archive


def _cluster(settings: Settings, observer: Observer) -> Cluster | None:
    if settings.dask is None:
        return None
    from noa_async.cluster.opening import Cluster  # noqa: PLC0415 (where it is named)

    return Cluster(settings.dask, settings, observer)


async def _heed_nothing(_outcome: Outcome) -> None:
    pass
