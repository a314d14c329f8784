from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from noa_async.emulator import Fault, FaultKind, FaultPlan, make_product

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Got, OpenSite, Site

PRODUCT = make_product(size=60_000)
SIZE = PRODUCT.size
ID = PRODUCT.id


async def struck(open_site: OpenSite, kind: FaultKind, **rest: Any) -> tuple[Site, bytes]:
    headers = rest.pop("settings", {})
    site = await open_site(PRODUCT, faults=(Fault(kind, **rest),), **headers)
    return site, site.emulator.content(ID).read()


async def clean(site: Site, whole: bytes) -> None:
    """The attempt after the fault is as it should be."""
    got = await site.get(ID)
    assert (got.status, got.whole, got.body) == (200, True, whole)


@pytest.mark.parametrize("at", [0, 1, 12_345, 0.5, 0.999])
async def test_cut(open_site: OpenSite, at: float) -> None:
    site, whole = await struck(open_site, FaultKind.CUT, at=at)
    got = await site.get(ID)
    kept = at if isinstance(at, int) else int(SIZE * at)
    assert (got.status, got.whole, got.body) == (200, False, whole[:kept])
    assert got.headers["Content-Length"] == str(SIZE)
    assert site.emulator.stats.downloads[ID] == [(0, 200, kept)]
    await clean(site, whole)


async def test_a_cut_counts_from_the_range(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.CUT, at=100)
    got = await site.get(ID, Range="bytes=1000-")
    assert (got.status, got.whole, got.body) == (206, False, whole[1000:1100])


async def test_reset(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.RESET, at=0.5)
    got = await site.get(ID)
    assert not got.whole
    assert whole.startswith(got.body)
    await clean(site, whole)


async def test_stall(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.STALL, at=1000, seconds=60)
    url = site.url(f"({ID})/$value")
    async with site.session.get(url, headers=site.headers) as answer:
        assert await answer.content.readexactly(1000) == whole[:1000]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.content.read(1), 0.05)
    await site.until(lambda: site.emulator.stats.downloads_in_flight == 0)
    site.emulator.faults = FaultPlan((Fault(FaultKind.STALL, seconds=0.05),))
    got = await site.get(ID)
    assert (got.whole, got.body) == (True, whole)


async def test_throttle(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.THROTTLE, rate=200_000.0)
    began = time.monotonic()
    got = await site.get(ID)
    assert got.body == whole
    assert time.monotonic() - began > 0.25


@pytest.mark.parametrize(("times", "wrong"), [(1, [True, False]), (None, [True, True])])
async def test_wrong_bytes(open_site: OpenSite, times: int | None, wrong: list[bool]) -> None:
    site, whole = await struck(open_site, FaultKind.WRONG_BYTES, times=times)
    for expected in wrong:
        got = await site.get(ID)
        assert (got.status, got.whole, len(got.body)) == (200, True, SIZE)
        assert (got.body != whole) is expected


async def test_short_body(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.SHORT_BODY, at=20_000)
    got = await site.get(ID)
    assert (got.status, got.whole, got.body) == (200, True, whole[:20_000])
    assert got.headers["Content-Length"] == "20000"
    await clean(site, whole)


async def test_wrong_range(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.WRONG_RANGE, times=None)
    got = await site.get(ID, Range="bytes=1000-")
    assert got.status == 206
    assert got.headers["Content-Range"] == f"bytes 500-{SIZE - 1}/{SIZE}"
    assert got.body == whole[500:]
    await clean(site, whole)


async def test_lying_range(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.LYING_RANGE)
    got = await site.get(ID, Range="bytes=1000-")
    assert got.status == 206
    assert got.headers["Content-Range"] == f"bytes 1000-{SIZE - 1}/{SIZE}"
    assert got.body == whole[500 : SIZE - 500]


async def test_ignored_range(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.IGNORED_RANGE)
    got = await site.get(ID, Range="bytes=1000-")
    assert (got.status, got.body) == (200, whole)
    assert "Content-Range" not in got.headers


async def test_range_from_zero(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.RANGE_FROM_ZERO)
    got = await site.get(ID, Range="bytes=1000-")
    assert (got.status, got.body) == (206, whole)
    assert got.headers["Content-Range"] == f"bytes 0-{SIZE - 1}/{SIZE}"


async def test_ok_with_content_range(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.OK_WITH_CONTENT_RANGE)
    got = await site.get(ID, Range="bytes=1000-")
    assert (got.status, got.body) == (200, whole[1000:])
    assert got.headers["Content-Range"] == f"bytes 1000-{SIZE - 1}/{SIZE}"


