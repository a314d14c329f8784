"""Long lists: each product once, memory flat, no end believed too early."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import pairwise

import pytest
from aiohttp import web

from noa_async import (
    Credentials,
    NoaClient,
    Query,
    RetryPolicy,
    Service,
    ServiceError,
    ServiceFault,
    ServiceUnreachable,
    Settings,
)
from noa_async.catalogue.page import read_page
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.events import PageRetried

from ..conftest import Serve
from .conftest import Connect, Recorder

ALL = Query(everything=True)

LISTER = """
import asyncio, json, resource, sys
from noa_async import Credentials, NoaClient, Query, Settings

async def main(limit):
    seen = set()
    async with NoaClient(Settings.from_env(), Credentials("demo", "demo")) as noa:
        async for product in noa.search(Query(everything=True, limit=limit)):
            seen.add(hash(product.id))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seen": len(seen), "peak": peak}))

asyncio.run(main(int(sys.argv[1])))
"""


async def list_in_a_process(mirror: Emulator, limit: int) -> dict[str, int]:
    environ = os.environ | {
        "NOA_CATALOGUE_URL": mirror.catalogue_url,
        "NOA_TOKEN_URL": mirror.token_url,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LISTER, str(limit), env=environ, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    answer: dict[str, int] = json.loads(output)
    return answer


async def test_ten_thousand_products_in_flat_memory() -> None:
    async with Emulator(EmulatorSettings(products=10_000, mean_bytes=1000)) as mirror:
        few = await list_in_a_process(mirror, 500)
        many = await list_in_a_process(mirror, 20_000)
    assert (few["seen"], many["seen"]) == (500, 10_000)
    # The test's own set of 10,000 hashes is within this, too.
    assert many["peak"] - few["peak"] < 25 << 20


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("plus", [True, False])
async def test_links_are_followed_as_they_come(
    connect: Connect, relative: bool, plus: bool
) -> None:
    settings = EmulatorSettings(
        products=170, mean_bytes=1000, relative_links=relative, plus_links=plus
    )
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        found = [product async for product in noa.search(ALL)]
        assert len({product.id for product in found}) == len(found) == 170
        assert mirror.stats.pages == 4  # each tells the count, so none is asked for it alone


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.PAGE_ERROR,
        FaultKind.PAGE_HTML,
        FaultKind.PAGE_CUT,
        FaultKind.PAGE_TOO_MANY,
        FaultKind.PAGE_REVOKED_TOKEN,
    ],
)
async def test_a_page_that_fails_is_asked_for_again(
    connect: Connect, recorder: Recorder, kind: FaultKind
) -> None:
    plan = FaultPlan((Fault(kind, page=1, times=1),))
    async with Emulator(EmulatorSettings(products=170, mean_bytes=1000, faults=plan)) as mirror:
        async with connect(mirror) as noa:
            found = [product async for product in noa.search(ALL)]
        assert len({product.id for product in found}) == len(found) == 170
        retries = len(recorder.of(PageRetried))
        assert retries == (0 if kind is FaultKind.PAGE_REVOKED_TOKEN else 1)


async def test_a_page_that_never_comes_is_an_error_not_an_end(connect: Connect) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_ERROR, page=1, times=None),))
    async with Emulator(EmulatorSettings(products=170, mean_bytes=1000, faults=plan)) as mirror:
        async with connect(mirror) as noa:
            found = []
            with pytest.raises(ServiceError, match="answered 5"):
                async for product in noa.search(ALL):
                    found.append(product)
    assert len(found) == 50


async def test_repeated_items_come_once(connect: Connect) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_REPEATED, page=1, times=None),))
    async with Emulator(EmulatorSettings(products=170, mean_bytes=1000, faults=plan)) as mirror:
        async with connect(mirror) as noa:
            found = [product.id async for product in noa.search(ALL)]
    assert len(set(found)) == len(found)


async def test_a_foreign_link_is_not_followed(connect: Connect) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_STRAY_LINK, page=0, times=None),))
    async with Emulator(EmulatorSettings(products=170, mean_bytes=1000, faults=plan)) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(ServiceFault, match="another host"):
                _ = [product async for product in noa.search(ALL)]
        assert mirror.stats.leaked_tokens == 0


@pytest.mark.parametrize("max_skip", [100, 250])
async def test_a_link_that_is_silently_missing_loses_nothing(
    connect: Connect, max_skip: int
) -> None:
    settings = EmulatorSettings(products=700, mean_bytes=1000, max_skip=max_skip)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        found = [product async for product in noa.search(ALL)]
        assert {product.id for product in found} == {each.id for each in mirror.catalogue.products}
        assert len(found) == 700
    assert all(
        one.sensing_start <= other.sensing_start  # type: ignore[operator]
        for one, other in pairwise(found)
    )


async def test_the_limit_ends_the_listing(connect: Connect) -> None:
    async with Emulator(EmulatorSettings(products=170, mean_bytes=1000)) as mirror:
        async with connect(mirror) as noa:
            query = Query(everything=True, limit=60)
            assert await noa.count(query) == 60
            assert len([product async for product in noa.search(query)]) == 60
        assert mirror.stats.pages == 1 + 2  # our count, and two pages


async def test_pages_that_lead_in_a_circle_end(connect: Connect, serve: Serve) -> None:
    async def circle(request: web.BaseRequest) -> web.Response:
        if request.path == "/token":
            return web.json_response({"access_token": "t", "expires_in": 300})
        return web.json_response({"value": [], "@odata.nextLink": "?$skip=50"})

    base = await serve(circle)
    service = Service(catalogue_url=f"{base}/Products", token_url=f"{base}/token")
    async with NoaClient(Settings(service=service), Credentials("a", "b")) as noa:
        with pytest.raises(ServiceFault, match="lead in a circle"):
            _ = [product async for product in noa.search(ALL)]


async def test_an_address_that_never_answered_is_told_soon() -> None:
    service = Service(catalogue_url="http://127.0.0.1:1/P", token_url="http://127.0.0.1:1/t")
    settings = Settings(service=service, retry=RetryPolicy(base=0.01))
    seen = []
    async with NoaClient(settings, Credentials("a", "b"), observer=seen.append) as noa:
        with pytest.raises(ServiceUnreachable, match=r"No answer from 127\.0\.0\.1:1"):
            await noa.count(ALL)
    assert len(seen) == 2


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"value":' * 100_000, b"{}", b"\xff", b""])
def test_json_of_absurd_depth_or_none_is_a_fault(body: bytes) -> None:
    with pytest.raises(ServiceFault):
        read_page(body)
