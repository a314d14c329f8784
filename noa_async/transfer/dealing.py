"""Who asks for the next product: the account with the most room."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from noa_async.errors import AccountRefused, CredentialsRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noa_async.auth.session import AuthSession
    from noa_async.errors import NoaError
    from noa_async.transfer.limiter import Lease, Slots

    Place = tuple[AuthSession, Lease]
    """Whom to ask as, and the right to."""


class LogIn(Protocol):
    """A token manager, or who lends what one has."""

    @property
    def refused(self) -> CredentialsRefused | None:
        """Why the service does not take its password; None as long as it may."""


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """One account: its log-in, and how much of its quota is in use."""

    tokens: LogIn
    session: AuthSession
    slots: Slots


class Dealer:
    """Deals out places among the accounts, the least loaded first. One for all workers.

    What one account is told of a quota concerns that account alone.

    Error handling: where an account's password is refused, ``lease`` raises AccountRefused, also
    to whoever comes next where nobody was told yet; and CredentialsRefused where none is left.
    """

    def __init__(self, accounts: Sequence[Account]) -> None:
        self._accounts = accounts
        self._untold = list(accounts)
        self._turn = asyncio.Lock()

    @property
    def free(self) -> bool:
        """Whether one more could ask at once, with nobody before it."""
        return not self._turn.locked() and any(one.slots.free for one in self._left())

    def lease(self, *, telling: bool = True) -> AbstractAsyncContextManager[Place]:
        """Wait for a place, and hold it. ``telling``: the caller passes on what it is told."""
        return _Leasing(self, telling=telling)

    async def take(self, *, telling: bool) -> tuple[Account, Lease]:
        """Wait for a place."""
        async with self._turn:
            if telling:
                self._tell()
            account = await self._most_room()
            return account, account.slots.lend()

    def lost(self, account: Account, error: CredentialsRefused, *, telling: bool) -> None:
        """The holder of a place was refused; raises AccountRefused where others are left."""
        if self._left():
            raise self._lost(account, error, telling=telling) from error

    def _left(self) -> list[Account]:
        return [one for one in self._accounts if one.tokens.refused is None]

    def _tell(self) -> None:
        """Raise for an account that was refused elsewhere, such as by a listing."""
        for one in self._untold:
            if (refused := one.tokens.refused) is not None and self._left():
                raise self._lost(one, refused, telling=True)

    async def _most_room(self) -> Account:
        """The account to ask as, when one has room. Raises CredentialsRefused."""
        while left := self._left():
            free = [one for one in left if one.slots.free]
            if free:
                return min(free, key=lambda one: one.slots.load)
            await _first_free(left)
        refused = self._accounts[0].tokens.refused
        assert refused is not None
        raise refused

    def _lost(self, account: Account, error: NoaError, *, telling: bool) -> AccountRefused:
        if telling and account in self._untold:
            self._untold.remove(account)
        left = len(self._left())
        others = "Another account goes on." if left == 1 else f"{left} other accounts go on."
        return AccountRefused(f"{error.message} {others}", hint=error.hint)


class _Leasing(AbstractAsyncContextManager["Place"]):
    """A place of a dealer's; a class, for each product holds one: a generator's context is slow."""

    def __init__(self, dealer: Dealer, *, telling: bool) -> None:
        self._dealer = dealer
        self._telling = telling

    async def __aenter__(self) -> Place:
        self._account, self._lease = await self._dealer.take(telling=self._telling)
        return self._account.session, self._lease

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._lease.give_back()
        if isinstance(error, CredentialsRefused):
            self._dealer.lost(self._account, error, telling=self._telling)


async def _first_free(accounts: Sequence[Account]) -> None:
    """Wait until one of them may have a place."""
    waits = [asyncio.create_task(one.slots.until_free()) for one in accounts]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
