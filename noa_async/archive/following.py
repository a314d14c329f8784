"""How a folder follows a query: what to ask for, how far the watermark moves, what may go."""

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
"""Seconds: a listing of all that failed is not tried again before, and one that is too short counts
once in that time. Less than a day, so that a timer that fires each night, not always on time, comes
to one each night."""
_FEW = 5
"""Products that a listing may lack, however short that makes it: small archives vary."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run asks the catalogue for."""

    query: Query | None
    """None where nothing can be new: the query ends before the watermark."""
    full: bool
    """Whether it is all of the followed query."""
    since: datetime | None = None
    """Otherwise, from which publication on."""


def make_plan(
    query: Query, followed: Followed, following: Following, now: float, *, reconcile: bool = False
) -> Plan:
    """All of the query, or what was published since the watermark, less the overlap.

    | watermark | asked for all, or one was too short | reconciled | a listing of all | plan    |
    |-----------|-------------------------------------|------------|------------------|---------|
    | none      |                                     |            |                  | all     |
    | there     | yes                                 |            |                  | all     |
    | there     | no                                  | long ago   | failed not today | all     |
    | there     | no                                  | long ago   | failed lately    | overlap |
    | there     | no                                  | lately     |                  | overlap |

    What was reconciled never was so long ago. ``followed`` holds no instants that lie ahead of
    ``now`` (``Followed.as_of``).
    """
    reconciled, tried, mark = followed.reconciled, followed.tried, followed.watermark
    due = reconciled is None or now - reconciled >= following.reconcile_every.total_seconds()
    failed_lately = tried is not None and now - tried < _DAY
    if mark is None or reconcile or followed.shrunk or (due and not failed_lately):
        return Plan(query, full=True)
    return plan_since(query, mark - following.overlap)


def plan_since(query: Query, published: datetime) -> Plan:
    """What of the query was published since then."""
    first, last = query.published.start, query.published.end
    start = published if first is None else max(first, published)
    if last is not None and start > last:
        return Plan(None, full=False, since=start)
    narrowed = replace(query, published=TimeRange(start, last))
    return Plan(narrowed, full=False, since=start)


def new_watermark(
    before: datetime | None, latest: datetime | None, started: float
) -> datetime | None:
    """The watermark after a complete listing: the latest publication it met.

    Never later than the listing's start, for a date in the future would hide what comes before it;
    never earlier than it was.
    """
    if latest is None:
        return before
    mark = min(latest, datetime.fromtimestamp(started, UTC))
    return mark if before is None else max(before, mark)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a complete listing of all met, and what it could be expected to meet."""

    listed: int
    """Products that it met."""
    expected: int
    """Products that the last such listing met; before the first, those that are known."""
    recent: int = 0
    """Products that shorter listings met since the last one of all."""
    recent_listed: int = 0
    """Those of them that it met again."""


def is_shrunk(coverage: Coverage, following: Following) -> bool:
    """Whether a complete listing is so much shorter than before that it is not to be believed.

    A service that keeps only the latest products lists about as many as a week ago, and all that
    were published since; one whose index is broken lacks some of either.

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
        expected - listed > _FEW and listed < (1 - following.max_shrink) * expected
        for listed, expected in pairs
    )


def count_shrunk(
    followed: Followed, listed: int, now: float, following: Following
) -> tuple[Followed, bool]:
    """The query after another listing of all that is too short, and whether that is believed now.

    | asked to believe it | such days, with this one | believed |
    |---------------------|--------------------------|----------|
    | yes                 |                          | yes      |
    | no                  | ``shrink_days`` or more  | yes      |
    | no                  | fewer                    | no       |

    Listings less than 20 hours apart count as one day.
    """
    same_day = followed.shrunk_at is not None and now - followed.shrunk_at < _DAY
    if not same_day or not followed.shrunk:
        followed = replace(followed, shrunk=followed.shrunk + 1, shrunk_at=now)
    believed = following.accept_shrunk or followed.shrunk >= following.shrink_days
    return replace(followed, shrunk_to=listed), believed


def shrunk_error(followed: Followed, coverage: Coverage, following: Following) -> ListingShrunk:
    """The error for a listing of all that is too short to be believed."""
    lacks = f"{coverage.listed} products; {coverage.expected} were there before"
    if coverage.recent - coverage.recent_listed > coverage.expected - coverage.listed:
        lacks = (
            f"{coverage.recent_listed} of {coverage.recent} products that it listed since the last "
            "listing of all"
        )
    return ListingShrunk(
        f"The catalogue lists only {lacks}. Nothing was concluded from that: no file, and nothing "
        "that is still to be fetched, was given up.",
        hint=f"If that is right, --accept-shrunk believes it at once. Else it is believed when "
        f"it has been so on {following.shrink_days} days; this is day {followed.shrunk}.",
    )


def may_delete(gone: int, here: int, following: Following) -> bool:
    """Whether ``gone`` of ``here`` files may be deleted in one run.

    >>> from noa_async.settings import Following
    >>> may_delete(1, 100, Following()), may_delete(2, 100, Following())
    (True, False)
    """
    return gone <= following.max_delete * here
