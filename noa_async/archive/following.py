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

    | watermark | reconciled                     | plan               |
    |-----------|--------------------------------|--------------------|
    | none      |                                | all                |
    | there     | never, too long ago, asked for | all                |
    | there     | lately                         | since the overlap  |
    """
    reconciled, mark = followed.reconciled, followed.watermark
    due = reconciled is None or now - reconciled >= following.reconcile_every.total_seconds()
    if mark is None or due or reconcile:
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
