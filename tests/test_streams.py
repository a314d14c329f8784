"""Sources of items: taken one by one, or as many at once as have come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.streams import gathered


@given(size=st.integers(0, 40), most=st.integers(1, 9))
def test_all_items_come_in_order_in_lists_that_are_not_too_long(size: int, most: int) -> None:
    async def lists() -> list[list[int]]:
        return [some async for some in gathered(range(size), most)]

    found = asyncio.run(lists())
    assert [item for some in found for item in some] == list(range(size))
    assert all(1 <= len(some) <= most for some in found)


async def test_nobody_waits_for_a_list_to_be_full() -> None:
    more: asyncio.Queue[int] = asyncio.Queue()

    async def slow() -> AsyncGenerator[int]:
        while True:
            yield await more.get()

    lists = gathered(slow(), 10)
    for number in range(3):
        more.put_nowait(number)
        assert await anext(lists) == [number]
    more.put_nowait(7)
    more.put_nowait(8)
    assert await anext(lists) == [7, 8]
    await lists.aclose()


async def test_at_most_one_list_is_read_ahead() -> None:
    taken = 0

    async def source() -> AsyncGenerator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    lists = gathered(source(), 5)
    assert await anext(lists) == [0, 1, 2, 3, 4]
    for _ in range(20):
        await asyncio.sleep(0)
    assert taken == 10
    await lists.aclose()


async def test_what_a_source_raises_comes_behind_its_items_and_it_is_closed() -> None:
    closed = []

    async def source() -> AsyncGenerator[int]:
        try:
            yield 1
            yield 2
            raise ValueError("broken")
        finally:
            closed.append(True)

    found = []
    with pytest.raises(ValueError, match="broken"):
        async for some in gathered(source(), 10):
            found += some
    assert (found, closed) == ([1, 2], [True])
    async for _ in (early := gathered(source(), 1)):
        break
    await early.aclose()
    assert closed == [True, True]
