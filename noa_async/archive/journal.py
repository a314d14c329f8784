"""Store followed queries and runs in the ledger."""

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
    """The query's ``$filter``; empty if it matches everything."""
    watermark: datetime | None = None
    """Products published until this time are in the ledger."""
    reconciled: float | None = None
    """When the whole query was last listed."""
    tried: float | None = None
    """When a full listing last failed since then."""
    listed: int | None = None
    """Number of products in the last complete full listing."""
    full_run: int | None = None
    """The run that made that listing."""
    shrunk: int = 0
    """Number of days in a row on which a full listing was too short to be trusted."""
    shrunk_at: float | None = None
    """When a day in ``shrunk`` was last counted."""
    shrunk_to: int | None = None
    """Number of products in the last listing that was too short."""
    held: int = 0
    """Number of files that the last full listing would have deleted, if they had not been too
    many."""
    service: str = ""
    """The service, as ``service_key`` returns it; empty if an older version, which did not store
    it, last followed the query."""

    def as_of(self, now: float) -> Followed:
        """Return a copy without times in the future, which count as never."""
        mark = self.watermark
        return replace(
            self,
            watermark=None if mark is not None and mark.timestamp() > now else mark,
            reconciled=past(self.reconciled, now),
            tried=past(self.tried, now),
            shrunk_at=past(self.shrunk_at, now),
        )


def past(instant: float | None, now: float) -> float | None:
    """Return a stored instant; None if it is in the future.

    >>> past(5.0, 10.0), past(15.0, 10.0), past(None, 10.0)
    (5.0, None, None)
    """
    return None if instant is None or instant > now else instant


def service_key(catalogue_url: str) -> str:
    """Return the key of a service: its catalogue's URL in a normal form.

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
    """None while it runs, and for a run that was killed."""
    ending: str | None = None
    """``complete``, ``interrupted``, or the message of the error that ended it."""
    listed: int = 0
    """Number of products listed; for a verification, files examined."""
    brought: int = 0
    bytes: int = 0
    failed: int = 0
    """Number of products that failed; for a verification, files that were wrong."""
    removed: int = 0


QUERY = tuple(field.name for field in fields(Followed))
"""The columns of a followed query."""
_KEPT = tuple(name for name in QUERY if name not in {"number", "filter", "service"})
_RUN = "number, verb, query, started, finished, ending, listed, brought, bytes, failed, removed"


class Journal:
    """Access to the followed queries and runs in a ledger. For one run at a time, as the lock
    ensures."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def follow(self, filter_: str, service: str = "") -> Followed:
        """Return the followed query with this filter at this service; create it if it is new.

        A query followed by an older version, which did not store the service, is taken to be of
        this service, and is listed completely again.
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
        """Return the followed query with this number."""
        every = await self._ledger.ask(read_followed)
        return next(one for one in every if one.number == number)

    async def others(self, filter_: str, service: str = "") -> int:
        """Return how many other queries were followed here, including the same one at another
        service."""
        question = "SELECT count(*) FROM queries WHERE filter <> ? OR service <> ?"
        values = (filter_, service)
        found = await self._ledger.ask(lambda database: database.row(question, values))
        return int(found[0]) if found else 0

    async def keep(self, followed: Followed) -> None:
        """Store the progress of a query, after the records that it depends on."""
        held = dict(zip(QUERY, query_values(followed), strict=True))
        update = f"UPDATE queries SET {', '.join(f'{name} = ?' for name in _KEPT)} WHERE number = ?"  # noqa: S608 (of ours)
        await self._ledger.tell((update, [(*(held[name] for name in _KEPT), followed.number)]))

    async def begin(self, verb: str, query: int | None, now: float) -> Run:
        """Store that a run starts. Return it."""
        last = await self._ledger.ask(lambda database: database.row("SELECT max(number) FROM runs"))
        number = (last[0] if last else None) or 0
        run = Run(number + 1, verb, query, now)
        await self._write(run)
        return run

    async def end(self, run: Run, ending: str, now: float) -> None:
        """Store how a run ended."""
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
    """Return all queries that were followed in a folder."""
    rows = database.rows(f"SELECT {', '.join(QUERY)} FROM queries")  # noqa: S608 (of ours)
    return [Followed(number, text, instant(mark), *rest) for number, text, mark, *rest in rows]


def query_values(followed: Followed) -> tuple[Any, ...]:
    """Return the values of the columns in ``QUERY``."""
    values = {field.name: getattr(followed, field.name) for field in fields(followed)}
    return tuple((values | {"watermark": milliseconds(followed.watermark)}).values())


def read_runs(database: Database, most: int) -> list[Run]:
    """Return the last runs, newest first."""
    question = f"SELECT {_RUN} FROM runs ORDER BY number DESC LIMIT ?"  # noqa: S608
    return [Run(*row) for row in database.rows(question, (most,))]
