"""Async sources of any kind: one by one, or as many at once as there are by now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from noa_async.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable

_Item = TypeVar("_Item")


def each(source: AsyncIterable[_Item] | Iterable[_Item]) -> AsyncGenerator[_Item]:
    """The items of any source; closing it closes a source that can be closed."""
    return source if isinstance(source, AsyncGenerator) else _each(source)


async def _each(source: AsyncIterable[_Item] | Iterable[_Item]) -> AsyncGenerator[_Item]:
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


async def gathered(
    source: AsyncIterable[_Item] | Iterable[_Item], most: int
) -> AsyncGenerator[list[_Item]]:
    """The items of any source in lists: what has come while the list before was in use.

    Nobody waits for a list to be full: it holds 1 to ``most`` items. As many more are read ahead.

    Error handling: what ``source`` raises comes behind the items before it.
    Resources: closing it ends the reading, and closes a source that can be closed.
    """
    held: list[_Item] = []
    changed = asyncio.Event()
    taken = asyncio.Event()

    async def read() -> None:
        async with aclosing(each(source)) as items:
            async for item in items:
                held.append(item)
                changed.set()
                while len(held) >= most:
                    taken.clear()
                    await taken.wait()

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: changed.set())
    try:
        while held or not reader.done():
            await changed.wait()
            changed.clear()
            some = held.copy()
            held.clear()
            taken.set()
            if some:
                yield some
        reader.result()
    finally:
        await end_tasks(reader)
