"""A running emulator with a client that is nothing but HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode, urljoin

import aiohttp
import pytest
from yarl import URL

from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultPlan,
    Product,
    make_product,
)

REFERENCE_FILTER = (
    "(ContentDate/Start ge 2026-01-11T00:00:00.000Z"
    " and ContentDate/End le 2026-01-19T23:59:59.999Z"
    " and PublicationDate ge 2026-01-11T00:00:00.000Z"
    " and PublicationDate le 2026-01-19T23:59:59.999Z)"
    " and ((Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'platformShortName'"
    " and att/OData.CSC.StringAttribute/Value eq 'SENTINEL-1')"
    " and Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'productType'"
    " and att/OData.CSC.StringAttribute/Value in ('S2_GRDM_1S', 'IW_OCN__2S'))"
    " and Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'polarisationChannels'"
    " and att/OData.CSC.StringAttribute/Value in ('HH', 'VV', 'VV,VH'))"
    " and Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'orbitDirection'"
    " and att/OData.CSC.StringAttribute/Value in ('DESCENDING')))"
    " or (Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'platformShortName'"
    " and att/OData.CSC.StringAttribute/Value eq 'SENTINEL-2')"
    " and Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'productType'"
    " and att/OData.CSC.StringAttribute/Value in ('S2MSI2A'))"
    " and Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover'"
    " and att/OData.CSC.DoubleAttribute/Value ge 0)"
    " and Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover'"
    " and att/OData.CSC.DoubleAttribute/Value le 20)))"
    " and OData.CSC.Intersects(area=geography'SRID=4326;"
    "POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))')"
)


class Clock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Got:
    """An answer, with what arrived of its body."""

    status: int
    headers: Any
    body: bytes
    whole: bool = True


@dataclass
class Site:
    """One emulator, and one user of it."""

    emulator: Emulator
    session: aiohttp.ClientSession
    clock: Clock
    headers: dict[str, str] = field(default_factory=dict)

    async def token(self, **form: str) -> tuple[int, dict[str, Any]]:
        async with self.session.post(self.emulator.token_url, data=form) as answer:
            return answer.status, await answer.json(content_type=None)

    async def login(self, password: str = "demo") -> tuple[int, dict[str, Any]]:
        status, body = await self.token(
            client_id="mirror-client", grant_type="password", username="demo", password=password
        )
        if status == 200:
            self.headers["Authorization"] = f"Bearer {body['access_token']}"
        return status, body

    def url(self, tail: str = "", **options: object) -> URL:
        query = urlencode({f"${k}": v for k, v in options.items()}, quote_via=quote)
        return URL(
            f"{self.emulator.catalogue_url}{tail}{'?' + query if query else ''}", encoded=True
        )

    async def page(self, url: URL | None = None, **options: object) -> tuple[int, dict[str, Any]]:
        async with self.session.get(url or self.url(**options), headers=self.headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def pages(self, **options: object) -> list[list[dict[str, Any]]]:
        url: URL | None = self.url(**options)
        found = []
        while url is not None:
            status, data = await self.page(url)
            assert status == 200, data
            found.append(data["value"])
            link = data.get("@odata.nextLink")
            url = URL(urljoin(str(url), link), encoded=True) if link else None
        return found

    async def get(self, where: str | URL, method: str = "GET", **headers: str) -> Got:
        url = where if isinstance(where, URL) else self.url(f"({where})/$value")
        sent = {"Accept-Encoding": "identity", **self.headers}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, url, headers=sent, allow_redirects=False, auto_decompress=False
        ) as answer:
            body = bytearray()
            try:
                async for chunk in answer.content.iter_any():
                    body += chunk
            except (aiohttp.ClientError, ConnectionError):
                return Got(answer.status, answer.headers, bytes(body), whole=False)
            return Got(answer.status, answer.headers, bytes(body))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Give way until it holds."""
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)


OpenSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def open_site() -> AsyncIterator[OpenSite]:
    async with AsyncExitStack() as stack:

        async def open_it(
            *products: Product, faults: tuple[Fault, ...] = (), login: bool = True, **settings: Any
        ) -> Site:
            clock = Clock()
            made = EmulatorSettings(
                faults=FaultPlan(faults), token_delay=settings.pop("token_delay", 0.0), **settings
            )
            catalogue = Catalogue(products, seed=made.seed) if products else None
            emulator = await stack.enter_async_context(
                Emulator(made, catalogue=catalogue, clock=clock)
            )
            session = await stack.enter_async_context(aiohttp.ClientSession())
            site = Site(emulator, session, clock)
            if login:
                await site.login()
            return site

        yield open_it


@pytest.fixture
def product() -> Product:
    return make_product(size=60_000)


@pytest.fixture(scope="session")
def reference_filter() -> str:
    return REFERENCE_FILTER
