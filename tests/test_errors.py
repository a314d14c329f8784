"""The error tree is the one drawn in the docstring, with its exit codes and its retryable ones."""

from __future__ import annotations

import inspect
import re
from itertools import pairwise

import pytest

from noa_async import errors
from noa_async.errors import (
    ChecksumMismatch,
    CredentialsRefused,
    NoaError,
    ProductUnavailable,
    QuotaExceeded,
    ServiceFault,
    SettingsError,
)

LINE = re.compile(r"(?P<lead>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +exit (?P<code>\d))?(?P<rest>.*)")
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and value.__module__ == errors.__name__
}


def drawn() -> dict[str, tuple[str | None, int | None, bool]]:
    """Each class in the drawing: its parent, the exit code beside it, whether "(retryable)"."""
    assert errors.__doc__ is not None
    tree: dict[str, tuple[str | None, int | None, bool]] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines()[2:]:
        match = LINE.fullmatch(line)
        assert match, line
        depth = len(match["lead"]) // 4
        del above[depth:]
        code = int(match["code"]) if match["code"] else None
        tree[match["name"]] = (above[-1] if above else None, code, "(retryable)" in match["rest"])
        above.append(match["name"])
    return tree


def test_every_class_is_drawn_and_every_drawn_one_is_there():
    assert set(drawn()) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_where_the_drawing_has_it(name):
    parent, _, _ = drawn()[name]
    assert CLASSES[name].__base__.__name__ == (parent or "Exception")


@pytest.mark.parametrize("name", CLASSES)
def test_exit_codes_are_those_drawn(name):
    tree = drawn()
    holder: str | None = name
    while holder and tree[holder][1] is None:
        holder = tree[holder][0]
    assert CLASSES[name].exit_code == (tree[holder][1] if holder else 1)


@pytest.mark.parametrize("name", CLASSES)
def test_the_retryable_are_those_drawn(name):
    assert CLASSES[name].retryable is drawn()[name][2]


def test_exit_codes_rise_as_the_trouble_widens():
    codes = [code for _, code, _ in drawn().values() if code]
    assert sorted(codes) == [1, 2, 3, 4, 5]


def test_an_error_says_what_happened_then_what_to_do():
    error = SettingsError("workers is 0.", hint="Use at least one.")
    assert str(error) == "workers is 0. Use at least one."
    assert (error.message, error.hint) == ("workers is 0.", "Use at least one.")
    assert str(NoaError("It broke.")) == "It broke."


def test_a_wait_that_was_asked_for_is_kept():
    assert ServiceFault("Busy.", retry_after=7.0).retry_after == 7.0
    assert QuotaExceeded("Full.", retry_after=7.0).retry_after == 7.0
    assert ServiceFault("Busy.").retry_after is None


def test_a_refusal_is_final_unless_it_is_said_to_deserve_more_tries():
    assert ProductUnavailable("Gone.").more_tries == 0
    assert ProductUnavailable("Gone.", more_tries=3).more_tries == 3
    assert ProductUnavailable("Gone.", more_tries=3).retry_after is None


def test_a_mismatch_names_both_sums():
    error = ChecksumMismatch("X.zip", expected="md5:aa", found="md5:bb")
    assert (error.expected, error.found) == ("md5:aa", "md5:bb")
    for part in ("X.zip", "md5:aa", "md5:bb"):
        assert part in str(error)


def test_an_error_is_caught_as_any_of_its_parents():
    lineage = [cls for cls in CredentialsRefused.__mro__ if cls.__module__ == errors.__name__]
    assert [cls.__name__ for cls in lineage] == [
        "CredentialsRefused",
        "CredentialsError",
        "NoaError",
    ]
    for child, parent in pairwise(lineage):
        assert issubclass(child, parent)
