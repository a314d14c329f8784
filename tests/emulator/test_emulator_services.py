"""The emulator as another service: its paths, limits, and a download host of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from yarl import URL

from noa_async.emulator import EmulatorSettings, make_product
from noa_async.emulator.profiles import PROFILES

if TYPE_CHECKING:
    from conftest import OpenSite, Site

CDSE = {"service": "cdse", **PROFILES["cdse"]}
LOGIN = {"client_id": "cdse-public", "grant_type": "password", "username": "demo"}


async def log_in(site: Site) -> dict[str, object]:
    status, body = await site.token(**LOGIN, password="demo")
    assert status == 200
    site.headers["Authorization"] = f"Bearer {body['access_token']}"
    return body


async def test_its_log_in_is_its_own(open_site: OpenSite) -> None:
    site = await open_site(products=1, login=False, **CDSE)
    assert "/auth/realms/CDSE/" in site.emulator.token_url
    assert (await site.token(**LOGIN | {"client_id": "mirror-client"}, password="demo"))[0] == 401
    body = await log_in(site)
    assert (body["expires_in"], body["refresh_expires_in"]) == (600, 3600)


async def test_its_pages_have_its_limits(open_site: OpenSite) -> None:
    site = await open_site(products=30, mean_bytes=2000, login=False, **CDSE)
    status, page = await site.page()  # it asks for no token there
    assert status == 200
    assert len(page["value"]) == 20
    assert "/odata/v1/Products?" in page["@odata.nextLink"]
    sums = [one["Algorithm"] for one in page["value"][0]["Checksum"]]
    assert sums == ["MD5", "BLAKE3"]
    statuses = {
        key: (await site.page(**{key: value}))[0]
        for key, value in {"top": 1000, "skip": 10_000}.items()
    }
    assert statuses == {"top": 200, "skip": 200}
    assert (await site.page(top=1001))[0] == 400
    assert (await site.page(skip=10_001))[0] == 422


async def test_its_bytes_are_on_a_host_that_needs_the_token(open_site: OpenSite) -> None:
    product = make_product(size=60_000)
    site = await open_site(product, login=False, **CDSE)
    sent = await site.get(product.id)
    assert sent.status == 302
    target = URL(sent.headers["Location"])
    assert str(target.origin()) == site.emulator.trusted_url != site.emulator.base_url
    assert (await site.get(target)).status == 401
    await log_in(site)
    whole = await site.get(target)
    assert whole.body == site.emulator.content(product.id).read()
    part = await site.get(target, Range="bytes=100-")
    assert (part.status, part.body) == (206, whole.body[100:])
    for path in ("Products", "Products(none)/$value", f"Products({product.id})"):
        assert (await site.get(target.origin() / "odata/v1" / path)).status == 404
    site.emulator.outage = True
    assert (await site.get(target)).status == 503


async def test_its_quota_counts_at_that_host(open_site: OpenSite) -> None:
    product = make_product(size=60_000)
    site = await open_site(product, login=False, **CDSE | {"quota": 1, "slot_linger": 60.0})
    await log_in(site)
    target = URL((await site.get(product.id)).headers["Location"])
    assert [(await site.get(target)).status for _ in range(2)] == [200, 429]


async def test_another_mirror_has_no_download_host(open_site: OpenSite) -> None:
    product = make_product(size=60_000)
    site = await open_site(product)
    assert (await site.get(product.id)).status == 200
    path = site.url(f"({product.id})/$value").path
    assert (await site.get(URL(site.emulator.trusted_url + path))).status == 404


def test_a_service_is_played_with_changes() -> None:
    played = EmulatorSettings.playing("cdse", quota=2, token_life=3.0)
    assert (played.quota, played.token_life, played.client_id) == (2, 3.0, "cdse-public")
    assert EmulatorSettings.playing("noa") == EmulatorSettings()
    with pytest.raises(ValueError, match="'cdes' is none of noa, cdse"):
        EmulatorSettings.playing("cdes")
