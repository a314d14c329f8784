"""A quota that nobody here wrote: nginx's limit_conn for each user, limit_rate for each download."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from noa_async import Status

from .parts import needed
from .site import Site

nginx = needed("nginx", "Debian's nginx-light", also_in="/usr/sbin")

QUOTA = 4
RATE = 400_000
PRODUCTS = 48
SIZE = 2 * RATE


@pytest.mark.parametrize("refusal", [429, 503])
async def test_a_quota_is_found_and_held(tmp_path: Path, refusal: int) -> None:
    site = Site(
        tmp_path,
        limits=f"limit_conn user {QUOTA}; limit_conn_status {refusal}; limit_rate {RATE};",
    )
    products = {f"p{number}": random.randbytes(SIZE + number) for number in range(PRODUCTS)}
    site.put(products)
    async with site.served_by(nginx):
        started = time.monotonic()
        statuses = await site.fetch_all(tmp_path / "out", workers=16)
        elapsed = time.monotonic() - started
    assert statuses == [Status.DOWNLOADED] * PRODUCTS
    for key, content in products.items():
        assert (tmp_path / "out" / f"S2A_{key}.SAFE").read_bytes() == content
    log = [asked for asked in site.log() if asked.path.startswith("/Products(")]
    given = [asked for asked in log if asked.status == 200]
    refused = [asked for asked in log if asked.status == refusal]
    print(elapsed, len(refused), sum(a.sent for a in given) / QUOTA / RATE, sum(a.seconds for a in given) / QUOTA, {a.status for a in log})
