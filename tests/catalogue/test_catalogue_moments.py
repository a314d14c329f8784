"""Instants as users give them: nothing is guessed."""

import re
import time
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.moments import TimeRange, parse_instant
from noa_async.catalogue.times import format_instant, read_instant
from noa_async.errors import QueryError

ATHENS = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("given_as", "start", "end"),
    [
        ("2026-01-11T00:00:00.000Z", "2026-01-11T00:00:00.000Z", None),
        ("2026-01-19T23:59:59.999Z", "2026-01-19T23:59:59.999Z", None),
        ("2026-01-19T23:59:59.999999Z", "2026-01-19T23:59:59.999Z", None),
        ("2026-01-11T10:00:00z", "2026-01-11T10:00:00.000Z", None),
        ("2026-01-11T10:00", "2026-01-11T10:00:00.000Z", None),
        ("2026-01-11 10:00 +02:00", "2026-01-11T08:00:00.000Z", None),
        ("2026-01-11T01:00+02:00", "2026-01-10T23:00:00.000Z", None),
        ("20260111T101112Z", "2026-01-11T10:11:12.000Z", None),
        ("11 Jan 2026 10:00", "2026-01-11T10:00:00.000Z", None),
        ("Sun, 11 Jan 2026 10:00:00 GMT", "2026-01-11T10:00:00.000Z", None),
        ("2026-1-2 10am", "2026-01-02T10:00:00.000Z", None),
        ("2026-01-11", "2026-01-11T00:00:00.000Z", "2026-01-11T23:59:59.999Z"),
        (" 2026-01-11 ", "2026-01-11T00:00:00.000Z", "2026-01-11T23:59:59.999Z"),
        ("2026/1/2", "2026-01-02T00:00:00.000Z", "2026-01-02T23:59:59.999Z"),
        ("20260111", "2026-01-11T00:00:00.000Z", "2026-01-11T23:59:59.999Z"),
        ("11 January 2026", "2026-01-11T00:00:00.000Z", "2026-01-11T23:59:59.999Z"),
        ("25.01.2026", "2026-01-25T00:00:00.000Z", "2026-01-25T23:59:59.999Z"),
        ("02/02/2026", "2026-02-02T00:00:00.000Z", "2026-02-02T23:59:59.999Z"),
        ("2026-01", "2026-01-01T00:00:00.000Z", "2026-01-31T23:59:59.999Z"),
        ("Feb 2024", "2024-02-01T00:00:00.000Z", "2024-02-29T23:59:59.999Z"),
        ("2026", "2026-01-01T00:00:00.000Z", "2026-12-31T23:59:59.999Z"),
        (date(2026, 1, 11), "2026-01-11T00:00:00.000Z", "2026-01-11T23:59:59.999Z"),
        (datetime(2026, 1, 11), "2026-01-11T00:00:00.000Z", None),
        (datetime(2026, 1, 11, tzinfo=UTC), "2026-01-11T00:00:00.000Z", None),
        (datetime(2026, 1, 11, tzinfo=ATHENS), "2026-01-10T22:00:00.000Z", None),
    ],
)
def test_instants(given_as: Any, start: str, end: str | None) -> None:
    assert format_instant(parse_instant(given_as, "x")) == start
    assert format_instant(parse_instant(given_as, "x", end=True)) == (end or start)


