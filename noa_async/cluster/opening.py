"""Set up a run's cluster: the connection to its workers, and the fetchers that use them."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.archive.objects import ObjectFolder
from noa_async.cluster.crew import Crew
from noa_async.cluster.dask import check_installed, open_link
from noa_async.cluster.fetcher import ClusterFetcher
from noa_async.cluster.logins import Lender
from noa_async.cluster.messages import Setup, Terms, own_version
from noa_async.cluster.stocks import OwnStocks, SharedStock

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from noa_async.archive.destination import Destination
    from noa_async.cluster.crew import Link
    from noa_async.cluster.stocks import Stock
    from noa_async.events import Observer
    from noa_async.settings import Settings
    from noa_async.transfers import Transfers


class Cluster:
    """The workers of a Dask scheduler, for all outputs of a client.

    Resources: everything opened is closed with the stack that is passed in; then it can be reused.
    """

    def __init__(self, address: str, settings: Settings, observer: Observer) -> None:
        """Raise SettingsError if the address is invalid or Dask is not installed."""
        check_installed()
        settings.with_values({"dask": address})
        self._address = address
        self._settings = settings
        self._observer = observer
        self._link: Link | None = None
        self._fetchers: dict[str, ClusterFetcher] = {}
        self._opening = asyncio.Lock()

    async def fetcher(
        self, stack: AsyncExitStack, output: Destination, transfers: Transfers
    ) -> ClusterFetcher:
        """Return the fetcher for a locked ``output``. Raises what ``open_link`` raises."""
        async with self._opening:
            if not self._fetchers:
                stack.callback(self._fetchers.clear)
                workers = self._settings.limits.workers
                self._link = await open_link(stack, self._address, workers)
            assert self._link is not None
            if output.name not in self._fetchers:
                run = _Run(stack, self._link, transfers, self._settings, self._observer)
                self._fetchers[output.name] = await run.fetcher(output)
            return self._fetchers[output.name]


@dataclass(frozen=True, slots=True)
class _Run:
    """Builds the fetcher of one output. Closing ``stack`` ends its workers' orders."""

    stack: AsyncExitStack
    link: Link
    transfers: Transfers
    settings: Settings
    observer: Observer

    async def fetcher(self, output: Destination) -> ClusterFetcher:
        stock: Stock
        if isinstance(output, ObjectFolder):
            crew = await self._crew(output.name, None)
            stock = stocks = OwnStocks(output.name, crew, self.transfers.pool)
            output.send_by(stocks.send)
        else:
            folder = output.part("any").parent
            stock = shared = SharedStock(folder, self.transfers.pool)
            self.stack.push_async_callback(shared.close)
            crew = await self._crew(output.name, folder)
            await shared.open()
        return ClusterFetcher(crew, stock, self.transfers, self.observer)

    async def _crew(self, output: str, folder: Path | None) -> Crew:
        terms, session = Terms(), uuid.uuid4().hex[:12]
        witness = "" if folder is None else self._witness(folder, session)
        setup = Setup(
            session=session,
            output=output,
            version=own_version(),
            settings=self.settings,
            folder=None if folder is None else str(folder),
            witness=witness,
            lease=terms.lease,
            cut=self.transfers.connection.waits.cut,
        )
        crew = Crew(self.link, setup, Lender(self.transfers.connection.tokens, terms.report), terms)
        return await self.stack.enter_async_context(crew)

    def _witness(self, folder: Path, session: str) -> str:
        """Create a file by which workers verify that they see the same folder. Return its name."""
        for left in folder.glob("*.here"):
            left.unlink(missing_ok=True)
        witness = folder / f"{session}.here"
        witness.touch()
        self.stack.callback(witness.unlink, missing_ok=True)
        return witness.name
