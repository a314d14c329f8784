"""What the ledger knows beside products: the queries that are followed, and the runs."""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.rows import instant, milliseconds

if TYPE_CHECKING:
    from datetime import datetime

    from noa_async.archive.database import Database
    from noa_async.archive.ledger import Ledger


COMPLETE = "complete"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Followed:
    """A query that a folder follows."""

    number: int
    filter: str
    """The query's ``$filter``; empty where it is everything."""
    watermark: datetime | None = None
    """What was published until then is in the ledger."""
    reconciled: float | None = None
    """When all of the query was listed last; seconds since 1970."""
    tried: float | None = None
    """When a listing of all failed since then, the last time."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run on a folder. Instants are seconds since 1970, UTC."""

    number: int
    verb: str
    query: int | None
    """The number of the query it followed."""
    started: float
    finished: float | None = None
    """None while it runs, and for one that was killed."""
    ending: str | None = None
    """``complete``, ``interrupted``, or the sentence that says what ended it."""
    listed: int = 0
    """Products; of a check, those that it looked at."""
    brought: int = 0
    bytes: int = 0
    failed: int = 0
    """Products; of a check, those that were wrong."""
    removed: int = 0


_RUN = "number, verb, query, started, finished, ending, listed, brought, bytes, failed, removed"


class Journal:
    """The journal in a ledger. Safe for one run at a time, which is all that the lock allows."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def follow(self, filter_: str) -> Followed:
        """The followed query of this filter, new where it is."""
        found = await self._find(filter_)
        if found is None:
            insert = "INSERT INTO queries (filter) VALUES (?)"
            await self._ledger.tell((insert, [(filter_,)]))
            found = await self._find(filter_)
        assert found is not None
        return found

    async def others(self, filter_: str) -> int:
        """How many other queries were followed here."""
        question = "SELECT count(*) FROM queries WHERE filter <> ?"
        found = await self._ledger.ask(lambda database: database.row(question, (filter_,)))
        return int(found[0]) if found else 0

    async def keep(self, followed: Followed) -> None:
        """Keep how far a query is followed, behind the records that stand for it."""
        update = "UPDATE queries SET watermark = ?, reconciled = ?, tried = ? WHERE number = ?"
        mark = milliseconds(followed.watermark)
        values = (mark, followed.reconciled, followed.tried, followed.number)
        await self._ledger.tell((update, [values]))

    async def begin(self, verb: str, query: int | None, now: float) -> Run:
        """Write down that a run begins."""
        last = await self._ledger.ask(lambda database: database.row("SELECT max(number) FROM runs"))
        number = (last[0] if last else None) or 0
        run = Run(number + 1, verb, query, now)
        await self._write(run)
        return run

    async def end(self, run: Run, ending: str, now: float) -> None:
        """Write down how a run ended."""
        await self._write(replace(run, ending=ending, finished=now))

    async def _write(self, run: Run) -> None:
        places = ", ".join("?" for _ in astuple(run))
        upsert = f"INSERT OR REPLACE INTO runs ({_RUN}) VALUES ({places})"  # noqa: S608
        await self._ledger.tell((upsert, [astuple(run)]))

    async def _find(self, filter_: str) -> Followed | None:
        return await self._ledger.ask(
            lambda database: next(
                (one for one in read_followed(database) if one.filter == filter_), None
            )
        )


def read_followed(database: Database) -> list[Followed]:
    """Every query that was followed in a folder."""
    rows = database.rows("SELECT number, filter, watermark, reconciled, tried FROM queries")
    return [Followed(number, text, instant(mark), *when) for number, text, mark, *when in rows]


def read_runs(database: Database, most: int) -> list[Run]:
    """The last runs, the newest first."""
    question = f"SELECT {_RUN} FROM runs ORDER BY number DESC LIMIT ?"  # noqa: S608
    return [Run(*row) for row in database.rows(question, (most,))]
