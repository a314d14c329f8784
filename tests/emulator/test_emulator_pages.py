from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from yarl import URL

from noa_async.emulator import Fault, FaultKind, make_product

if TYPE_CHECKING:
    from conftest import OpenSite, Site

SMALL = {"mean_bytes": 2_000}


async def raw(site: Site, target: bytes) -> tuple[int, bytes]:
    """The answer to a request line written by hand."""
    port = URL(site.emulator.base_url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = site.headers["Authorization"].encode()
    writer.write(
        b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Authorization: " + token + b"\r\n\r\n"
    )
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(b" ")[1]), answer


async def test_pages_are_complete_at_ties(open_site: OpenSite) -> None:
    site = await open_site(products=1000, **SMALL)
    products = site.emulator.catalogue.products
    assert len({one.start for one in products}) < 600
    pages = await site.pages(orderby="ContentDate/Start asc", top=37)
    found = [one["Id"] for page in pages for one in page]
    assert {len(page) for page in pages[:-1]} == {37}
    assert len(found) == len(set(found)) == 1000
    starts = [one["ContentDate"]["Start"] for page in pages for one in page]
    assert starts == sorted(starts)
    assert site.emulator.stats.pages == len(pages) == 28


async def test_a_site_may_give_fewer_than_asked_for(open_site: OpenSite) -> None:
    site = await open_site(products=50, max_top=20, clamp_top=True, **SMALL)
    pages = await site.pages(orderby="ContentDate/Start asc", top=1000)
    assert [len(page) for page in pages] == [20, 20, 10]


async def test_without_order_pages_overlap(open_site: OpenSite) -> None:
    site = await open_site(products=200, **SMALL)
    found = [one["Id"] for page in await site.pages() for one in page]
    assert len(found) == 200
    assert len(set(found)) < 200
    steady = await open_site(products=200, undefined_order=False, **SMALL)
    assert len({one["Id"] for page in await steady.pages() for one in page}) == 200


async def test_the_reference_query_over_http(open_site: OpenSite, reference_filter: str) -> None:
    site = await open_site(**SMALL)
    options = {"filter": reference_filter, "orderby": "ContentDate/Start asc", "top": 50}
    pages = await site.pages(**options, count="true")
    assert sum(map(len, pages)) >= 60
    _, first = await site.page(**options, count="true")
    assert first["@odata.count"] == sum(map(len, pages))
    assert "Attributes" not in first["value"][0]


async def test_links_as_real_servers_write_them(open_site: OpenSite) -> None:
    site = await open_site(products=9, **SMALL)
    options = {"filter": "Online eq true", "orderby": "Name desc", "top": 4, "expand": "Attributes"}
    _, data = await site.page(**options)
    link = data["@odata.nextLink"]
    assert link.startswith(site.emulator.catalogue_url + "?%24filter=Online+eq+true&%24orderby=")
    assert "%24skip=4" in link
    assert "Attributes" in (await site.page(URL(link, encoded=True)))[1]["value"][0]


async def test_links_may_be_relative_and_without_plus(open_site: OpenSite) -> None:
    site = await open_site(products=9, relative_links=True, plus_links=False, **SMALL)
    _, data = await site.page(filter="Online eq true", orderby="Name", top=4)
    assert data["@odata.nextLink"].startswith("Products?%24filter=Online%20eq%20true&")
    assert sum(map(len, await site.pages(orderby="Name", top=4))) == 9


async def test_past_the_skip_limit_the_link_silently_is_not_there(open_site: OpenSite) -> None:
    site = await open_site(products=100, max_skip=40, **SMALL)
    pages = await site.pages(orderby="Name", top=20, count="true")
    assert [len(page) for page in pages] == [20, 20, 20]
    assert (await site.page(orderby="Name", skip=40))[0] == 200
    assert (await site.page(orderby="Name", skip=41))[0] == 400


@pytest.mark.parametrize(
    "options",
    [
        {"top": "1001"}, {"top": "-1"}, {"top": "x"}, {"skip": "-1"}, {"orderby": "Nothing"},
        {"orderby": "Name up"}, {"count": "yes"}, {"expand": "Nodes"}, {"apply": "x"},
        {"filter": "Name eq 'x'"}, {"filter": "("},
    ],
    ids=str,
)  # fmt: skip
async def test_options_that_are_refused(open_site: OpenSite, options: dict[str, str]) -> None:
    site = await open_site(make_product())
    status, body = await site.page(**options)
    assert status == 400
    assert body["error"]["message"]


