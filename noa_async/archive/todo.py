"""A queue of products to download, stored in the ledger; a listing fills it, workers empty it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from noa_async.archive.states import State

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from noa_async.archive.ledger import Ledger
    from noa_async.archive.record import Record

_AT_ONCE = 64


class ToDo:
    """The products that one followed query has to download, each once per run.

    The listing does not wait for the downloads: the queue is on disk and has no limit.
    """

    def __init__(self, ledger: Ledger, query: int) -> None:
        self._ledger = ledger
        self._query = query
        self._more = asyncio.Event()
        self._finished = False

    def grown(self) -> None:
        """Wake the reader: products were added."""
        self._more.set()

    def finish(self) -> None:
        """Declare that no more products will be added in this run."""
        self._finished = True
        self._more.set()

    async def put_back(self, since: float) -> None:
        """Move products that failed since then to the end, so that the next run starts with
        others."""
        failed = f"state = '{State.FAILED}' AND todo IS NOT NULL AND updated >= {since!r}"
        async for record in self._ledger.records(f"query = {self._query} AND {failed}"):
            self._ledger.put(replace(record, todo=self._ledger.next_place()))

    async def records(self) -> AsyncGenerator[Record]:
        """Yield the records in the queue's order, until it is finished and empty."""
        place = 0
        while True:
            finished = self._finished  # read first, so that everything added before is seen below
            self._more.clear()
            records = await self._ledger.todo(self._query, place, _AT_ONCE)
            for record in records:
                assert record.todo is not None
                place = record.todo
                yield record
            if not records:
                if finished:
                    return
                await self._more.wait()
