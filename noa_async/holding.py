"""What a coroutine gives, held for as long as a block of code needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Droppable(Protocol):
    """What has to be given back."""

    @property
    def drop(self) -> Any:
        """Give it back; a call with no arguments."""


_T = TypeVar("_T", bound=Droppable)


class Held(Generic[_T]):
    """An async context: entered, it waits for ``coming`` and gives what comes; left, it drops that.

    A class, for each product enters some: a generator's context costs several times as much.
    """

    __slots__ = ("_coming", "_held")

    def __init__(self, coming: Coroutine[Any, Any, _T]) -> None:
        self._coming = coming

    async def __aenter__(self) -> _T:
        self._held = await self._coming
        return self._held

    async def __aexit__(self, *_: object) -> None:
        self._held.drop()
