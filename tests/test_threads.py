"""Threads for what blocks: what they give, in what order, and what a cancel leaves."""

from __future__ import annotations

import asyncio
import threading

import pytest

from noa_async import threads as threads_module
from noa_async.threads import Threads


class Gate:
    """Work that says that it has begun, and lasts until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.open.wait(10)
        return "through"


@pytest.fixture
def threads():
    with Threads(2) as made:
        yield made


async def test_work_gives_what_it_gives(threads):
    assert await threads.run(divmod, 7, 2) == (3, 1)


async def test_what_work_raises_is_raised_where_its_outcome_is_asked_for(threads):
    job = threads.submit(int, "seven")
    with pytest.raises(ValueError, match="seven"):
        await job.outcome()


async def test_work_is_done_off_the_loops_thread(threads):
    assert await threads.run(threading.get_ident) != threading.get_ident()


async def test_there_are_never_more_threads_than_were_asked_for(threads):
    gates = [Gate() for _ in range(4)]
    jobs = [threads.submit(gate) for gate in gates]
    for gate in gates[:2]:
        assert await asyncio.to_thread(gate.begun.wait, 10)
    assert not any(gate.begun.is_set() for gate in gates[2:])
    for gate in gates:
        gate.open.set()
    assert [await job.outcome() for job in jobs] == ["through"] * 4


async def test_where_jobs_last_there_are_as_many_threads_as_jobs():
    gates = [Gate() for _ in range(9)]
    with Threads(9) as threads:
        jobs = [threads.submit(gate) for gate in gates]
        for gate in gates:
            assert await asyncio.to_thread(gate.begun.wait, 10)
        for gate in gates:
            gate.open.set()
        assert [await job.outcome() for job in jobs] == ["through"] * 9


async def test_where_a_few_threads_keep_up_there_are_no_more():
    with Threads(16, patience=60.0) as threads:
        for _ in range(20):
            who = await asyncio.gather(*(threads.run(threading.get_ident) for _ in range(16)))
            assert len(set(who)) <= 2


async def test_one_job_after_another_needs_one_thread(threads):
    assert len({await threads.run(threading.get_ident) for _ in range(20)}) == 1


async def test_many_that_are_done_come_back_each_to_its_own(threads):
    found = await asyncio.gather(*(threads.run(pow, number, 2) for number in range(500)))
    assert found == [number**2 for number in range(500)]


async def test_whoever_is_cancelled_leaves_the_thread_at_it_and_can_wait_again(threads):
    gate = Gate()
    job = threads.submit(gate)
    waiting = asyncio.create_task(job.outcome())
    assert await asyncio.to_thread(gate.begun.wait, 10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not job.over
    gate.open.set()
    assert await job.outcome() == "through"


async def test_what_was_given_up_before_it_began_is_not_done(threads):
    gates = [Gate(), Gate()]
    held = [threads.submit(gate) for gate in gates]
    done = threading.Event()
    job = threads.submit(done.set)
    job.give_up()
    for gate in gates:
        gate.open.set()
    await job.ended()
    assert not done.is_set()
    assert [await one.outcome() for one in held] == ["through"] * 2


async def test_closing_waits_for_what_was_given():
    seen: list[int] = []
    with Threads(1) as threads:
        for number in range(50):
            threads.submit(seen.append, number)
    assert seen == list(range(50))


def test_threads_outlive_a_loop_that_ended_before_their_work():
    gate = Gate()

    async def leave() -> None:
        threads.submit(gate)

    with Threads(1) as threads:
        asyncio.run(leave())
        gate.open.set()
        assert asyncio.run(threads.run(divmod, 7, 2)) == (3, 1)


async def test_what_is_brief_is_done_at_once() -> None:
    with Threads(2) as threads:
        job = threads.submit_brief(threading.get_ident)
        assert job.over
        assert await job.outcome() == threading.get_ident()


async def test_a_brief_job_that_fails_says_so_where_it_is_waited_for() -> None:
    with Threads(2) as threads:
        job = threads.submit_brief(int, "no number")
        with pytest.raises(ValueError, match="no number"):
            await job.outcome()


class Clock:
    """Time that goes by where work takes some."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def work(self, seconds: float) -> int:
        self.now += seconds
        return threading.get_ident()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(threads_module, "time", one)
    return one


async def test_what_is_not_brief_after_all_goes_to_threads(clock) -> None:
    """Until it is time for another try, which then has to be brief to be followed by others."""
    here = threading.get_ident()
    with Threads(2) as threads:

        async def done_here(seconds: float) -> bool:
            return await threads.submit_brief(clock.work, seconds).outcome() == here

        assert [await done_here(0.03) for _ in range(5)] == [True] * 4 + [False]
        clock.now += 0.03 * threads_module._PRICE
        assert [await done_here(0.03), await done_here(0.03)] == [True, False]
        clock.now += 1.0
        assert [await done_here(0.001) for _ in range(3)] == [True] * 3
        assert [await done_here(0.03) for _ in range(3)] == [True] * 3


async def test_now_and_then_one_may_take_its_time(clock) -> None:
    with Threads(2) as threads:
        for seconds in [0.03, 0.001, 0.001] * 20:
            assert threads.submit_brief(clock.work, seconds).over