async def test_injected_error(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.INJECTED_ERROR, at=3000, text="<html>No")
    got = await site.get(ID)
    assert (got.status, got.whole, got.body) == (200, False, whole[:3000] + b"<html>No")
    await clean(site, whole)


ANSWERS = [
    (FaultKind.QUOTA_TEXT, 200, "Max session number 4 exceeded"),
    (FaultKind.ERROR_PAGE, 200, "<!DOCTYPE html>"),
    (FaultKind.EMPTY_202, 202, ""),
    (FaultKind.QUOTA_403, 403, "Maximum number of 4 concurrent flows"),
    (FaultKind.FORBIDDEN, 403, "Access denied"),
    (FaultKind.NOT_FOUND, 404, "Not Found"),
    (FaultKind.TOO_MANY, 429, "Max session number 4 exceeded"),
    (FaultKind.SERVER_ERROR, 503, "503 Service Unavailable"),
]


@pytest.mark.parametrize(("kind", "status", "words"), ANSWERS)
async def test_answers_in_the_place_of_the_product(
    open_site: OpenSite, kind: FaultKind, status: int, words: str
) -> None:
    site, whole = await struck(open_site, kind)
    got = await site.get(ID)
    assert got.status == status
    assert words in got.body.decode()
    assert bool(words) is bool(got.body)
    assert site.emulator.stats.downloads[ID] == [(0, status, 0)]
    await clean(site, whole)


async def test_a_fault_for_good_stays(open_site: OpenSite) -> None:
    site, _ = await struck(open_site, FaultKind.NOT_FOUND, times=None)
    assert [(await site.get(ID)).status for _ in range(4)] == [404] * 4


async def test_retry_after_in_its_forms(open_site: OpenSite) -> None:
    faults = tuple(
        Fault(FaultKind.TOO_MANY, first=place, seconds=90.0, retry_after=form)
        for place, form in enumerate(("7", "date", None), start=1)
    )
    site = await open_site(PRODUCT, faults=faults)
    seconds, date, nothing = [(await site.get(ID)).headers.get("Retry-After") for _ in range(3)]
    assert seconds == "7"
    assert 80 < parsedate_to_datetime(date).timestamp() - time.time() < 91
    assert nothing is None


async def test_any_5xx(open_site: OpenSite) -> None:
    site, _ = await struck(open_site, FaultKind.SERVER_ERROR, status=502)
    assert (await site.get(ID)).status == 502


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_redirect_to_a_foreign_host(open_site: OpenSite, status: int) -> None:
    site, whole = await struck(open_site, FaultKind.REDIRECT_FOREIGN, status=status)
    got = await site.get(ID)
    assert got.status == status
    target = got.headers["Location"]
    assert target.startswith(site.emulator.foreign_url)
    async with site.session.get(target, headers=site.headers) as answer:
        assert answer.status == 400
    async with site.session.get(target, headers={"Range": "bytes=10-"}) as answer:
        assert (answer.status, await answer.read()) == (206, whole[10:])
    assert site.emulator.stats.leaked_tokens == 1


async def test_redirect_to_a_trusted_host(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.REDIRECT_TRUSTED)
    target = (await site.get(ID)).headers["Location"]
    assert target.startswith(site.emulator.trusted_url)
    async with site.session.get(target) as answer:
        assert answer.status == 401
    async with site.session.get(target, headers=site.headers) as answer:
        assert (answer.status, await answer.read()) == (200, whole)


async def test_replaced(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.REPLACED, first=2)
    etag = (await site.get(ID)).headers["ETag"]
    _, before = await site.page(site.url(f"({ID})"))
    got = await site.get(ID, Range="bytes=1000-", If_Range=etag)
    assert (got.status, len(got.body)) == (200, SIZE)
    assert got.body != whole
    assert got.headers["ETag"] != etag
    _, after = await site.page(site.url(f"({ID})"))
    assert after["Checksum"][0]["Value"] == site.emulator.content(ID).md5
    assert after["Checksum"] != before["Checksum"]


async def test_etag_faults(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.NEW_ETAG)
    assert (await site.get(ID)).headers["ETag"] == '"of-another-time"'
    site, whole = await struck(open_site, FaultKind.NO_ETAG)
    assert "ETag" not in (await site.get(ID)).headers
    assert "ETag" in (await site.get(ID)).headers
    await clean(site, whole)


