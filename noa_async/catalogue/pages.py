"""The client of the catalogue: pages, counts, single entries."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from noa_async.answers import Meaning, Sender, classify
from noa_async.budget import Budget
from noa_async.catalogue.addresses import fitted, list_address
from noa_async.catalogue.links import next_address
from noa_async.catalogue.listing import Listing
from noa_async.catalogue.pace import Places, is_strain
from noa_async.catalogue.page import read_entry, read_page
from noa_async.catalogue.refusals import catalogue_error, may_refuse_order
from noa_async.errors import (
    NoaError,
    ServiceError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)
from noa_async.events import Observer, PageRetried, ignore
from noa_async.origins import same_origin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from noa_async.answers import Refusal
    from noa_async.auth.session import AuthSession
    from noa_async.catalogue.page import Page
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.catalogue.windows import Axis
    from noa_async.services import Service
    from noa_async.settings import RetryPolicy

_T = TypeVar("_T")

_MESSAGE_LIMIT = 64 << 10
_ENTRY_LIMIT = 64 << 10
"""Maximum bytes of an entry with its attributes and footprint; most have a tenth of that."""
_SMALLEST_LIMIT, _LARGEST_LIMIT = 4 << 20, 32 << 20
_FIRST_CONTACT_RETRIES = 2
"""Retries of a service that has never answered: its address is probably wrong."""
_READ = frozenset({200, 203})
_GONE = frozenset({404, 410})
_TIES = ",Id asc"
"""Secondary sort key: without it, products with the same time may change their order between
pages."""
_TIES_IN_ADDRESS = quote(_TIES, safe=",")


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response, read completely."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    """The URL that answered, after redirects."""
    token: str | None
    """The token sent with the request."""
    had_token: bool
    """Whether the host that answered got the token."""
    reason: str


class Catalogue:
    """The client of the catalogue; ``listings`` is the maximum number of concurrent page requests.

    Error handling: a failed request is repeated as the retry policy allows, then its error is
    raised; a listing never ends early without an error.
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
        self._listed = False
        """Whether a page was read: then the address is right, and a rejected request may be
        retried."""
        self._orders_ties: bool | None = None if service.order_ties else False
        """Whether the service can sort by Id as well; None while that is unknown."""

    def value_url(self, product_id: str) -> str:
        """Return the URL of a product's bytes."""
        return f"{self._service.catalogue_url}({product_id})/$value"

    async def count(self, query: Query) -> int:
        """Return how many products match, by the service's count, with one request.

        Raise ServiceFault if the service does not count, QueryError if the query needs a longer URL
        than the service accepts.
        """
        count = await self._counted(fitted(query, self._service).filter)
        if count is None:
            raise ServiceFault("The catalogue did not say how many products match.")
        return count if query.limit is None else min(count, query.limit)

    async def count_or_none(self, filter_: str) -> int | None:
        """Return how many products match a ``$filter``; None if the service cannot say."""
        try:
            return await self._counted(filter_)
        except ServiceError:
            return None

    async def _counted(self, filter_: str) -> int | None:
        url = self.url({"$filter": filter_, "$top": "1", "$count": "true"})
        return (await self.page(url)).count

    async def probe(self) -> None:
        """Send the smallest possible request, with retries. Raise ServiceError if it fails."""
        await self._page(self.url({"$top": "1"}))

    async def entry(self, product_id: str) -> Product | None:
        """Return the current entry of a product; None if the catalogue no longer has it."""
        try:
            return await self._read(self._entry_url(product_id), read_entry)
        except ServiceRefused:
            return None

    async def has(self, product_id: str) -> bool:
        """Return whether the catalogue has a product; False only if it answers 404 or 410."""
        try:
            await self._read(self._entry_url(product_id), read_entry)
        except ServiceRefused as error:
            return error.status not in _GONE
        return True

    def _entry_url(self, product_id: str) -> str:
        return f"{self._service.catalogue_url}({product_id})"

    def listing(
        self, query: Query, *, attributes: bool = False, attributes_optional: bool = False
    ) -> Listing:
        """Return the listing of a query, which can be iterated once.

        ``attributes``: request ``$expand=Attributes`` too, for larger responses. If they are
        optional and the service rejects that, the listing goes on without them. Raise QueryError if
        the query needs longer URLs than the service accepts.
        """
        return Listing(
            self,
            fitted(query, self._service),
            attributes=attributes,
            attributes_optional=attributes_optional,
            at_once=self._most,
            observer=self._observer,
        )

    async def pages(
        self, query: Query, *, attributes: bool = False
    ) -> AsyncGenerator[Sequence[Product]]:
        """Yield the products that match in batches, by sensing time, each Id once; see
        `Listing`."""
        async with aclosing(self.listing(query, attributes=attributes).pages()) as pages:
            async for page in pages:
                yield page

    async def page(self, url: str) -> Page:
        """Return a page of a list, with retries; limits the number of concurrent requests.

        A page keeps its permit while it waits for a retry, so an overloaded service gets fewer
        requests.
        """
        async with self._places.one():
            return await self._page(url)

    @property
    def at_once(self) -> int:
        """The current limit of concurrent page requests."""
        return self._places.pace.limit

    @property
    def free(self) -> int:
        """Number of pages that could be requested now without waiting; negative if some already
        wait."""
        return self._places.pace.limit - self._places.wanted

    def next_link(self, url: str, page: Page) -> str | None:
        """Return the URL of the page after the one at ``url``; see ``next_address``."""
        if page.next_link is None:
            return None
        return next_address(url, page.next_link, self._service.catalogue_url)

    @property
    def orders_ties(self) -> bool:
        """Whether products with the same time have the same order on each page."""
        return self._orders_ties is not False

    def order(self, axis: Axis) -> str:
        """Return the value of ``$orderby`` for a listing along ``axis``."""
        return f"{axis} asc{_TIES if self.orders_ties else ''}"

    @property
    def _limit(self) -> int:
        """Maximum decoded size of a response; parsed JSON takes many times that in memory."""
        return min(max(_ENTRY_LIMIT * self.page_size, _SMALLEST_LIMIT), _LARGEST_LIMIT)

    @property
    def page_size(self) -> int:
        """Number of entries to request per page."""
        return self._service.page_size

    @property
    def expand(self) -> str:
        """The ``$expand`` value that includes a product's attributes."""
        return self._service.expand

    def url(self, options: Mapping[str, str]) -> str:
        """Return the URL of a list request; empty options are left out."""
        return list_address(self._service.catalogue_url, options)

    async def _page(self, url: str) -> Page:
        page = await self._read(url, read_page)
        self._listed = True
        return page

    async def _read(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """Return the parsed response, with retries; ``read`` parses the body."""
        budget = Budget(self._retry)
        pace = self._places.pace
        attempt = 0
        while True:
            attempt += 1
            epoch = pace.epoch
            try:
                answer = await self._answer(url, read)
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

    async def _answer(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """Return the parsed response to a request.

        Not every service can sort by Id as a second key. If a service rejects that but answers
        without the second key, later requests leave it out.
        """
        if _TIES_IN_ADDRESS not in url or self._orders_ties is not None:
            return await self._answer_once(url, read)
        try:
            answer = await self._answer_once(url, read)
        except ServiceError as error:
            if not may_refuse_order(error):
                raise
            try:
                answer = await self._answer_once(url.replace(_TIES_IN_ADDRESS, ""), read)
            except ServiceRefused:  # says more than the first error, because less was requested
                raise
            except NoaError:
                raise error from None
            self._orders_ties = False
        else:
            self._orders_ties = True
        return answer

    async def _answer_once(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """Return the parsed response to one request, or to a second one with a new token.

        Raise CredentialsError, ServiceError.
        """
        answer = await self._ask(url)
        for renewed in (False, True):
            fault = None
            if answer.status in _READ:
                try:
                    return read(answer.body)
                except ServiceFault as error:
                    fault = error
            refusal = self._classify(answer)
            may_renew = not renewed and answer.token is not None and answer.status != 401
            if refusal.meaning is not Meaning.LOGIN or not may_renew:
                break
            self._session.tokens.reject(answer.token or "")
            answer = await self._ask(url)
        if fault is not None and refusal.meaning is Meaning.TEMPORARY and refusal.status < 300:
            raise fault
        raise catalogue_error(
            refusal,
            url,
            home=self._service.catalogue_url,
            answered_by=answer.url,
            had_token=answer.had_token,
            answered_before=self._listed,
            is_list=read is read_page,
        )

    def _classify(self, answer: _Answer) -> Refusal:
        at_home = same_origin(answer.url, self._service.catalogue_url)
        return classify(
            answer.status,
            answer.headers,
            answer.body[:_MESSAGE_LIMIT],
            sender=Sender.SERVICE if at_home else Sender.STORE,
            url=answer.url,
            had_token=answer.had_token,
            reason=answer.reason,
            json_due=True,
        )

    async def _ask(self, url: str) -> _Answer:
        async with self._session.get(url) as response:
            self._answered = True
            read = response.status in _READ
            body = await (response.read(self._limit) if read else response.peek(_MESSAGE_LIMIT))
            return _Answer(
                response.status,
                response.headers,
                body,
                response.url,
                response.token,
                response.had_token,
                response.reason,
            )
