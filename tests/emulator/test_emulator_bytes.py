from __future__ import annotations

import asyncio
import hashlib
import io
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noa_async.emulator import Catalogue, Content, Emulator, EmulatorSettings, Product, make_product
from noa_async.emulator.ranges import Span, asked_span, validator_holds

if TYPE_CHECKING:
    from conftest import OpenSite, Site

ZIP = make_product(size=50_000)
RAW = make_product("S5P_NRTI_L2__CO____20260112T101010.nc", size=10_000)


def only(site: Site) -> Product:
    return site.emulator.catalogue.products[0]


@pytest.mark.parametrize(
    ("name", "size", "folder"),
    [
        ("S1A_IW_GRDH_1SDV_20260111T042011_X.SAFE.zip", 300_000, "S1A_IW_GRDH_1SDV_"),
        ("S1A_IW_OCN__2SDV_20260111T042011_X.SAFE", 1, "S1A_IW_OCN__2SDV_"),
        ("S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_X.SAFE.zip", 3_000_000, "S2A_MSIL2A_"),
        ("S3A_SR_2_LAN_LI_20260110T082345_X.SEN3.zip", 40_000, "S3A_SR_2_LAN_LI_"),
        ("../../etc/passwd\x00" + "x" * 300, 5_000, ".._.._etc_passwd_"),
    ],
)
def test_zips_are_real(name: str, size: int, folder: str) -> None:
    product = make_product(name, size)
    data = Content(product, 1).read()
    assert len(data) == product.size >= size
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {one.split("/")[0] for one in names} == {names[0].split("/")[0]}
        assert names[0].startswith(folder)
        assert names[0].split("/")[0].endswith((".SAFE", ".SEN3"))
        assert "manifest" in names[0]
        assert archive.read(names[0]).startswith(b"<?xml")


def test_a_netcdf_product_is_no_zip() -> None:
    data = Content(RAW, 1).read()
    assert len(data) == 10_000
    assert data.startswith(b"\x89HDF")
    assert not zipfile.is_zipfile(io.BytesIO(data))


def test_a_zip_broken_at_its_source_fails_its_own_test() -> None:
    data = Content(make_product(broken_zip=True), 1).read()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is not None


def test_bytes_depend_on_seed_product_and_revision() -> None:
    catalogue = Catalogue([ZIP, make_product("other", 50_000)], seed=1)
    first, other = catalogue.products
    before = catalogue.content(first.id).read()
    assert before == Content(first, 1).read()
    assert before != Content(first, 2).read()
    assert before != catalogue.content(other.id).read()
    catalogue.replace(first.id)
    after = catalogue.content(first.id).read()
    assert len(after) == len(before)
    assert after != before
    with zipfile.ZipFile(io.BytesIO(after)) as archive:
        assert archive.testzip() is None


def test_no_two_stretches_are_the_same() -> None:
    data = Content(make_product(size=5_000_000), 1).read()
    stretches = [data[at : at + 64] for at in range(10_000, 4_990_000, 4096)]
    assert len(set(stretches)) == len(stretches)


@given(st.integers(0, 60_000), st.integers(0, 60_000))
def test_reading_at_any_offset(offset: int, length: int) -> None:
    content = Content(ZIP, 1)
    assert content.read(offset, length) == WHOLE[offset : offset + length]


WHOLE = Content(ZIP, 1).read()


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("MD5", "md5"), ("SHA-256", "sha256"), ("SHA3-256", "sha3_256"), ("SHA3-512", "sha3_512")],
)
def test_checksums(algorithm: str, name: str) -> None:
    assert Content(ZIP, 1).checksum(algorithm) == hashlib.new(name, WHOLE).hexdigest()


def test_blake3() -> None:
    blake3 = pytest.importorskip("blake3")
    assert Content(ZIP, 1).checksum("BLAKE3") == blake3.blake3(WHOLE).hexdigest()


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None), ("", None), ("bytes=", None), ("bytes=-", None), ("items=0-1", None),
        ("bytes=5-2", None), ("bytes=0-1,3-4", None), ("bytes=a-b", None), ("bytes=-5-7", None),
        ("bytes=0-", (0, 100)), ("bytes=10-", (10, 100)), ("bytes=10-10", (10, 11)),
        ("bytes=10-19", (10, 20)), ("bytes=90-1000", (90, 100)), ("bytes=99-", (99, 100)),
        ("bytes=-1", (99, 100)), ("bytes=-1000", (0, 100)), (" bytes=0 - 1", (0, 2)),
        ("bytes=100-", (100, 100)), ("bytes=500-600", (100, 100)), ("bytes=-0", (100, 100)),
    ],
)  # fmt: skip
def test_the_range_a_header_asks_for(header: str | None, span: tuple[int, int] | None) -> None:
    assert asked_span(header, 100) == (span and Span(*span, 100))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 200))