async def test_gzip(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.GZIP)
    got = await site.get(ID, Range="bytes=10-")
    assert (got.status, got.headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(got.body) == whole


async def test_chunked(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.CHUNKED)
    got = await site.get(ID)
    assert (got.status, got.whole, got.body) == (200, True, whole)
    assert "Content-Length" not in got.headers
    assert got.headers["Transfer-Encoding"] == "chunked"


async def test_errors_in_chunks(open_site: OpenSite) -> None:
    faults = (Fault(FaultKind.TOO_MANY, retry_after="3"), Fault(FaultKind.NOT_FOUND, first=2))
    site = await open_site(PRODUCT, faults=faults, chunked_errors=True)
    for status in (429, 404):
        got = await site.get(ID)
        assert (got.status, got.whole) == (status, True)
        assert got.body
        assert got.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in got.headers
    assert "Content-Length" in (await site.get(ID)).headers


async def test_a_chunked_body_cut(open_site: OpenSite) -> None:
    faults = (Fault(FaultKind.CHUNKED), Fault(FaultKind.CUT, at=500))
    site = await open_site(PRODUCT, faults=faults)
    got = await site.get(ID)
    assert (got.whole, len(got.body)) == (False, 500)


async def test_revoked_token(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.REVOKED_TOKEN)
    got = await site.get(ID)
    assert (got.status, 'error="invalid_token"' in got.headers["WWW-Authenticate"]) == (401, True)
    assert (await site.get(ID)).status == 401
    await site.login()
    await clean(site, whole)


async def test_slow_first_byte(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.SLOW_FIRST_BYTE, seconds=30.0)
    slow: asyncio.Task[Got] = asyncio.create_task(site.get(ID))
    await site.until(lambda: site.emulator.stats.downloads_in_flight == 1)
    await clean(site, whole)
    assert not slow.done()
    slow.cancel()


async def test_connection_refused_for_some_seconds(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.CONNECTION_REFUSED, seconds=0.2)
    with pytest.raises(aiohttp.ClientConnectionError):
        await site.get(ID)
    with pytest.raises(aiohttp.ClientConnectorError):
        await site.get(ID)
    async with asyncio.timeout(5):
        while True:
            try:
                await clean(site, whole)
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.02)
            else:
                break


async def test_while_it_refuses_nobody_else_is_given_its_port(open_site: OpenSite) -> None:
    site = await open_site(PRODUCT, login=False)  # no connection that would keep the port
    door = urlsplit(site.emulator.base_url)
    await site.emulator.refuse_connections(1.0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(door.hostname, door.port)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((door.hostname, door.port))
    await site.emulator.reopened()
    assert (await site.login())[0] == 200


async def test_token_faults(open_site: OpenSite) -> None:
    faults = (Fault(FaultKind.TOKEN_ERROR), Fault(FaultKind.TOKEN_HTML, first=2))
    site = await open_site(PRODUCT, faults=faults, login=False)
    for status in (503, 200):
        async with site.session.post(site.emulator.token_url, data={}) as answer:
            assert (answer.status, answer.content_type) == (status, "text/html")
    assert (await site.login())[0] == 200


async def test_faults_of_a_log_in(open_site: OpenSite) -> None:
    kinds = {
        FaultKind.TOKEN_MAINTENANCE: (503, "text/html"),
        FaultKind.TOKEN_FORBIDDEN: (403, "text/html"),
        FaultKind.TOKEN_NOT_FOUND: (404, "text/plain"),
        FaultKind.TOKEN_SESSIONS: (400, "application/json"),
        FaultKind.TOKEN_REFUSED: (401, "application/json"),
        FaultKind.TOKEN_BOMB: (200, "application/json"),
    }
    faults = tuple(Fault(kind, first=place) for place, kind in enumerate(kinds, 1))
    moved = Fault(FaultKind.TOKEN_MAINTENANCE, first=len(kinds) + 1, status=302)
    site = await open_site(PRODUCT, faults=(*faults, moved), login=False)
    for expected in kinds.values():
        async with site.session.post(site.emulator.token_url, data={}) as answer:
            assert (answer.status, answer.content_type) == expected
    async with site.session.post(site.emulator.token_url, data={}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/maintenance.html")
    assert (await site.login())[0] == 200
    site.emulator.maintenance = 301
    async with site.session.get(site.emulator.catalogue_url) as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert answer.url.path == "/maintenance.html"


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        (FaultKind.LABEL_ENCODING, "Content-Encoding", "aws-chunked"),
        (FaultKind.LABEL_TYPE, "Content-Type", "text/html"),
        (FaultKind.LABEL_RANGE, "Content-Range", f"bytes=1000-{SIZE - 1}/{SIZE}"),
    ],
)
async def test_labels(open_site: OpenSite, kind: FaultKind, name: str, said: str) -> None:
    site, whole = await struck(open_site, kind)
    got = await site.get(ID, Range="bytes=1000-")
    assert (got.status, got.whole, got.body) == (206, True, whole[1000:])
    assert got.headers[name] == said
    await clean(site, whole)


