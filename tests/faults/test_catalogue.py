"""The catalogue (rows 3.1 to 3.4, 3.9, 3.10): one odd page, entry or address costs nothing else."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from noa_async import (
    Credentials,
    CredentialsRefused,
    NoaClient,
    Query,
    QueryError,
    RetryPolicy,
    Service,
    ServiceError,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
    Settings,
)
from noa_async.answers import classify
from noa_async.catalogue.addresses import fitted, longest_address
from noa_async.catalogue.json_text import split_list
from noa_async.catalogue.links import next_address
from noa_async.catalogue.page import read_page
from noa_async.catalogue.refusals import catalogue_error
from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.emulator import Product as Held
from noa_async.events import EntrySkipped, PageRetried
from noa_async.services import SERVICES, catalogue_address

from ..cli.conftest import Open
from ..conftest import RawHandler, Serve
from ..integration.conftest import WHO, Connect, Recorder, Secure, assert_right, settings_for

ALL = Query(everything=True)
START = datetime(2026, 1, 12, 9, 23, 21, 24_000, tzinfo=UTC)
HOME = "https://mirror.example/catalogue/odata/v1/Products"
SMALL = {"products": 170, "mean_bytes": 1000}


def ids(mirror: Emulator) -> list[str]:
    return sorted(product.id for product in mirror.catalogue.products)


async def listed(noa: NoaClient, query: Query = ALL) -> list[str]:
    """Every product, each once."""
    found = [product.id async for product in noa.search(query)]
    assert len(set(found)) == len(found)
    return sorted(found)


def faulty(*faults: Fault, **settings: Any) -> Emulator:
    return Emulator(EmulatorSettings(**{**SMALL, **settings}, faults=FaultPlan(faults)))


# 3.1: the address of the service.

ROOT = "https://mirror.example/catalogue/odata/v1"


@pytest.mark.parametrize(
    "address",
    [
        ROOT,
        f"{ROOT}/",
        f"{ROOT}//",
        f"{ROOT}/Products",
        f"{ROOT}/Products/",
        f"{ROOT}/products",
        f"{ROOT}/PRODUCTS/",
        f" {ROOT}/Products\n",
        f"{ROOT}/Products?$filter=Online%20eq%20true&$top=1",
        f"{ROOT}/Products?",
        f"{ROOT}?$format=json",
        f"{ROOT}#Products",
        f"{ROOT}/$metadata",
        f"{ROOT}/$metadata#Products",
        f"{ROOT}/%24metadata",
        f"{ROOT}/Products/$count",
        f"{ROOT}/Products(0a5c8f2e-6b1d-4c55-9f0e-5b0f3a2d7c11)",
        f"{ROOT}/Products(0a5c8f2e-6b1d-4c55-9f0e-5b0f3a2d7c11)/$value",
        f"{ROOT}/Products%280a5c8f2e%29/$value",
        f"{ROOT}/Products(0a5c)/Nodes(S2A.SAFE)/$value",
    ],
)
def test_row_3_1_every_address_of_the_service_is_its_list(address: str) -> None:
    assert catalogue_address(address) == HOME
    assert Service(catalogue_url=address).catalogue_url == HOME
    assert replace(SERVICES["cdse"], catalogue_url=address).catalogue_url == HOME
    given = {"catalogue_url": address.strip()}
    assert Settings().with_values(given).service.catalogue_url == HOME
    environ = {"NOA_CATALOGUE_URL": address.strip()}
    assert Settings.from_env(environ).service.catalogue_url == HOME


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        (f"{ROOT}/DeletedProducts", f"{ROOT}/DeletedProducts"),
        (f"{ROOT}/DeletedProducts/?$top=1", f"{ROOT}/DeletedProducts"),
        ("https://a.example/odata/v2", "https://a.example/odata/v2/Products"),
        ("https://a.example/OData/V4.01/", "https://a.example/OData/V4.01/Products"),
        ("https://a.example/odata/v1/odata/v2", "https://a.example/odata/v1/odata/v2/Products"),
        ("https://a.example/products/odata/v1", "https://a.example/products/odata/v1/Products"),
        ("https://a.example/products", "https://a.example/Products"),
        ("https://a.example/products/list", "https://a.example/products/list"),
        ("https://a.example:8443/x/odata/v1", "https://a.example:8443/x/odata/v1/Products"),
        ("https://a.example", "https://a.example"),
        ("https://a.example/odata", "https://a.example/odata"),
        ("http://[", "http://["),
    ],
)
def test_row_3_1_other_addresses_are_themselves(address: str, taken: str) -> None:
    assert catalogue_address(address) == taken


@given(st.text(st.sampled_from("https://a.bPproducts()/$?#%24odatv1vN"), max_size=40))
def test_row_3_1_an_address_is_changed_once(address: str) -> None:
    once = catalogue_address(f"https://h/{address}")
    assert catalogue_address(once) == once


@pytest.mark.parametrize("tail", ["", "/", "/Products", "/products/"])
async def test_row_3_1_the_root_is_enough(open_mirror: Open, tail: str) -> None:
    mirror, noa = await open_mirror(products=3)
    root = mirror.catalogue_url.removesuffix("/Products")
    given = ("--catalogue-url", f"{root}{tail}", "--token-url", mirror.token_url)
    ended = await noa("count", "--everything", *given)
    assert (ended.code, ended.out) == (0, "3 products\n")
    (noa.folder / "query.toml").write_text(
        f'everything = true\n[service]\ncatalogue_url = "{root}{tail}"\n'
        f'token_url = "{mirror.token_url}"\n'
    )
    del noa.environ["NOA_CATALOGUE_URL"], noa.environ["NOA_TOKEN_URL"]
    ended = await noa("count", "--config", "query.toml")
    assert (ended.code, ended.out) == (0, "3 products\n")


# 3.2: links behind a proxy.

OWN = "/catalogue/odata/v1/Products"
QUERY = "$filter=a%20eq%20'b'+x&%24skip=50&q=%2F%252F"


@pytest.mark.parametrize(
    ("link", "address"),
    [
        (f"{HOME}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"http://mirror.example{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"https://mirror.example:8443{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"http://gss-7f9c.svc:8080{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"https://203.0.113.7{OWN}/?{QUERY}", f"{HOME}?{QUERY}"),
        (f"http://[2001:db8::1]:80{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"//inner{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"https://user:word@mirror.example{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"http://inner{OWN.replace('odata', '%6fdata')}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"http://inner{OWN}?{QUERY}#top", f"{HOME}?{QUERY}"),
        (f"{OWN}?{QUERY}", f"{HOME}?{QUERY}"),
        (f"Products?{QUERY}", f"{HOME}?{QUERY}"),
        (f"?{QUERY}", f"{HOME}?{QUERY}"),
        (f" ?{QUERY}\r\n", f"{HOME}?{QUERY}"),
        ("?a=b c\r\nX: \u00e9", f"{HOME}?a=b%20c%0D%0AX:%20%C3%A9"),
        (f"{OWN}/more?{QUERY}", f"{HOME}/more?{QUERY}"),
    ],
)
def test_row_3_2_a_link_is_asked_of_the_catalogue_itself(link: str, address: str) -> None:
    assert next_address(f"{HOME}?$top=50", link, HOME) == address


@pytest.mark.parametrize(
    "link",
    [
        f"https://evil.example/odata/v1/Products?{QUERY}",
        f"https://evil.example{OWN}(1)/$value?{QUERY}",
        f"http://mirror.example/other?{QUERY}",
        f"https://evil.example?{QUERY}",
        "ftp://mirror.example/catalogue",
        "javascript:alert(1)",
        "http://[",
    ],
)
def test_row_3_2_another_path_elsewhere_is_refused(link: str) -> None:
    with pytest.raises(ServiceFault, match="next page"):
        next_address(f"{HOME}?$top=50", link, HOME)


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:1", "http://inner.invalid:8080", "https://127.0.0.1", ""]
)
async def test_row_3_2_all_is_listed_behind_a_proxy(
    connect: Connect, secure: Secure, base: str
) -> None:
    link_base = f"{base}/catalogue/odata/v1"
    async with faulty(link_base=link_base, tls=secure.server) as mirror:
        async with connect(mirror, ca_file=secure.ca_file) as noa:
            assert await listed(noa) == ids(mirror)
            assert mirror.stats.pages == 4


async def test_row_3_2_the_token_goes_nowhere_new(connect: Connect) -> None:
    fault = Fault(FaultKind.PAGE_FOREIGN_LINK, times=None)
    async with faulty(fault) as mirror, connect(mirror) as noa:
        assert await listed(noa) == ids(mirror)
        assert mirror.stats.leaked_tokens == 0


@pytest.mark.parametrize("name", ["@odata.nextLink", "odata.nextLink", "@nextLink"])
@pytest.mark.parametrize("count", ["@odata.count", "odata.count", "@count"])
def test_row_3_2_every_spelling_of_a_link_is_read(name: str, count: str) -> None:
    page = read_page(json.dumps({"value": [], name: "?x", count: 7}).encode())
    assert (page.next_link, page.count) == ("?x", 7)


@pytest.mark.parametrize("counts", [True, False])
async def test_row_3_2_links_in_a_circle_end(connect: Connect, counts: bool) -> None:
    fault = Fault(FaultKind.PAGE_CIRCLE, times=None)
    async with faulty(fault, counts=counts) as mirror, connect(mirror) as noa:
        if counts:  # the count tells what is missing, and windows of time bring it
            assert await listed(noa) == ids(mirror)
            return
        with pytest.raises(ServiceFault, match="lead in a circle"):
            await listed(noa)


def lister(answer: Callable[[web.BaseRequest], Any]) -> Callable[..., Any]:
    """A server that gives tokens, and whose lists are what ``answer`` says."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response({"access_token": "t", "expires_in": 300})
        made = answer(request)
        return made if isinstance(made, web.StreamResponse) else web.json_response(made)

    return handle


