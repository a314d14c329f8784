"""The catalogue's questions and answers: pages, counts, single entries."""

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
"""Bytes of an entry with its attributes and its footprint; most have a tenth of that."""
_SMALLEST_LIMIT, _LARGEST_LIMIT = 4 << 20, 32 << 20
_FIRST_CONTACT_RETRIES = 2
"""A service that never answered is more likely a wrong address than away."""
_READ = frozenset({200, 203})
_GONE = frozenset({404, 410})
_TIES = ",Id asc"
"""What orders products of one instant; else their order may change from page to page."""
_TIES_IN_ADDRESS = quote(_TIES, safe=",")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of one request, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    """The address that answered, after redirects."""
    token: str | None
    """The token that the request began with."""
    had_token: bool
    """Whether the token went to where the answer is from."""
    reason: str


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
        self._listed = False
        """Whether a page was read: then the address is right, and a refusal may pass."""
        self._orders_ties: bool | None = None if service.order_ties else False
        """Whether the service orders by Id too; None as long as that is not known."""

    def value_url(self, product_id: str) -> str:
        """Where a product's bytes are."""
        return f"{self._service.catalogue_url}({product_id})/$value"

    async def count(self, query: Query) -> int:
        """How many products match, by the service's own count; one request.

        Raises ServiceFault where the service does not count, QueryError where the query needs a
        longer address than the service takes.
        """
        count = await self._counted(fitted(query, self._service).filter)
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
            return error.status not in _GONE
        return True

    def _entry_url(self, product_id: str) -> str:
        return f"{self._service.catalogue_url}({product_id})"

    def listing(
        self, query: Query, *, attributes: bool = False, attributes_optional: bool = False
    ) -> Listing:
        """The products that match, to be gone through once, and what came of it.

        ``attributes`` asks for ``$expand=Attributes`` too: larger answers; if they are optional, a
        service that refuses that is asked without. Raises QueryError where
        the query needs longer addresses than the service takes.
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
        """Return where the page at ``url`` says the next one is; see ``next_address``."""
        if page.next_link is None:
            return None
        return next_address(url, page.next_link, self._service.catalogue_url)

    @property
    def orders_ties(self) -> bool:
        """Whether products of one instant come in the same order on each page."""
        return self._orders_ties is not False

    def order(self, axis: Axis) -> str:
        """Return the value of ``$orderby`` for a listing along ``axis``."""
        return f"{axis} asc{_TIES if self.orders_ties else ''}"

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
        return list_address(self._service.catalogue_url, options)

    async def _page(self, url: str) -> Page:
        page = await self._read(url, read_page)
        self._listed = True
        return page

    async def _read(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """Return what ``read`` makes of the answer; asked for again while that may help."""
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
        """Return what ``read`` makes of the answer to a request.

        Not every service of this kind orders by Id too. One that refuses that, and answers without
        it, is not asked for it again.
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
            except ServiceRefused:  # which says more than the first, for less was asked
                raise
            except NoaError:
                raise error from None
            self._orders_ties = False
        else:
            self._orders_ties = True
        return answer

    async def _answer_once(self, url: str, read: Callable[[bytes], _T]) -> _T:
        """Return what ``read`` makes of the answer to one request, or to two if a log-in is due.

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