def test_ranges_are_slices(first: int, last: int, size: int) -> None:
    data = bytes(range(200))[:size]
    span = asked_span(f"bytes={first}-{last}", size)
    if last < first:
        assert span is None
    else:
        assert span is not None
        assert data[span.start : span.stop] == data[first : last + 1]
    tail = asked_span(f"bytes=-{last}", size)
    assert tail is not None
    assert data[tail.start : tail.stop] == (data[-last:] if last else b"")


def test_if_range_compares_strongly() -> None:
    assert validator_holds(None, '"a"', "date")
    assert validator_holds('"a"', '"a"', "date")
    assert validator_holds("date", None, "date")
    assert not validator_holds('W/"a"', 'W/"a"', "date")
    assert not validator_holds('"b"', '"a"', "date")
    assert not validator_holds("a", '"a"', "date")


async def test_the_whole_product(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product)
    got = await site.get(product.id)
    assert got.status == 200
    assert got.body == site.emulator.content(product.id).read()
    assert got.headers["Content-Length"] == str(product.size)
    assert got.headers["Content-Type"] == "application/zip"
    assert got.headers["Accept-Ranges"] == "bytes"
    assert got.headers["Content-Disposition"] == f'attachment; filename="{product.name}"'
    assert got.headers["ETag"].startswith('"')
    assert "Last-Modified" in got.headers
    assert hashlib.md5(got.body).hexdigest() == site.emulator.content(product.id).md5
    assert site.emulator.stats.downloads[product.id] == [(0, 200, product.size)]


async def test_hostile_names_stay_within_their_header(open_site: OpenSite) -> None:
    hostile = make_product('a"b\\c\r\nX-Evil: 1\x00.zip')
    site = await open_site(hostile)
    got = await site.get(hostile.id)
    assert got.status == 200
    assert "X-Evil" not in got.headers
    assert got.headers["Content-Disposition"] == 'attachment; filename="a\\"b\\\\c__X-Evil: 1_.zip"'


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 60_000)), max_size=8))
async def test_ranges_over_http(ranges: list[tuple[int, int]]) -> None:
    emulator_settings = EmulatorSettings(token_delay=0.0, catalogue_auth=False)
    async with Emulator(emulator_settings, catalogue=Catalogue([ZIP])) as emulator:
        for first, last in ranges:
            # On the store host no token is asked for.
            url = f"{emulator.foreign_url}/store/{ZIP.id}"
            answer = await _curl(url, f"bytes={first}-{last}")
            if last < first:
                assert answer == (200, None, WHOLE)
            elif first >= ZIP.size:
                assert answer == (416, f"bytes */{ZIP.size}", b"")
            else:
                body = WHOLE[first : last + 1]
                stop = first + len(body) - 1
                assert answer == (206, f"bytes {first}-{stop}/{ZIP.size}", body)


async def _curl(url: str, header: str) -> tuple[int, str | None, bytes]:
    """A request by hand, so that no client's idea of ranges comes in between."""
    host, _, path = url.removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    head = f"GET /{path} HTTP/1.1", f"Host: {host}", f"Range: {header}", "Connection: close"
    writer.write("\r\n".join([*head, "", ""]).encode())
    top, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    lines = top.decode().split("\r\n")
    found = dict(line.split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), found.get("Content-Range"), body


async def test_if_range(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product)
    head = await site.get(product.id, "HEAD")
    for validator in (head.headers["ETag"], head.headers["Last-Modified"]):
        got = await site.get(product.id, Range="bytes=100-", If_Range=validator)
        assert (got.status, len(got.body)) == (206, product.size - 100)
    site.emulator.catalogue.replace(product.id)
    for validator in (head.headers["ETag"], head.headers["Last-Modified"], '"x"'):
        got = await site.get(product.id, Range="bytes=100-", If_Range=validator)
        assert (got.status, got.body) == (200, site.emulator.content(product.id).read())
        assert "Content-Range" not in got.headers


async def test_if_range_answered_from_zero(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product, if_range_from_zero=True)
    got = await site.get(product.id, Range="bytes=100-", If_Range='"x"')
    assert got.status == 206
    assert got.headers["Content-Range"] == f"bytes 0-{product.size - 1}/{product.size}"
    assert len(got.body) == product.size