async def opened(serve: Serve, answer: Callable[[web.BaseRequest], Any], **given: Any) -> NoaClient:
    base = await serve(lister(answer))
    service = Service(catalogue_url=f"{base}/odata/v1", token_url=f"{base}/token", **given)
    retry = RetryPolicy(retries=3, base=0.01, cap=0.05)
    return NoaClient(Settings(service=service, retry=retry), Credentials("a", "b"))


def entry(number: int, **more: Any) -> dict[str, Any]:
    at = (START + timedelta(minutes=number)).isoformat()
    return {"Id": f"p{number}", "Name": f"P{number}", "ContentDate": {"Start": at}, **more}


@pytest.mark.parametrize("count", [None, 3, 4])
async def test_row_3_2_a_list_without_an_end_ends(serve: Serve, count: int | None) -> None:
    asked = 0

    def answer(request: web.BaseRequest) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        page = {"value": [entry(n) for n in range(3)], "@odata.nextLink": f"?$skip={asked}"}
        return page if count is None else page | {"@odata.count": count}

    async with await opened(serve, answer) as noa, asyncio.timeout(30):
        if count == 3:  # all of it is here, wherever the links lead
            assert await listed(noa) == ["p0", "p1", "p2"]
        else:
            with pytest.raises(ServiceFault, match=r"in a circle|3 of the 4 products"):
                await listed(noa)
    assert asked < 150


