"""How a folder follows a query: what to ask for, how far the watermark moves, what may go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noa_async.catalogue.moments import TimeRange

if TYPE_CHECKING:
    from noa_async.archive.journal import Followed
    from noa_async.catalogue.query import Query
    from noa_async.settings import Following

_TRY_ALL_EVERY = 20 * 3600.0
"""Seconds: a listing of all that failed is not tried again before. Less than a day, so that a timer
that fires each night, not always on time, tries each night."""


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

    | watermark | asked for all | reconciled          | a listing of all | plan              |
    |-----------|---------------|---------------------|------------------|-------------------|
    | none      |               |                     |                  | all               |
    | there     | yes           |                     |                  | all               |
    | there     | no            | never, too long ago | failed not today | all               |
    | there     | no            | never, too long ago | failed lately    | since the overlap |
    | there     | no            | lately              |                  | since the overlap |
    """
    reconciled, tried, mark = followed.reconciled, followed.tried, followed.watermark
    due = reconciled is None or now - reconciled >= following.reconcile_every.total_seconds()
    failed_lately = tried is not None and now - tried < _TRY_ALL_EVERY
    if mark is None or reconcile or (due and not failed_lately):
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


def may_delete(gone: int, known: int, following: Following) -> bool:
    """Whether ``gone`` of ``known`` products may be deleted in one run.

    >>> from noa_async.settings import Following
    >>> may_delete(1, 100, Following()), may_delete(2, 100, Following())
    (True, False)
    """
    return gone <= following.max_delete * known