@pytest.mark.parametrize("style", ["unquoted", "none"])
async def test_other_etags(open_site: OpenSite, product: Product, style: str) -> None:
    site = await open_site(product, etag=style)
    got = await site.get(product.id, "HEAD")
    md5 = site.emulator.content(product.id).md5
    assert got.headers.get("ETag") == (md5 if style == "unquoted" else None)
    got = await site.get(product.id, Range="bytes=5-", If_Range=md5)
    assert got.status == (206 if style == "unquoted" else 200)


async def test_head(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product)
    got = await site.get(product.id, "HEAD", Range="bytes=5-")
    assert (got.status, got.body) == (200, b"")
    assert got.headers["Content-Length"] == str(product.size)
    site = await open_site(product, head_allowed=False)
    assert (await site.get(product.id, "HEAD")).status == 405


async def test_a_range_past_the_limit_is_ignored(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product, range_limit=1000)
    assert (await site.get(product.id, Range="bytes=999-")).status == 206
    got = await site.get(product.id, Range="bytes=1000-")
    assert (got.status, len(got.body)) == (200, product.size)


async def test_unknown_products_are_404(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product)
    assert (await site.get("00000000-0000-4000-8000-000000000000")).status == 404
    site.emulator.catalogue.remove(product.id)
    assert (await site.get(product.id)).status == 404


async def test_an_offline_product_comes_back_in_its_time(open_site: OpenSite) -> None:
    site = await open_site(make_product(online=False), retrieval_time=60.0, retry_after="30")
    one = only(site)
    got = await site.get(one.id)
    assert (got.status, got.body, got.headers["Retry-After"]) == (202, b"", "30")
    assert (await site.page())[1]["value"][0]["Online"] is False
    site.clock.now += 59
    assert (await site.get(one.id)).status == 202
    site.clock.now += 2
    assert (await site.get(one.id)).status == 200
    assert (await site.page())[1]["value"][0]["Online"] is True


async def test_an_order_brings_a_product_back(open_site: OpenSite) -> None:
    site = await open_site(make_product(online=False), retrieval_time=60.0)
    url = site.url(f"({only(site).id})/OData.CSC.Order")
    states = []
    for _ in range(3):
        async with site.session.post(url, headers=site.headers) as answer:
            assert answer.status == 201
            states.append((await answer.json())["Status"])
        if len(states) == 2:
            site.clock.now += 61
    assert states == ["queued", "in_progress", "completed"]
    assert (await site.get(only(site).id)).status == 200
    assert site.emulator.stats.orders == 3


async def test_a_site_without_orders(open_site: OpenSite) -> None:
    site = await open_site(make_product(online=False), orders=False)
    url = site.url(f"({only(site).id})/OData.CSC.Order")
    async with site.session.post(url, headers=site.headers) as answer:
        assert answer.status == 404
    assert site.emulator.stats.orders == 1


@pytest.mark.parametrize(
    ("style", "status", "words"),
    [("429", 429, "Max session number 2 exceeded"), ("403", 403, "2 concurrent flows")],
)
async def test_the_quota_of_parallel_downloads(
    open_site: OpenSite, style: str, status: int, words: str
) -> None:
    big = make_product(size=30_000_000)
    site = await open_site(big, quota=2, quota_style=style, retry_after="2")
    url = site.url(f"({big.id})/$value")
    held = [await site.session.get(url, headers=site.headers) for _ in range(2)]
    got = await site.get(big.id)
    assert got.status == status
    assert words in got.body.decode()
    assert got.headers.get("Retry-After") == ("2" if style == "429" else None)
    stats = site.emulator.stats
    assert (stats.quota_refusals, stats.downloads_peak) == (1, 2)
    held[0].close()
    await site.until(lambda: stats.downloads_in_flight == 1)
    assert (await site.get(big.id)).status == 200
    held[1].close()


async def test_a_slot_may_free_late(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product, quota=1, slot_linger=30.0)
    assert (await site.get(product.id)).status == 200
    assert (await site.get(product.id)).status == 429


async def test_a_rate_is_held(open_site: OpenSite, product: Product) -> None:
    site = await open_site(product, rate=200_000.0)
    began = time.monotonic()
    assert (await site.get(product.id)).whole
    assert 0.25 < time.monotonic() - began < 1.5


async def test_a_slow_reader_holds_the_sender_back(open_site: OpenSite) -> None:
    big = make_product(size=200_000_000)
    site = await open_site(big)
    answer = await site.session.get(site.url(f"({big.id})/$value"), headers=site.headers)
    await answer.content.readexactly(10)
    sent = -1
    while sent != site.emulator.stats.bytes_sent:
        sent = site.emulator.stats.bytes_sent
        await asyncio.sleep(0.02)
    assert sent < 50_000_000
    answer.close()
