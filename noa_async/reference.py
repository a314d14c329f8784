"""A drop-in replacement for NOA's own example client: the same synchronous classes and calls.

A script that defines or imports those classes can import them from here without other changes.
Unlike the original, a failed page raises an error instead of ending the list, and downloads are
resumed, wait for quotas and offline products, and return True only for a complete product that
passed its check.
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
    """Build OData conditions on attributes."""

    @staticmethod
    def string_attr(name: str, value: str | Sequence[str]) -> str:
        """Compare a string attribute with a text (``eq``) or a list (``in``). Raise QueryError.

        >>> ODataBuilder.string_attr("orbitDirection", "ASCENDING")[-21:]
        "Value eq 'ASCENDING')"
        """
        values = [value] if isinstance(value, str) else list(value)
        if not values:
            raise QueryError(f"No value to compare {name} with.", hint="Pass a string or a list.")
        for each in values:
            check_text(each, name)
        return string_clause(name, value if isinstance(value, str) else values)

    @staticmethod
    def double_attr(name: str, value: float, op: Operator) -> str:
        """Compare a number attribute by ``op``: eq, ne, gt, ge, lt or le. Raise QueryError.

        >>> ODataBuilder.double_attr("cloudCover", 20, "le")[-12:]
        'Value le 20)'
        """
        if op not in get_args(Operator):
            known = ", ".join(get_args(Operator))
            raise QueryError(f"Unknown operator {op!r:.20}.", hint=f"Operators: {known}.")
        return number_clause(name, op, value)


class NOAClient:
    """A synchronous client for scripts. ``NOA_*`` variables select the service, NOA by default.

    All calls share one session at the log-in service, which ends with the process.

    Messages go to the logger of this module; those of NOA's example have the level INFO. Pass None
    for both arguments to look up user name and password like the command line does.

    Error handling: a refused password is never sent again.
    Resources: calls of several threads run one after another.
    """

    def __init__(self, username: str | None, password: str | None) -> None:
        """Raise SettingsError if a variable is invalid. No request is made."""
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
        """Return the matching catalogue entries, sorted by sensing time and unique by Id.

        Raise QueryError before anything is sent if the query is invalid; raise CredentialsError or
        ServiceError if a page cannot be obtained. The result is complete up to ``max_results``.
        """
        query = Query.from_reference(mission_rules, footprint_wkt, time_filter, limit=max_results)
        return self._run(self._logged_in(self._search(query)))

    def download_product(self, product_id: str, filename: str | os.PathLike[str]) -> bool:
        """Download a product to ``filename``; return whether it is complete and passed its check.

        The reason for a failure is logged. ``.noa-async/`` beside the file keeps the state for
        resuming, and a product that is already present is not downloaded again. If two products
        have the same name, 8 characters of its Id are added to the later one, which is logged.
        """
        try:
            return self._run(self._logged_in(self._download(product_id, Path(filename))))
        except NoaError as error:
            log.error("%s was not downloaded: %s", filename, error)  # noqa: TRY400 (the message suffices)
            return False

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._one_call, LoopThread(self._noa.settings.service.catalogue_url) as loop:
            return loop.run(work)

    async def _logged_in(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run ``work`` with the client open and logged in. After a refusal every call raises it."""
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
            if not error.more_tries:  # refused by the log-in service, not by the catalogue
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
            log.error("%s was not downloaded: the catalogue has no product %s.", file, product_id)
            return False
        if product.name != file.name:
            product = replace(product, name=file.name)
        outcome = await self._noa.download(product, file.parent)
        if outcome.path is None:
            log.error("%s was not downloaded: %s", file, outcome.error)
            return False
        where = _give_name(outcome.path, file)
        log.info("%s is complete and %s (%d bytes).", where, _checked(outcome), outcome.bytes)
        return True


def _tell_page(before: int, now: int) -> int:
    log.info("Fetched %d items (Total: %d)", now - before, now)
    return now


def _tell(event: Event, /) -> None:
    if isinstance(event, TransferRetried):
        log.warning("%s: %s Retry in %.1f s.", event.name, event.reason, event.delay)
    elif isinstance(event, ProductWaiting):
        log.warning("%s is offline; retry in %.0f s.", event.name, event.delay)


def _checked(outcome: Outcome) -> str:
    return "its checksum is correct" if outcome.checksum else "its size is correct"


def _give_name(path: Path, file: Path) -> Path:
    """Make a product available as ``file`` and return its path.

    An archive appends ``.zip`` to the names of zip files: then ``file`` becomes a hard link to it.
    Raise DestinationError if the link cannot be created.
    """
    try:
        if os.path.lexists(file) and path.samefile(file):
            return file
        if os.path.lexists(file) and path.name != f"{file.name}.zip":
            log.warning("%s belongs to another product and is kept: this one is %s.", file, path)
            return path
        draft = path.with_name(f".{file.name}.link")
        draft.unlink(missing_ok=True)
        draft.hardlink_to(path)
        draft.replace(file)
    except OSError as error:
        raise DestinationError(f"Cannot link {file} to {path}: {error.strerror}.") from error
    return file
