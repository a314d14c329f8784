"""Probe the catalogue before a download: how much a query matches, or why it matches nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noa_async.archive.layout import facets
from noa_async.catalogue.addresses import fitted
from noa_async.catalogue.known import doubts
from noa_async.catalogue.moments import TimeRelation
from noa_async.catalogue.query import Query
from noa_async.catalogue.swapping import swapped
from noa_async.cli.conditions import Found, asking, conditions
from noa_async.cli.spread import (
    OTHER,
    SAMPLE,
    SHORT,
    Amounts,
    cells,
    estimated,
    last_of,
    mean,
    mission_filter,
    missions,
)
from noa_async.cli.text import number_of
from noa_async.cli.words import area_words
from noa_async.errors import ServiceError
from noa_async.events import Event, PageListed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from noa_async.catalogue.product import Product
    from noa_async.client import NoaClient


class Sounder:
    """Query the catalogue and count the requests made.

    It must also be an observer of the client it uses, from whose events it counts pages.

    Error handling: raises the errors of the client.
    """

    def __init__(self) -> None:
        self.requests = 0
        """Requests made to the catalogue, not counting retries."""
        self._counts: dict[str, int] = {}
        self._pages = 0

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, PageListed):
            self.requests += event.pages - (self._pages if event.pages > self._pages else 0)
            self._pages = event.pages

    async def count(self, noa: NoaClient, query: Query) -> int:
        """Return the number of matching products, ignoring the limit; results are cached."""
        if query.filter not in self._counts:
            self.requests += 1
            self._counts[query.filter] = await noa.count(replace(query, limit=None))
        return self._counts[query.filter]

    async def counts(self, noa: NoaClient, queries: Iterable[Query]) -> list[int]:
        """Count several queries concurrently, as far as the client allows."""
        each = list(queries)
        async with asyncio.TaskGroup() as group:
            for query in {query.filter: query for query in each}.values():
                group.create_task(self.count(noa, query))
        return [self._counts[query.filter] for query in each]

    async def spread(self, noa: NoaClient, query: Query, total: int) -> Amounts:
        """Return how the query's ``total`` products are distributed over missions and months.

        Raise QueryError if the URL has no room for a mission or month.
        """
        if total <= SHORT:
            return await self._listed(noa, query)
        samples = {
            mission: await self._sample(noa, mission_filter(query, mission))
            for mission in missions(query)
        }
        met = [each for sample in samples.values() for each in sample]
        instants = [each.sensing_start for each in met if each.sensing_start is not None]
        last = last_of(query, datetime.now(UTC))
        first = min(instants, default=query.content.start or last)
        if query.content.start is not None and query.time is not TimeRelation.TOUCHES:
            first = query.content.start
        parts = [cell for cell in cells(query, first, last) if samples[cell.mission]]
        for part in parts:
            fitted(Query(raw=part.filter), noa.settings.service)
        counts = await self.counts(noa, (Query(raw=part.filter) for part in parts))
        means = {
            mission: mean(each.size or 0 for each in sample) for mission, sample in samples.items()
        }
        return estimated(parts, counts, means, total, len(met))

    async def _listed(self, noa: NoaClient, query: Query) -> Amounts:
        amounts = Amounts()
        async with aclosing(noa.search(replace(query, limit=None))) as found:
            async for product in found:
                start = product.sensing_start
                span = f"{start:%Y-%m}" if start else ""
                mission = facets(product)["platform"] or OTHER
                amounts.add(mission, span, 1, product.size or 0)
        return amounts

    async def _sample(self, noa: NoaClient, filter_: str) -> list[Product]:
        async with aclosing(noa.search(Query(raw=filter_, limit=SAMPLE))) as found:
            return [product async for product in found]

    async def take_apart(self, noa: NoaClient, query: Query) -> list[Found]:
        """Count the products that match each condition alone, and those that match all others."""
        parts = conditions(query)
        if len(parts) == 1:
            return [Found(parts[0], 0, 0)]
        alone = [asking([part]) for part in parts]
        others = [asking([other for other in parts if other is not part]) for part in parts]
        counts = await self.counts(noa, alone + others)
        half = len(parts)
        return [Found(*each) for each in zip(parts, counts[:half], counts[half:], strict=True)]

    async def exchange(self, noa: NoaClient, query: Query) -> str:
        """Return a hint if a query would match with the area's latitude and longitude swapped.

        Return an empty string if it would match nothing.
        """
        area = None if query.roi is None else swapped(query.roi)
        count = 0 if area is None else await self.count(noa, replace(query, roi=area))
        if area is None or not count:
            return ""
        return (
            "The area may have latitude and longitude swapped: "
            f"{number_of(count, 'product')} {'matches' if count == 1 else 'match'} "
            f"{area_words(area)}."
        )


async def reasons(noa: NoaClient, query: Query) -> list[str]:
    """Return likely errors in a query that matches nothing, using at most one request.

    A failure of this request is ignored.
    """
    try:
        exchanged = await Sounder().exchange(noa, query)
    except ServiceError:
        exchanged = ""
    spellings = noa.settings.service.habits.spellings
    return [*doubts(query.rules, spellings), *([exchanged] if exchanged else [])]
