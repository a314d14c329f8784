"""Producer, bounded queue, worker pool: the rules it keeps, with no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from noa_async import ServiceFault
from noa_async.pipeline import run_pipeline


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
