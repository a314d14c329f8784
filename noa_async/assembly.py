"""What an open client is made of, put together: every part once, shared by all workers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.auth.accounts import FirstTokens
from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import TokenManager
from noa_async.catalogue.orders import Orders
from noa_async.catalogue.pages import Catalogue
from noa_async.testing import Waits
from noa_async.threads import Threads
from noa_async.transfer.dealing import Account, Dealer
from noa_async.transfer.download import Fetcher
from noa_async.transfer.health import Health
from noa_async.transfer.helped import Helped
from noa_async.transfer.helpers import Helpers
from noa_async.transfer.limiter import Bandwidth, Slots
from noa_async.transfer.tail import Tail
from noa_async.transfer.traffic import Traffic
from noa_async.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

    from noa_async.auth.credentials import Credentials
    from noa_async.auth.tokens import Token
    from noa_async.events import Observer
    from noa_async.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """What an open client is made of."""

    tokens: Sequence[TokenManager]
    """One for each account."""
    catalogue: Catalogue
    pool: Threads
    fetcher: Fetcher
    orders: Orders
    traffic: Traffic
    waits: Waits


async def open_parts(
    stack: AsyncExitStack,
    settings: Settings,
    who: Sequence[Credentials],
    *,
    observer: Observer,
    held: Mapping[Credentials, Token | None],
) -> Parts:
    """The parts for ``settings``; ``stack`` ends them.

    ``who``: the accounts that products are spread over; the first lists. ``held``: the log-ins of
    an earlier use.
    """
    service, waits = settings.service, Waits.now(settings.retry)
    retry, workers = waits.retry, settings.limits.workers
    transport = await stack.enter_async_context(Transport(settings))
    tokens = [
        TokenManager(transport, service, one, observer=observer, held=held.get(one)) for one in who
    ]
    session = AuthSession(transport, FirstTokens(tokens))
    listings = settings.limits.listings
    catalogue = Catalogue(
        session, service, retry, listings=listings, observer=observer, sleep=waits.sleep
    )
    threads = 2 * workers + 2  # what goes up to a store holds one, and as many products come
    pool = Threads(threads)
    stack.push_async_callback(asyncio.to_thread, pool.close)
    pause, asked = waits.of(2 * retry.base), waits.of(retry.longest_wait)
    dealer = Dealer(
        [
            Account(
                one,
                AuthSession(transport, one),
                Slots(workers, longest_pause=pause, longest_asked=asked),
            )
            for one in tokens
        ]
    )
    bandwidth = Bandwidth(settings.limits.bandwidth)
    health = Health(catalogue.probe, suspicious=max(3, workers))
    traffic = Traffic(dealer, bandwidth, health, Tail(dealer, bandwidth))
    helped = None
    if transport.wired and settings.dask is None:
        helpers = Helpers(settings)
        stack.push_async_callback(helpers.close)
        helped = Helped(catalogue, traffic, helpers, observer)
    fetcher = Fetcher(
        catalogue, retry, pool, traffic, helped=helped, observer=observer, sleep=waits.sleep
    )
    return Parts(tokens, catalogue, pool, fetcher, Orders(session, service), traffic, waits)
