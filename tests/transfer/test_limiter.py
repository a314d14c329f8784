"""What all workers share, on a clock that the test holds: the cap on their rate, the places."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.transfer.limiter import Bandwidth, Lease, Slots, Window


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, now: float = 5000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def limited(rate: float | None, clock: Clock) -> Bandwidth:
    return Bandwidth(rate, clock=clock, sleep=clock.sleep)


async def test_without_a_cap_nobody_waits(clock):
    bandwidth = limited(None, clock)
    for _ in range(10):
        await bandwidth.take(1 << 40)
    assert clock.slept == []
    assert bandwidth.batch(2 << 20) == 2 << 20


@pytest.mark.parametrize("batch", [100, 1000, 25_000, 1_000_000])
async def test_the_rate_is_held(clock, batch):
    bandwidth = limited(100_000.0, clock)
    start = clock.now
    total = 0
    while total < 2_000_000:
        await bandwidth.take(batch)
        total += batch
    # Unused rate of a quarter of a second may be made up for, not more.
    assert (clock.now - start) * 100_000 == pytest.approx(total, abs=25_001)


async def test_idle_time_is_no_credit(clock):
    bandwidth = limited(100_000.0, clock)
    await bandwidth.take(100_000)
    clock.now += 3600
    start = clock.now
    for _ in range(10):
        await bandwidth.take(100_000)
    assert clock.now - start == pytest.approx(10 - 0.25)


async def test_a_clock_near_zero_gives_no_credit_either():
    clock = Clock(now=0.0)
    bandwidth = limited(100.0, clock)
    for _ in range(10):
        await bandwidth.take(100)
    assert clock.now == pytest.approx(10, abs=0.25)


async def test_the_cap_is_on_the_sum():
    """Workers that ask at the same instant queue up one behind the other."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    bandwidth = Bandwidth(1000.0, clock=lambda: 50.0, sleep=note)
    for _ in range(4):
        await bandwidth.take(1000)
    assert waits == pytest.approx([0.75, 1.75, 2.75, 3.75])


@pytest.mark.parametrize(
    ("rate", "batch"), [(1e9, 2 << 20), (1e6, 250_000), (100.0, 25), (1.0, 1), (0.1, 1)]
)
def test_batches_suit_the_rate(clock, rate, batch):
    assert limited(rate, clock).batch(2 << 20) == batch


@pytest.mark.parametrize(("most", "first"), [(1, 1), (3, 3), (4, 4), (16, 4)])
def test_a_window_begins_small(most, first):
    assert Window(most).limit == first


def test_a_window_opens_with_each_grant_up_to_its_most():
    window = Window(6)
    limits = []
    for _ in range(4):
        window.granted()
        limits.append(window.limit)
    assert limits == [5, 6, 6, 6]


def test_a_refusal_narrows_the_window():
    window = Window(16)
    for _ in range(8):
        window.granted()
    before = window.limit
    window.refused(window.epoch, streaming=4)
    assert window.limit < before


def test_refusals_of_one_volley_count_once():
    window = Window(16)
    sent = window.epoch
    window.refused(sent, streaming=1)
    after_one = window.limit
    for _ in range(10):
        window.refused(sent, streaming=1)
    assert window.limit == after_one


def test_a_single_refusal_just_below_the_limit_is_forgiven():
    window = Window(4)
    window.refused(window.epoch, streaming=3)
    assert window.limit == 4
    window.refused(window.epoch, streaming=3)
    assert window.limit == 3


def test_after_a_refusal_more_is_tried_only_after_a_streak():
    window = Window(16)
    window.refused(window.epoch, streaming=1)
    narrow = window.limit
    window.granted()
    assert window.limit == narrow
    for _ in range(300):
        window.granted()
    assert window.limit > narrow


def test_refusals_of_everything_say_nothing_about_how_many_the_service_supports():
    window = Window(16)
    for _ in range(10):
        window.refused(window.epoch, streaming=0)
    assert window.limit == 1
    for _ in range(15):
        window.granted()
    assert window.limit == 16


def test_the_limit_returns_to_the_ceiling_at_once_and_passes_it_slowly():
    window = Window(16)
    for _ in range(4):
        window.granted()
    window.refused(window.epoch, streaming=4)  # of 8: 6 is what the service may support
    for _ in range(5):
        window.refused(window.epoch, streaming=0)
    assert window.limit < 3
    limits = []
    for _ in range(20):
        window.granted()
        limits.append(window.limit)
    assert limits[5] == 6
    assert limits[8] == 6