async def test_a_target_that_no_client_should_send(open_site: OpenSite) -> None:
    site = await open_site(make_product())
    path = b"/catalogue/odata/v1/Products?$filter="
    assert (await raw(site, path + b"Online%20eq%20true"))[0] == 200
    assert (await raw(site, path + b"Online eq true"))[0] == 400
    assert (await raw(site, path + b"Id%20eq%20%27x%27"))[0] == 200
    assert (await raw(site, path + b"Id%20eq%20'x'"))[0] == 500
    assert (await raw(site, path + b'Id%20eq%20"x"'))[0] == 400
    assert (await raw(site, path + "Id%20eq%20%27é%27".encode()))[0] == 400
    assert (await raw(site, path + b"Id%20eq%20%27%C3%A9%27"))[0] == 200
    assert (await raw(site, path + b"Id%20eq%20%27%E9%27"))[0] == 400
    assert (await raw(site, path + b"Online%2"))[0] == 400
    status, answer = await raw(site, path + b"<>")
    assert (status, b"Malformed URI" in answer) == (400, True)


async def test_a_long_filter_fits(open_site: OpenSite) -> None:
    site = await open_site(make_product())
    ring = ", ".join(f"{20 + step / 1e5:.5f} 38" for step in range(1500))
    wkt = f"POLYGON(({ring}, 20.1 39, 20 38))"
    clause = f"OData.CSC.Intersects(area=geography'SRID=4326;{wkt}')"
    assert len(quote(clause)) > 20_000
    assert (await site.page(filter=clause))[0] == 200


async def test_one_entry_its_attributes_and_the_count(open_site: OpenSite) -> None:
    site = await open_site(
        make_product("a", attributes={"cloudCover": 3.0}), make_product("b"), name_filter=True
    )
    one = site.emulator.catalogue.products[0]
    status, entry = await site.page(site.url(f"({one.id})", expand="Attributes"))
    assert (status, entry["Id"], entry["Attributes"][0]["Value"]) == (200, one.id, 3.0)
    assert "Attributes" not in (await site.page(site.url(f"({one.id})")))[1]
    _, attributes = await site.page(site.url(f"({one.id})/Attributes"))
    assert attributes["value"][0]["Name"] == "cloudCover"
    assert (await site.get(site.url("/$count"))).body == b"2"
    assert (await site.get(site.url("/$count", filter="Name eq 'a'"))).body == b"1"
    assert (await site.page(site.url("(00000000-0000-4000-8000-000000000000)")))[0] == 404


async def test_entries_by_hand(open_site: OpenSite) -> None:
    site = await open_site(
        make_product(
            "../../etc/passwd",
            entry={"Checksum": [{}], "Online": "true", "ContentLength": "12"},
            omit=("ContentDate", "Footprint"),
        ),
        make_product("twice", id="1" * 8),
        make_product("twice", id="2" * 8),
    )
    _, data = await site.page(orderby="Name")
    first, *twins = data["value"]
    assert first["Name"] == "../../etc/passwd"
    assert (first["Checksum"], first["Online"], first["ContentLength"]) == ([{}], "true", "12")
    assert not {"ContentDate", "Footprint"} & set(first)
    assert [one["Id"] for one in twins] == ["1" * 8, "2" * 8]


async def test_a_replaced_product_has_a_new_entry(open_site: OpenSite) -> None:
    site = await open_site(make_product(size=5_000), checksums=("MD5", "BLAKE3", "SHA3-256"))
    one = site.emulator.catalogue.products[0]
    _, before = await site.page(site.url(f"({one.id})"))
    assert [len(check["Value"]) for check in before["Checksum"]] == [32, 64, 64]
    site.emulator.catalogue.replace(one.id, size=6_000)
    _, after = await site.page(site.url(f"({one.id})"))
    assert after["ContentLength"] == 6_000
    assert after["ModificationDate"] > before["ModificationDate"]
    for old, new in zip(before["Checksum"], after["Checksum"], strict=True):
        assert old["Algorithm"] == new["Algorithm"]
        assert old["Value"] != new["Value"]


async def fault_page(
    open_site: OpenSite, kind: FaultKind, **rest: object
) -> tuple[Site, URL, list[str]]:
    start = make_product().start
    products = [
        replace(make_product(f"p{number:02d}"), start=start + timedelta(hours=number))
        for number in range(12)
    ]
    fault = Fault(kind, page=1, **rest)  # type: ignore[arg-type]
    site = await open_site(*products, faults=(fault,))
    return site, site.url(orderby="Name", top=5, skip=5), [f"p{n:02d}" for n in range(5, 10)]


