"""What the ledger knows beside products: the queries that are followed, and the runs."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from noa_async.archive.rows import instant, milliseconds

if TYPE_CHECKING:
    from datetime import datetime

    from noa_async.archive.database import Database
    from noa_async.archive.ledger import Ledger


COMPLETE = "complete"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Followed:
    """A query that a folder follows at one service. Instants are seconds since 1970."""

    number: int
    filter: str
    """The query's ``$filter``; empty where it is everything."""
    watermark: datetime | None = None
    """What was published until then is in the ledger."""
    reconciled: float | None = None
    """When all of the query was listed last."""
    tried: float | None = None
    """When a listing of all failed since then, the last time."""
    listed: int | None = None
    """Products in the last complete listing of all."""
    full_run: int | None = None
    """The run that made that listing."""
    shrunk: int = 0
    """Days on which a listing of all was far shorter than that, in a row."""
    shrunk_at: float | None = None
    """When such a day was last counted."""
    shrunk_to: int | None = None
    """Products in the last such listing."""
    held: int = 0
    """Files that the last listing of all would have had deleted, had they not been too many."""
    service: str = ""
    """The service, as of ``service_key``; empty if a version that did not write it down followed
    the query last."""

    def as_of(self, now: float) -> Followed:
        """The same without the instants that lie ahead of the clock: they count as never."""
        mark = self.watermark
        return replace(
            self,
            watermark=None if mark is not None and mark.timestamp() > now else mark,
            reconciled=past(self.reconciled, now),
            tried=past(self.tried, now),
            shrunk_at=past(self.shrunk_at, now),
        )


def past(instant: float | None, now: float) -> float | None:
    """An instant that was written down; None if it lies ahead of the clock.

    >>> past(5.0, 10.0), past(15.0, 10.0), past(None, 10.0)
    (5.0, None, None)
    """
    return None if instant is None or instant > now else instant


def service_key(catalogue_url: str) -> str:
    """What a service is known by: its catalogue's address, in one of the ways to write it.

    >>> service_key("https://Sentinels.space.noa.gr:443/catalogue/odata/v1/Products/")
    'https://sentinels.space.noa.gr/catalogue/odata/v1'
    """
    parts = urlsplit(catalogue_url)
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in {None, usual} else f":{parts.port}"
    path = parts.path.rstrip("/").removesuffix("/Products")
    return f"{parts.scheme}://{parts.hostname or ''}{port}{path}"


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


QUERY = tuple(field.name for field in fields(Followed))
"""The columns of a followed query."""
_KEPT = tuple(name for name in QUERY if name not in {"number", "filter", "service"})
_RUN = "number, verb, query, started, finished, ending, listed, brought, bytes, failed, removed"


class Journal:
    """The journal in a ledger. Safe for one run at a time, which is all that the lock allows."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def follow(self, filter_: str, service: str = "") -> Followed:
        """The followed query of this filter at this service, new if it is.

        A query that an older version followed, which did not write the service down, is taken for
        one of this service; all of it is listed again.
        """
        found = await self._find(filter_, service)
        if found is None:
            of_old = "filter = ? AND service = ''"
            adopt = f"UPDATE queries SET service = ?, reconciled = NULL WHERE {of_old}"  # noqa: S608
            insert = "INSERT OR IGNORE INTO queries (filter, service) VALUES (?, ?)"
            await self._ledger.tell((adopt, [(service, filter_)]), (insert, [(filter_, service)]))
            found = await self._find(filter_, service)
        assert found is not None
        return found

    async def followed(self, number: int) -> Followed:
        """The followed query of this number."""
        every = await self._ledger.ask(read_followed)
        return next(one for one in every if one.number == number)

    async def others(self, filter_: str, service: str = "") -> int:
        """How many other queries were followed here, or the same at another service."""
        question = "SELECT count(*) FROM queries WHERE filter <> ? OR service <> ?"
        values = (filter_, service)
        found = await self._ledger.ask(lambda database: database.row(question, values))
        return int(found[0]) if found else 0

    async def keep(self, followed: Followed) -> None:
        """Keep how far a query is followed, behind the records that stand for it."""
        held = dict(zip(QUERY, query_values(followed), strict=True))
        update = f"UPDATE queries SET {', '.join(f'{name} = ?' for name in _KEPT)} WHERE number = ?"  # noqa: S608 (of ours)
        await self._ledger.tell((update, [(*(held[name] for name in _KEPT), followed.number)]))

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

    async def _find(self, filter_: str, service: str) -> Followed | None:
        return await self._ledger.ask(
            lambda database: next(
                (
                    one
                    for one in read_followed(database)
                    if (one.filter, one.service) == (filter_, service)
                ),
                None,
            )
        )


def read_followed(database: Database) -> list[Followed]:
    """Every query that was followed in a folder."""
    rows = database.rows(f"SELECT {', '.join(QUERY)} FROM queries")  # noqa: S608 (of ours)
    return [Followed(number, text, instant(mark), *rest) for number, text, mark, *rest in rows]


def query_values(followed: Followed) -> tuple[Any, ...]:
    """The columns of ``QUERY``."""
    values = {field.name: getattr(followed, field.name) for field in fields(followed)}
    return tuple((values | {"watermark": milliseconds(followed.watermark)}).values())


def read_runs(database: Database, most: int) -> list[Run]:
    """The last runs, the newest first."""
    question = f"SELECT {_RUN} FROM runs ORDER BY number DESC LIMIT ?"  # noqa: S608
    return [Run(*row) for row in database.rows(question, (most,))]
