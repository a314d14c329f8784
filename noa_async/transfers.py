"""What an open client brings products with, put together: every part once, for all workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.catalogue.orders import Orders
from noa_async.tasks import in_thread
from noa_async.threads import Threads
from noa_async.transfer.download import Fetcher
from noa_async.transfer.health import Health
from noa_async.transfer.limiter import Bandwidth, Slots
from noa_async.transfer.tail import Tail
from noa_async.transfer.traffic import Traffic

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from noa_async.assembly import Connection
    from noa_async.events import Observer
    from noa_async.settings import Settings


@dataclass(frozen=True, slots=True)
class Transfers:
    """What an open client brings products with, by its ``connection``."""

    connection: Connection
    pool: Threads
    fetcher: Fetcher
    orders: Orders
    traffic: Traffic


def open_transfers(
    stack: AsyncExitStack, settings: Settings, connection: Connection, *, observer: Observer
) -> Transfers:
    """The transfers for ``settings``; ``stack`` ends them, before the connection."""
    session, catalogue, waits = connection.session, connection.catalogue, connection.waits
    retry, workers = waits.retry, settings.limits.workers
    threads = 2 * workers + 2  # what goes up to a store holds one, and as many products come
    pool = Threads(threads)
    stack.push_async_callback(in_thread, pool.close)
    pause, asked = waits.of(2 * retry.base), waits.of(retry.longest_wait)
    slots = Slots(workers, longest_pause=pause, longest_asked=asked)
    bandwidth = Bandwidth(settings.limits.bandwidth)
    health = Health(catalogue.probe, suspicious=max(3, workers))
    traffic = Traffic(session, slots, bandwidth, health, Tail(slots, bandwidth))
    fetcher = Fetcher(catalogue, retry, pool, traffic, observer=observer, sleep=waits.sleep)
    orders = Orders(session, settings.service)
    return Transfers(connection, pool, fetcher, orders, traffic)
