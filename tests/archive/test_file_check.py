from __future__ import annotations

from collections import Counter

import pytest

from noa_async.archive.destination import FileFacts
from noa_async.archive.file_check import FileCheck, looked_at, mass_missing
from noa_async.archive.states import State

from .products import record

AS_IT_WAS, OTHER = FileFacts(1000, 5), FileFacts(1000, 6)
HELD = record(State.VERIFIED)
HOOKED = record(State.UNVERIFIED, hooked=3.0)
WRONG = record(State.DAMAGED, path="x", size=1000, mtime_ns=5, todo=2)


@pytest.mark.parametrize(
    ("known", "facts", "consumes", "state", "todo"),
    [
        (HELD, AS_IT_WAS, False, State.VERIFIED, None),
        (HELD, OTHER, False, State.VERIFIED, 9),
        (HELD, None, False, State.MISSING, 9),
        (HELD, None, True, State.MISSING, 9),
        (HOOKED, None, True, State.CONSUMED, None),
        (HOOKED, None, False, State.MISSING, 9),
        (HOOKED, OTHER, True, State.UNVERIFIED, 9),
        (WRONG, None, False, State.DAMAGED, 2),
        (WRONG, OTHER, False, State.DAMAGED, 2),
        (record(State.VERIFIED, todo=4), None, False, State.MISSING, 4),
    ],
)
def test_what_becomes_of_a_product_whose_file_was_looked_at(known, facts, consumes, state, todo):
    after = looked_at(known, facts, 50.0, lambda: 9, consumes=consumes)
    assert (after.state, after.todo) == (state, todo)
    assert (after == known) is (state is known.state and todo == known.todo)
    assert after.path == (None if state is State.CONSUMED else known.path)


@pytest.mark.parametrize(
    ("files", "lost", "lost_in", "here", "told"),
    [
        (1000, 0, {}, {}, ""),
        (20, 10, {}, {}, ""),
        (20, 11, {}, {}, "11 of 20 files"),
        (1000, 200, {}, {}, ""),
        (1000, 201, {}, {}, "201 of 1000 files"),
        (1000, 12, {"2026": 12}, {"2026": 900}, ""),
        (1000, 12, {"2026": 12, "2026/01": 12}, {"2026": 900, "2026/01": 12}, "All 12 files"),
        (1000, 10, {"2026/01": 10}, {"2026/01": 10}, ""),
    ],
)
def test_how_much_may_be_missing(files, lost, lost_in, here, told):
    check = FileCheck(files=files, lost=lost, lost_in=Counter(lost_in), here=Counter(here))
    assert mass_missing(check).startswith(told)
    assert bool(mass_missing(check)) is bool(told)
