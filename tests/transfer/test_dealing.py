"""Who asks for the next product: the account with the most room, whatever the others are told."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import cast

import pytest

from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import TokenManager
from noa_async.errors import AccountRefused, CredentialsRefused
from noa_async.transfer.dealing import Account, Dealer
from noa_async.transfer.limiter import Slots

REFUSED = CredentialsRefused("The service refuses the credentials of 'ada'.")


def account(most: int = 2) -> Account:
    """An account whose session is only to be told from others."""
    tokens = cast("TokenManager", SimpleNamespace(refused=None))
    return Account(tokens, cast("AuthSession", object()), Slots(most))


def refuse(one: Account) -> None:
    one.tokens.refused = REFUSED  # type: ignore[misc] # of a stand-in


async def test_the_least_loaded_goes_first() -> None:
    ada, bob = account(2), account(4)
    dealer = Dealer([ada, bob])
    async with AsyncExitStack() as stack:
        asked = [(await stack.enter_async_context(dealer.lease()))[0] for _ in range(6)]
        assert not dealer.free
    assert asked.count(ada.session) == 2
    assert asked.count(bob.session) == 4
    assert asked[:2] == [ada.session, bob.session]
    assert dealer.free


async def test_a_refusal_lowers_and_holds_up_its_account_alone() -> None:
    ada, bob = account(4), account(4)
    dealer = Dealer([ada, bob])
    async with dealer.lease() as (session, lease):
        assert session is ada.session
        lease.refused(600.0)
    async with AsyncExitStack() as stack:
        for _ in range(4):
            async with asyncio.timeout(5):
                session, _ = await stack.enter_async_context(dealer.lease())
            assert session is bob.session
        assert not dealer.free
    assert (ada.slots.window.limit, bob.slots.window.limit) == (3, 4)


async def test_who_waits_gets_the_first_place_of_any() -> None:
    ada, bob = account(1), account(1)
    dealer = Dealer([ada, bob])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(dealer.lease())
        async with dealer.lease() as (second, _):
            waiter = asyncio.create_task(dealer.lease().__aenter__())
            await asyncio.sleep(0)
            assert not waiter.done()
        async with asyncio.timeout(5):
            session, _ = await waiter
    assert session is second is bob.session


async def test_one_who_waits_can_be_cancelled() -> None:
    ada = account(1)
    dealer = Dealer([ada])
    async with dealer.lease():
        waiter = asyncio.create_task(dealer.lease().__aenter__())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
    assert dealer.free


async def test_a_refused_account_is_told_of_once_and_asked_no_more() -> None:
    ada, bob = account(), account()
    dealer = Dealer([ada, bob])
    with pytest.raises(AccountRefused, match=r"of 'ada'\. Another account goes on"):
        async with dealer.lease():
            refuse(ada)
            raise REFUSED
    for _ in range(3):
        async with dealer.lease() as (session, _):
            assert session is bob.session


async def test_what_was_refused_elsewhere_is_told_to_who_listens() -> None:
    ada, bob = account(), account()
    dealer = Dealer([ada, bob])
    refuse(ada)
    async with dealer.lease(telling=False) as (session, _):
        assert session is bob.session
    with pytest.raises(AccountRefused):
        async with dealer.lease():
            pass
    async with dealer.lease() as (session, _):
        assert session is bob.session


async def test_where_none_is_left_the_refusal_itself_is_raised() -> None:
    ada = account()
    dealer = Dealer([ada])
    with pytest.raises(CredentialsRefused):
        async with dealer.lease():
            refuse(ada)
            raise REFUSED
    with pytest.raises(CredentialsRefused):
        async with dealer.lease():
            pass
    assert not dealer.free