async def test_a_length_that_is_not_the_bodys(open_site: OpenSite) -> None:
    site, whole = await struck(open_site, FaultKind.LABEL_LENGTH, at=7, seconds=0.05)
    got = await site.get(ID)
    assert (got.status, got.whole, got.body) == (200, False, whole)
    assert got.headers["Content-Length"] == str(SIZE + 7)
    await clean(site, whole)


@pytest.mark.parametrize("status", [None, 302, 403])
async def test_a_log_in_page_in_place_of_the_bytes(open_site: OpenSite, status: int | None) -> None:
    site, whole = await struck(open_site, FaultKind.LABEL_LOGIN, status=status)
    got = await site.get(ID)
    if status == 302:
        assert "/openid-connect/auth?response_type=code" in got.headers["Location"]
    else:
        assert b"kc-form-login" in got.body
    assert got.status == (status or 200)
    await clean(site, whole)


def test_a_plan_decides_by_product_attempt_and_seed() -> None:
    plan = FaultPlan(
        (
            Fault(FaultKind.CUT, product="a", first=2, times=2),
            Fault(FaultKind.STALL, index=7),
            Fault(FaultKind.GZIP, probability=0.3, times=None),
        ),
        seed=5,
    )
    kinds = [{one.kind for one in plan.for_product("a", 0, attempt)} for attempt in range(1, 5)]
    assert [FaultKind.CUT in found for found in kinds] == [False, True, True, False]
    assert FaultKind.STALL in {one.kind for one in plan.for_product("b", 7, 1)}
    hit = {f"p{n}" for n in range(500) if plan.for_product(f"p{n}", 0, 3)}
    assert 100 < len(hit) < 200
    assert hit == {f"p{n}" for n in range(500) if plan.for_product(f"p{n}", 0, 9)}
    other = FaultPlan(plan.faults, seed=6)
    assert hit != {f"p{n}" for n in range(500) if other.for_product(f"p{n}", 0, 3)}


def test_every_kind_has_a_scope() -> None:
    for kind in FaultKind:
        plan = FaultPlan((Fault(kind),))
        found = {
            "product": plan.for_product("a", 0, 1),
            "page": plan.for_page(0, 1),
            "token": plan.for_token(1),
        }
        scope = "product" if kind.scope == "label" else kind.scope
        assert [name for name, faults in found.items() if faults] == [scope]


def test_a_plan_from_a_file(tmp_path: Path) -> None:
    toml = tmp_path / "plan.toml"
    toml.write_text(
        'seed = 3\n[[faults]]\nkind = "cut"\nat = 1000\n'
        '[[faults]]\nkind = "forbidden"\nindex = 4\ntimes = 0\n'
    )
    plan = FaultPlan.from_file(str(toml))
    assert plan == FaultPlan(
        (Fault(FaultKind.CUT, at=1000), Fault(FaultKind.FORBIDDEN, index=4, times=None)), seed=3
    )
    other = tmp_path / "plan.json"
    other.write_text(json.dumps({"faults": [{"kind": "gzip", "times": None}]}))
    assert FaultPlan.from_file(str(other)).faults == (Fault(FaultKind.GZIP, times=None),)


@pytest.mark.parametrize(
    "data", [{"fault": []}, {"faults": [{"kind": "flood"}]}, {"faults": [{"kind": "cut", "x": 1}]}]
)
def test_a_plan_with_a_typo_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"fault|flood|'x'"):
        FaultPlan.from_dict(data)


def test_random_plans_repeat_and_end() -> None:
    ids = [f"p{n}" for n in range(40)]
    kinds = (FaultKind.CUT, FaultKind.STALL)
    plan = FaultPlan.random(1, ids, kinds)
    assert plan == FaultPlan.random(1, ids, kinds)
    assert plan != FaultPlan.random(2, ids, kinds)
    assert {one.kind for one in plan.faults} == set(kinds)
    for name in ids:
        assert not plan.for_product(name, 0, 4)
        assert all(len(plan.for_product(name, 0, attempt)) <= 1 for attempt in (1, 2, 3))
