from __future__ import annotations

import re
from itertools import product as pairs

import pytest

from noa_async.archive.record import first_record
from noa_async.archive.states import HELD, MOVES, IllegalMove, State, check_move
from noa_async.errors import ServiceFault

from .products import product, record


def test_every_state_has_its_moves_and_can_be_reached():
    assert set(MOVES) == {None, *State}
    assert set().union(*MOVES.values()) == set(State)


@pytest.mark.parametrize(("before", "after"), list(pairs([None, *State], State)))
def test_a_move_is_allowed_or_raises(before, after):
    if after in MOVES[before] or before is after:
        check_move(before, after)
    else:
        with pytest.raises(IllegalMove, match=re.escape(str(after))):
            check_move(before, after)


@pytest.mark.parametrize("state", sorted(HELD))
def test_what_is_here_fails_only_after_it_was_found_wrong(state):
    assert MOVES[state].isdisjoint({State.FAILED, State.QUARANTINED, State.LISTED, State.WAITING})
    for spoilt in (State.OUTDATED, State.DAMAGED, State.MISSING):
        assert spoilt in MOVES[state]
        assert State.FAILED in MOVES[spoilt]


def test_records_move_by_the_table():
    with pytest.raises(IllegalMove):
        first_record(product(), State.REMOVED, 1.0)
    with pytest.raises(IllegalMove):
        record(State.VERIFIED).moved(State.FAILED, 1.0)
    with pytest.raises(IllegalMove):
        record(State.VERIFIED).gave_up(State.FAILED, ServiceFault("no"), 1.0, limit=3)


def test_failures_of_one_day_count_as_one_and_the_limit_ends_the_tries():
    now, failing = 1000.0, record(State.LISTED, todo=7)
    counts, places = [], []
    for _ in range(4):
        for minutes in (0, 20, 1190):
            failing = failing.gave_up(
                State.FAILED, ServiceFault("500"), now + 60 * minutes, limit=3
            )
        counts.append(failing.failures)
        places.append(failing.todo)
        now += 86_400
    assert counts == [1, 2, 3, 4]
    assert places == [7, 7, None, None]
    assert (failing.reason, failing.error) == ("ServiceFault", "500")


def test_a_failure_that_does_not_count_leaves_the_product_on_the_list():
    failing = record(State.LISTED, todo=7, failures=2, failed_at=1.0)
    now = 86_400.0
    for _ in range(5):
        failing = failing.gave_up(State.FAILED, ServiceFault("503"), now, limit=3, counts=False)
        now += 86_400
    assert (failing.failures, failing.failed_at, failing.todo) == (2, 1.0, 7)
    assert (failing.reason, failing.updated) == ("ServiceFault", now - 86_400)


def test_a_product_that_is_removed_begins_anew():
    gone = record(State.MISSING, path="x", size=1, failures=9, failed_at=1.0, todo=4).removed(5.0)
    assert (gone.state, gone.path, gone.todo, gone.gone) == (State.REMOVED, None, None, 5.0)
    assert (gone.failures, gone.failed_at) == (0, None)
