"""A quota that nobody here wrote: nginx's limit_conn for a user, limit_rate for a download."""

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
SIZE = RATE + 1
"""nginx throttles by the second: one byte more than a second's worth takes a whole second."""


class Crowded(Site):
    """A site that lets each user have ``QUOTA`` downloads at once and refuses more."""

    def __init__(self, root: Path, *, refusal: int, products: int) -> None:
        limits = f"limit_conn user {QUOTA}; limit_conn_status {refusal}; limit_rate {RATE};"
        super().__init__(root, limits)
        self.products = {f"p{number}": random.randbytes(SIZE) for number in range(products)}
        self.put(self.products)

    async def bring(self, folder: Path) -> float:
        """Seconds until 16 workers had every product, whole."""
        async with self.served_by(nginx):
            started = time.monotonic()
            statuses = await self.fetch_all(folder, workers=16)
            elapsed = time.monotonic() - started
        assert statuses == [Status.DOWNLOADED] * len(self.products)
        for key, content in self.products.items():
            assert (folder / f"S2A_{key}.SAFE").read_bytes() == content
        return elapsed

    def answers(self, status: int) -> int:
        """How often a product was asked for and ``status`` was the answer."""
        return sum(a.status == status for a in self.log() if a.path.startswith("/Products("))


@pytest.mark.parametrize("refusal", [429, 503])
async def test_a_quota_is_found_and_held(tmp_path: Path, refusal: int) -> None:
    """A 503 is nginx's own choice; while others are served it means one too many."""
    site = Crowded(tmp_path, refusal=refusal, products=48)
    elapsed = await site.bring(tmp_path / "out")
    assert site.answers(200) == 48
    assert 0 < site.answers(refusal) < 30
    assert elapsed < 1.5 * 48 * SIZE / (QUOTA * RATE)
