"""Coordinate the workers of a run: discover them, assign orders, detect lost workers."""

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
"""Seconds that a message may take."""


class WorkerLost(Exception):
    """The state of the worker is unknown; it has stopped by the end of its lease."""


class Link(Protocol):
    """The connection to the workers, through the scheduler."""

    async def workers(self) -> Iterable[str]:
        """Return the addresses of the workers that the scheduler knows."""
        ...

    async def ask(self, address: str, verb: str, *arguments: Any) -> Any:
        """Call the ``Desk`` method named ``verb`` on a worker. Raise OSError if it is
        unreachable."""
        ...


@dataclass(slots=True, eq=False)
class _Job:
    """An order that was assigned to a worker."""

    order: Order | Sending
    told: Told
    ends: asyncio.Future[Done]
    moved_at: float
    """When the last event of it was received."""


@dataclass(slots=True, eq=False)
class Node:
    """A worker."""

    address: str
    ready: bool = False
    complaint: str | None = None
    """Why it cannot be used; None if it can."""
    tending: asyncio.Task[None] | None = None
    jobs: dict[str, _Job] = field(default_factory=dict)
    unsent: list[Order | Sending] = field(default_factory=list)
    sending: asyncio.Task[None] | None = None


def least_busy(nodes: Iterable[Node]) -> Node | None:
    """Return the worker for the next order; None if there is none.

    >>> least_busy([]) is None
    True
    """
    return min((one for one in nodes if one.ready), key=lambda one: len(one.jobs), default=None)


def rate_share(rate: float | None, jobs: int, places: int) -> float | None:
    """Return the bytes per second for a worker with ``jobs`` orders; each permit has an equal
    share.

    A worker without orders gets one share, so that it can start at once; together the workers never
    exceed the cap.

    >>> rate_share(8e6, 2, 4), rate_share(8e6, 0, 4), rate_share(None, 1, 4)
    (4000000.0, 2000000.0, None)
    """
    return None if rate is None else rate * max(jobs, 1) / places


