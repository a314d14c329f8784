"""A server that nobody here wrote: nginx over TLS, with ranges, keep-alive and If-Range."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from noa_async import ChecksumMismatch, Credentials, NoaClient, ServiceRefused, Settings, Status

from .parts import needed
from .site import ALL, Site

nginx = needed("nginx", "Debian's nginx-light", also_in="/usr/sbin")


async def test_many_products_over_few_connections(tmp_path: Path) -> None:
    site = Site(tmp_path)
    products = {f"p{number}": random.randbytes(200_000 + number) for number in range(40)}
    site.put(products)
    async with site.served_by(nginx):
        statuses = await site.fetch_all(tmp_path / "out")
    assert statuses == [Status.DOWNLOADED] * 40
    for key, content in products.items():
        assert (tmp_path / "out" / f"S2A_{key}.SAFE").read_bytes() == content
    log = site.log()
    assert len(log) == 42  # a token, a page, the products: each asked for once
    assert len({asked.connection for asked in log}) <= 5


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_part_is_gone_on_with_unless_replaced(tmp_path: Path, replaced: bool) -> None:
    site = Site(tmp_path, limits="limit_rate_after 1m; limit_rate 4m;")
    content = random.randbytes(9_000_000)
    site.put({"one": content})
    async with site.served_by(nginx):
        async with site.client() as noa:
            [product] = [each async for each in noa.search(ALL)]
            fetching = asyncio.create_task(noa.download(product, tmp_path / "out"))
            part = tmp_path / "out/.noa-async/parts/one.part"
            async with asyncio.timeout(30):
                while not (part.exists() and part.stat().st_size > 2_000_000):
                    await asyncio.sleep(0.01)
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
        held = part.stat().st_size
        if replaced:
            content = random.randbytes(9_000_000)
            (tmp_path / "bytes/one").write_bytes(content)
            os.utime(tmp_path / "bytes/one", (1, 1))  # another time: another ETag
        async with site.client() as noa:
            outcome = await noa.download(product, tmp_path / "out")
    resumed = next(asked for asked in site.log() if asked.range == f"bytes={held}-")
    assert resumed.if_range.startswith('"')
    if replaced:
        # The catalogue still tells the old checksum: the new bytes must not pass for the product.
        assert (outcome.status, resumed.status) == (Status.FAILED, 200)
        assert isinstance(outcome.error, ChecksumMismatch)
        assert not list((tmp_path / "out").glob("S2A*"))
    else:
        assert (outcome.status, resumed.status) == (Status.DOWNLOADED, 206)
        assert (tmp_path / "out/S2A_one.SAFE").read_bytes() == content


async def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.put({"one": b"x"})
    settings = Settings(service=site.settings().service)
    async with site.served_by(nginx):
        async with NoaClient(settings, Credentials("anybody", "anything")) as noa:
            with pytest.raises(ServiceRefused, match="certificate of localhost"):
                await noa.log_in()
    assert site.log() == []


async def test_row_3_4_the_longest_address_that_is_sent_is_taken(tmp_path: Path) -> None:
    """By nginx as it is set up by default; a longer one is refused and named for what it is."""
    site = Site(tmp_path)
    site.put({"p1": b"x"})
    async with site.served_by(nginx), site.client() as noa:
        catalogue, service = noa._open.catalogue, noa.settings.service
        start = f"{service.catalogue_url}?$filter="
        longest = start + "x" * (service.max_url_length - len(start))
        assert len(longest) == 8000
        assert [product.id for product in (await catalogue.page(longest)).products] == ["p1"]
        with pytest.raises(ServiceRefused, match=r"414 .*The URL had 9,000 bytes, more than"):
            await catalogue.page(start + "x" * (9000 - len(start)))
