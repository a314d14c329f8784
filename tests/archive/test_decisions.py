"""The two truth tables: is a file right, and what becomes of a product that a listing met."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from noa_async.archive.decisions import (
    Read,
    Right,
    Sighting,
    Wrong,
    counts,
    is_as_left,
    is_superseded,
    judge,
    sighted,
)
from noa_async.archive.destination import FileFacts
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum
from noa_async.errors import (
    ProductCorrupt,
    ProductUnavailable,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
    TransferInterrupted,
)

from .products import MD5, START, product, record

OTHER = "0" * 32
AS_IT_WAS = FileFacts(1000, 5)
TOUCHED = FileFacts(1000, 6)
SAME = product()
NEW_BYTES = product(checksums=(Checksum("md5", OTHER),))
NEW_ALGORITHM = product(checksums=(Checksum("sha256", "0" * 64),))
BOTH = product(checksums=(Checksum("sha256", "0" * 64), Checksum("md5", MD5)))
NONE = product(checksums=())
NONE_LATER = product(checksums=(), modified=START + timedelta(hours=1))
NONE_UNDATED = product(checksums=(), modified=None)
SAME_LATER = product(modified=START + timedelta(hours=1))
FINER = product(checksums=(), modified=START + timedelta(microseconds=7))
HELD = record(State.VERIFIED)
LOST = record(State.FAILED)
OLD_FILE = record(State.FAILED, path="x", size=1000, mtime_ns=5, checksum=f"md5:{MD5}")


@pytest.mark.parametrize(
    ("held", "listed", "facts", "verdict"),
    [
        (HELD, SAME, None, Wrong(State.MISSING)),
        (HELD, SAME, AS_IT_WAS, Right()),
        (HELD, SAME_LATER, AS_IT_WAS, Right()),
        (HELD, BOTH, AS_IT_WAS, Right()),
        (HELD, NEW_BYTES, AS_IT_WAS, Wrong(State.OUTDATED)),
        (HELD, NEW_ALGORITHM, AS_IT_WAS, Read(f"sha256:{'0' * 64}")),
        (HELD, NONE, AS_IT_WAS, Right()),
        (HELD, NONE_LATER, AS_IT_WAS, Wrong(State.OUTDATED)),
        (HELD, NONE_UNDATED, AS_IT_WAS, Right()),
        (HELD, FINER, AS_IT_WAS, Right()),
        (HELD, SAME, TOUCHED, Read(f"md5:{MD5}")),
        (HELD, NEW_BYTES, TOUCHED, Read(f"md5:{OTHER}")),
        (HELD, NONE, TOUCHED, Read(f"md5:{MD5}")),
        (OLD_FILE, SAME, AS_IT_WAS, Read(f"md5:{MD5}")),
        (LOST, NONE, AS_IT_WAS, Wrong(State.DAMAGED)),
    ],
)
def test_whether_a_file_is_right(held, listed, facts, verdict):
    assert judge(held, listed, facts) == verdict


@pytest.mark.parametrize("facts", [None, AS_IT_WAS, TOUCHED, FileFacts(999, 5)])
@pytest.mark.parametrize("listed", [SAME, SAME_LATER, BOTH, NEW_BYTES, NEW_ALGORITHM, NONE])
@pytest.mark.parametrize(
    "held", [HELD, LOST, OLD_FILE, record(State.OUTDATED), record(State.UNVERIFIED)]
)
def test_a_glance_tells_what_the_record_would(held, listed, facts):
    """Only what has no checksum that can be compared needs more than a glance."""
    right = judge(held, listed, facts) == Right()
    assert is_as_left(held.glance, listed, facts) == (right and bool(listed.checksums))


SIGHTING = Sighting(run=9, query=2, now=50.0, limit=3)
GIVEN_UP = record(State.FAILED, failures=3)
CONDEMNED = record(State.QUARANTINED)


@pytest.mark.parametrize(
    ("held", "listed", "verdict", "state", "todo"),
    [
        (None, SAME, None, State.LISTED, True),
        (record(State.REMOVED), SAME, None, State.LISTED, True),
        (record(State.REMOVED, failures=3), SAME, None, State.LISTED, True),
        (HELD, SAME, Right(), State.VERIFIED, False),
        (HELD, SAME, Read("md5:x"), State.VERIFIED, True),
        (HELD, SAME, Wrong(State.MISSING), State.MISSING, True),
        (HELD, NEW_BYTES, Wrong(State.OUTDATED), State.OUTDATED, True),
        (CONDEMNED, SAME, None, State.QUARANTINED, False),
        (CONDEMNED, NEW_BYTES, None, State.LISTED, True),
        (GIVEN_UP, SAME, None, State.FAILED, False),
        (GIVEN_UP, SAME_LATER, None, State.FAILED, False),
        (GIVEN_UP, NEW_BYTES, None, State.LISTED, True),
        (record(State.CONSUMED), SAME, None, State.CONSUMED, False),
        (record(State.CONSUMED), NEW_BYTES, None, State.LISTED, True),
        (record(State.DAMAGED, accepted=1.0), SAME, None, State.DAMAGED, False),
        (record(State.DAMAGED, accepted=1.0), NEW_BYTES, None, State.LISTED, True),
        (record(State.FAILED, failures=2), SAME, None, State.FAILED, True),
        (record(State.WAITING), SAME, None, State.WAITING, True),
        (record(State.LISTED), SAME, None, State.LISTED, True),
        (record(State.DAMAGED), SAME, Wrong(State.DAMAGED), State.DAMAGED, True),
        (record(State.OUTDATED), SAME, Read("md5:x"), State.OUTDATED, True),
    ],
)
def test_what_becomes_of_a_product_that_is_listed(held, listed, verdict, state, todo):
    gone = None if held is None else replace(held, gone=1.0)
    found = sighted(gone, listed, verdict, SIGHTING, count(40).__next__)
    assert (found.state, found.todo) == (state, 40 if todo else None)
    assert (found.seen, found.query, found.gone) == (9, 2, None)
    assert found.product == listed


def test_what_comes_back_has_not_failed_yet():
    back = sighted(record(State.REMOVED, failures=3, failed_at=7.0), SAME, None, SIGHTING, int)
    assert (back.failures, back.failed_at) == (0, None)


@pytest.mark.parametrize(
    ("before", "ours", "checksum", "known", "superseded"),
    [
        (SAME, SAME, f"md5:{MD5}", SAME, False),
        (SAME, SAME, f"md5:{MD5}", SAME_LATER, False),
        (SAME, SAME, f"md5:{MD5}", NEW_BYTES, True),
        (SAME, SAME, f"md5:{MD5}", BOTH, False),
        (SAME, NEW_BYTES, f"md5:{OTHER}", SAME, False),
        (SAME, NEW_BYTES, f"md5:{OTHER}", NEW_BYTES, False),
        (NEW_BYTES, SAME, f"md5:{MD5}", NEW_BYTES, False),
        (SAME, product(modified=START + timedelta(days=1)), f"md5:{MD5}", NEW_BYTES, False),
        (NONE, NONE, f"md5:{MD5}", NONE_LATER, True),
        (NONE, NONE_LATER, f"md5:{MD5}", NONE_LATER, False),
    ],
)
def test_whether_bytes_are_those_of_an_older_product(before, ours, checksum, known, superseded):
    right = record(State.VERIFIED, product=ours, checksum=checksum)
    assert is_superseded(before, right, known) is superseded


@pytest.mark.parametrize(
    ("error", "others_came", "counted"),
    [
        (ProductUnavailable("403"), False, True),
        (ProductCorrupt("no zip"), False, True),
        (ServiceFault("503"), True, True),
        (ServiceFault("503"), False, False),
        (ServiceUnreachable("silence"), False, False),
        (ServiceRefused("TLS"), False, False),
        (TransferInterrupted("cut"), False, False),
        (TransferInterrupted("cut"), True, True),
    ],
)
def test_whose_fault_a_failure_is(error, others_came, counted):
    assert counts(error, others_came=others_came) is counted


@pytest.mark.parametrize(("query", "todo"), [(2, 3), (1, 40), (None, 40)])
def test_a_place_on_the_list_is_kept_by_the_same_query(query, todo):
    failed = record(State.FAILED, failures=1, todo=3, query=query)
    assert sighted(failed, SAME, None, SIGHTING, count(40).__next__).todo == todo


def test_what_turns_out_right_leaves_the_list():
    right = record(State.VERIFIED, todo=3, query=2)
    assert sighted(right, SAME, Right(), SIGHTING, count(40).__next__).todo is None


def test_attributes_known_before_are_not_lost_by_a_listing_without_them():
    before = record(State.LISTED, product=product(attributes={"tileId": "34SGH"}))
    found = sighted(before, SAME, None, SIGHTING, count().__next__)
    assert found.product.attributes == {"tileId": "34SGH"}
    told = product(attributes={"tileId": "35SKB"})
    assert sighted(before, told, None, SIGHTING, count().__next__).product == told
