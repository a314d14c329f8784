"""Producer, bounded queue, worker pool: the rules it keeps, with no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress

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


async def settled() -> None:
    """Let all tasks go on as far as they can."""
    for _ in range(100):
        await asyncio.sleep(0)


async def order_of(
    sizes: list[int | None], depth: int, size: Callable[[int], int | None] | None
) -> list[int]:
    """In what order one worker is given items 1, 2, ... that come while it works on item 0."""
    begun, gate = asyncio.Event(), asyncio.Event()
    asked: list[int] = []

    async def source() -> AsyncGenerator[int]:
        yield 0
        await begun.wait()
        for number in range(len(sizes)):
            yield number + 1

    async def work(number: int) -> int:
        asked.append(number)
        begun.set()
        await gate.wait()
        await settled()  # the next one has come in
        return number

    results = run_pipeline(source(), work, workers=1, depth=depth, size=size)
    first = asyncio.create_task(anext(results))
    await settled()
    gate.set()
    _ = [await first, *[each async for each in results]]
    return asked[1:]


@pytest.mark.parametrize(
    ("sizes", "depth", "expected"),
    [
        ([10, 30, 20], 3, [2, 3, 1]),
        ([10, 20, 10, 20], 4, [2, 4, 1, 3]),
        ([None, None, None], 3, [1, 2, 3]),
        ([10, None, 30, None], 4, [2, 4, 3, 1]),
        ([0, 5], 2, [2, 1]),
        ([10, 20, 30, 40], 2, [2, 3, 4, 1]),
        ([10, 20, 30], 1, [1, 2, 3]),
    ],
)
async def test_the_largest_of_those_that_wait_goes_first(
    sizes: list[int | None], depth: int, expected: list[int]
) -> None:
    assert await order_of(sizes, depth, lambda number: [0, *sizes][number]) == expected


async def test_without_sizes_the_order_is_that_of_coming() -> None:
    assert await order_of([10, 30, 20], 3, None) == [1, 2, 3]


class Tally:
    """What had happened when it was called."""

    def __init__(self, asked: list[int]) -> None:
        self.calls: list[list[int]] = []
        self._asked = asked

    def __call__(self) -> None:
        asyncio.get_running_loop()  # raises off the loop
        self.calls.append(list(self._asked))


async def test_drained_is_told_when_the_last_new_item_has_a_worker() -> None:
    work = Desk({0: 2})
    drained = Tally(work.asked)
    found = run_pipeline(Source(6).items(), work, workers=1, depth=2, drained=drained)
    assert sorted([each async for each in found]) == list(range(6))
    [before] = drained.calls
    assert set(before) >= set(range(5))
    assert work.asked.count(5) == 1


async def test_drained_is_told_while_the_last_are_worked_on_or_put_off() -> None:
    gate, told = asyncio.Event(), asyncio.Event()

    async def work(number: int) -> int | Later:
        if number == 0 and not told.is_set():
            return Later(3600.0)
        await gate.wait()
        return number

    found = run_pipeline(range(2), work, workers=2, depth=2, drained=told.set)
    ended = asyncio.create_task(anext(found))
    async with asyncio.timeout(10):
        await told.wait()
    gate.set()
    assert await ended == 1
    await found.aclose()


@pytest.mark.parametrize("error", [None, ServiceFault("no more pages")])
@pytest.mark.parametrize("size", [0, 1, 5])
async def test_drained_is_told_once_however_the_source_ends(
    size: int, error: ServiceFault | None
) -> None:
    drained = Tally([])
    source = Source(size, error).items()
    with suppress(ServiceFault):
        async for _ in run_pipeline(source, Desk({0: 3}), workers=2, depth=1, drained=drained):
            pass
    assert len(drained.calls) == 1


async def test_drained_is_not_told_while_the_source_goes_on() -> None:
    drained, source = Tally([]), Source(1000)
    results = run_pipeline(source.items(), double, workers=3, depth=5, drained=drained)
    for _ in range(20):
        await anext(results)
    await results.aclose()
    assert drained.calls == []


async def test_what_drained_raises_ends_the_rest() -> None:
    def drained() -> None:
        raise LookupError("drained")

    with pytest.raises(LookupError, match="drained"):
        _ = [each async for each in run_pipeline([1], double, workers=1, depth=1, drained=drained)]


async def test_what_comes_back_does_not_hold_up_what_is_new() -> None:
    """However many come back, every second turn is for one that is new."""
    asked: list[int] = []

    async def work(number: int) -> int | Later:
        asked.append(number)
        await asyncio.sleep(0)
        return Later(0.0) if number < 40 and len(set(asked)) < 60 else number

    async with asyncio.timeout(10):
        found = run_pipeline(range(60), work, workers=1, depth=60)
        assert sorted([each async for each in found]) == list(range(60))
    last_new = max(asked.index(number) for number in range(60))
    assert last_new <= 2 * 60


async def test_what_needs_no_worker_takes_none() -> None:
    worked: list[int] = []

    async def work(number: int) -> int:
        worked.append(number)
        return number

    def even_at_once(numbers: Sequence[int]) -> list[int | None]:
        return [number * 10 if number % 2 == 0 else None for number in numbers]

    results = [
        each
        async for each in run_pipeline(
            Source(200).items(), work, workers=3, depth=4, at_once=even_at_once
        )
    ]
    assert sorted(worked) == list(range(1, 200, 2))
    assert sorted(results) == sorted([*range(1, 200, 2), *range(0, 2000, 20)])


async def test_a_slow_caller_gets_what_a_worker_brought_in_its_turn() -> None:
    """Also beside many that need no worker: they do not keep the workers out."""

    async def bring(number: int) -> int:
        await asyncio.sleep(0)
        return number

    def all_but_one(numbers: Sequence[int]) -> list[int | None]:
        return [None if number == 500 else number for number in numbers]

    results = []
    async for each in run_pipeline(range(1000), bring, workers=1, depth=2, at_once=all_but_one):
        results.append(each)
        for _ in range(5):
            await asyncio.sleep(0)
    assert sorted(results) == list(range(1000))
    assert results.index(500) < 600


async def test_a_look_that_fails_ends_all() -> None:
    source = Source(200)

    def fail(_numbers: Sequence[int]) -> list[int | None]:
        raise ServiceFault("no look")

    with pytest.raises(ServiceFault, match="no look"):
        _ = [
            each
            async for each in run_pipeline(source.items(), double, workers=2, depth=4, at_once=fail)
        ]
    assert source.closed
