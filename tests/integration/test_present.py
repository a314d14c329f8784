"""A run over what is there already: it asks for nothing, and holds a few products at a time."""

from __future__ import annotations

import gc
import hashlib
from typing import TYPE_CHECKING

from noa_async import Credentials, NoaClient, Service, Settings, Status
from noa_async.catalogue.product import Checksum, Product

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY = 4000
MOST_HELD = 2000
"""A thousand records at hand, what is read ahead, and what waits to be told."""
NOWHERE = Service(catalogue_url="http://127.0.0.1:9/Products", token_url="http://127.0.0.1:9/token")


def products() -> Iterator[Product]:
    for number in range(MANY):
        content = str(number).encode()
        md5 = Checksum("md5", hashlib.md5(content).hexdigest())
        yield Product(f"{number:08x}", f"P{number}", size=len(content), checksums=(md5,))


def held() -> int:
    return sum(type(one) is Product for one in gc.get_objects())


async def run(folder: Path) -> tuple[set[Status], int]:
    """How the products ended, and the most of them that were held at a time."""
    statuses, most = [], 0
    async with NoaClient(Settings(service=NOWHERE), Credentials("demo", "demo")) as noa:
        async for outcome in noa.download_all(products(), folder):
            statuses.append(outcome.status)
            if len(statuses) % 500 == 0:
                most = max(most, held())
    assert len(statuses) == MANY
    return set(statuses), most


async def test_what_a_run_holds_does_not_grow_with_what_is_there(tmp_path):
    for number in range(MANY):
        (tmp_path / f"P{number}").write_bytes(str(number).encode())
    before = held()
    found, _ = await run(tmp_path)
    assert found == {Status.PRESENT}
    again, most = await run(tmp_path)
    assert again == {Status.PRESENT}
    assert most - before < MOST_HELD
