"""The catalogue's questions and answers: pages, counts, single entries."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from noa_async.budget import Budget
from noa_async.catalogue.listing import Listing
from noa_async.catalogue.odata import encode_query
from noa_async.catalogue.pace import Places, is_strain
from noa_async.catalogue.product import Product
from noa_async.errors import (
    CredentialsRefused,
    NoaError,
    ServiceError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)
from noa_async.events import Observer, PageRetried, ignore
from noa_async.excerpts import excerpt
from noa_async.headers import retry_after
from noa_async.origins import same_origin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from noa_async.auth.session import AuthSession
    from noa_async.catalogue.query import Query
    from noa_async.services import Service
    from noa_async.settings import RetryPolicy

_T = TypeVar("_T")

_ENTRY_LIMIT = 64 << 10
"""Bytes of an entry with its attributes and its footprint; most have a tenth of that."""
_SMALLEST_LIMIT, _LARGEST_LIMIT = 4 << 20, 32 << 20
_FIRST_CONTACT_RETRIES = 2
"""A service that never answered is more likely a wrong address than away."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the catalogue."""

    products: tuple[Product, ...]
    next_link: str | None
    count: int | None
    """All matches, where ``$count`` was asked for."""


class Catalogue:
    """What can be asked; ``listings`` is how many pages of listings at once, at the most.

    Error handling: a page that cannot be read is asked for again by the retry policy, then raises;
    a listing never ends early as if it were whole.
    """

    def __init__(
        self,
        session: AuthSession,
        service: Service,
        retry: RetryPolicy,
        *,
        listings: int = 8,
        observer: Observer = ignore,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._service = service
        self._retry = retry
        self._most = listings
        self._places = Places(listings)
        self._observer = observer
        self._sleep = sleep
        self._answered = False

    def value_url(self, product_id: str) -> str:
        """Where a product's bytes are."""
        return f"{self._service.catalogue_url}({product_id})/$value"

    async def count(self, query: Query) -> int:
        """How many products match, by the service's own count; one request.

        Raises ServiceFault where the service does not count.
        """
        count = await self._counted(query.filter)
        if count is None:
            raise ServiceFault("The catalogue did not say how many products match.")
        return count if query.limit is None else min(count, query.limit)

    async def count_or_none(self, filter_: str) -> int | None:
        """How many products match a ``$filter``; None where the service cannot say."""
        try:
            return await self._counted(filter_)
        except ServiceError:
            return None

    async def _counted(self, filter_: str) -> int | None:
        url = self.url({"$filter": filter_, "$top": "1", "$count": "true"})
        return (await self.page(url)).count

    async def probe(self) -> None:
        """Ask for as little as can be, with all retries. Raises ServiceError where none helps."""
        await self._page(self.url({"$top": "1"}))

    async def entry(self, product_id: str) -> Product | None:
        """The product as the catalogue has it now; None where it is gone."""
        try:
            return await self._read(self._entry_url(product_id), read_entry)
        except ServiceRefused:
            return None

    async def has(self, product_id: str) -> bool:
        """Whether the catalogue has a product; False only where it says so."""
        try:
            await self._read(self._entry_url(product_id), read_entry)
        except ServiceRefused as error:
            return error.status not in {404, 410}
        return True

    def _entry_url(self, product_id: str) -> str:
        return f"{self._service.catalogue_url}({product_id})"

    def listing(self, query: Query, *, attributes: bool = False) -> Listing:
        """The products that match, to be gone through once, and what came of it.

        ``attributes`` asks for ``$expand=Attributes`` too: larger answers.
        """
        return Listing(
            self,
            query,
            attributes=attributes,
            at_once=self._most,
            observer=self._observer,
        )

    async def pages(
        self, query: Query, *, attributes: bool = False
    ) -> AsyncGenerator[Sequence[Product]]:
        """The products that match, some at a time, by sensing time, each Id once; see `Listing`."""
        async with aclosing(self.listing(query, attributes=attributes).pages()) as pages:
            async for page in pages:
                yield page

    async def page(self, url: str) -> Page:
        """A page of a list, with all retries; not more at once than the service bears.

        A page keeps its place while it waits to be asked for again: a service in trouble is asked
        less.
        """
        async with self._places.one():
            return await self._page(url)

    @property
    def at_once(self) -> int:
        """How many pages are asked for at once at the moment."""
        return self._places.pace.limit

    @property
    def free(self) -> int:
        """How many more pages could be asked for now without a wait; below 0, some wait."""
        return self._places.pace.limit - self._places.wanted

    def next_link(self, url: str, page: Page) -> str | None:
        """Where the page at ``url`` says the next one is, just as it says it.

        Raises ServiceFault where that is on another host.
        """
        if page.next_link is None:
            return None
        link = _joined(url, page.next_link)
        if link is None or not same_origin(link, self._service.catalogue_url):
            raise ServiceFault(
                "The catalogue's next page is on another host, which is not followed.",
                hint="A wrong catalogue address, such as http for https, can be the reason.",
            )
        return link

    @property
    def _limit(self) -> int:
        """Decoded bytes of an answer that are read at most: parsed, JSON takes many times that."""
        return min(max(_ENTRY_LIMIT * self.page_size, _SMALLEST_LIMIT), _LARGEST_LIMIT)

    @property
    def page_size(self) -> int:
        """Entries asked for at once."""
        return self._service.page_size

    @property
    def expand(self) -> str:
        """What brings a product's attributes, for ``$expand``."""
        return self._service.expand

    def url(self, options: Mapping[str, str]) -> str:
        """The address of a list; empty options are left out."""
        options = {key: value for key, value in options.items() if value}
        return f"{self._service.catalogue_url}?{encode_query(options)}"

    async def _page(self, url: str) -> Page:
        return await self._read(url, read_page)

    async def _read(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """What ``read`` makes of the answer; asked for again while that may help."""
        budget = Budget(self._retry)
        pace = self._places.pace
        attempt = 0
        while True:
            attempt += 1
            epoch = pace.epoch
            try:
                answer = read(await self._ask(url))
            except NoaError as error:
                if is_strain(error):
                    pace.in_trouble(epoch)
                delay = budget.after(error)
                strange = isinstance(error, ServiceUnreachable) and not self._answered
                if delay is None or (strange and attempt > _FIRST_CONTACT_RETRIES):
                    raise
                self._observer(PageRetried(attempt, delay, error.message))
            else:
                pace.went_well()
                return answer
            await self._sleep(delay)

    async def _ask(self, url: str) -> bytes:
        async with self._session.get(url) as response:
            self._answered = True
            status = response.status
            wait = retry_after(response.headers)
            body = await (response.read(self._limit) if status == 200 else response.peek(4096))
        if status == 200:
            return body
        raise catalogue_error(status, body, wait)


def read_entry(body: bytes) -> Product:
    """A product by itself. Raises ServiceFault where it is none."""
    return Product.from_entry(_json_object(body))


def read_page(body: bytes) -> Page:
    """A page of entries. Raises ServiceFault for whatever else came with status 200."""
    document = _json_object(body)
    entries = document.get("value")
    if not isinstance(entries, list):
        raise ServiceFault("The catalogue's answer has no list of products.")
    link = document.get("@odata.nextLink")
    count = str(document.get("@odata.count"))
    return Page(
        products=tuple(map(Product.from_entry, entries)),
        next_link=link if isinstance(link, str) and link else None,
        count=int(count) if re.fullmatch("[0-9]{1,18}", count) else None,
    )


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        start = excerpt(body[:1000].decode(errors="replace"), 80)
        raise ServiceFault(f"The catalogue's answer is not JSON: {start!r}.")
    return document


def _joined(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link)
    except ValueError:
        return None


def catalogue_error(status: int, body: bytes, retry_after: float | None = None) -> NoaError:
    """What a status other than 200 of the catalogue means."""
    said = _message(body)
    if status in {408, 425, 429} or status >= 500:
        fault = ServiceFault(f"The catalogue answered {status}{said}.", retry_after=retry_after)
        fault.status = status
        return fault
    if status in {401, 403}:
        return CredentialsRefused(
            f"The catalogue answered {status} to a fresh token{said}.",
            hint="Check that this account may use this catalogue.",
            more_tries=3,
        )
    hints = {
        400: "It does not understand the filter: check the area and the raw filter; NOA takes no "
        "Name or Collection filters.",
        404: "Check the catalogue address.",
    }
    refused = ServiceRefused(f"The catalogue answered {status}{said}.", hint=hints.get(status, ""))
    refused.status = status
    return refused


def _message(body: bytes) -> str:
    """The sentence in an OData error, or the start of the text, ready to be put behind a status."""
    text = body.decode(errors="replace")
    try:
        error = json.loads(text)["error"]
        text = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        text = "" if "<" in text else text
    said = excerpt(text).rstrip(".")
    return f" ({said})" if said else ""
