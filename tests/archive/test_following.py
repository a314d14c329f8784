from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from noa_async import Query, Settings, SettingsError
from noa_async.archive.following import make_plan, may_delete, new_watermark, plan_since
from noa_async.archive.journal import Followed
from noa_async.settings import Following, OnRemoved

MARK = datetime(2026, 3, 10, 12, tzinfo=UTC)
NOW = datetime(2026, 3, 11, tzinfo=UTC).timestamp()
DAY = 86_400
ALL = Query(everything=True)


@pytest.mark.parametrize(
    ("followed", "following", "full"),
    [
        (Followed(1, ""), Following(), True),
        (Followed(1, "", MARK), Following(), True),
        (Followed(1, "", None, NOW - 1), Following(), True),
        (Followed(1, "", MARK, NOW - DAY), Following(), False),
        (Followed(1, "", MARK, NOW - 7 * DAY), Following(), True),
        (Followed(1, "", MARK, NOW - DAY), Following(reconcile_every=timedelta(hours=1)), True),
        (Followed(1, "", MARK, NOW - 7 * DAY, NOW - 3600), Following(), False),
        (Followed(1, "", MARK, None, NOW - 3600), Following(), False),
        (Followed(1, "", MARK, NOW - 7 * DAY, NOW - 0.9 * DAY), Following(), True),
        (Followed(1, "", MARK, NOW - DAY, NOW - 0.9 * DAY), Following(), False),
        (Followed(1, "", None, None, NOW - 3600), Following(), True),
    ],
)
def test_what_a_run_asks_for(followed, following, full):
    plan = make_plan(ALL, followed, following, NOW)
    assert plan.full is full
    if full:
        assert plan.query is ALL
    else:
        assert plan.query is not None
        assert plan.query.filter == "(PublicationDate ge 2026-03-07T12:00:00.000Z)"


def test_the_querys_own_limits_hold():
    query = Query(published=("2026-03-09", "2026-03-20"))
    narrowed = plan_since(query, MARK - timedelta(days=3)).query
    assert narrowed is not None
    assert narrowed.filter == query.filter
    later = plan_since(query, MARK).query
    assert later is not None
    assert later.published.start == MARK
    assert later.published.end == query.published.end
    assert plan_since(Query(published=(None, "2026-03-01")), MARK).query is None


def test_the_watermark_goes_forward_and_never_into_the_future():
    now = MARK.timestamp()
    assert new_watermark(None, None, now) is None
    assert new_watermark(MARK, None, now) == MARK
    earlier = MARK - timedelta(days=1)
    assert new_watermark(None, earlier, now) == earlier
    assert new_watermark(MARK, earlier, now) == MARK
    assert new_watermark(earlier, MARK, now) == MARK
    assert new_watermark(earlier, MARK + timedelta(days=900), now) == MARK


def test_how_much_may_be_deleted():
    assert may_delete(0, 0, Following())
    assert not may_delete(1, 50, Following())
    assert may_delete(5, 50, Following(max_delete=0.1))
    assert may_delete(50, 50, Following(max_delete=1))
    assert not may_delete(1, 50, Following(max_delete=0))


def test_all_is_listed_where_that_is_asked_for():
    lately = Followed(1, "", MARK, NOW - DAY, NOW - 3600)
    assert make_plan(ALL, lately, Following(), NOW, reconcile=True).full


def test_how_a_folder_follows_is_a_setting():
    values = {"overlap": "12h", "reconcile_every": "2w", "on_removed": "delete"}
    assert Settings().with_values(values | {"max_delete": "2.5%"}).following == Following(
        overlap=timedelta(hours=12),
        reconcile_every=timedelta(days=14),
        on_removed=OnRemoved.DELETE,
        max_delete=0.025,
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("overlap", "3"),
        ("overlap", "-3d"),
        ("overlap", "9999999999d"),
        ("reconcile_every", "weekly"),
        ("on_removed", "purge"),
        ("max_delete", "5"),
        ("max_delete", "101%"),
    ],
)
def test_what_cannot_be_is_said(key, value):
    with pytest.raises(SettingsError, match=key):
        Settings().with_values({key: value})