# 3.3: errors that are answers.

SAID = "The attribute cloudcover is not known"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"error": {"code": None, "message": SAID}}),
        (200, {"error": {"message": {"lang": "en", "value": SAID}}}),
        (200, {"detail": SAID}),
        (200, {"detail": [{"loc": ["query"], "msg": SAID, "type": "value_error"}]}),
        (200, {"error": SAID}),
        (200, {"message": SAID}),
        (200, {"error": {"code": "400", "message": SAID}}),
        (400, {"detail": {"message": SAID}}),
        (400, {"detail": [{"msg": SAID}]}),
        (422, {"detail": SAID}),
        (400, {"error": {"message": {"value": SAID}}}),
        (404, {"error": {"innererror": {"message": SAID}, "message": SAID}}),
    ],
)
async def test_row_3_3_the_services_own_words_are_shown_and_nothing_is_asked_again(
    serve: Serve, status: int, body: dict[str, Any]
) -> None:
    asked = []

    def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path_qs)
        return web.json_response(body, status=status)

    async with await opened(serve, answer) as noa:
        with pytest.raises(ServiceRefused, match=SAID):
            await listed(noa)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"error": {"code": "503", "message": "No database"}}, ServiceFault),
        ({"status": 500, "error": "Internal Server Error"}, ServiceFault),
        ({"error": {"message": "Too many requests"}}, ServiceFault),
        ({"error": {"message": "Down for maintenance"}}, ServiceFault),
        ({"error": {"code": "403", "message": "Not for you"}}, CredentialsRefused),
    ],
)
async def test_row_3_3_what_may_pass_is_asked_again(
    serve: Serve, body: dict[str, Any], kind: type[Exception]
) -> None:
    answers = [body]

    def answer(_: web.BaseRequest) -> dict[str, Any]:
        return answers.pop() if answers else {"value": [entry(1)], "@odata.count": 1}

    async with await opened(serve, answer, order_ties=False) as noa:
        assert await listed(noa) == ["p1"]
    answers = [body] * 100
    async with await opened(serve, answer, order_ties=False) as noa:
        with pytest.raises(kind):
            await listed(noa)


async def test_row_3_3_a_list_that_breaks_off_with_an_error_is_no_list(serve: Serve) -> None:
    broken = {"value": [entry(1)], "error": {"message": "The connection to the database is lost"}}
    answers = [broken]

    def answer(_: web.BaseRequest) -> dict[str, Any]:
        return answers.pop() if answers else {"value": [entry(1), entry(2)], "@odata.count": 2}

    async with await opened(serve, answer) as noa:
        assert await listed(noa) == ["p1", "p2"]
    answers = [broken] * 100
    async with await opened(serve, answer) as noa:
        with pytest.raises(
            ServiceFault, match=r"stopped within a list .The connection to the data"
        ):
            await listed(noa)


