"""The workers of a run as its coordinator sees them: who is there, who does what, who is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, Self

from noa_async.cluster.messages import Order, Renewal, Report, Sending, Setup, Terms
from noa_async.errors import DestinationError, NoaError, ServiceAway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from noa_async.cluster.logins import Lender
    from noa_async.cluster.messages import Done, Received
    from noa_async.events import Event

    Told = Callable[[Event | Received], None]


_MARGIN = 1.0
"""Seconds that a message may be under way."""


class WorkerLost(Exception):
    """Nobody knows what the worker does now; it has stopped by the end of its lease."""


class Link(Protocol):
    """The way to the workers, through the scheduler."""

    async def workers(self) -> Iterable[str]:
        """The addresses of those that the scheduler knows."""
        ...

    async def ask(self, address: str, verb: str, *arguments: Any) -> Any:
        """Have a worker do what ``Desk`` calls ``verb``. Raises OSError where it cannot be had."""
        ...


@dataclass(slots=True, eq=False)
class _Job:
    """An order that a worker has."""

    order: Order | Sending
    told: Told
    ends: asyncio.Future[Done]
    moved_at: float
    """When something was last heard of it."""


@dataclass(slots=True, eq=False)
class Node:
    """A worker."""

    address: str
    ready: bool = False
    complaint: str | None = None
    """Why it cannot be used."""
    tending: asyncio.Task[None] | None = None
    jobs: dict[str, _Job] = field(default_factory=dict)
    unsent: list[Order | Sending] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None


def least_busy(nodes: Iterable[Node]) -> Node | None:
    """Who gets the next order; None where nobody is there.

    >>> least_busy([]) is None
    True
    """
    return min((one for one in nodes if one.ready), key=lambda one: len(one.jobs), default=None)


def rate_share(rate: float | None, jobs: int, places: int) -> float | None:
    """Bytes a second for a worker with so many jobs: each place has its part of the cap for all.

    Whoever has none yet has one's part, for it uses it at once; so all never use more than the cap.

    >>> rate_share(8e6, 2, 4), rate_share(8e6, 0, 4), rate_share(None, 1, 4)
    (4000000.0, 2000000.0, None)
    """
    return None if rate is None else rate * max(jobs, 1) / places


class Crew:
    """Gives orders to workers, and hears of them.

    Error handling: ``work`` raises WorkerLost where its worker died, hangs or cannot be reached;
    ServiceAway where no worker is there for long; and for everybody what ends the run: a
    CredentialsError of the log-in, a DestinationError of a folder that is not shared.
    Resources: an async context manager; leaving it ends what the workers do for this run.
    """

    def __init__(self, link: Link, setup: Setup, lender: Lender, terms: Terms) -> None:
        self._link = link
        self._setup = setup
        self._lender = lender
        self._terms = terms
        self._nodes: dict[str, Node] = {}
        self._broken: NoaError | None = None
        self._changed = asyncio.Event()

    @property
    def free_after(self) -> float:
        """Seconds after which a worker that is lost has stopped, and its place is free."""
        return self._terms.lease + self._terms.report + _MARGIN

    async def __aenter__(self) -> Self:
        """Before anyone gets an order all who are there leave what an earlier run gave them."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._terms.silence):
                self._nodes = {one: Node(one) for one in await self._link.workers()}
        await asyncio.gather(*map(self._greet, self._nodes.values()))
        for node in self._nodes.values():
            node.tending = asyncio.create_task(self._tend(node))
        self._look_out = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *_: object) -> None:
        nodes = self._nodes.values()
        running = [task for node in nodes for task in (node.tending, node.sending) if task]
        tasks = [self._look_out, *running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node in nodes:
            self._lose(node)  # a thread may wait for what it has
        await asyncio.gather(*map(self._part, nodes))
        await self._lender.close()

    async def work(
        self,
        order: Order | Sending,
        told: Told,
        *,
        at: str | None = None,
    ) -> Done:
        """Have an order done; ``told`` hears of it. Cancelled, it waits for the worker's end.

        ``at``: the worker that should do it; nobody else can send what it has.
        """
        node = self._nodes.get(at) if at is not None else None
        if node is None or not node.ready:
            if isinstance(order, Sending):
                raise WorkerLost
            node = await self._someone()
        loop = asyncio.get_running_loop()
        job = _Job(order, told, loop.create_future(), loop.time())
        node.jobs[order.key] = job
        node.unsent.append(order)
        if node.sending is None:
            node.sending = asyncio.create_task(self._send(node))
        try:
            return await job.ends
        except asyncio.CancelledError:
            await self._drop(node, order)
            raise
        finally:
            job.ends.cancel()
            node.jobs.pop(order.key, None)

    async def _send(self, node: Node) -> None:
        """Send a worker all orders that wait, and those that came meanwhile, and so on."""
        while node.unsent:
            orders, node.unsent = tuple(node.unsent), []
            try:
                begun = await self._ask(node, "begin", orders)
            except WorkerLost:
                begun = False
            if not begun:
                self._lose(node)
        node.sending = None

    async def _drop(self, node: Node, order: Order | Sending) -> None:
        """Have an order not begun, or ended."""
        if order in node.unsent:
            node.unsent.remove(order)
            return
        if node.sending is not None:
            await asyncio.wait([node.sending])  # or the order would come after its end
        with suppress(WorkerLost):
            await self._ask(node, "drop", order.key)

    async def _someone(self) -> Node:
        """The worker for the next order."""
        try:
            async with asyncio.timeout(self._terms.nobody):
                while True:
                    if self._broken is not None:
                        raise self._broken
                    if self._nodes and len(self._complaining()) == len(self._nodes):
                        raise self._nobody()
                    if (node := least_busy(self._nodes.values())) is not None:
                        return node
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise self._nobody() from None

    def _complaining(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.complaint is not None]

    def _nobody(self) -> NoaError:
        if complaining := self._complaining():
            first = complaining[0]
            return DestinationError(
                f"The worker {first.address} cannot be used: {first.complaint}.",
                hint="All machines need the same output folder, noa-async and its version.",
            )
        return ServiceAway(
            f"No worker of the cluster has been there for {self._terms.nobody:.0f} s.",
            hint="Start some with 'dask worker'; what has arrived is kept.",
        )

    async def _look(self) -> None:
        """See who is there: whoever is new is greeted, whoever the scheduler misses is lost."""
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._terms.silence):
                    there = set(await self._link.workers())
                for address in there - self._nodes.keys():
                    node = self._nodes[address] = Node(address)
                    node.tending = asyncio.create_task(self._tend(node))
                for address in self._nodes.keys() - there:
                    node = self._nodes.pop(address)
                    if node.tending is not None:
                        node.tending.cancel()
                    self._lose(node)
            await asyncio.sleep(self._terms.look)

    async def _tend(self, node: Node) -> None:
        """Greet a worker and hear its reports; where it is lost, wait for its lease, and again."""
        while True:
            if not node.ready:
                await self._greet(node)
            with suppress(WorkerLost):
                while node.ready:
                    await self._hear(node)
            self._lose(node)
            await asyncio.sleep(self._terms.lease)

    async def _greet(self, node: Node) -> None:
        try:
            complaint = await self._reach(node, "hello", self._setup)
        except WorkerLost as lost:
            complaint = lost.__cause__
        node.ready = complaint is None
        node.complaint = None if complaint is None else str(complaint)
        self._changed.set()

    async def _hear(self, node: Node) -> None:
        try:
            token = await self._lender.loan()
        except NoaError as error:
            self._break(error)
            raise WorkerLost from error
        limits = self._setup.settings.limits
        rate = rate_share(limits.bandwidth, len(node.jobs), limits.workers)
        report = await self._ask(node, "report", Renewal(token, rate), self._terms.report)
        if not isinstance(report, Report):
            raise WorkerLost
        for access in report.rejected:
            self._lender.reject(access)
        self._heed(node, report)

    def _heed(self, node: Node, report: Report) -> None:
        now = asyncio.get_running_loop().time()
        for key, event in report.events:
            if (job := node.jobs.get(key)) is not None:
                job.moved_at = now
                job.told(event)
        for done in report.done:
            if (job := node.jobs.pop(done.key, None)) is not None and not job.ends.done():
                job.ends.set_result(replace(done, by=node.address))
        for job in node.jobs.values():
            if now - job.moved_at > job.order.patience(self._setup.settings):
                raise WorkerLost

    def _lose(self, node: Node) -> None:
        """Nobody waits for this worker any more."""
        node.ready = False
        for job in node.jobs.values():
            if not job.ends.done():
                job.ends.set_exception(WorkerLost())

    def _break(self, error: NoaError) -> None:
        """End the run: it concerns everybody."""
        self._broken = error
        for node in self._nodes.values():
            for job in node.jobs.values():
                if not job.ends.done():
                    job.ends.set_exception(error)
        self._changed.set()

    async def _part(self, node: Node) -> None:
        with suppress(WorkerLost):
            await self._ask(node, "goodbye")

    async def _ask(self, node: Node, verb: str, *arguments: Any) -> Any:
        return await self._reach(node, verb, self._setup.output, self._setup.session, *arguments)

    async def _reach(self, node: Node, verb: str, *arguments: Any) -> Any:
        """Ask a worker. Raises WorkerLost where no answer comes in time."""
        try:
            async with asyncio.timeout(self._terms.silence):
                return await self._link.ask(node.address, verb, *arguments)
        except (OSError, TimeoutError) as error:
            raise WorkerLost from error