def test_an_increase_that_was_refused_again_and_again_is_tried_seldom():
    """Nine of ten products come between two tries at the least, and no more than 32."""
    window, products, tries = Window(16), 0, 0
    while products < 500:
        streaming = min(window.limit, 4)
        if window.limit > 4:
            tries += 1
            window.refused(window.epoch, streaming)
        else:
            products += 1
            window.granted(streaming)
    assert 500 / 40 < tries < 500 / 10


@given(st.integers(1, 40), st.lists(st.none() | st.tuples(st.integers(0, 3), st.integers(0, 40))))
def test_a_window_stays_between_one_and_its_most(most, happenings):
    window = Window(most)
    for refusal in happenings:
        if refusal is None:
            window.granted()
        else:
            age, streaming = refusal
            window.refused(window.epoch - age, min(streaming, window.limit))
        assert 1 <= window.limit <= most


async def hold(slots: Slots, held: list[Lease], leave: asyncio.Event) -> None:
    async with slots.lease() as lease:
        held.append(lease)
        await leave.wait()


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_no_more_than_the_window_ask_at_once(clock):
    slots = Slots(8, clock=clock, sleep=clock.sleep)
    held: list[Lease] = []
    leave = asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, held, leave)) for _ in range(10)]
    await settle()
    assert len(held) == 4
    held[0].granted()
    await settle()
    assert len(held) == slots.window.limit == 5
    leave.set()
    await asyncio.gather(*tasks)
    assert len(held) == 10
    assert clock.slept == []


async def test_after_a_refusal_everybody_waits_as_long_as_was_asked(clock):
    slots = Slots(8, clock=clock, sleep=clock.sleep)
    async with slots.lease() as lease:
        lease.refused(7.0)
    async with slots.lease():
        pass
    assert clock.slept == [7.0]


async def test_a_refusal_that_names_no_time_pauses_all_the_same(clock):
    slots = Slots(8, clock=clock, sleep=clock.sleep)
    for _ in range(12):
        async with slots.lease() as lease:
            lease.refused(None)
    assert len(clock.slept) == 11
    assert 0 < clock.slept[0] < clock.slept[-1] <= 2.0


async def test_a_shorter_pause_takes_nothing_off_a_longer_one(clock):
    slots = Slots(8, clock=clock, sleep=clock.sleep)
    async with slots.lease() as one, slots.lease() as other:
        one.refused(60.0)
        other.refused(1.0)
    async with slots.lease():
        pass
    assert clock.slept == [60.0]


async def test_a_stated_wait_replaces_a_longer_guess(clock):
    slots = Slots(8, longest_pause=900.0, clock=clock, sleep=clock.sleep)
    async with slots.lease() as one, slots.lease() as other, slots.lease() as third:
        one.refused(None)
        other.refused(1.0)
        third.refused(None)  # no guess is better than what was stated
    async with slots.lease():
        pass
    assert clock.slept == [1.0]


async def test_ten_thousand_refusals_are_no_overflow(clock):
    slots = Slots(8, clock=clock, sleep=clock.sleep)
    for _ in range(10_000):
        async with slots.lease() as lease:
            lease.refused(None)
    assert max(clock.slept) == pytest.approx(2.0)


async def test_who_waits_after_a_refusal_is_woken_by_a_grant(clock):
    slots = Slots(8, clock=clock, sleep=clock.sleep)
    ended = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = [asyncio.create_task(slots.granted_or(long())) for _ in range(2)]
    await settle()
    assert not any(task.done() for task in waiting)
    async with slots.lease() as lease:
        lease.granted()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    await asyncio.wait_for(ended.wait(), 5)  # nothing is left behind
    await slots.granted_or(asyncio.sleep(0))  # and without a grant, the wait itself ends it


# Services, in time that only waiting moves.