async def test_row_3_3_the_emulators_error_is_told(connect: Connect) -> None:
    fault = Fault(FaultKind.PAGE_JSON_ERROR, page=0, times=None)
    async with faulty(fault) as mirror, connect(mirror) as noa:
        with pytest.raises(ServiceRefused, match="The database does not answer"):
            await listed(noa)


# 3.4: addresses that are too long.


def long_query(points: int, values: int = 60, decimals: int = 4) -> Query:
    """A query with a round area of so many points, and a rule of so many values."""
    angles = [2 * math.pi * n / (points - 1) for n in range(points - 1)]
    ring = [f"{22 + math.cos(a):.{decimals}f} {38 + math.sin(a):.{decimals}f}" for a in angles]
    rules = [{"platform": "SENTINEL-1", "product_type": [f"S{n}_GRDM_1S" for n in range(values)]}]
    return Query(rules=rules, roi=f"POLYGON(({', '.join([*ring, ring[0]])}))")


async def test_row_3_4_no_listing_sends_a_longer_address_than_was_reckoned(
    connect: Connect,
) -> None:
    """All kinds of windows: long lists, crowded instants, what has no date."""
    products = [
        make_product(
            f"P{n}.nc",
            100,
            start=START + timedelta(seconds=n // 200),
            published=START + timedelta(seconds=n),
        )
        for n in range(4000)
    ]
    asked: list[str] = []
    catalogue = Catalogue(products)
    async with Emulator(EmulatorSettings(max_skip=100), catalogue=catalogue) as mirror:
        async with connect(mirror) as noa:
            pages = noa._open.catalogue
            ask = pages._ask

            async def note(url: str) -> Any:
                asked.append(url)
                return await ask(url)

            pages._ask = note  # type: ignore[method-assign]
            found = [one async for one in noa.search(ALL, attributes=True)]
            assert len(found) == 4000
            service = noa.settings.service
    own = [url for url in asked if "%24" not in url]  # links are the service's
    assert any("PublicationDate%20ge" in url and "lt" in url for url in own)
    assert max(map(len, own)) <= longest_address(ALL.filter, service)


async def test_row_3_4_what_cannot_be_sent_is_refused_before_anything_is(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=3)
    query = long_query(600)
    area = (query.roi and query.roi.parts[0]) or ""
    for verb in ("search", "count", "download", "mirror", "explain"):
        ended = await noa(verb, "--roi", area)
        assert ended.code == 2
        assert re.search(r"can have [0-9,]+ bytes, .*The limit is 8,000 bytes", ended.err)
        assert "--simplify" in ended.err
        assert "(600 points)" in ended.err
    assert mirror.stats.requests == 0
    ended = await noa("count", "--roi", area, "--simplify")
    assert ended.code == 0
    assert re.search(r"simplified to \d+ points, which enlarged it by up to \d+ m", ended.err)
    noa.environ["NOA_MAX_URL_LENGTH"] = "60000"
    assert (await noa("count", "--roi", area)).code == 0


@pytest.mark.parametrize("limit", [4000, 8000])
@pytest.mark.parametrize("points", [4, 100, 180, 300, 2000])
@pytest.mark.parametrize("values", [5, 60, 150, 400])
def test_row_3_4_a_query_fits_or_says_what_to_do(limit: int, points: int, values: int) -> None:
    service = Service(max_url_length=limit)
    query = long_query(points, values)
    if (
        longest_address(replace(query, roi=query.roi and query.roi.compact()).filter, service)
        > limit
    ):
        with pytest.raises(QueryError) as caught:
            fitted(query, service)
        assert f"The limit is {limit:,} bytes." in str(caught.value)
        assert f"({points:,} points)" in str(caught.value)
    else:
        assert longest_address(fitted(query, service).filter, service) <= limit
    simple = replace(query, simplify=True)
    if longest_address(replace(query, roi="POINT(1 1)").filter, service) > limit:
        with pytest.raises(QueryError, match="fewer rules"):
            fitted(simple, service)
    elif longest_address(replace(query, roi="POINT(1 1)").filter, service) < limit - 700:
        assert longest_address(fitted(simple, service).filter, service) <= limit


LONG_EXAMPLE = [
    {
        "platform": "SENTINEL-1", "serial": ["A", "B"],
        "product_type": ["S2_GRDM_1S", "S6_GRDM_1S", "S6_OCN__2S", "IW_OCN__2S"],
        "polarisation": ["HH", "HV", "VH", "VV", "VV,VH", "HH,HV"],
        "op_mode": ["WV", "EW", "IW", "SM"], "orbit": ["ASCENDING", "DESCENDING"],
        "timeliness": ["Reprocessing", "Off-line", "Fast-24h", "NRT-3h", "NRT-1h", "NRT-10m"],
    },
    {"platform": "SENTINEL-2", "serial": ["A", "B"], "product_type": ["S2MSI1C", "S2MSI2A"],
     "cloud_min": 2, "cloud_max": 80},
    {"platform": "SENTINEL-3", "serial": ["A", "B"], "product_type": ["SR_2_LAN_LI"],
     "instrument": ["SRAL", "SLSTR", "SYNERGY", "OLCI"], "level": ["2", "1"],
     "timeliness": ["ST", "NT", "NR"]},
    {"platform": "SENTINEL-5P", "product_type": ["L2__AER_AI", "L2__CO____", "L2__O3_TCL"],
     "proc_mode": ["NRTI", "OFFL", "RPRO"], "level": ["L1b", "L2"]},
]  # fmt: skip


@pytest.mark.parametrize(
    ("points", "decimals", "fits"), [(5, 4, True), (60, 6, True), (180, 4, True), (180, 6, False)]
)
async def test_row_3_4_noas_long_example_works_or_is_refused_before_it_is_sent(
    connect: Connect, points: int, decimals: int, fits: bool
) -> None:
    time_config = {"content_start": "2026-01-11", "content_end": "2026-01-19"}
    round_area = long_query(points, 1, decimals).roi
    assert round_area is not None
    query = Query.from_reference(LONG_EXAMPLE, round_area.parts[0], time_config)
    async with faulty(max_address=8000) as mirror, connect(mirror) as noa:
        if not fits:
            with pytest.raises(QueryError, match="Simplify the area"):
                await listed(noa, query)
            assert mirror.stats.requests == 0
            query = replace(query, simplify=True)
        await listed(noa, query)


@pytest.mark.parametrize("status", [400, 414, 431])
async def test_row_3_4_a_refusal_of_a_long_address_is_named(connect: Connect, status: int) -> None:
    async with faulty(max_address=3000, address_refusal=status) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(ServiceRefused) as caught:
                await listed(noa, long_query(100, 40))
            assert re.search(r"The URL had [0-9,]+ bytes", str(caught.value))
            assert "filter: check" not in str(caught.value)
            with pytest.raises(ServiceRefused, match="service rejects the filter"):
                await listed(noa, Query(raw="Name eq 'x'"))


def test_row_3_4_a_filter_that_was_read_is_not_called_too_long() -> None:
    body = json.dumps({"error": {"message": "Invalid filter: 'xq' is not known"}}).encode()
    error = catalogue_error(classify(400, {}, body), HOME + "?" + "x" * 5000, home=HOME)
    assert "service rejects the filter" in str(error)


# 3.9: products of one instant in an order that changes.


def tied(seed: int) -> list[Held]:
    """Some 150 products on few instants, in groups that go over the ends of pages."""
    groups = [1 + (seed * 7 + n * 13) % 45 for n in range(8)]
    return [
        make_product(
            f"P{group}-{n}.nc",
            100,
            start=START + timedelta(minutes=group),
            published=START + timedelta(minutes=group, seconds=n),
        )
        for group, size in enumerate(groups)
        for n in range(size)
    ]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("counts", "id_order"), [(False, True), (False, False), (True, False)])
