"""Products that come while others go up: how many at once, by what those before took."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from noa_async.archive.overlap import Overlap, Place, at_once


@pytest.mark.parametrize(
    ("coming", "going", "wanted"),
    [(0.0, 0.0, 4), (1.0, 1.0, 4), (1.0, 2.0, 4), (2.0, 1.0, 8)],
)
def test_more_are_under_way_only_where_the_store_is_the_faster_one(
    coming: float, going: float, wanted: int
) -> None:
    assert at_once(4, 8, coming, going) == wanted


class Clock:
    """It stands, until it is told to go on."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


async def through(overlap: Overlap, clock: Clock, coming: float, going: float) -> None:
    """One product, from beginning to end."""
    async with overlap.place() as place:
        clock.now += coming
        place.came()
        clock.now += going


async def taken(overlap: Overlap, stack: AsyncExitStack, most: int) -> list[Place]:
    """The places that are to be had at once, of so many asked for; the rest goes on waiting."""
    held: list[Place] = []

    async def take() -> None:
        held.append(await stack.enter_async_context(overlap.place()))

    tasks = [asyncio.create_task(take()) for _ in range(most)]

    async def give_up() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    stack.push_async_callback(give_up)
    await asyncio.sleep(0)  # each task runs until it waits
    return held


async def test_it_begins_as_if_the_store_were_the_slower_one() -> None:
    async with AsyncExitStack() as stack:
        assert len(await taken(Overlap(2, 4), stack, 5)) == 2


@pytest.mark.parametrize(("coming", "going", "wanted"), [(3.0, 1.0, 4), (1.0, 3.0, 2)])
async def test_what_products_took_decides(coming: float, going: float, wanted: int) -> None:
    clock = Clock()
    overlap = Overlap(2, 4, clock)
    await through(overlap, clock, coming, going)
    async with AsyncExitStack() as stack:
        assert len(await taken(overlap, stack, 5)) == wanted


async def test_it_changes_with_the_times() -> None:
    clock = Clock()
    overlap = Overlap(2, 4, clock)
    await through(overlap, clock, 3.0, 1.0)
    for _ in range(4):
        await through(overlap, clock, 1.0, 3.0)
    async with AsyncExitStack() as stack:
        assert len(await taken(overlap, stack, 5)) == 2


async def test_what_fails_gives_its_place_back_and_tells_nothing() -> None:
    clock = Clock()
    overlap = Overlap(2, 4, clock)
    with suppress(OSError):
        async with overlap.place() as place:
            clock.now += 9.0
            place.came()
            raise OSError
    async with overlap.place():
        clock.now += 9.0  # and never comes
    async with AsyncExitStack() as stack:
        assert len(await taken(overlap, stack, 5)) == 2


async def test_a_place_that_is_given_back_goes_to_who_waits() -> None:
    overlap = Overlap(1, 2)
    async with AsyncExitStack() as waiting:
        async with overlap.place():
            held = await taken(overlap, waiting, 2)
            assert held == []
        await asyncio.sleep(0)
        assert len(held) == 1


async def test_one_that_is_cancelled_leaves_its_place_to_others() -> None:
    overlap = Overlap(1, 2)
    async with AsyncExitStack() as stack:
        async with overlap.place():
            gone = asyncio.create_task(overlap.take())
            await asyncio.sleep(0)
            held = await taken(overlap, stack, 1)
            gone.cancel()
            await asyncio.wait([gone])
        await asyncio.sleep(0)
        assert len(held) == 1
