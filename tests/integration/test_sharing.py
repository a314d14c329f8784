"""A large product at the end of a batch comes over all connections that are free."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from noa_async import Checksum, Limits, NoaClient, Query, Status
from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.errors import DestinationFull
from noa_async.events import TransferAdvanced
from noa_async.transfer import shares, tail

from .conftest import WHO, Connect, Recorder, assert_right, settings_for

ALL = Query(everything=True)
K = FaultKind
SIZE, RATE = 4_000_000, 1_000_000.0


def one_large(**changes: object) -> EmulatorSettings:
    """A mirror of one product; each connection takes four seconds for it."""
    return EmulatorSettings(products=1, mean_bytes=SIZE, rate=RATE, **changes)  # type: ignore[arg-type]


async def fetch(noa: NoaClient, folder: Path) -> list[Status]:
    return [each.status async for each in noa.download_all(noa.search(ALL), folder)]


def requests(mirror: Emulator) -> list[tuple[int, int]]:
    """Where each answer began, and its status, in the order of ending."""
    return [
        (each.range_start, each.status) for some in mirror.stats.downloads.values() for each in some
    ]


@pytest.mark.usefixtures("path_of_bytes")
async def test_free_connections_bring_the_rest(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    async with Emulator(one_large()) as mirror, connect(mirror) as noa:
        size = mirror.content(mirror.catalogue.products[0].id).size
        began = time.monotonic()
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        took = time.monotonic() - began
        assert_right(mirror, tmp_path, 1)
        assert took < 0.7 * size / RATE
        assert mirror.stats.downloads_peak == 4
        assert {status for start, status in requests(mirror) if start} == {206}
        assert mirror.stats.bytes_sent < 1.2 * size
        assert sum(each.received for each in recorder.of(TransferAdvanced)) == size  # type: ignore[attr-defined]
        assert [path.name for path in tmp_path.glob(".noa-async/parts/*")] == []


async def test_a_batch_of_unequal_products_ends_together(connect: Connect, tmp_path: Path) -> None:
    """Three small ones and a large one: who has brought a small one helps with the rest of that."""
    sizes = (SIZE // 4, SIZE // 4, SIZE // 4, SIZE)
    products = [make_product(f"S2A_{n}.zip", size) for n, size in enumerate(sizes)]
    catalogue = Catalogue(products)
    async with (
        Emulator(EmulatorSettings(rate=RATE), catalogue=catalogue) as mirror,
        connect(mirror) as noa,
    ):
        began = time.monotonic()
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED] * 4
        took = time.monotonic() - began
        assert_right(mirror, tmp_path, 4)
    assert took < 0.7 * SIZE / RATE
    assert len(mirror.stats.downloads[products[-1].id]) > 1


async def test_a_quota_is_kept_to(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(one_large(quota=2)) as mirror, connect(mirror) as noa:
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert_right(mirror, tmp_path, 1)
        assert mirror.stats.downloads_peak == 2
        assert mirror.stats.quota_refusals <= 3


async def test_products_that_wait_are_not_held_up(connect: Connect, tmp_path: Path) -> None:
    """As long as one waits, no connection is spent on a share."""
    settings = EmulatorSettings(products=12, mean_bytes=500_000, rate=RATE)
    async with Emulator(settings) as mirror, connect(mirror, workers=2) as noa:
        asked: list[tuple[int, int]] = []

        async def listed():
            async for product in noa.search(ALL):
                yield product
            asked.extend(requests(mirror))

        outcomes = [each.status async for each in noa.download_all(listed(), tmp_path)]
        assert outcomes == [Status.DOWNLOADED] * 12
        assert {start for start, _ in asked} <= {0}


async def test_a_service_without_ranges_is_left_in_peace(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(one_large(range_limit=1)) as mirror, connect(mirror) as noa:
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert_right(mirror, tmp_path, 1)
        assert 2 <= len(requests(mirror)) <= 4


async def test_a_product_with_no_checksum_is_not_shared(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(one_large(checksums=())) as mirror, connect(mirror) as noa:
        assert await fetch(noa, tmp_path) == [Status.UNVERIFIED]
        assert requests(mirror) == [(0, 200)]


async def test_a_checksum_that_cannot_be_taken_is_none(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(one_large()) as mirror, connect(mirror) as noa:
        [product] = [each async for each in noa.search(ALL)]
        strange = replace(product, checksums=(Checksum("whirlpool", "00"),))
        assert (await noa.download(strange, tmp_path)).status is Status.UNVERIFIED
        assert requests(mirror) == [(0, 200)]


async def test_a_refused_share_holds_nobody_up(connect: Connect, tmp_path: Path) -> None:
    """The service names a long wait; the stream that is cut meanwhile goes on at once."""
    faults = FaultPlan((Fault(K.CUT, first=1, times=1, at=0.9),))
    settings = one_large(quota=1, retry_after="60", faults=faults)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        async with asyncio.timeout(30):
            assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert mirror.stats.quota_refusals == 1
        assert_right(mirror, tmp_path, 1)


async def test_a_disk_with_little_room_gets_no_shares(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is put aside lies there twice for a while."""
    little = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shares, "disk_usage", lambda _: little)
    async with Emulator(one_large()) as mirror, connect(mirror) as noa:
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert requests(mirror) == [(0, 200)]


