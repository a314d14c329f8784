"""Which stretch is shared when a connection is free, and where it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.transfer.limiter import Bandwidth, Slots
from noa_async.transfer.tail import UNKNOWN, Span, Tail, cut_at


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tail(clock: Clock, *, rate: float | None = None) -> tuple[Tail, Slots, Bandwidth]:
    async def sleep(seconds: float) -> None:
        clock.now += seconds

    slots, bandwidth = Slots(4, clock=clock), Bandwidth(rate, clock=clock, sleep=sleep)
    return Tail(slots, bandwidth, clock=clock), slots, bandwidth


@pytest.mark.parametrize(
    ("got", "end", "seconds", "cut"),
    [
        (40, 100, 4.0, 70),
        (40, 51, 4.0, 46),
        (40, 50, 4.0, 45),  # a second's worth
        (40, 49, 4.0, None),  # less
        (0, 100, 60.0, None),  # no rate yet
        (40, 10_000, 0.2, None),  # nor one to believe
        (40, UNKNOWN, 4.0, None),
        (100, 100, 4.0, None),
    ],
)
def test_where_a_stretch_is_cut(got, end, seconds, cut):
    assert cut_at(Span(position=got, end=end), seconds) == cut


@given(got=st.integers(1, 10**9), rest=st.integers(0, 10**12), seconds=st.floats(0.25, 10**6))
def test_both_sides_of_a_cut_hold_bytes(got, rest, seconds):
    cut = cut_at(Span(position=got, end=got + rest), seconds)
    assert cut is None or got < cut < got + rest


def test_the_one_that_ends_last_is_cut():
    clock = Clock()
    shared, *_ = tail(clock)
    small, large = Span(0, 100), Span(0, 1000)
    with shared.running(small), shared.running(large):
        clock.now = 10.0
        small.position = large.position = 50
        assert shared.cut(small) is None
        assert shared.cut(large) == 525
    with shared.running(small):
        small.position = 60
        clock.now = 20.0
        assert shared.cut(small) == 80


def test_nothing_is_cut_while_products_wait():
    clock = Clock()
    shared, *_ = tail(clock)
    span = Span(0, 100)
    with shared.more_to_come() as over, shared.running(span):
        clock.now, span.position = 10.0, 50
        with shared.more_to_come():
            over()
            assert shared.cut(span) is None
        over()  # once more changes nothing
        assert shared.cut(span) == 75


async def test_nothing_is_cut_where_no_slot_is_free():
    clock = Clock()
    shared, slots, _ = tail(clock)
    span = Span(0, 100)
    with shared.running(span):
        clock.now, span.position = 10.0, 50
        for _ in range(3):
            await slots.lease().__aenter__()
        assert shared.cut(span) == 75
        fourth = await slots.lease().__aenter__()
        assert shared.cut(span) is None
        fourth.refused(5.0)
        fourth.give_back()
        assert shared.cut(span) is None  # the service asked for a pause


async def test_nothing_is_cut_where_the_cap_is_what_holds():
    clock = Clock()
    shared, _, bandwidth = tail(clock, rate=1000.0)
    span = Span(0, 100_000)
    with shared.running(span):
        clock.now, span.position = 10.0, 10_000
        assert shared.cut(span) is not None
        await bandwidth.take(5000)
        assert bandwidth.full
        assert shared.cut(span) is None
