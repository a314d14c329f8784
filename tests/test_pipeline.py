"""Producer, bounded queue, worker pool: the rules it keeps, with no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async import ServiceFault
from noa_async.pipeline import Later, run_pipeline


class Source:
    """Counts what is taken from it, and knows when it is closed."""

    def __init__(self, size: int, error: Exception | None = None) -> None:
        self.taken = 0
        self.closed = False
        self._size = size
        self._error = error

    async def items(self) -> AsyncGenerator[int]:
        try:
            for number in range(self._size):
                self.taken += 1
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@pytest.mark.parametrize("workers", [1, 3, 50])
async def test_each_item_is_worked_on_once(workers: int) -> None:
    source = Source(20)
    results = [
        each async for each in run_pipeline(source.items(), double, workers=workers, depth=4)
    ]
    assert sorted(results) == [2 * number for number in range(20)]
    assert source.closed


async def test_a_plain_list_is_a_source_too() -> None:
    results = [each async for each in run_pipeline([1, 2], double, workers=2, depth=1)]
    assert sorted(results) == [2, 4]


async def test_at_most_so_many_are_worked_on_and_the_source_waits() -> None:
    source, running, most = Source(1000), 0, 0
    gate = asyncio.Event()

    async def work(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1
        return number

    results = run_pipeline(source.items(), work, workers=3, depth=5)
    first = asyncio.create_task(anext(results))
    for _ in range(100):
        await asyncio.sleep(0)
    assert most == 3
    assert source.taken <= 3 + 5 + 1  # in work, in the queue, and one in hand
    gate.set()
    assert await first in range(1000)
    await results.aclose()
    assert source.closed


async def test_an_error_in_work_ends_the_rest() -> None:
    source = Source(100)

    async def work(number: int) -> int:
        if number == 7:
            raise LookupError("seven")
        return number

    with pytest.raises(LookupError, match="seven"):
        _ = [each async for each in run_pipeline(source.items(), work, workers=2, depth=2)]
    assert source.closed
    assert source.taken < 100


async def test_a_known_error_of_the_source_comes_after_its_items() -> None:
    source = Source(10, ServiceFault("no more pages"))
    results = []
    with pytest.raises(ServiceFault, match="no more pages"):
        async for each in run_pipeline(source.items(), double, workers=2, depth=2):
            results.append(each)
    assert sorted(results) == [2 * number for number in range(10)]


async def test_any_other_error_of_the_source_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        _ = [
            each
            async for each in run_pipeline(
                Source(10, ZeroDivisionError()).items(), double, workers=2, depth=2
            )
        ]


async def test_closing_leaves_no_task() -> None:
    source = Source(100)
    before = asyncio.all_tasks()
    results = run_pipeline(source.items(), double, workers=4, depth=4)
    await anext(results)
    await results.aclose()
    assert asyncio.all_tasks() == before
    assert source.closed


class Desk:
    """Work that says Later to some items, so many times, before it gives a result."""

    def __init__(self, later: dict[int, int], seconds: float = 0.005) -> None:
        self.asked: list[int] = []
        self.working = 0
        self._later = dict(later)
        self._seconds = seconds

    async def __call__(self, number: int) -> int | Later:
        self.asked.append(number)
        self.working += 1
        await asyncio.sleep(0)
        self.working -= 1
        if self._later.get(number, 0) > 0:
            self._later[number] -= 1
            return Later(self._seconds)
        return number


async def test_what_comes_later_holds_no_worker() -> None:
    work = Desk({0: 1})
    results = [each async for each in run_pipeline(range(4), work, workers=1, depth=1)]
    assert results == [1, 2, 3, 0]
    assert work.asked == [0, 1, 2, 3, 0]


async def test_later_may_be_said_again_and_again() -> None:
    work = Desk({0: 3, 1: 5})
    async with asyncio.timeout(10):
        results = [each async for each in run_pipeline(range(3), work, workers=2, depth=1)]
    assert sorted(results) == [0, 1, 2]
    assert [work.asked.count(number) for number in range(3)] == [4, 6, 1]


async def test_what_is_due_first_comes_first() -> None:
    waits = [0.04, 0.0, 0.02]
    asked: list[int] = []

    async def work(number: int) -> int | Later:
        asked.append(number)
        return number if asked.count(number) > 1 else Later(waits[number])

    results = [each async for each in run_pipeline(range(3), work, workers=1, depth=4)]
    assert results == [1, 2, 0]


async def test_what_comes_back_goes_before_what_is_new() -> None:
    """And a full queue does not keep it out: the source is endless."""
    back = asyncio.Event()
    source = Source(1_000_000)

    async def work(number: int) -> int | Later:
        await asyncio.sleep(0)
        if number == 0 and not back.is_set():
            back.set()
            return Later(0.0)
        return number

    results = run_pipeline(source.items(), work, workers=2, depth=50)
    async with asyncio.timeout(10):
        async for number in results:
            if number == 0:
                break
    await results.aclose()
    assert source.taken < 70


@given(
    later=st.dictionaries(st.integers(0, 30), st.integers(0, 3)),
    workers=st.integers(1, 5),
    depth=st.integers(1, 4),
)
def test_every_item_comes_out_once_whatever_is_put_off(
    later: dict[int, int], workers: int, depth: int
) -> None:
    async def run() -> list[int]:
        work = Desk(later, seconds=0.0)
        async with asyncio.timeout(10):
            found = run_pipeline(range(31), work, workers=workers, depth=depth)
            return [each async for each in found]

    assert sorted(asyncio.run(run())) == list(range(31))


async def test_closing_drops_what_waits() -> None:
    source, before = Source(3), asyncio.all_tasks()
    results = run_pipeline(source.items(), Desk({0: 1}, 3600.0), workers=1, depth=4)
    assert [await anext(results), await anext(results)] == [1, 2]
    ended = asyncio.create_task(anext(results))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not ended.done()  # the stream is not over: one is still to come
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    await results.aclose()
    assert asyncio.all_tasks() == before
    assert source.closed


async def test_an_error_of_the_source_waits_for_what_was_put_off() -> None:
    source, results = Source(3, ServiceFault("no more pages")), []
    with pytest.raises(ServiceFault, match="no more pages"):
        async for each in run_pipeline(source.items(), Desk({1: 2}), workers=1, depth=2):
            results.append(each)
    assert results == [0, 2, 1]


async def test_an_error_in_work_ends_those_that_wait() -> None:
    async def work(number: int) -> int | Later:
        if number == 1:
            raise LookupError("one")
        return Later(3600.0)

    async with asyncio.timeout(10):
        with pytest.raises(LookupError, match="one"):
            _ = [each async for each in run_pipeline(range(2), work, workers=1, depth=2)]


async def test_a_slow_caller_holds_the_source_though_items_are_put_off() -> None:
    source = Source(1000)
    results = run_pipeline(source.items(), Desk({0: 1}, 0.0), workers=3, depth=5)
    for read in range(1, 21):
        await anext(results)
        for _ in range(50):
            await asyncio.sleep(0)
        # Read, unread, in work, in the queue, and one in hand.
        assert source.taken <= read + 5 + 3 + 5 + 1
    await results.aclose()
