"""What an open client does with folders: it brings products into them, and keeps them up to date.

Made when it is first needed: who only asks has no need of it, nor of what it imports.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async.archive.archive import Archive, FolderRules
from noa_async.archive.keeper import Keeper
from noa_async.archive.layout import Layout
from noa_async.archive.mirror import Mirror, MirrorReport, Pool
from noa_async.archive.targets import target_of
from noa_async.errors import DestinationError, SettingsError, UsageError
from noa_async.events import AllQueued, HookFailed, Observer, ProductQueued
from noa_async.hooks import Hook, is_consuming, run_hook
from noa_async.pipeline import Later, run_pipeline
from noa_async.streams import each
from noa_async.transfers import open_transfers

if TYPE_CHECKING:
    import os
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Iterable,
    )
    from contextlib import AsyncExitStack

    from noa_async.archive.targets import StoreUrl
    from noa_async.assembly import Connection
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.cluster.opening import Cluster
    from noa_async.settings import Settings
    from noa_async.transfer.fetching import Fetching
    from noa_async.transfer.outcome import Outcome

_QUEUED_PER_WORKER = 8
_SIZE_STEP = 4 << 20
"""Bytes: what takes about as long to bring goes in the order of coming, by sensing time."""


class Downloads:
    """The folders that a client has in use, and what brings products into them.

    Its methods are those of ``NoaClient`` that have the same names, which say what they do.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        settings: Settings,
        connection: Connection,
        *,
        cluster: Cluster | None,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        """``stack`` ends all of it, before the ``connection``."""
        self._stack = stack
        self._settings = settings
        self._cluster = cluster
        self._observer = observer
        self._clock = clock
        self.transfers = open_transfers(stack, settings, connection, observer=observer)
        self.archives: dict[Path | StoreUrl, Archive] = {}
        self._opening = asyncio.Lock()

    async def download(
        self,
        product: Product,
        folder: str | os.PathLike[str],
        *,
        layout: str | None,
        retry_failed: bool,
        after: Hook | None,
    ) -> Outcome:
        keeper = await self.keeper(folder, layout, after, retry_failed=retry_failed)
        bring = self._bringing(keeper, after)
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
        layout: str | None,
        retry_failed: bool,
        after: Hook | None,
    ) -> AsyncGenerator[Outcome]:
        keeper = await self.keeper(folder, layout, after, retry_failed=retry_failed)
        workers = keeper.hands(self._settings.limits.workers)
        with self.transfers.traffic.tail.more_to_come() as over:
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
        layout: str | None,
        reconcile: bool,
        retry_failed: bool,
        after: Hook | None,
        tell: Callable[[Outcome], Awaitable[object]] | None,
    ) -> MirrorReport:
        if query.limit is not None:
            raise UsageError(
                "A mirror keeps all that matches: its query has no limit.",
                hint="Narrow the query, or use download for a part of it.",
            )
        keeper = await self.keeper(folder, layout, after, retry_failed=retry_failed)
        transfers, workers = self.transfers, keeper.hands(self._settings.limits.workers)
        transfers.traffic.health.renew()
        with transfers.traffic.tail.more_to_come() as over:
            bring, depth = self._bringing(keeper, after), workers * _QUEUED_PER_WORKER
            mirror = Mirror(
                await self.archive(folder, layout),
                transfers.connection.catalogue,
                keeper,
                Pool(
                    bring,
                    workers,
                    depth,
                    over,
                    self._queued,
                    hooked=after is not None,
                    consumes=is_consuming(after),
                ),
                self._settings.following,
                self._observer,
            )
            return await mirror.run(
                query, tell or _heed_nothing, reconcile=reconcile, retry_failed=retry_failed
            )

    def _bringing(
        self, keeper: Keeper, after: Hook | None
    ) -> Callable[[Product], Awaitable[Outcome | Later]]:
        """What a worker does with a product: bring it, then what comes after."""
        waits = self.transfers.connection.waits

        async def bring(product: Product) -> Outcome | Later:
            outcome = await keeper.bring(product)
            if isinstance(outcome, Later):
                return Later(waits.of(outcome.seconds))
            due = outcome.ok and (outcome.brought or keeper.archive.owes_hook(product.id))
            if after is not None and due:
                await self._run_hook(keeper.archive, after, outcome)
            return outcome

        return bring

    async def _run_hook(self, archive: Archive, after: Hook, outcome: Outcome) -> None:
        """Run the hook of a product that is here; the ledger knows whether it has passed."""
        product, consumes = outcome.product, is_consuming(after)
        reason = await run_hook(after, outcome, self._observer, due=True)
        why = await archive.hook_ended(product.id, reason, consumes=consumes)
        if why is not None and reason is None:
            self._observer(HookFailed(product.id, product.name, why))

    def _queued(self, product: Product) -> int | None:
        """A product waits for a worker: how large it is, for its place among those that do."""
        return None if product.size is None else product.size // _SIZE_STEP

    async def _announced(
        self, products: AsyncIterable[Product] | Iterable[Product]
    ) -> AsyncGenerator[Product]:
        async with aclosing(each(products)) as source:
            async for product in source:
                self._observer(ProductQueued(product.id, product.name, product.size))
                yield product
        self._observer(AllQueued())

    async def keeper(
        self,
        folder: str | os.PathLike[str],
        layout: str | None,
        after: Hook | None = None,
        *,
        retry_failed: bool,
    ) -> Keeper:
        """What brings products into the archive in ``folder``; ``after`` is due for each."""
        archive = await self.archive(folder, layout)
        fetcher: Fetching = self.transfers.fetcher
        if self._cluster is not None:
            fetcher = await self._cluster.fetcher(self._stack, archive.folder, self.transfers)
        return Keeper(
            archive,
            fetcher,
            self.transfers.orders,
            self.transfers.connection.waits.retry,
            self._observer,
            retry_failed=retry_failed,
            hooked=after is not None,
        )

    async def archive(self, folder: str | os.PathLike[str], layout: str | None) -> Archive:
        """The archive in ``folder``, locked at its first use until the client is closed."""
        root = target_of(folder, self._settings.scratch)
        if isinstance(root, Path):
            try:
                root = root.resolve()
            except (OSError, RuntimeError) as error:
                raise DestinationError(
                    f"{root} cannot be used as a folder: its links lead in a circle.",
                    hint="Name another folder, or mend the link.",
                ) from error
        wanted = None if layout is None else Layout.parse(layout)
        async with self._opening:
            archive = self.archives.get(root)
            if archive is None:
                archive = Archive(
                    root,
                    wanted,
                    self.transfers.pool,
                    self._observer,
                    clock=self._clock,
                    rules=rules_of(self._settings),
                )
                await self._stack.enter_async_context(archive)
                self.archives[root] = archive
        if wanted is not None and archive.layout != wanted:
            raise SettingsError(f"{root} is in use with another layout, {archive.layout.template}.")
        return archive


def rules_of(settings: Settings) -> FolderRules:
    """What the settings say of an archive's folder."""
    return FolderRules(
        settings.archive_id, new_archive=settings.new_archive, min_free=settings.min_free
    )


async def _heed_nothing(_outcome: Outcome) -> None:
    pass
