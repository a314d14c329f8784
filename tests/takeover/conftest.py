"""Each test here runs on the plain loop and on uvloop, and with TLS and without."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import trustme
import uvloop

from noa_async.settings import Settings
from noa_async.transport import Transport
from tests.takeover.origin import AsIs, Asking, Origin


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"plain": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
async def origin(request, authority) -> AsyncIterator[Origin]:
    one, tls = Origin(), None
    if request.param == "https":
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(tls)
        one.tls = tls
    async with one.listening("localhost") as port:
        one.url = f"{request.param}://localhost:{port}"
        yield one


@pytest.fixture
def settings(origin, authority, tmp_path) -> Settings:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    urls = {"catalogue_url": f"{origin.url}/Products", "token_url": f"{origin.url}/token"}
    return Settings().with_values(urls | {"ca_file": str(tmp_path / "ca.pem")})


@pytest.fixture
async def client(settings) -> AsyncIterator[Transport]:
    async with Transport(settings) as one:
        yield one


@pytest.fixture(params=["aiohttp", "wire"])
def either(request, client) -> Asking:
    """Both ways to ask."""
    return client if request.param == "aiohttp" else AsIs(client)