async def test_a_stash_that_finds_no_room_is_gone_on_without(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise DestinationFull("full")

    monkeypatch.setattr(shares.Stash, "move_some", full)
    async with Emulator(one_large()) as mirror, connect(mirror) as noa:
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert_right(mirror, tmp_path, 1)


async def test_leaving_in_the_middle_ends_every_share(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(one_large()) as mirror:
        async with connect(mirror) as noa:
            fetching = asyncio.create_task(fetch(noa, tmp_path))
            async with asyncio.timeout(30):
                while mirror.stats.downloads_in_flight < 4:
                    await asyncio.sleep(0.01)
            fetching.cancel()
            await asyncio.wait({fetching})
            async with asyncio.timeout(5):
                while mirror.stats.downloads_in_flight:
                    await asyncio.sleep(0.01)
        [part] = tmp_path.glob(".noa-async/parts/*.part")
        content = mirror.content(part.stem)
        kept = part.read_bytes()
        assert kept
        assert kept == content.read(0, len(kept))
        async with connect(mirror) as noa:
            assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert_right(mirror, tmp_path, 1)


def sums(mirror: Emulator) -> set[str]:
    """The MD5 of every product as it is now."""
    return {mirror.content(each.id).md5 for each in mirror.catalogue.products}


def assert_one_of(right: set[str], folder: Path, count: int) -> None:
    """Every file is whole, though perhaps as it was before it was replaced on its way."""
    files = [file for file in folder.iterdir() if file.is_file()]
    assert {hashlib.md5(file.read_bytes()).hexdigest() for file in files} <= right
    assert len(files) == count


SPOILERS = [
    K.CUT, K.RESET, K.STALL, K.WRONG_BYTES, K.SHORT_BODY, K.WRONG_RANGE, K.LYING_RANGE,
    K.IGNORED_RANGE, K.RANGE_FROM_ZERO, K.OK_WITH_CONTENT_RANGE, K.INJECTED_ERROR, K.QUOTA_TEXT,
    K.ERROR_PAGE, K.EMPTY_202, K.QUOTA_403, K.FORBIDDEN, K.NOT_FOUND, K.TOO_MANY, K.SERVER_ERROR,
    K.REDIRECT_TRUSTED, K.REDIRECT_FOREIGN, K.REPLACED, K.NEW_ETAG, K.NO_ETAG, K.GZIP, K.CHUNKED,
    K.REVOKED_TOKEN, K.SLOW_FIRST_BYTE,
]  # fmt: skip


@pytest.mark.usefixtures("path_of_bytes")
@pytest.mark.parametrize("kind", SPOILERS, ids=lambda kind: kind.value)
async def test_a_share_that_meets_a_fault(
    connect: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: FaultKind,
) -> None:
    """The second request for the product is a share's."""
    monkeypatch.setattr(tail, "WORTH_SHARING", 0.1)
    monkeypatch.setattr(tail, "_SURE", 0.05)
    fault = Fault(kind, first=2, times=1, at=0.5, seconds=0.5, rate=400_000)
    settings = EmulatorSettings(
        products=1, mean_bytes=1_200_000, rate=2 * RATE, faults=FaultPlan((fault,))
    )
    async with Emulator(settings) as mirror, connect(mirror, workers=2) as noa:
        before = sums(mirror)
        assert await fetch(noa, tmp_path) == [Status.DOWNLOADED]
        assert_one_of(before | sums(mirror), tmp_path, 1)
        assert mirror.stats.faults == 1
        assert mirror.stats.leaked_tokens == 0


PASSING = [
    K.CUT, K.RESET, K.WRONG_BYTES, K.SHORT_BODY, K.WRONG_RANGE, K.IGNORED_RANGE, K.RANGE_FROM_ZERO,
    K.INJECTED_ERROR, K.QUOTA_403, K.TOO_MANY, K.SERVER_ERROR, K.REPLACED, K.NEW_ETAG, K.CHUNKED,
]  # fmt: skip


@trying(deadline=None, max_examples=12)
@given(
    plan=st.lists(
        st.tuples(st.sampled_from(PASSING), st.integers(1, 9), st.floats(0.05, 0.95)),
        min_size=1,
        max_size=5,
    )
)
def test_any_faults_of_any_requests(tmp_path_factory: pytest.TempPathFactory, plan) -> None:
    """However they fall on the stream and on its shares, what is published is right."""
    faults = FaultPlan(tuple(Fault(kind, first=at, times=1, at=where) for kind, at, where in plan))
    folder = tmp_path_factory.mktemp("any")

    async def run() -> None:
        emulated = EmulatorSettings(products=2, mean_bytes=400_000, rate=RATE, faults=faults)
        async with Emulator(emulated) as mirror:
            settings = settings_for(mirror, limits=Limits(workers=4))
            async with NoaClient(settings, WHO) as noa:
                before = sums(mirror)
                found = await fetch(noa, folder)
            assert_one_of(before | sums(mirror), folder, found.count(Status.DOWNLOADED))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tail, "WORTH_SHARING", 0.05)
        patch.setattr(tail, "_SURE", 0.05)
        asyncio.run(run())
