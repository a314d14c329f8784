"""Windows of time: cut without gap or overlap, and judged as the table says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.windows import (
    Axis,
    Reading,
    Verdict,
    Window,
    is_full,
    judge,
    largest,
    parts_for,
)

START = datetime(2026, 1, 12, 9, 23, 21, 24_000, tzinfo=UTC)
MS = timedelta(milliseconds=1)
INSTANTS = st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
NEAR = st.integers(-5000, 5000).map(lambda micro: START + timedelta(microseconds=micro))


@pytest.mark.parametrize(
    ("counted", "listed", "steady", "cuttable", "passes", "verdict"),
    [
        (None, 7, True, True, 1, Verdict.WHOLE),
        (None, 7, False, False, 3, Verdict.WHOLE),
        (120, 120, True, True, 1, Verdict.WHOLE),
        (120, 121, True, False, 3, Verdict.WHOLE),
        (120, 120, False, True, 1, Verdict.CUT),
        (120, 119, True, True, 1, Verdict.CUT),
        (120, 119, False, True, 3, Verdict.CUT),
        (120, 120, False, False, 1, Verdict.AGAIN),
        (120, 119, True, False, 2, Verdict.AGAIN),
        (50, 49, True, True, 1, Verdict.AGAIN),
        (50, 49, True, True, 2, Verdict.AGAIN),
        (50, 49, True, True, 3, Verdict.SHORT),
        (120, 120, False, False, 3, Verdict.WHOLE),
        (120, 119, True, False, 3, Verdict.SHORT),
        (120, 119, False, False, 3, Verdict.SHORT),
    ],
)
def test_what_follows_from_a_reading(counted, listed, steady, cuttable, passes, verdict):
    reading = Reading(counted, listed, steady)
    assert judge(reading, 50, passes=passes, cuttable=cuttable) is verdict


@pytest.mark.parametrize(
    ("shown", "asked", "linked", "full"),
    [
        (50, 50, 50, True),
        (49, 50, 50, False),
        (20, 50, 20, True),
        (21, 50, 20, True),
        (19, 50, 20, False),
        (50, 50, 0, True),
        (10, 50, 0, True),
        (9, 50, 0, False),
        (2, 2, 0, True),
        (1, 2, 0, False),
        (0, 50, 0, False),
        (5, 50, 5, True),
    ],
)
def test_how_long_a_page_is_that_may_be_cut_off(shown, asked, linked, full):
    assert is_full(shown, asked, linked) is full


def holds(window: Window, instant: datetime) -> bool:
    """As the service reads the window's filter: bounds in milliseconds, instants as they are."""
    after = window.start is None or instant >= window.start
    return after and (window.end is None or instant < window.end)


@given(
    bounds=st.lists(st.none() | INSTANTS | NEAR, min_size=2, max_size=2),
    ends=st.lists(INSTANTS | NEAR, min_size=2, max_size=2).map(sorted),
    parts=st.integers(2, 40),
    instant=INSTANTS | NEAR,
)
def test_pieces_hold_what_the_window_holds_and_nothing_twice(bounds, ends, parts, instant):
    start, end = (each and each.replace(microsecond=0) for each in bounds)
    if start and end and start > end:
        start, end = end, start
    window = Window("", start=start, end=end)
    ends = [max(each, start or each) for each in ends]
    ends = [min(each, end - MS if end else each) for each in ends]
    pieces = window.cut(*sorted(ends), parts)
    assert len(pieces) <= parts
    if pieces:
        assert sum(holds(piece, instant) for piece in pieces) == holds(window, instant)
        edges = [piece.start for piece in pieces[1:]]
        assert [piece.end for piece in pieces[:-1]] == edges == sorted(set(edges))
        assert all(edge.microsecond % 1000 == 0 for edge in edges)


@given(micro=st.integers(0, 999), parts=st.integers(2, 16))
def test_one_millisecond_cannot_be_cut_by_time(micro, parts):
    last = START + timedelta(microseconds=micro)
    assert Window("x").cut(START, last, parts) == ()
    assert len(Window("x").cut(START, START + MS, parts)) == 2


def test_an_instant_is_cut_by_publication_once():
    window = Window("Online eq true", start=START, end=START + MS)
    deeper = window.deeper()
    assert deeper is not None
    assert (deeper.within, deeper.axis, deeper.bounds) == (window.filter, Axis.PUBLISHED, "")
    assert deeper.deeper() is None
    inner, rest = Window("Online eq true").around(START)
    assert (inner, rest.start) == (deeper, START + MS)
    assert deeper.around(START) == ()


def test_filters_stand_as_the_catalogue_takes_them():
    assert Window("").filter == ""
    assert Window("a eq 1 or b eq 2").filter == "a eq 1 or b eq 2"
    assert Window("a eq 1 or b eq 2", start=START, end=START + MS).filter == (
        "(a eq 1 or b eq 2) and ContentDate/Start ge 2026-01-12T09:23:21.024Z"
        " and ContentDate/Start lt 2026-01-12T09:23:21.025Z"
    )


def test_the_last_day_of_the_calendar_does_no_harm():
    latest = datetime.max.replace(tzinfo=UTC)
    assert Window("").cut(START, latest, 4)
    assert Window("").cut(latest, latest, 4) == ()
    assert Window("").around(latest)


@pytest.mark.parametrize("page_size", [1, 50, 1000])
def test_windows_hold_some_pages_but_not_many_products(page_size):
    assert largest(page_size) == max(750, 2 * page_size)
    assert largest(page_size, 10**9) == max(1500, 2 * page_size)
    assert parts_for(largest(page_size) + 1, largest(page_size)) == 2
    assert parts_for(10**9, largest(page_size)) == 8
