from __future__ import annotations

import re
from dataclasses import fields, replace
from itertools import product as pairs

import pytest

from noa_async.archive.destination import FileFacts
from noa_async.archive.record import Record, first_record
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


def test_a_file_found_right_leaves_nothing_to_do_and_all_else_as_it_was():
    kept = {"looked": 3.0, "query": 2, "seen": 5, "gone": 4.0, "absences": 2, "hook_due": 5.0}
    kept |= {"hooked": 1.0}
    told = {"size": 1, "mtime_ns": 2, "checksum": "md5:0", "verified": 2.0, "attempts": 2}
    done = {"failures": 1, "failed_at": 2.0, "error": "no", "reason": "ServiceFault", "todo": 6}
    done |= {"trash": "2026-12-01/old", "accepted": 6.0}
    before = record(State.DAMAGED, path="old", updated=2.0, **kept, **told, **done)
    assert not [each.name for each in fields(Record) if getattr(before, each.name) in (None, 0, "")]
    now = {"size": 8, "mtime_ns": 9, "checksum": "md5:1", "verified": 7.0, "attempts": 3}
    nothing = {"failures": 0, "failed_at": None, "error": None, "reason": None, "todo": None}
    nothing |= {"trash": None, "accepted": None, "hooked": None}
    found = before.found_right(
        State.VERIFIED, "new", FileFacts(8, 9), "md5:1", 7.0, attempts=now["attempts"]
    )
    assert found == replace(before, state=State.VERIFIED, path="new", updated=7.0, **now, **nothing)
    again = before.found_right(State.VERIFIED, "new", FileFacts(8, 9), "md5:1", 7.0)
    assert again.attempts == before.attempts
    same = before.found_right(State.VERIFIED, "new", FileFacts(8, 9), "md5:0", 7.0)
    assert same.hooked == before.hooked
    due = before.found_right(State.VERIFIED, "new", FileFacts(8, 9), "md5:1", 7.0, hook_due=7.0)
    assert (due.hook_due, due.hooked) == (7.0, None)
    pinned = again.moved(State.UNVERIFIED, 8.0, accepted=8.0)
    found = pinned.found_right(State.VERIFIED, "new", FileFacts(8, 9), "md5:1", 9.0)
    assert found.accepted == 8.0


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