async def test_row_3_9_ties_in_any_order_lose_nothing(
    connect: Connect, seed: int, counts: bool, id_order: bool
) -> None:
    settings = EmulatorSettings(counts=counts, id_order=id_order, shuffled_ties=True)
    async with Emulator(settings, catalogue=Catalogue(tied(seed))) as mirror:
        async with connect(mirror) as noa:
            assert await listed(noa) == ids(mirror)


async def test_row_3_9_what_nothing_orders_is_not_called_whole(connect: Connect) -> None:
    """Two hundred products share both their instants, and the service orders no Ids."""
    products = [make_product(f"P{n}.nc", 100, start=START, published=START) for n in range(200)]
    settings = EmulatorSettings(counts=False, id_order=False, shuffled_ties=True)
    async with Emulator(settings, catalogue=Catalogue(products)) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(ServiceFault, match="the last page has no link"):
                await listed(noa)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, ""),
        (400, '{"error": {"message": "Invalid $orderby: Id"}}'),
        (400, '{"detail": "Bad Request"}'),
        (200, '{"error": {"message": "Sorting by Id is not supported"}}'),
        (422, "<html>Unprocessable</html>"),
        (500, ""),
        (500, '{"error": "Internal Server Error"}'),
        (501, ""),
    ],
)
async def test_row_3_9_a_service_that_does_not_order_by_id_is_asked_once(
    serve: Serve, status: int, words: str
) -> None:
    orders = []

    def answer(request: web.BaseRequest) -> Any:
        order = unquote(request.query_string).partition("$orderby=")[2].partition("&")[0]
        orders.append(order)
        if ",Id" in order:
            return web.Response(status=status, text=words)
        return {"value": [entry(1)], "@odata.count": 1}

    async with await opened(serve, answer) as noa:
        assert await listed(noa) == ["p1"]
        assert await listed(noa) == ["p1"]
    assert orders == ["ContentDate/Start asc,Id asc", *["ContentDate/Start asc"] * 2]