def names(data: dict[str, list[dict[str, str]]]) -> list[str]:
    return [one["Name"] for one in data["value"]]


@pytest.mark.parametrize(
    ("kind", "status", "content_type"),
    [
        (FaultKind.PAGE_ERROR, 503, "text/html"),
        (FaultKind.PAGE_HTML, 200, "text/html"),
        (FaultKind.PAGE_TOO_MANY, 429, "text/plain"),
        (FaultKind.PAGE_REVOKED_TOKEN, 401, "application/json"),
    ],
)
async def test_faults_in_the_place_of_a_page(
    open_site: OpenSite, kind: FaultKind, status: int, content_type: str
) -> None:
    site, url, whole = await fault_page(open_site, kind, retry_after="3")
    assert (await site.page(orderby="Name", top=5))[0] == 200
    got = await site.get(url)
    assert got.status == status
    assert got.headers["Content-Type"].startswith(content_type)
    if kind is FaultKind.PAGE_TOO_MANY:
        assert got.headers["Retry-After"] == "3"
    if status == 401:
        await site.login()
    _, again = await site.page(url)
    assert names(again) == whole


async def test_a_cut_page_is_no_json(open_site: OpenSite) -> None:
    site, url, _ = await fault_page(open_site, FaultKind.PAGE_CUT)
    got = await site.get(url)
    assert (got.status, got.whole) == (200, True)
    with pytest.raises(json.JSONDecodeError):
        json.loads(got.body)


async def test_a_page_with_repeated_items(open_site: OpenSite) -> None:
    site, url, whole = await fault_page(open_site, FaultKind.PAGE_REPEATED)
    _, data = await site.page(url)
    assert names(data) == [f"p{number:02d}" for number in range(5)] + whole


async def test_a_page_with_missing_items(open_site: OpenSite) -> None:
    site, url, whole = await fault_page(open_site, FaultKind.PAGE_MISSING)
    _, data = await site.page(url)
    assert names(data) == whole[:3]


async def test_a_list_that_has_shrunk(open_site: OpenSite) -> None:
    products = [make_product(f"p{number:02d}") for number in range(12)]
    shrunk = Fault(FaultKind.PAGE_SHRUNK, at=0.5)
    site = await open_site(*products, faults=(shrunk, replace(shrunk, first=2, at=0.0)))
    for number in (6, 0, 12):
        _, data = await site.page(orderby="Name", count="true")
        assert (data["@odata.count"], len(data["value"])) == (number, number)


async def test_an_entry_that_is_missing(open_site: OpenSite) -> None:
    product = make_product("p")
    site = await open_site(product, faults=(Fault(FaultKind.PAGE_ENTRY_MISSING),))
    address = URL(f"{site.emulator.catalogue_url}({product.id})", encoded=True)
    assert [(await site.get(address)).status for _ in range(2)] == [404, 200]


async def test_page_link_faults(open_site: OpenSite) -> None:
    site, url, _ = await fault_page(open_site, FaultKind.PAGE_NO_LINK)
    assert "@odata.nextLink" not in (await site.page(url))[1]
    assert "@odata.nextLink" in (await site.page(url))[1]
    site, url, _ = await fault_page(open_site, FaultKind.PAGE_FOREIGN_LINK)
    link = (await site.page(url))[1]["@odata.nextLink"]
    assert link.startswith(site.emulator.foreign_url)
    site = await open_site(
        *site.emulator.catalogue.products,
        plus_links=False,
        faults=(Fault(FaultKind.PAGE_PLUS_LINK),),
    )
    first = (await site.page(orderby="Name asc", top=5))[1]["@odata.nextLink"]
    second = (await site.page(orderby="Name asc", top=5))[1]["@odata.nextLink"]
    assert "Name+asc" in first
    assert "Name%20asc" in second


async def test_a_slow_page_holds_up_no_other(open_site: OpenSite) -> None:
    site, url, whole = await fault_page(open_site, FaultKind.PAGE_SLOW, seconds=60.0)
    slow = asyncio.create_task(site.page(url))
    await site.until(lambda: site.emulator.stats.pages == 1)
    _, data = await site.page(orderby="Name", top=5)
    assert len(names(data)) == 5
    assert not slow.done()
    slow.cancel()
    assert names((await site.page(url))[1]) == whole
