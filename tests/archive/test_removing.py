from __future__ import annotations

import pytest

from noa_async.archive.destination import FileFacts
from noa_async.archive.removing import unmet, why_kept
from noa_async.archive.states import State

from .products import record

LISTED = record(State.LISTED, todo=4)
GIVEN_UP = record(State.FAILED, failures=10)
HELD = record(State.VERIFIED)
REPLACED = record(State.OUTDATED, path="x", todo=4)


@pytest.mark.parametrize(
    ("known", "there", "state", "todo", "gone"),
    [
        (GIVEN_UP, False, State.REMOVED, None, 50.0),
        (LISTED, False, State.REMOVED, None, 50.0),
        (LISTED, True, State.LISTED, 4, None),
        (HELD, False, State.VERIFIED, None, 50.0),
        (REPLACED, False, State.OUTDATED, None, 50.0),
        (REPLACED, True, State.OUTDATED, 4, 50.0),
        (record(State.VERIFIED, gone=7.0), False, State.VERIFIED, None, 7.0),
        (record(State.VERIFIED, gone=70.0), False, State.VERIFIED, None, 50.0),
        (record(State.CONSUMED), False, State.CONSUMED, None, 50.0),
        (record(State.VERIFIED, hook_due=1.0, todo=3), False, State.VERIFIED, 3, 50.0),
    ],
)
def test_what_becomes_of_a_product_that_no_listing_met(known, there, state, todo, gone):
    found = unmet(known, 50.0, there=there)
    assert (found.state, found.todo, found.gone, found.path) == (state, todo, gone, known.path)
    assert found.failures == 0 or found is known
    if known.path is not None or known.state is State.CONSUMED:
        assert found.absences == known.absences + 1


@pytest.mark.parametrize(
    ("facts", "instead", "kept"),
    [
        (FileFacts(1000, 5), "", False),
        (FileFacts(1001, 5), "", True),
        (FileFacts(1000, 6), "", True),
        (None, "", False),
        (None, "a link is in its place", True),
    ],
)
def test_a_file_is_deleted_only_if_it_is_the_recorded_one(facts, instead, kept):
    assert bool(why_kept(HELD, facts, instead)) is kept