async def test_row_3_9_a_filter_that_is_refused_is_told_of_itself(connect: Connect) -> None:
    async with faulty(id_order=False) as mirror, connect(mirror) as noa:
        with pytest.raises(ServiceRefused, match="Name cannot be filtered"):
            await listed(noa, Query(raw="Name eq 'x'"))


# 3.10: counting.


@pytest.mark.parametrize("form", [(), ("--format", "json")])
async def test_row_3_10_a_count_is_one_request(open_mirror: Open, form: Sequence[str]) -> None:
    mirror, noa = await open_mirror(products=500)
    ended = await noa("count", "--everything", *form)
    assert ended.code == 0
    assert "500" in ended.out
    assert mirror.stats.pages == 1
    if form:
        assert json.loads(ended.out) == {"products": 500}


# Kept back: single bad entries.

DEEP = "[" * 100_000 + "]" * 100_000
UNREADABLE = [
    "null",
    "5",
    '"an entry"',
    "[]",
    "{}",
    '{"Name": "no Id"}',
    '{"Id": null, "Name": "x"}',
    '{"Id": "", "Name": "x"}',
    '{"Id": {"guid": 1}, "Name": "x"}',
    '{"Id": "../../etc/passwd", "Name": "x"}',
    '{"Id": "a/b", "Name": "x"}',
    '{"Id": "\\ud800", "Name": "x"}',
    '{"Id": "x", "Name": null}',
    '{"Id": "x", "Name": " "}',
    '{"Id": "x"}',
    f'{{"Id": "x", "Name": "x", "Attributes": {DEEP}}}',
    '{"Id": "x", "Name": undefined}',
    '{"Id": "x" "Name": "x"}',
    '{"Id": "x", "Name": "bad \\x escape"}',
    "oops",
    "",
]
READABLE = [
    '{"Id": "odd", "Name": "x", "ContentLength": NaN}',
    '{"Id": "odd", "Name": "x", "ContentLength": -Infinity}',
    '{"Id": "odd", "Name": "x", "ContentLength": 1e999}',
    '{"Id": "odd", "Name": "x", "ContentLength": -5}',
    f'{{"Id": "odd", "Name": "x", "ContentLength": {"9" * 6000}}}',
    '{"Id": "odd", "Name": "x", "Id": "odd", "Name": "x"}',
    '{"Id": "odd", "Name": "a\tb\u0001"}',
    '{"Id": "odd", "Name": "x", "Checksum": [null, 5, {"Value": [], "Algorithm": {}}]}',
    '{"Id": "odd", "Name": "x", "ContentDate": [1], "Footprint": 7, "Attributes": {"a": 1}}',
    '{"Id": "odd", "Name": "x", "PublicationDate": "0000-99-99T99:99", "EvictionDate": "?"}',
    '{"Id": "odd", "Name": "x", "ModificationDate": "9999-12-31T23:59:59-14:00"}',
    '{"Id": 12345, "Name": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("text", UNREADABLE, ids=range(len(UNREADABLE)))
@pytest.mark.parametrize("counts", [True, False])
async def test_a_bad_entry_costs_no_other(
    connect: Connect, recorder: Recorder, text: str, counts: bool
) -> None:
    async with faulty(counts=counts) as mirror:
        bad = mirror.catalogue.products[70].id
        mirror.faults = FaultPlan(
            (Fault(FaultKind.PAGE_BAD_ENTRY, product=bad, text=text or " ", times=None),)
        )
        found = []
        async with connect(mirror) as noa:
            with pytest.raises(ServiceFault) as caught:
                async for product in noa.search(ALL):
                    found.append(product.id)
        assert sorted(found) == sorted(set(ids(mirror)) - {bad})
        assert "The listed products are valid" in str(caught.value)
        assert len(recorder.of(EntrySkipped)) == 1
        assert recorder.of(PageRetried) == []


@pytest.mark.parametrize("text", READABLE, ids=range(len(READABLE)))
async def test_an_odd_entry_is_a_product(connect: Connect, text: str) -> None:
    async with faulty() as mirror:
        odd = mirror.catalogue.products[70].id
        plan = (Fault(FaultKind.PAGE_BAD_ENTRY, product=odd, text=text, times=None),)
        mirror.faults = FaultPlan(plan)
        async with connect(mirror) as noa:
            found = set(await listed(noa))
        assert found - set(ids(mirror)) in ({"odd"}, {"12345"})
        assert len(found) == 170


async def test_a_mirror_brings_the_others_and_does_not_pass_a_bad_entry_by(
    connect: Connect, tmp_path: Any
) -> None:
    settings = EmulatorSettings(products=30, mean_bytes=1000)
    async with Emulator(settings) as mirror:
        bad = mirror.catalogue.products[-1].id
        mirror.faults = FaultPlan((Fault(FaultKind.PAGE_BAD_ENTRY, product=bad, times=None),))
        async with connect(mirror) as noa:
            with pytest.raises(ServiceFault, match="in place of a product"):
                await noa.mirror(ALL, tmp_path)
            assert_right(mirror, tmp_path, 29)
            mirror.faults = FaultPlan()
            report = await noa.mirror(ALL, tmp_path)
            assert report.full  # the watermark had not moved
            assert_right(mirror, tmp_path, 30)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["Id", "Name", "ContentLength", "Checksum", "ContentDate", "Start", "Value",
                         "Footprint", "GeoFootprint", "type", "coordinates", "Attributes"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@given(st.lists(JSON, max_size=4), st.integers(0, 4))
def test_whatever_an_entry_is_the_others_are_read(odd: list[Any], at: int) -> None:
    good = [entry(n) for n in range(4)]
    page = read_page(json.dumps({"value": [*good[:at], *odd, *good[at:]]}).encode())
    assert page.entries == 4 + len(odd)
    assert {product.id for product in page.products} >= {f"p{n}" for n in range(4)}


@given(st.lists(JSON.map(json.dumps), max_size=5), JSON)
def test_a_list_comes_apart_into_its_entries(items: list[str], more: Any) -> None:
    text = f'{{"a": {json.dumps(more)}, "value" : [{" , ".join(items)}] , "b": 1}}'
    parts = split_list(text, "value")
    assert parts is not None
    assert parts[1] == items
    assert json.loads(parts[0])["b"] == 1


@given(st.text(st.sampled_from('{}[]",:\\ value1'), max_size=60))
def test_a_page_of_any_text_is_a_page_or_a_fault(text: str) -> None:
    try:
        page = read_page(text.encode())
    except ServiceFault:
        return
    assert page.entries >= 0


# Kept back: heads of unusual size, and fields that repeat.


@pytest.mark.parametrize("past_aiohttp", ["0", "1"])
@pytest.mark.parametrize("size", [8000, 9000, 20_000, 60_000, 120_000])
async def test_a_long_header_is_read(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, size: int, past_aiohttp: str
) -> None:
    monkeypatch.setenv("NOA_FASTPATH", past_aiohttp)
    fault = Fault(FaultKind.PAGE_LONG_HEADER, at=size, times=None)
    async with faulty(fault) as mirror, connect(mirror) as noa:
        assert await listed(noa) == ids(mirror)


def raw_lists(head: bytes) -> RawHandler:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = json.dumps({"value": [entry(1)], "@odata.count": 1, "access_token": "t"}).encode()
        length = str(len(body)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\n" + head.replace(b"N", length) + b"\r\n" + body)
        await writer.drain()

    return handle


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: N\r\nContent-Length: N\r\n",
        b"Content-Length: N, N\r\n",
        b"Content-Length: N\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n",
        b"Content-Length: N\r\nContent-Type: text/html\r\n",
        b"Content-Length: N\r\nContent-Encoding: identity\r\nContent-Encoding: identity\r\n",
        b"Content-Length: N\r\nRetry-After: 5\r\nRetry-After: soon\r\n",
        b"Content-Length: N\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(400)),
        b"Content-Length: N\r\nX-Policy: " + b"p" * 60_000 + b"\r\n",
        b"Connection: close\r\n",
    ],
    ids=["twice", "list", "types", "html", "identity", "waits", "many", "large", "no length"],
)
async def test_an_unusual_head_costs_nothing(serve: Serve, serve_raw: Serve, head: bytes) -> None:
    base, log_in = await serve_raw(raw_lists(head)), await serve(lister(lambda _: {}))
    service = Service(catalogue_url=f"{base}/odata/v1", token_url=f"{log_in}/token")
    settings = Settings(service=service, retry=RetryPolicy(retries=1, base=0.01))
    async with asyncio.timeout(20), NoaClient(settings, WHO) as noa:
        catalogue = noa._open.catalogue
        page = await catalogue.page(catalogue.url({"$top": "1"}))
        assert [product.id for product in page.products] == ["p1"]


async def test_a_header_that_is_too_large_is_called_that(
    serve: Serve, serve_raw: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOA_FASTPATH", "0")
    base = await serve_raw(raw_lists(b"Content-Length: N\r\nX: " + b"x" * 140_000 + b"\r\n"))
    log_in = await serve(lister(lambda _: {}))
    service = Service(catalogue_url=f"{base}/odata/v1", token_url=f"{log_in}/token")
    settings = Settings(service=service, retry=RetryPolicy(retries=0))
    async with NoaClient(settings, WHO) as noa:
        with pytest.raises(ServiceUnreachable, match="header that is too large, more than 128 kB"):
            await noa.count(ALL)


# Kept back: refusals that pass, and what else may come in place of a page.


@pytest.mark.parametrize("page", [0, 1])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 429, 500, 502, 503, 504])
async def test_a_refusal_that_passes_costs_nothing_else(
    connect: Connect, status: int, counts: bool, page: int
) -> None:
    fault = Fault(FaultKind.PAGE_REFUSED, page=page, status=status)
    async with faulty(fault, counts=counts) as mirror, connect(mirror) as noa:
        assert await listed(noa) == ids(mirror)


