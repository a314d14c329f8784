"""NoaClient: what a library user holds."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from noa_async.archive.archive import Archive
from noa_async.archive.keeper import Keeper
from noa_async.archive.layout import Layout
from noa_async.auth.credentials import Credentials, find_credentials
from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import TokenManager
from noa_async.catalogue.pages import Catalogue
from noa_async.errors import SettingsError, UsageError
from noa_async.events import Observer, ProductQueued, ignore
from noa_async.pipeline import each, run_pipeline
from noa_async.settings import Settings
from noa_async.transfer.download import Fetcher, Traffic
from noa_async.transfer.health import Health
from noa_async.transfer.limiter import Bandwidth, Slots
from noa_async.transport import Transport

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping

    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.transfer.outcome import Outcome

_QUEUED_PER_WORKER = 8


@dataclass(frozen=True, slots=True)
class _Parts:
    """What an open client is made of."""

    tokens: TokenManager
    catalogue: Catalogue
    pool: ThreadPoolExecutor
    fetcher: Fetcher


class NoaClient:
    """A connection to a mirror: search it, and bring products home.

    ``settings`` say which mirror and how; ``credentials`` who asks (found as the command line finds
    them where None); ``observer`` is told what happens (see ``noa_async.events``).

    Resources: an async context manager. Leaving it closes all connections and gives back the output
    folders; part files stay and are gone on with next time.

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
    ) -> None:
        self.settings = settings or Settings()
        self._credentials = credentials
        self._observer = observer
        self._environ: Mapping[str, str] | None = None
        self._stack = AsyncExitStack()
        self._parts: _Parts | None = None
        self._archives: dict[Path, Archive] = {}
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
        service, retry = self.settings.service, self.settings.retry
        workers = self.settings.limits.workers
        who = self._credentials or find_credentials(service.token_url, self._environ)
        transport = await self._stack.enter_async_context(Transport(self.settings))
        tokens = TokenManager(transport, service, who, observer=self._observer)
        session = AuthSession(transport, tokens)
        catalogue = Catalogue(session, service, retry, observer=self._observer)
        pool = ThreadPoolExecutor(workers + 2, thread_name_prefix="noa-disk")
        self._stack.push_async_callback(asyncio.to_thread, pool.shutdown)
        traffic = Traffic(
            Slots(workers, longest_pause=2 * retry.base, longest_asked=retry.longest_wait),
            Bandwidth(self.settings.limits.bandwidth),
            Health(catalogue.probe, suspicious=max(3, workers)),
        )
        fetcher = Fetcher(session, catalogue, retry, pool, traffic, observer=self._observer)
        self._parts = _Parts(tokens, catalogue, pool, fetcher)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._parts = None
        await self._stack.aclose()
        self._archives.clear()

    @property
    def _open(self) -> _Parts:
        if self._parts is None:
            raise UsageError(
                "This client is not open.", hint="Use it inside 'async with NoaClient() as noa:'."
            )
        return self._parts

    async def log_in(self) -> float:
        """Try the credentials; seconds that the token they gave holds.

        Raises CredentialsRefused, or ServiceError where the service cannot be asked.
        """
        tokens = self._open.tokens
        await tokens.token()
        return tokens.expires_in

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

    async def download(
        self,
        product: Product,
        folder: str | os.PathLike[str],
        *,
        layout: str = "flat",
        retry_failed: bool = False,
    ) -> Outcome:
        """Bring one product into ``folder``, or find it there; its failure is in the outcome.

        ``layout``: ``flat``, ``date``, or a template (see ``Layout``). ``retry_failed``: fetch it
        even where an earlier run had to put its bytes in quarantine.
        """
        keeper = await self._keeper(folder, layout, retry_failed=retry_failed)
        return await keeper.bring(product)

    async def download_all(
        self,
        products: AsyncIterable[Product] | Iterable[Product],
        folder: str | os.PathLike[str],
        *,
        layout: str = "flat",
        retry_failed: bool = False,
    ) -> AsyncGenerator[Outcome]:
        """Bring products into ``folder``; outcomes come as they finish, in no order.

        Downloads begin while ``products`` still comes in. One failure ends nothing. Leaving early
        cancels what runs and keeps its part files. ``layout``, ``retry_failed``: see ``download``.
        """
        keeper = await self._keeper(folder, layout, retry_failed=retry_failed)
        workers = self.settings.limits.workers
        outcomes = run_pipeline(
            self._announced(products),
            keeper.bring,
            workers=workers,
            depth=workers * _QUEUED_PER_WORKER,
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def _announced(
        self, products: AsyncIterable[Product] | Iterable[Product]
    ) -> AsyncGenerator[Product]:
        async with aclosing(each(products)) as source:
            async for product in source:
                self._observer(ProductQueued(product.id, product.name, product.size))
                yield product

    async def _keeper(
        self, folder: str | os.PathLike[str], layout: str, *, retry_failed: bool
    ) -> Keeper:
        archive = await self._archive(folder, layout)
        fetcher = self._open.fetcher
        return Keeper(archive, fetcher, self._observer, retry_failed=retry_failed)

    async def _archive(self, folder: str | os.PathLike[str], layout: str) -> Archive:
        """The archive in ``folder``, locked at its first use until the client is closed."""
        root = Path(folder).resolve()  # noqa: ASYNC240 (a few calls, once a folder)
        wanted = Layout.parse(layout)
        async with self._opening:
            archive = self._archives.get(root)
            if archive is None:
                archive = Archive(root, wanted, self._open.pool, self._observer)
                await self._stack.enter_async_context(archive)
                self._archives[root] = archive
        if archive.layout != wanted:
            raise SettingsError(f"{root} is in use with another layout, {archive.layout.template}.")
        return archive
