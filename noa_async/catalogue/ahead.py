"""Prefetch catalogue pages while the links to the next page follow a regular ``$skip`` sequence."""

from __future__ import annotations

import asyncio
import re
from itertools import chain
from typing import TYPE_CHECKING, Self

from noa_async.tasks import end_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noa_async.catalogue.page import Page
    from noa_async.catalogue.pages import Catalogue

_SKIP = re.compile(r"(?:\$|%24)skip=([0-9]{1,9})(?![0-9])", re.IGNORECASE)


def following(before: str, link: str, count: int) -> Iterator[str]:
    """Yield the links expected after ``link``, if ``$skip`` grows regularly from ``before`` to it.

    ``count``: the number of products; no link beyond it is yielded.

    >>> list(following("Products?$skip=50&$top=50", "Products?$skip=100&$top=50", 201))
    ['Products?$skip=150&$top=50', 'Products?$skip=200&$top=50']
    >>> list(following("Products?$skip=50", "Products?$skiptoken=Q29weQ", 201))
    []
    """
    here, there = _SKIP.search(link), _SKIP.search(before)
    if here is None:
        return
    at = int(here[1])
    step = at - (int(there[1]) if there is not None else 0)
    if step <= 0:
        return
    for skip in range(at + step, count, step):
        yield f"{link[: here.start(1)]}{skip}{link[here.end(1) :]}"


class PagesAhead:
    """The pages of one window, some of them requested before the pages that link to them arrive.

    A prefetched page is used only if a link then names exactly its URL; the first link that names
    another one ends the prefetching. No more pages are prefetched than there are free permits.

    Error handling: an error of a prefetched page is raised when that page is read, otherwise never.
    Resources: a context manager; leaving it cancels the requests in flight.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._requested: dict[str, asyncio.Task[Page]] = {}
        self._predictable = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._drop()

    def begin(self, before: str, link: str, count: int) -> None:
        """Request ``link`` and, if there are free permits, the pages expected after it."""
        self._predictable = self._predictable and (link in self._requested or not self._requested)
        if not self._predictable:
            return
        room = min(self._catalogue.free, self._catalogue.at_once - len(self._requested))
        for url in chain((link,), following(before, link, count)):
            if url in self._requested:
                continue
            if room <= 0 and url != link:
                break
            self._requested[url] = asyncio.create_task(self._catalogue.page(url))
            room -= 1

    async def end(self) -> None:
        """Stop prefetching and discard the pages prefetched so far."""
        self._predictable = False
        await self._drop()

    async def page(self, url: str) -> Page:
        """Return the page at ``url``, as ``Catalogue.page`` does."""
        task = self._requested.pop(url, None)
        if task is not None:
            return await task
        await self._drop()
        return await self._catalogue.page(url)

    async def _drop(self) -> None:
        tasks = list(self._requested.values())
        self._requested.clear()
        await end_tasks(*tasks)
        for task in tasks:
            task.cancelled() or task.exception()  # what was asked for ahead may fail unseen
