"""Decide how a folder follows a query: what to list, how far to move the watermark, what to
delete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noa_async.catalogue.moments import TimeRange
from noa_async.errors import ListingShrunk

if TYPE_CHECKING:
    from noa_async.archive.journal import Followed
    from noa_async.catalogue.query import Query
    from noa_async.settings import Following

_DAY = 20 * 3600.0
"""Seconds: a failed full listing is not repeated earlier, and listings that are too short count
once in that time. Less than a day, so that a nightly timer, which is not always punctual, counts
each night."""
_ALWAYS_ALLOWED = 5
"""Number of products that a listing may always lack, because small archives vary."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run requests from the catalogue."""

    query: Query | None
    """None if there can be nothing new: the query ends before the watermark."""
    full: bool
    """Whether it is the whole followed query."""
    since: datetime | None = None
    """If not ``full``, the publication time from which on to list."""


def make_plan(
    query: Query, followed: Followed, following: Following, now: float, *, reconcile: bool = False
) -> Plan:
    """Return a plan to list the whole query, or what was published since the watermark less the
    overlap.

    | watermark | requested, or the last was too short | reconciled | a full listing   | plan    |
    |-----------|--------------------------------------|------------|------------------|---------|
    | none      |                                      |            |                  | full    |
    | present   | yes                                  |            |                  | full    |
    | present   | no                                   | long ago   | failed not today | full    |
    | present   | no                                   | long ago   | failed recently  | overlap |
    | present   | no                                   | recently   |                  | overlap |

    A query that was never reconciled counts as reconciled long ago. ``followed`` must not contain
    times after ``now`` (``Followed.as_of``).
    """
    reconciled, tried, mark = followed.reconciled, followed.tried, followed.watermark
    due = reconciled is None or now - reconciled >= following.reconcile_every.total_seconds()
    failed_lately = tried is not None and now - tried < _DAY
    if mark is None or reconcile or followed.shrunk or (due and not failed_lately):
        return Plan(query, full=True)
    return plan_since(query, mark - following.overlap)


def plan_since(query: Query, published: datetime) -> Plan:
    """Return a plan to list the products published since ``published``."""
    first, last = query.published.start, query.published.end
    start = published if first is None else max(first, published)
    if last is not None and start > last:
        return Plan(None, full=False, since=start)
    narrowed = replace(query, published=TimeRange(start, last))
    return Plan(narrowed, full=False, since=start)


def new_watermark(
    before: datetime | None, latest: datetime | None, started: float
) -> datetime | None:
    """Return the watermark after a complete listing: the latest publication time in it.

    Never later than the start of the listing, because a date in the future would hide later
    products; never earlier than before.
    """
    if latest is None:
        return before
    mark = min(latest, datetime.fromtimestamp(started, UTC))
    return mark if before is None else max(before, mark)


@dataclass(frozen=True, slots=True)
class Coverage:
    """The size of a complete full listing, and the expected size."""

    listed: int
    """Number of products listed."""
    expected: int
    """Number of products in the previous full listing; before the first one, number of known
    products."""
    recent: int = 0
    """Number of products that partial listings found since the last full listing."""
    recent_listed: int = 0
    """Number of the ``recent`` products that this listing contains."""


def is_shrunk(coverage: Coverage, following: Following) -> bool:
    """Return whether a complete listing is so much shorter than before that it is not trusted.

    A service that keeps only the latest products lists about as many as a week ago, including
    everything published since; a service with a broken index lacks some of either.

    >>> from noa_async.settings import Following
    >>> is_shrunk(Coverage(0, 45), Following()), is_shrunk(Coverage(41, 45), Following())
    (True, False)
    >>> is_shrunk(Coverage(45, 45, recent=30, recent_listed=10), Following())
    True
    """
    pairs = (
        (coverage.listed, coverage.expected),
        (coverage.recent_listed, coverage.recent),
    )
    return any(
        expected - listed > _ALWAYS_ALLOWED and listed < (1 - following.max_shrink) * expected
        for listed, expected in pairs
    )


def count_shrunk(
    followed: Followed, listed: int, now: float, following: Following
) -> tuple[Followed, bool]:
    """Count a full listing that is too short. Return the query, and whether the listing is now
    trusted.

    | asked to trust it | number of such days, including this one | trusted |
    |-------------------|-----------------------------------------|---------|
    | yes               |                                         | yes     |
    | no                | ``shrink_days`` or more                 | yes     |
    | no                | fewer                                   | no      |

    Listings less than 20 hours apart count as one day.
    """
    same_day = followed.shrunk_at is not None and now - followed.shrunk_at < _DAY
    if not same_day or not followed.shrunk:
        followed = replace(followed, shrunk=followed.shrunk + 1, shrunk_at=now)
    believed = following.accept_shrunk or followed.shrunk >= following.shrink_days
    return replace(followed, shrunk_to=listed), believed


def shrunk_error(followed: Followed, coverage: Coverage, following: Following) -> ListingShrunk:
    """Return the error for a full listing that is too short to be trusted."""
    lacks = f"{coverage.listed} products; before, it listed {coverage.expected}"
    if coverage.recent - coverage.recent_listed > coverage.expected - coverage.listed:
        lacks = (
            f"{coverage.recent_listed} of {coverage.recent} products listed since the last full "
            "listing"
        )
    return ListingShrunk(
        f"The catalogue lists only {lacks}. The listing is not trusted: nothing was deleted or "
        "given up.",
        hint=f"If it is right, --accept-shrunk trusts it at once. Otherwise it is trusted after "
        f"{following.shrink_days} days with such listings; this is day {followed.shrunk}.",
    )


def may_delete(gone: int, here: int, following: Following) -> bool:
    """Return whether ``gone`` of ``here`` files may be deleted in one run.

    >>> from noa_async.settings import Following
    >>> may_delete(1, 100, Following()), may_delete(2, 100, Following())
    (True, False)
    """
    return gone <= following.max_delete * here
