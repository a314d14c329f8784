"""Retry-After: seconds, dates, and everything else that servers send."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from noa_async.headers import retry_after

NOON = 1_768_219_200.0  # 2026-01-12 12:00:00 UTC


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("007", 7.0),
        ("Mon, 12 Jan 2026 12:00:30 GMT", 30.0),
        ("Mon, 12 Jan 2026 14:00:30 +0200", 30.0),
        ("Monday, 12-Jan-26 12:00:30 GMT", 30.0),
        ("Mon, 12 Jan 2026 11:00:00 GMT", 0.0),
        ("", None),
        ("-7", None),
        ("7.5", 7.5),
        ("7.", 7.0),
        ("7, 9", 7.0),  # two fields, joined on the way
        ("7 s", 7.0),
        ("7 minutes", None),
        ("+7", None),
        ("Mon Jan 12 12:00:30 2026", 30.0),  # asctime, which means UTC
        ("soon", None),
        ("Mon, 32 Jan 2026 12:00:00 GMT", None),
        ("٧", None),
        ("²", None),
        ("inf", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after({"Retry-After": value}, now=lambda: NOON) == seconds


def test_asctime_is_utc_in_every_zone(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after({"Retry-After": "Mon Jan 12 12:00:30 2026"}, now=lambda: NOON) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_an_absent_field_is_none():
    assert retry_after({}) is None


def test_letter_case_is_left_to_the_mapping():
    assert retry_after(CIMultiDict({"retry-after": "7"})) == 7.0


def test_absurd_seconds_stay_a_number():
    seconds = retry_after({"Retry-After": "9" * 5000})
    assert seconds is not None
    assert seconds < 1e10


WORDS = ["Mon,", "12", "Jan", "2026", "12:00:30", "GMT", "+9999", "-0000", "9" * 12, ":", ",", ""]
DATES = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=9).map(" ".join)


@given(DATES)
def test_no_value_raises_and_none_is_negative(value):
    seconds = retry_after({"Retry-After": value}, now=lambda: NOON)
    assert seconds is None or 0 <= seconds < float("inf")
