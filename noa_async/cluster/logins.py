"""The accounts' tokens on a cluster: the coordinator has them, and lends them to the workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noa_async.errors import CredentialsRefused, ServiceError, ServiceUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from noa_async.auth.tokens import TokenManager

    Loan = tuple[str | None, ...]
    """A token for each account; None where it has none at the moment."""


class Lender:
    """The coordinator's side: what to lend to every worker.

    A log-in service that is slow keeps nobody waiting: workers go on with what they have.
    """

    def __init__(self, managers: Sequence[TokenManager], patience: float) -> None:
        """``patience``: seconds that a token may be waited for."""
        self._managers = managers
        self._patience = patience
        self._asked: dict[TokenManager, asyncio.Task[str]] = {}

    async def loan(self) -> Loan:
        """The tokens that hold now.

        Raises CredentialsRefused where no account is left, and whatever else ends a run.
        """
        tasks = [self._task(one) for one in self._managers]
        await asyncio.wait(tasks, timeout=self._patience)
        return tuple(map(self._answer, tasks))

    def _task(self, manager: TokenManager) -> asyncio.Task[str]:
        task = self._asked.get(manager)
        if task is None or task.done():
            task = self._asked[manager] = asyncio.create_task(manager.token())
            task.add_done_callback(_seen)
        return task

    def _answer(self, task: asyncio.Task[str]) -> str | None:
        if not task.done():
            return None
        try:
            return task.result()
        except ServiceError:
            return None  # the worker waits for one, and its product is tried again
        except CredentialsRefused:
            if all(one.refused for one in self._managers):
                raise
            return None

    def reject(self, access: str) -> None:
        """The service answered 401 to ``access``: whose it was gets a new one."""
        for one in self._managers:
            one.reject(access)

    async def close(self) -> None:
        """Ask for no more."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


def _seen(task: asyncio.Task[str]) -> None:
    """Whatever ended it is the next renewal's to meet: asyncio need not tell of it."""
    if not task.cancelled():
        task.exception()


class LentTokens:
    """A worker's side: one account's token, as the last renewal brought it."""

    refused = None
    """Whether a password holds is the coordinator's to know."""

    def __init__(self, patience: float, rejected: Callable[[str], None]) -> None:
        """``rejected`` is told of a token to which the service answered 401."""
        self._patience = patience
        self._tell = rejected
        self._access: str | None = None
        self._rejected: str | None = None
        self._changed = asyncio.Event()

    async def token(self) -> str:
        """A token that holds. Raises ServiceUnreachable where none comes."""
        try:
            async with asyncio.timeout(self._patience):
                while self._access is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ServiceUnreachable("The coordinator sends no token that holds.") from None
        return self._access

    def reject(self, access: str) -> None:
        """The service answered 401 to ``access``."""
        if access == self._access:
            self._access, self._rejected = None, access
            self._tell(access)

    def lend(self, access: str | None) -> None:
        """The coordinator's token is ``access`` now."""
        if access is not None and access != self._rejected:
            self._access = access
            self._changed.set()
