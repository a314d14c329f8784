from __future__ import annotations

import pytest

from noa_async.archive.acceptance import accepted
from noa_async.archive.states import State

from .products import record


@pytest.mark.parametrize("state", sorted(State))
def test_what_can_be_accepted(state):
    before = record(state, todo=4)
    after = accepted(before, 50.0)
    if state in {State.VERIFIED, State.UNVERIFIED, State.CONSUMED, State.REMOVED}:
        assert after is None
    else:
        assert after is not None
        assert (after.state, after.todo, after.accepted) == (state, None, 50.0)


def test_a_hook_that_never_passes_is_given_up():
    after = accepted(record(State.VERIFIED, hook_due=3.0, todo=4, error="no"), 50.0)
    assert after is not None
    assert (after.hook_due, after.todo, after.error, after.accepted) == (None, None, None, None)
