"""Run the ordinary fetcher on a worker, controlled by a coordinator.

Dask calls ``serve`` on the worker's event loop; each call is short. A worker that gets no message
from its coordinator for the length of its lease stops by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noa_async.archive.objects import ObjectFolder
from noa_async.archive.targets import StoreUrl
from noa_async.auth.session import AuthSession
from noa_async.catalogue.pages import Catalogue
from noa_async.cluster.logins import LentTokens
from noa_async.cluster.messages import Done, Order, Received, Report, own_version
from noa_async.cluster.parts import (
    drop_own_folder,
    give_away,
    make_own_folder,
    seal,
    sealed,
    size_of,
    unseal,
)
from noa_async.events import TransferAdvanced
from noa_async.failure import as_sent
from noa_async.testing import Waits
from noa_async.threads import Threads
from noa_async.transfer.download import Fetcher
from noa_async.transfer.health import Health
from noa_async.transfer.limiter import Bandwidth, Slots
from noa_async.transfer.tail import Tail
from noa_async.transfer.traffic import Traffic
from noa_async.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noa_async.archive.destination import FileFacts
    from noa_async.cluster.messages import Renewal, Sending, Setup
    from noa_async.events import Event
    from noa_async.transfer.fetching import Fetched, Whole

_THREADS = 64
"""Maximum number of threads: each product being downloaded holds one."""


class Session:
    """A worker's orders of one run. Resources: ``open`` and ``close``."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._stack = AsyncExitStack()
        self._tasks: dict[str, asyncio.Task[Whole | FileFacts]] = {}
        self._orders: dict[str, Order | Sending] = {}
        """The orders of the tasks."""
        self._events: list[tuple[str, Event | Received]] = []
        self._done: list[Done] = []
        self._news = asyncio.Event()
        """Set when there is something to report."""
        self._heard = 0.0
        self._rejected: list[str] = []
        self.over = False
        """Whether the session has ended by itself."""
        self._bandwidth = Bandwidth(None)

    async def open(self) -> None:
        settings = self.setup.settings
        self._waits = Waits(settings.retry, self.setup.cut)
        self._transport = await self._stack.enter_async_context(Transport(settings))
        self._tokens = LentTokens(settings.timeouts.answer, self._reject)
        self._pool = Threads(_THREADS)
        self._stack.push_async_callback(asyncio.to_thread, self._pool.close)
        if self.setup.folder is None:
            folder = await asyncio.to_thread(make_own_folder)
            self._stack.push_async_callback(asyncio.to_thread, drop_own_folder, folder)
        self._folder = folder if self.setup.folder is None else Path(self.setup.folder)
        self._heard = self._now()
        self._watch = asyncio.create_task(self._stop_after_lease())

    async def close(self) -> None:
        """End all orders and wait for them: afterwards this session writes and receives nothing."""
        self._watch.cancel()
        await self._end(list(self._tasks))
        await self._stack.aclose()

    def begin(self, order: Order | Sending) -> None:
        task = asyncio.create_task(self._carry_out(order))
        self._tasks[order.key], self._orders[order.key] = task, order
        task.add_done_callback(lambda ended: self._ended(order, ended))

    async def drop(self, key: str) -> None:
        """Cancel an attempt."""
        await self._end([key])

    async def report(self, renewal: Renewal, longest: float) -> Report:
        """Return what happened since the last report; wait up to ``longest`` seconds for
        something."""
        self._heard = self._now()
        self._tokens.lend(renewal.token)
        self._bandwidth.allow(renewal.rate)
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                await self._news.wait()
        self._news.clear()
        report = Report(tuple(self._events), tuple(self._done), tuple(self._rejected))
        self._events, self._done, self._rejected = [], [], []
        return report

    def _reject(self, access: str) -> None:
        self._rejected.append(access)
        self._news.set()

    def _ended(self, order: Order | Sending, task: asyncio.Task[Whole | FileFacts]) -> None:
        del self._tasks[order.key], self._orders[order.key]
        if task.cancelled():
            return
        error = task.exception()
        result = task.result() if error is None else as_sent(error)
        part = self._folder / order.part
        self._done.append(Done(order.key, result, max(size_of(part), size_of(sealed(part)))))
        self._news.set()

    async def _carry_out(self, order: Order | Sending) -> Whole | FileFacts:
        """Execute an order, after ending any other order with the same part file."""
        await self._end(
            [
                key
                for key, one in self._orders.items()
                if one.part == order.part and key != order.key
            ]
        )
        if isinstance(order, Order):
            return await self._fetch(order)
        # Not `run`: a cancelled order must not wait for an upload that hangs.
        return await self._pool.submit(self._send, order).outcome()

    def _send(self, order: Sending) -> FileFacts:
        """Upload a complete part file to the store, with the keys of this process. Blocks."""
        part = sealed(self._folder / order.part)
        store = ObjectFolder(StoreUrl(order.url, self._folder))
        return give_away(part, store.send, (part, order.path, order.attributes))

    async def _fetch(self, order: Order) -> Whole:
        """Make one attempt over one connection; the coordinator controls how many run."""
        part = self._folder / order.part
        if self.setup.folder is None:  # it may be complete, but not uploaded
            await self._pool.run(unseal, part)

        def tell(event: Event, /) -> None:
            self._tell(order.key, event)

        async def admit(fetched: Fetched) -> Whole:
            self._tell(order.key, Received())
            self._news.set()
            await fetched.hand_over(seal, part, brief=False, stable=True)
            return fetched.whole

        traffic, catalogue = self._connections(order)
        fetcher = Fetcher(catalogue, None, self._pool, traffic, observer=tell)
        with traffic.tail.more_to_come():  # so that the product is not split into segments
            return await fetcher.fetch_once(order.product, part, admit, fresh=order.fresh)

    def _connections(self, order: Order) -> tuple[Traffic, Catalogue]:
        """Return the connections to the product's bytes and to its catalogue entry."""
        settings = self.setup.settings
        session = AuthSession(self._transport, self._tokens)
        catalogue = Catalogue(session, settings.service, settings.retry, sleep=self._waits.sleep)
        slots = Slots(1)
        slots.streaming = int(order.others_served)
        health = Health(catalogue.probe, suspicious=1)  # a single attempt suspects no other one
        tail = Tail(slots, self._bandwidth)
        return Traffic(session, slots, self._bandwidth, health, tail), catalogue

    def _tell(self, key: str, event: Event | Received) -> None:
        """Keep an event for the next report; received bytes are added up."""
        if isinstance(event, TransferAdvanced) and self._events:
            last_key, last = self._events[-1]
            if last_key == key and isinstance(last, TransferAdvanced):
                more = replace(last, received=last.received + event.received)
                self._events[-1] = (key, more)
                return
        self._events.append((key, event))

    async def _stop_after_lease(self) -> None:
        """End the session if no message has arrived for the length of the lease."""
        while (left := self._heard + self.setup.lease - self._now()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self.over = True
        await self._end(list(self._tasks))
        await self._stack.aclose()

    async def _end(self, keys: list[str]) -> None:
        tasks = [self._tasks[key] for key in keys if key in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class Desk:
    """A worker's sessions, by output. The coordinator calls its methods by name."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    async def hello(self, setup: Setup) -> str | None:
        """Start a session, ending an earlier one. Return why that is impossible, else None."""
        before = self._sessions.pop(setup.output, None)
        if before is not None:
            await before.close()
        if (complaint := _why_unusable(setup)) is not None:
            return complaint
        session = Session(setup)
        await session.open()
        self._sessions[setup.output] = session
        return None

    async def begin(self, output: str, session: str, orders: Sequence[Order | Sending]) -> bool:
        """Start some orders. Return False if the session is unknown."""
        known = self._of(output, session)
        if known is not None:
            for order in orders:
                known.begin(order)
        return known is not None

    async def report(
        self, output: str, session: str, renewal: Renewal, longest: float
    ) -> Report | None:
        """Return what happened; None if the session is unknown."""
        known = self._of(output, session)
        return None if known is None else await known.report(renewal, longest)

    async def drop(self, output: str, session: str, key: str) -> None:
        """Cancel an order."""
        known = self._of(output, session)
        if known is not None:
            await known.drop(key)

    async def goodbye(self, output: str, session: str) -> None:
        """End a session."""
        known = self._of(output, session)
        if known is not None:
            del self._sessions[output]
            await known.close()

    def _of(self, output: str, session: str) -> Session | None:
        known = self._sessions.get(output)
        if known is None or known.over or known.setup.session != session:
            return None
        return known


def _why_unusable(setup: Setup) -> str | None:
    """Return why this worker cannot be used; None if it can."""
    if setup.version != own_version():
        return f"it has noa-async {own_version()}, the coordinator has {setup.version}"
    if setup.folder is None:
        return None if find_spec("obstore") else "it has no obstore (noa-async[s3])"
    if not Path(setup.folder, setup.witness).exists():
        return f"it does not see the coordinator's folder {setup.folder}"
    return None


_DESK = Desk()


async def serve(verb: str, *arguments: Any) -> Any:
    """Call a method of this process's ``Desk`` for the coordinator."""
    return await getattr(_DESK, verb)(*arguments)
