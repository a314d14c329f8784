"""Pages asked for before a link leads to them, where links have been seen to count on."""

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
    """The links after ``link``, if they go on as from the page at ``before`` to it.

    ``count``: products that there are; past it lies nothing.

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
    """The pages of one window, some of them asked for while those before are still awaited.

    What comes ahead is used where a link then leads to just that address, so that no page is used
    that no link named; the first link that leads elsewhere ends it. As many are asked for as there
    are places free.

    Error handling: an error of a page is raised where that page is asked for, else not at all.
    Resources: a context manager; leaving it ends what is under way.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._asked: dict[str, asyncio.Task[Page]] = {}
        self._counts_on = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._drop()

    def begin(self, before: str, link: str, count: int) -> None:
        """Ask for ``link``, and where there are places for what will follow it."""
        self._counts_on = self._counts_on and (link in self._asked or not self._asked)
        if not self._counts_on:
            return
        room = min(self._catalogue.free, self._catalogue.at_once - len(self._asked))
        for url in chain((link,), following(before, link, count)):
            if url in self._asked:
                continue
            if room <= 0 and url != link:
                break
            self._asked[url] = asyncio.create_task(self._catalogue.page(url))
            room -= 1

    async def end(self) -> None:
        """Ask for nothing ahead any more, and use nothing that was."""
        self._counts_on = False
        await self._drop()

    async def page(self, url: str) -> Page:
        """The page at ``url``, as ``Catalogue.page``."""
        task = self._asked.pop(url, None)
        if task is not None:
            return await task
        await self._drop()
        return await self._catalogue.page(url)

    async def _drop(self) -> None:
        tasks = list(self._asked.values())
        self._asked.clear()
        await end_tasks(*tasks)
        for task in tasks:
            task.cancelled() or task.exception()  # what was asked for ahead may fail unseen
