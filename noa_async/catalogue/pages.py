"""Listing: pages follow each other by nextLink, each product once, memory flat."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin

from noa_async.budget import Budget
from noa_async.catalogue.odata import encode_query
from noa_async.catalogue.product import Product
from noa_async.catalogue.times import format_instant
from noa_async.errors import (
    CredentialsRefused,
    NoaError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)
from noa_async.events import Observer, PageListed, PageRetried, ignore
from noa_async.excerpts import excerpt
from noa_async.headers import retry_after
from noa_async.origins import same_origin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from noa_async.auth.session import AuthSession
    from noa_async.catalogue.query import Query
    from noa_async.settings import RetryPolicy, Service

_T = TypeVar("_T")

_PAGE_LIMIT = 64 << 20
_REMEMBERED = 20_000
_FIRST_CONTACT_RETRIES = 2
"""A service that never answered is more likely a wrong address than away."""
_ORDER = "ContentDate/Start asc"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the catalogue."""

    products: tuple[Product, ...]
    next_link: str | None
    count: int | None
    """All matches, where ``$count`` was asked for."""


class Catalogue:
    """The catalogue's questions and answers.

    Error handling: a page that cannot be read is asked for again by the retry policy, then raises;
    a listing never ends early as if it were whole.
    """

    def __init__(
        self,
        session: AuthSession,
        service: Service,
        retry: RetryPolicy,
        *,
        observer: Observer = ignore,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._service = service
        self._retry = retry
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
        url = self._url({"$filter": query.filter, "$top": "1", "$count": "true"})
        count = (await self._page(url)).count
        if count is None:
            raise ServiceFault("The catalogue did not say how many products match.")
        return count if query.limit is None else min(count, query.limit)

    async def probe(self) -> None:
        """Ask for as little as can be, with all retries. Raises ServiceError where none helps."""
        await self._page(self._url({"$top": "1"}))

    async def entry(self, product_id: str) -> Product | None:
        """The product as the catalogue has it now; None where it is gone."""
        url = f"{self._service.catalogue_url}({product_id})"
        try:
            return await self._read(url, read_entry)
        except ServiceRefused:
            return None

    async def pages(
        self, query: Query, *, attributes: bool = False
    ) -> AsyncGenerator[Sequence[Product]]:
        """The products that match, a page at a time, by sensing time, each Id once.

        ``attributes`` asks for ``$expand=Attributes`` too: larger answers.
        """
        seen, links = _Recent(_REMEMBERED), _Recent(_REMEMBERED)
        listed = read = 0
        url: str | None = self._first_url(query.filter, attributes)
        last: Product | None = None
        least = 0
        while url is not None:
            page = await self._page(url)
            read += 1
            fresh = [product for product in page.products if seen.add(product.id)]
            if query.limit is not None:
                fresh = fresh[: query.limit - listed]
            listed += len(fresh)
            self._observer(PageListed(pages=read, products=listed))
            if fresh:
                yield fresh
                last = fresh[-1]
            if listed == query.limit:
                return
            url = self._next_url(url, page, query.filter, last if fresh else None, attributes)
            if url is not None and not links.add(url):
                raise ServiceFault(
                    "The catalogue's pages lead in a circle.", hint="Ask for a shorter time."
                )
            if read == 1 and url is not None:
                least = await self._count_or_nothing(query)
        if listed < least and listed < await self._count_or_nothing(query):
            raise ServiceFault(
                f"The catalogue listed {listed} products of the {least} it counts.",
                hint="What was listed is whole; start again, or ask for a shorter time.",
            )

    async def _count_or_nothing(self, query: Query) -> int:
        """The service's count; 0 where it does not count."""
        try:
            return await self.count(query)
        except ServiceFault:
            return 0

    def _next_url(
        self, url: str, page: Page, filter_: str, last: Product | None, attributes: bool
    ) -> str | None:
        """Where to go on. A full page with no link may be a silent limit: go on by its last date.

        The instant of that date is taken whole again, for many products can share it.
        """
        if page.next_link is not None:
            link = _joined(url, page.next_link)
            if link is None or not same_origin(link, self._service.catalogue_url):
                raise ServiceFault(
                    "The catalogue's next page is on another host, which is not followed.",
                    hint="A wrong catalogue address, such as http for https, can be the reason.",
                )
            return link
        full = len(page.products) >= self._service.page_size
        if not full or last is None or last.sensing_start is None:
            return None
        onwards = f"ContentDate/Start ge {format_instant(last.sensing_start)}"
        return self._first_url(f"({filter_}) and {onwards}" if filter_ else onwards, attributes)

    def _first_url(self, filter_: str, attributes: bool) -> str:
        options = {
            "$filter": filter_,
            "$orderby": _ORDER,
            "$top": str(self._service.page_size),
        }
        return self._url(options | ({"$expand": "Attributes"} if attributes else {}))

    def _url(self, options: Mapping[str, str]) -> str:
        options = {key: value for key, value in options.items() if value}
        return f"{self._service.catalogue_url}?{encode_query(options)}"

    async def _page(self, url: str) -> Page:
        return await self._read(url, read_page)

    async def _read(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """What ``read`` makes of the answer; asked for again while that may help."""
        budget = Budget(self._retry)
        attempt = 0
        while True:
            attempt += 1
            try:
                return read(await self._ask(url))
            except NoaError as error:
                delay = budget.after(error)
                strange = isinstance(error, ServiceUnreachable) and not self._answered
                if delay is None or (strange and attempt > _FIRST_CONTACT_RETRIES):
                    raise
                self._observer(PageRetried(attempt, delay, error.message))
            await self._sleep(delay)

    async def _ask(self, url: str) -> bytes:
        async with self._session.get(url) as response:
            self._answered = True
            status = response.status
            wait = retry_after(response.headers)
            body = await (response.read(_PAGE_LIMIT) if status == 200 else response.peek(4096))
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
        return ServiceFault(f"The catalogue answered {status}{said}.", retry_after=retry_after)
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
    return ServiceRefused(f"The catalogue answered {status}{said}.", hint=hints.get(status, ""))


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


class _Recent:
    """The last Ids met: pages shift and repeat while products come in, but not by far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids: dict[str, None] = {}

    def add(self, key: str) -> bool:
        """Whether ``key`` is new."""
        if key in self._ids:
            return False
        self._ids[key] = None
        if len(self._ids) > self._size:
            del self._ids[next(iter(self._ids))]
        return True
