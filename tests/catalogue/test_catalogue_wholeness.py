"""Whether a listing was whole: the table, and what is said where it was not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from noa_async.catalogue.wholeness import Tally
from noa_async.catalogue.windows import Shortfall, Window

START = datetime(2026, 1, 12, tzinfo=UTC)
ALL = Shortfall(Window(""), 40, 50)
DAY = Shortfall(Window("", start=START, end=START + timedelta(days=1)), 40, 50)
UNCOUNTED = Shortfall(Window("", start=START), 40, None)


@pytest.mark.parametrize(
    ("first", "again", "listed", "shortfalls", "by_time", "short", "beside"),
    [
        (None, None, 0, (), False, False, False),
        (None, None, 700, (), True, False, True),
        (None, None, 700, (UNCOUNTED,), True, True, False),
        (0, None, 0, (), False, False, False),
        (800, 800, 800, (), True, False, False),
        (800, 801, 800, (), True, False, False),
        (801, 800, 800, (), True, False, False),
        (800, 800, 801, (), True, False, False),
        (800, None, 799, (), False, True, False),
        (800, None, 799, (), True, True, True),
        (800, 800, 798, (), True, True, True),
        (800, 799, 798, (), True, True, True),
        (800, 800, 798, (), False, True, False),
        (800, 800, 798, (DAY,), True, True, False),
        (800, 800, 800, (DAY,), True, True, False),
    ],
)
def test_what_the_counts_tell(first, again, listed, shortfalls, by_time, short, beside):
    tally = Tally(first=first, again=again, listed=listed, shortfalls=shortfalls, by_time=by_time)
    assert (tally.short, tally.may_lie_beside) == (short, beside)
    assert tally.counted == (first if again is None else again)


@pytest.mark.parametrize(
    ("again", "shortfalls", "dated", "undated", "accounted"),
    [
        (800, (), 800, 0, True),
        (800, (), 798, 2, True),
        (800, (), 798, 0, False),
        (800, (), 700, 99, False),
        (800, (DAY,), 800, 0, False),
        (None, (), 799, 1, True),
    ],
)
def test_what_has_a_date_and_what_has_none_may_be_all(again, shortfalls, dated, undated, accounted):
    tally = Tally(first=800, again=again, listed=798, shortfalls=shortfalls, by_time=True)
    assert tally.accounts_for(dated, undated) is accounted


@pytest.mark.parametrize(
    ("first", "listed", "shortfalls", "by_time", "sentence", "hint"),
    [
        (
            800,
            798,
            (),
            True,
            "listed 798 of the 800 products that it counts.",
            "without a ContentDate",
        ),
        (
            50,
            40,
            (ALL,),
            False,
            "listed 40 of the 50 products that it",
            "valid; start again, or query",
        ),
        (
            800,
            790,
            (DAY,),
            True,
            "listed 790 of the 800 products",
            "It listed 40 of 50 for Content",
        ),
        (800, 800, (DAY,), True, "listed 800 of the 810 products", "lt 2026-01-13T00:00:00.000Z."),
        (
            None,
            40,
            (UNCOUNTED,),
            True,
            "listed 40 products; the last page has no link",
            "It listed 40 for Cont",
        ),
    ],
)
def test_what_is_missing_is_said(first, listed, shortfalls, by_time, sentence, hint):
    tally = Tally(first=first, again=None, listed=listed, shortfalls=shortfalls, by_time=by_time)
    fault = tally.fault()
    assert sentence in fault.message
    assert fault.hint.startswith("The listed products are valid")
    assert hint in fault.hint