@pytest.mark.parametrize("status", [403, 404, 503])
async def test_a_refusal_of_a_windows_first_page_passes(connect: Connect, status: int) -> None:
    """Each window's first page is refused the first time, but for the listing's own."""
    settings = EmulatorSettings(products=3000, mean_bytes=1000)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        assert await noa.count(ALL) == 3000
        first = noa._open.catalogue
        await first.page(first.url({"$top": "1"}))
        mirror.faults = FaultPlan((Fault(FaultKind.PAGE_REFUSED, page=0, status=status),))
        assert await listed(noa) == ids(mirror)


@pytest.mark.parametrize("status", [None, 302, 307])
async def test_a_log_in_page_in_place_of_a_list_renews_the_token(
    connect: Connect, status: int | None
) -> None:
    fault = Fault(FaultKind.PAGE_LOGIN, page=1, status=status)
    async with faulty(fault) as mirror, connect(mirror) as noa:
        assert await listed(noa) == ids(mirror)
        assert mirror.stats.token_logins + mirror.stats.token_refreshes == 2


async def test_a_log_in_page_for_good_is_called_that(connect: Connect) -> None:
    fault = Fault(FaultKind.PAGE_LOGIN, times=None)
    async with faulty(fault) as mirror, connect(mirror) as noa:
        with pytest.raises(CredentialsRefused, match="log-in page"):
            await listed(noa)
        assert mirror.stats.token_logins + mirror.stats.token_refreshes <= 6


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_of_a_page_is_followed_with_the_token(
    connect: Connect, status: int
) -> None:
    fault = Fault(FaultKind.PAGE_REDIRECT, status=status, times=None)
    async with faulty(fault) as mirror, connect(mirror) as noa:
        assert await listed(noa) == ids(mirror)


