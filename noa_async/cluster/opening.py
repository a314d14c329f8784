"""A run's cluster, put together: the way to its workers, and what fetches by them."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from noa_async.cluster.crew import Crew, witness_in
from noa_async.cluster.dask import check, open_link
from noa_async.cluster.fetcher import ClusterFetcher
from noa_async.cluster.logins import Lender
from noa_async.cluster.messages import Setup, Terms
from noa_async.cluster.parts import adopt

if TYPE_CHECKING:
    from contextlib import AsyncExitStack
    from pathlib import Path

    from noa_async.archive.scratch import Scratch
    from noa_async.assembly import Parts
    from noa_async.cluster.crew import Link
    from noa_async.events import Observer
    from noa_async.settings import Settings


class Cluster:
    """The workers of a Dask scheduler, for all outputs of a client.

    Resources: what it opens ends with the stack that it is given; then it can be used anew.
    """

    def __init__(self, address: str, settings: Settings, observer: Observer) -> None:
        """Raises SettingsError for what is no address, and where Dask is not installed."""
        self._address = check(address)
        self._settings = settings
        self._observer = observer
        self._link: Link | None = None
        self._fetchers: dict[Path, ClusterFetcher] = {}
        self._opening = asyncio.Lock()

    async def fetcher(
        self, stack: AsyncExitStack, scratch: Scratch, parts: Parts
    ) -> ClusterFetcher:
        """What fetches into a ``scratch``, which is locked. Raises what ``open_link`` does."""
        folder = scratch.part("any").parent
        async with self._opening:
            if not self._fetchers:
                stack.callback(self._fetchers.clear)
                workers = self._settings.limits.workers
                self._link = await open_link(stack, self._address, workers)
            if folder not in self._fetchers:
                assert self._link is not None
                self._fetchers[folder] = await open_fetcher(
                    stack, self._link, folder, parts, self._settings, self._observer
                )
            return self._fetchers[folder]


async def open_fetcher(
    stack: AsyncExitStack,
    link: Link,
    folder: Path,
    parts: Parts,
    settings: Settings,
    observer: Observer,
    terms: Terms | None = None,
) -> ClusterFetcher:
    """What fetches into the parts' ``folder``, which the caller has locked, by ``link``'s workers.

    What an earlier run's workers left is taken over. Leaving ``stack`` ends what they do.
    """
    terms = terms or Terms()
    session = uuid.uuid4().hex[:12]
    witness = witness_in(folder, session)
    for left in folder.glob("*.here"):  # noqa: ASYNC240 (a few calls, once a run)
        left.unlink(missing_ok=True)
    witness.touch()
    stack.callback(witness.unlink, missing_ok=True)
    setup = Setup(
        session,
        settings,
        len(parts.tokens),
        str(folder),
        witness.name,
        terms.lease,
        parts.waits.cut,
    )
    crew = Crew(link, setup, Lender(parts.tokens, terms.report), terms)

    async def leave() -> None:
        await asyncio.to_thread(adopt, folder)

    stack.push_async_callback(leave)
    await stack.enter_async_context(crew)
    return ClusterFetcher(crew, parts, await asyncio.to_thread(adopt, folder), observer)