class Virtual(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            events = select(0)
            if not events and timeout:
                self._now += timeout
            return events

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


Rule = Callable[[float, int], bool]
"""Whether a service gives one more product at a time, while it gives so many."""


def simulated(rule: Rule, *, products: int = 400, seconds: float = 0.2) -> tuple[float, int]:
    """How long 16 workers take for products of so many ``seconds``, and how often they are refused.

    A product that was refused waits as ``RetryPolicy`` says.
    """
    draw = random.Random(1).random

    async def run() -> tuple[float, int]:
        clock = asyncio.get_running_loop().time
        slots, given, refusals, left = Slots(16, clock=clock), 0, 0, list(range(products))

        async def attempt() -> bool:
            nonlocal given, refusals
            async with slots.lease() as lease:
                await asyncio.sleep(0.01)
                if not rule(clock(), given):
                    refusals += 1
                    lease.refused(None)
                    return False
                given += 1
                lease.granted()
                await asyncio.sleep(seconds)
                given -= 1
                return True

        async def work() -> None:
            while left:
                left.pop()
                failures = 0
                while not await attempt():
                    await slots.granted_or(asyncio.sleep(draw() * min(60.0, 2.0**failures)))
                    failures += 1

        await asyncio.gather(*(work() for _ in range(16)))
        return clock(), refusals

    loop = Virtual()
    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.parametrize("begin", [0.0, 1.0])
@pytest.mark.parametrize("seconds", [0.05, 0.2, 1.0])
def test_row_6_7_three_seconds_of_refusals_cost_little_more(begin: float, seconds: float) -> None:
    free, _ = simulated(lambda *_: True, seconds=seconds)
    took, refused = simulated(lambda now, _: not begin <= now < begin + 3, seconds=seconds)
    assert took < 1.3 * (free + 3)
    assert refused < 50


@pytest.mark.parametrize("limit", [1, 2, 4, 8])
def test_row_6_7_a_limit_that_stays_is_held_and_seldom_tried(limit: int) -> None:
    took, refused = simulated(lambda _, given: given < limit)
    assert took < 1.1 * 400 * 0.21 / limit
    assert refused < 400 / 10


def test_row_6_7_a_limit_that_was_lifted_is_found_out() -> None:
    """After 32 products, one by one, at the latest."""
    free, _ = simulated(lambda *_: True)
    took, _ = simulated(lambda now, given: now > 20 or given < 1)
    assert took < 20 + 32 * 0.21 + 1.3 * free


async def test_places_are_given_in_the_order_of_asking(clock):
    slots = Slots(1, clock=clock, sleep=clock.sleep)
    served: list[int] = []

    async def one(number: int) -> None:
        async with slots.lease():
            served.append(number)

    await asyncio.gather(*(one(number) for number in range(10)))
    assert served == list(range(10))


async def test_a_place_is_given_back_by_whoever_fails_or_leaves(clock):
    slots = Slots(1, clock=clock, sleep=clock.sleep)
    with pytest.raises(RuntimeError):
        async with slots.lease() as lease:
            lease.granted()
            raise RuntimeError
    leave = asyncio.Event()
    holder = asyncio.create_task(hold(slots, [], leave))
    await settle()
    waiters = [asyncio.create_task(hold(slots, [], leave)) for _ in range(3)]
    await settle()
    for task in (waiters[0], waiters[1], holder):
        task.cancel()
    await settle()
    leave.set()
    await asyncio.wait_for(waiters[2], 5)
    async with slots.lease():
        pass


async def test_no_place_is_free_while_somebody_waits_for_one(clock):
    slots = Slots(1, clock=clock, sleep=clock.sleep)
    assert slots.free
    leave = asyncio.Event()
    holder = asyncio.create_task(hold(slots, [], leave))
    await settle()
    assert not slots.free
    waiter = asyncio.create_task(hold(slots, [], asyncio.Event()))
    await settle()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    leave.set()
    await holder
    assert slots.free


async def test_a_lease_that_never_came_gives_nothing_back(clock):
    slots = Slots(1, clock=clock, sleep=clock.sleep)
    async with slots.lease():
        waiter = asyncio.create_task(slots.lease().__aenter__())
        await settle()
        waiter.cancel()
        await asyncio.wait([waiter])
        assert not slots.free
    assert slots.free


async def test_others_are_those_beside_the_lease_itself(clock):
    slots = Slots(4, clock=clock, sleep=clock.sleep)
    async with slots.lease() as one, slots.lease() as other:
        one.granted()
        assert (one.others_served, other.others_served) == (False, True)
        one.give_back()
        one.give_back()
        assert not other.others_served