async def test_a_redirect_to_where_the_token_does_not_go_is_told(
    connect: Connect, serve: Serve
) -> None:
    async with faulty() as mirror:

        def answer(request: web.BaseRequest) -> Any:
            raise web.HTTPFound(f"{mirror.base_url}{request.path_qs}")

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return web.Response(
                status=302, headers={"Location": f"{mirror.base_url}{request.raw_path}"}
            )

        old = await serve(handle)
        service = Service(
            catalogue_url=mirror.catalogue_url.replace(mirror.base_url, old),
            token_url=mirror.token_url,
        )
        settings = replace(settings_for(mirror), service=service)
        async with NoaClient(settings, WHO) as noa:
            with pytest.raises(ServiceRefused, match=r"token is not sent there.*--catalogue-url"):
                await listed(noa)


@pytest.mark.parametrize("text", ["<h1>Down for maintenance</h1>", "Too many requests", "hm"])
async def test_a_page_of_text_is_asked_for_again(connect: Connect, text: str) -> None:
    faults = [Fault(FaultKind.PAGE_HTML, page=page, text=text, times=2) for page in range(3)]
    async with faulty(*faults) as mirror, connect(mirror) as noa:
        assert await listed(noa) == ids(mirror)


async def test_a_page_that_stays_away_is_an_error(connect: Connect) -> None:
    fault = Fault(FaultKind.PAGE_REFUSED, page=1, status=503, times=None)
    async with faulty(fault, counts=False) as mirror, connect(mirror) as noa:
        with pytest.raises(ServiceError, match="answered 503"):
            await listed(noa)
