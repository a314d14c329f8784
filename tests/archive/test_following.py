from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from noa_async import Query, Settings, SettingsError
from noa_async.archive.following import (
    Coverage,
    count_shrunk,
    is_shrunk,
    make_plan,
    may_delete,
    new_watermark,
    plan_since,
)
from noa_async.archive.journal import Followed, service_key
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


def test_a_listing_that_is_not_believed_leads_to_another_of_all():
    lately = Followed(1, "", MARK, NOW - DAY, NOW - 3600, shrunk=1)
    assert make_plan(ALL, lately, Following(), NOW).full


@pytest.mark.parametrize(
    ("listed", "expected", "recent", "again", "max_shrink", "shrunk"),
    [
        (0, 0, 0, 0, 0.2, False),
        (0, 5, 0, 0, 0.2, False),
        (0, 6, 0, 0, 0.2, True),
        (45, 45, 0, 0, 0.2, False),
        (60, 45, 0, 0, 0.2, False),
        (80, 100, 0, 0, 0.2, False),
        (79, 100, 0, 0, 0.2, True),
        (0, 100, 0, 0, 1.0, False),
        (99, 100, 0, 0, 0.0, False),
        (94, 100, 0, 0, 0.0, True),
        (100, 100, 60, 60, 0.2, False),
        (100, 100, 60, 48, 0.2, False),
        (100, 100, 60, 47, 0.2, True),
        (100, 100, 6, 1, 0.2, False),
    ],
)
def test_whether_a_listing_has_shrunk(listed, expected, recent, again, max_shrink, shrunk):
    coverage = Coverage(listed, expected, recent, again)
    assert is_shrunk(coverage, Following(max_shrink=max_shrink)) is shrunk


def test_on_how_many_days_a_short_listing_is_not_believed():
    followed, told = Followed(1, ""), []
    for hours in (0, 1, 19, 21, 22, 50):
        followed, believed = count_shrunk(followed, 7, NOW + hours * 3600, Following())
        told.append((followed.shrunk, believed))
    assert told == [(1, False), (1, False), (1, False), (2, False), (2, False), (3, True)]
    assert followed.shrunk_to == 7
    _, believed = count_shrunk(Followed(1, ""), 7, NOW, Following(accept_shrunk=True))
    assert believed
    _, believed = count_shrunk(Followed(1, ""), 7, NOW, Following(shrink_days=1))
    assert believed


def test_instants_that_lie_ahead_count_as_never():
    later = NOW + 1
    ahead = Followed(
        1, "", datetime.fromtimestamp(later, UTC), later, later, shrunk=1, shrunk_at=later
    )
    never = Followed(1, "", shrunk=1)
    assert ahead.as_of(NOW) == never
    assert ahead.as_of(NOW + 2) == ahead
    assert make_plan(ALL, replace(ahead, shrunk=0).as_of(NOW), Following(), NOW).full


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a.example/odata/v1/Products", "https://A.EXAMPLE:443/odata/v1/Products/", True),
        ("https://a.example/odata/v1/Products", "https://a.example/odata/v1", True),
        ("http://127.0.0.1:80/x/Products", "http://127.0.0.1/x", True),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1/x", False),
        ("https://a.example/odata/v1", "https://b.example/odata/v1", False),
        ("https://a.example/odata/v1", "https://a.example/odata/v2", False),
        ("https://a.example/x", "http://a.example/x", False),
    ],
)
def test_what_a_service_is_known_by(one, other, same):
    assert (service_key(one) == service_key(other)) is same


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