def test_naive_is_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert format_instant(datetime(2026, 1, 11, 9)) == "2026-01-11T09:00:00.000Z"
        for naive in (datetime(2026, 1, 11, 9), "2026-01-11T09:00", "11 Jan 2026 9:00"):
            assert parse_instant(naive, "x") == datetime(2026, 1, 11, 9, tzinfo=UTC)
        assert read_instant("2026-01-11T09:00:00") == datetime(2026, 1, 11, 9, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("given_as", "sentence"),
    [
        ("", "The content start is empty. Write it as 2026-01-11 or 2026-01-11T09:23:21.024Z."),
        ("  ", "is empty."),
        ("next week", "'next week' cannot be parsed as a date or time. Write it as 2026-01-11"),
        ("13/13/2026", "'13/13/2026' cannot be parsed as a date or time."),
        ("2026-13-01", "'2026-13-01' is not a day of the calendar."),
        ("2026/13/01", "is not a day of the calendar."),
        ("2026-02-30", "is not a day of the calendar."),
        ("2026-02-29T10:00:00Z", "is not a day of the calendar."),
        ("2026-13", "cannot be parsed as a date or time"),
        ("202601", "cannot be parsed"),
        ("10:00", "'10:00' has no four-digit year."),
        ("Monday", "has no four-digit year."),
        ("Jan", "has no four-digit year."),
        ("11/01/26", "has no four-digit year."),
        ("Mon Jan 2026", "has no complete date."),
        ("Jan 2026 10:00", "has no complete date."),
        ("01/02/2026", "'01/02/2026' can be 2026-01-02 or 2026-02-01. Write the one you mean."),
        ("11.01.2026 10:00", "can be 2026-11-01 or 2026-01-11."),
        ("2026-01-11 10:00 EET", "cannot be parsed as a date or time"),
        ("2026-01-11+02:00", "has text after the date that is not a time."),
        ("2026-01-11T25:00", "cannot be parsed as a date or time"),
        ("2026-W03", "cannot be parsed as a date or time"),
        ("1768125600", "cannot be parsed"),
        ("2026-01-11" * 30, "cannot be parsed"),
        ("0001-01-01T00:00:00+05:00", "is out of range: years are"),
        (None, "The content start is None, not a date or time."),
        (True, "is True, not a date or time."),
        (1768125600, "is 1768125600, not a date or time."),
        (datetime(1, 1, 1, tzinfo=ATHENS), "is out of range: years are"),
    ],
)
def test_refusals(given_as: Any, sentence: str) -> None:
    with pytest.raises(QueryError, match=re.escape(sentence)) as caught:
        parse_instant(given_as, "content start")
    assert len(str(caught.value)) < 220


@given(st.text(st.sampled_from("0123456789-/:. TZJanFebMon+,"), max_size=24) | st.text())
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    try:
        start, end = parse_instant(text, "x"), parse_instant(text, "x", end=True)
    except QueryError:
        return
    assert start.tzinfo is UTC
    assert start <= end
    assert f"{start.year:04}" in text or "+" in text or "-" in text or start.month in {1, 12}


@given(st.datetimes(timezones=st.timezones()))
def test_iso_text_comes_back(instant: datetime) -> None:
    try:
        utc = instant.astimezone(UTC)
    except OverflowError:
        return
    if instant.utcoffset() % timedelta(seconds=1):  # type: ignore[operator]
        return
    assert parse_instant(instant.isoformat(), "x") == utc
    assert parse_instant(instant.isoformat(), "x", end=True) == utc


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (None, "any time to any time"),
        ((None, None), "any time to any time"),
        (["2026-01-11", None], "2026-01-11T00:00:00.000Z to any time"),
        ((None, "2026-01"), "any time to 2026-01-31T23:59:59.999Z"),
        (("2026-01-11",) * 2, "2026-01-11T00:00:00.000Z to 2026-01-11T23:59:59.999Z"),
        (
            TimeRange(datetime(2026, 1, 11), datetime(2026, 1, 11, tzinfo=UTC)),
            "2026-01-11T00:00:00.000Z to 2026-01-11T00:00:00.000Z",
        ),
    ],
)
def test_ranges(pair: Any, expected: str) -> None:
    times = TimeRange.read(pair, "content")
    assert str(times) == expected
    assert bool(times) is (expected != "any time to any time")
    assert TimeRange.read(times, "content") == times


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        (
            ("2026-01-19", "2026-01-11"),
            (
                "content starts at 2026-01-19T00:00:00.000Z, after its end "
                "2026-01-11T23:59:59.999Z: nothing can match. Swap the two."
            ),
        ),
        (TimeRange(datetime(2026, 2, 1), datetime(2026, 1, 1)), "content starts at"),
        ("2026-01-11", "content is '2026-01-11', not a start and an end. Write content=("),
        (("2026-01-11",), "not a start and an end"),
        (5, "content is 5, not a start and an end"),
        (("", None), "The content start is empty."),
        ((None, "soon"), "The content end 'soon' cannot be parsed as a date or time"),
    ],
)
def test_range_refusals(pair: Any, sentence: str) -> None:
    with pytest.raises(QueryError, match=re.escape(sentence)):
        TimeRange.read(pair, "content")