class Crew:
    """Assigns orders to workers and collects their reports.

    Error handling: ``work`` raises WorkerLost if the worker died, hangs or is unreachable;
    ServiceAway if there is no worker for a long time. Errors that end the run are raised by every
    call: a CredentialsError of the log-in, a DestinationError of a folder that is not shared.
    Resources: an async context manager; leaving it ends the workers' orders of this run.
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
        """Seconds after which a lost worker has stopped and its permit can be reused."""
        return self._terms.lease + self._terms.report + _MARGIN

    async def __aenter__(self) -> Self:
        """Connect to all workers; each ends the orders of an earlier run first."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._terms.silence):
                self._nodes = {one: Node(one) for one in await self._link.workers()}
        await asyncio.gather(*map(self._start_session, self._nodes.values()))
        for node in self._nodes.values():
            node.tending = asyncio.create_task(self._supervise(node))
        self._poller = asyncio.create_task(self._poll_workers())
        return self

    async def __aexit__(self, *_: object) -> None:
        nodes = self._nodes.values()
        running = [task for node in nodes for task in (node.tending, node.sending) if task]
        tasks = [self._poller, *running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node in nodes:
            self._mark_lost(node)  # a thread may wait for its result
        await asyncio.gather(*map(self._end_session, nodes))
        await self._lender.close()

    async def work(
        self,
        order: Order | Sending,
        told: Told,
        *,
        at: str | None = None,
    ) -> Done:
        """Execute an order on a worker and report its events to ``told``.

        If cancelled, waits until the worker has ended the order. ``at``: the worker to use; only
        that worker can send a product that it holds.
        """
        node = self._nodes.get(at) if at is not None else None
        if node is None or not node.ready:
            if isinstance(order, Sending):
                raise WorkerLost
            node = await self._wait_for_worker()
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
        """Send a worker all pending orders, including those added meanwhile."""
        while node.unsent:
            orders, node.unsent = tuple(node.unsent), []
            try:
                begun = await self._ask(node, "begin", orders)
            except WorkerLost:
                begun = False
            if not begun:
                self._mark_lost(node)
        node.sending = None

    async def _drop(self, node: Node, order: Order | Sending) -> None:
        """Cancel an order, sent or not."""
        if order in node.unsent:
            node.unsent.remove(order)
            return
        if node.sending is not None:
            await asyncio.wait([node.sending])  # else the order could arrive after its cancellation
        with suppress(WorkerLost):
            await self._ask(node, "drop", order.key)

    async def _wait_for_worker(self) -> Node:
        """Wait for a worker for the next order."""
        try:
            async with asyncio.timeout(self._terms.nobody):
                while True:
                    if self._broken is not None:
                        raise self._broken
                    if self._nodes and len(self._rejecting()) == len(self._nodes):
                        raise self._no_worker_error()
                    if (node := least_busy(self._nodes.values())) is not None:
                        return node
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise self._no_worker_error() from None

    def _rejecting(self) -> list[Node]:
        return [node for node in self._nodes.values() if node.complaint is not None]

    def _no_worker_error(self) -> NoaError:
        if complaining := self._rejecting():
            first = complaining[0]
            return DestinationError(
                f"The worker {first.address} cannot be used: {first.complaint}.",
                hint="All machines need the same output folder and the same version of noa-async.",
            )
        return ServiceAway(
            f"The cluster had no worker for {self._terms.nobody:.0f} s.",
            hint="Start workers with 'dask worker'. Downloaded data is kept.",
        )

    async def _poll_workers(self) -> None:
        """Poll the scheduler: greet new workers, and mark missing ones as lost."""
        while True:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._terms.silence):
                    there = set(await self._link.workers())
                for address in there - self._nodes.keys():
                    node = self._nodes[address] = Node(address)
                    node.tending = asyncio.create_task(self._supervise(node))
                for address in self._nodes.keys() - there:
                    node = self._nodes.pop(address)
                    if node.tending is not None:
                        node.tending.cancel()
                    self._mark_lost(node)
            await asyncio.sleep(self._terms.look)

    async def _supervise(self, node: Node) -> None:
        """Greet a worker and poll its reports; if it is lost, wait for its lease and start
        again."""
        while True:
            if not node.ready:
                await self._start_session(node)
            with suppress(WorkerLost):
                while node.ready:
                    await self._poll_report(node)
            self._mark_lost(node)
            await asyncio.sleep(self._terms.lease)

    async def _start_session(self, node: Node) -> None:
        try:
            complaint = await self._call(node, "hello", self._setup)
        except WorkerLost as lost:
            complaint = lost.__cause__
        node.ready = complaint is None
        node.complaint = None if complaint is None else str(complaint)
        self._changed.set()

    async def _poll_report(self, node: Node) -> None:
        try:
            token = await self._lender.loan()
        except NoaError as error:
            self._abort(error)
            raise WorkerLost from error
        limits = self._setup.settings.limits
        rate = rate_share(limits.bandwidth, len(node.jobs), limits.workers)
        report = await self._ask(node, "report", Renewal(token, rate), self._terms.report)
        if not isinstance(report, Report):
            raise WorkerLost
        for access in report.rejected:
            self._lender.reject(access)
        self._process(node, report)

    def _process(self, node: Node, report: Report) -> None:
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

    def _mark_lost(self, node: Node) -> None:
        """Mark a worker as lost; its orders fail."""
        node.ready = False
        for job in node.jobs.values():
            if not job.ends.done():
                job.ends.set_exception(WorkerLost())

    def _abort(self, error: NoaError) -> None:
        """End the run with an error that concerns all workers."""
        self._broken = error
        for node in self._nodes.values():
            for job in node.jobs.values():
                if not job.ends.done():
                    job.ends.set_exception(error)
        self._changed.set()

    async def _end_session(self, node: Node) -> None:
        with suppress(WorkerLost):
            await self._ask(node, "goodbye")

    async def _ask(self, node: Node, verb: str, *arguments: Any) -> Any:
        return await self._call(node, verb, self._setup.output, self._setup.session, *arguments)

    async def _call(self, node: Node, verb: str, *arguments: Any) -> Any:
        """Call a worker. Raise WorkerLost if it does not answer in time."""
        try:
            async with asyncio.timeout(self._terms.silence):
                return await self._link.ask(node.address, verb, *arguments)
        except (OSError, TimeoutError) as error:
            raise WorkerLost from error
