"""What scripts on top of NOA's own example client import: its names, its calls, no event loop.

A script that has those classes in it, or imports them, takes them from here instead and changes
nothing else. What differs is what went wrong unseen there: a page that fails raises and is never
the end of a list; a download goes on where it was cut, waits out quotas and what is off line, and
is True for the whole, checked product alone.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from noa_async.auth.credentials import Credentials
from noa_async.catalogue.odata import Operator, check_text, number_clause, string_clause
from noa_async.catalogue.query import Query
from noa_async.client import NoaClient
from noa_async.errors import CredentialsRefused, DestinationError, NoaError, QueryError
from noa_async.events import Event, ProductWaiting, TransferRetried
from noa_async.looping import LoopThread
from noa_async.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from noa_async.catalogue.product import Product
    from noa_async.transfer.outcome import Outcome

_T = TypeVar("_T")
_PAGE = 50

log = logging.getLogger(__name__)


class ODataBuilder:
    """The clauses that a filter on attributes is made of."""

    @staticmethod
    def string_attr(name: str, value: str | Sequence[str]) -> str:
        """A text is compared with ``eq``, a list with ``in``. Raises QueryError.

        >>> ODataBuilder.string_attr("orbitDirection", "ASCENDING")[-21:]
        "Value eq 'ASCENDING')"
        """
        values = [value] if isinstance(value, str) else list(value)
        if not values:
            raise QueryError(f"{name} is compared with nothing.", hint="Give a text, or a list.")
        for each in values:
            check_text(each, name)
        return string_clause(name, value if isinstance(value, str) else values)

    @staticmethod
    def double_attr(name: str, value: float, op: Operator) -> str:
        """A number, compared by ``op``: eq, ne, gt, ge, lt or le. Raises QueryError.

        >>> ODataBuilder.double_attr("cloudCover", 20, "le")[-12:]
        'Value le 20)'
        """
        if op not in get_args(Operator):
            known = ", ".join(get_args(Operator))
            raise QueryError(f"{op!r:.20} compares nothing.", hint=f"There are {known}.")
        return number_clause(name, op, value)


class NOAClient:
    """The mirror, for a script: ``NOA_*`` variables say which one, NOA's own by default.

    All calls share one session at the log-in service, which ends with the program.

    What happens is told to the logger of this module, the sentences of NOA's example at the level
    INFO. Give None for both to have user and password looked for as the command line does.

    Error handling: a refused password is not sent again, whatever is called.
    Resources: calls of several threads are done one after another.
    """

    def __init__(self, username: str | None, password: str | None) -> None:
        """Raises SettingsError for a variable that makes no sense; asks nobody."""
        who = Credentials(username, password) if username and password else None
        self._noa = NoaClient(Settings.from_env(), who, observer=_tell, keep_session=True)
        self._found: dict[str, Product] = {}
        self._refused: CredentialsRefused | None = None
        self._known_to_service = False
        self._one_call = threading.Lock()

    def search_complex(
        self,
        mission_rules: Sequence[Mapping[str, Any]] | None,
        footprint_wkt: str | None,
        time_filter: Mapping[str, str | None] | None,
        max_results: int = 1000,
    ) -> list[dict[str, Any]]:
        """The catalogue's entries that match, by sensing time, each Id once.

        Raises NoaError: QueryError before anything is sent, CredentialsError and ServiceError where
        not all pages can be had. What is returned is whole, up to ``max_results``.
        """
        query = Query.from_reference(mission_rules, footprint_wkt, time_filter, limit=max_results)
        return self._run(self._heeding(self._search(query)))

    def download_product(self, product_id: str, filename: str | os.PathLike[str]) -> bool:
        """Bring a product into the file ``filename``; whether it is there, whole and checked.

        Why it is not is told to the logger. Beside the file, ``.noa-async/`` keeps what the next
        call needs to go on; a product that is there already is not fetched again. Of two products
        with one name the later gets 8 characters of its Id, as in any archive: the logger tells.
        """
        try:
            return self._run(self._heeding(self._download(product_id, Path(filename))))
        except NoaError as error:
            log.error("%s is not here: %s", filename, error)  # noqa: TRY400 (it is a sentence)
            return False

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._one_call, LoopThread(self._noa.settings.service.catalogue_url) as loop:
            return loop.run(work)

    async def _heeding(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do it with the client open and logged in; a refusal ends all that comes after it."""
        try:
            if self._refused is not None:
                raise self._refused
            async with self._noa as noa:
                if not self._known_to_service:
                    log.info("Authenticating...")
                    await noa.log_in()
                    log.info("Authentication successful.")
                    self._known_to_service = True
                return await work
        except CredentialsRefused as error:
            if not error.more_tries:  # the log-in's own: the catalogue's may pass
                self._refused = error
            raise
        finally:
            work.close()

    async def _search(self, query: Query) -> list[dict[str, Any]]:
        log.info("Executing Complex Search (with Pagination)...")
        entries: list[dict[str, Any]] = []
        told = 0
        async for product in self._noa.search(query):
            self._found[product.id] = product
            entries.append(dict(product.entry))
            if len(entries) - told == _PAGE:
                told = _tell_page(told, len(entries))
        if told != len(entries) or not entries:
            _tell_page(told, len(entries))
        return entries

    async def _download(self, product_id: str, file: Path) -> bool:
        product = self._found.get(product_id) or await self._noa.product(product_id)
        if product is None:
            log.error("%s is not here: the catalogue has no product %s.", file, product_id)
            return False
        if product.name != file.name:
            product = replace(product, name=file.name)
        outcome = await self._noa.download(product, file.parent)
        if outcome.path is None:
            log.error("%s is not here: %s", file, outcome.error)
            return False
        where = _give_name(outcome.path, file)
        log.info("%s is here and %s (%d bytes).", where, _checked(outcome), outcome.bytes)
        return True


def _tell_page(before: int, now: int) -> int:
    log.info("Fetched %d items (Total: %d)", now - before, now)
    return now


def _tell(event: Event, /) -> None:
    if isinstance(event, TransferRetried):
        log.warning("%s: %s Again in %.1f s.", event.name, event.reason, event.delay)
    elif isinstance(event, ProductWaiting):
        log.warning("%s is off line; asked for again in %.0f s.", event.name, event.delay)


def _checked(outcome: Outcome) -> str:
    return "checked" if outcome.checksum else "whole by its size"


def _give_name(path: Path, file: Path) -> Path:
    """Let a product be found as ``file``; where it is found.

    An archive appends ``.zip`` where the bytes are one: then ``file`` is a second name of the same
    bytes. Raises DestinationError where no such name can be made.
    """
    try:
        if os.path.lexists(file) and path.samefile(file):
            return file
        if os.path.lexists(file) and path.name != f"{file.name}.zip":
            log.warning("%s is another product's, and is kept: this one is %s.", file, path)
            return path
        draft = path.with_name(f".{file.name}.link")
        draft.unlink(missing_ok=True)
        draft.hardlink_to(path)
        draft.replace(file)
    except OSError as error:
        raise DestinationError(f"{path} cannot be named {file}: {error.strerror}.") from error
    return file
