from __future__ import annotations

from itertools import count, islice

from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.recent import Recent


@given(size=st.integers(1, 200), met=st.integers(0, 500))
def test_the_last_keys_are_known_and_no_more_are_held_than_said(size, met):
    keys = [str(number) for number in islice(count(), met)]
    recent = Recent(size)
    assert all(recent.add(key) for key in keys)
    held = list(recent)
    dropped_at_once = max(1, size // 16)
    assert held == keys[-len(held) :] if held else not keys
    assert min(met, size - dropped_at_once) <= len(held) <= size
    assert not any(recent.add(key) for key in held)


def test_keys_of_before_count_too():
    recent = Recent(3, ["a", "b"])
    assert not recent.add("a")
    assert recent.add("c")
    assert recent.add("d")
    assert list(recent) == ["b", "c", "d"]
    assert recent.add("a")
