"""A coordinator and its workers in one process, against the emulator: who fetches what, and when
a worker is lost.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from noa_async import Credentials, Limits, NoaClient, Query
from noa_async.cluster import opening, stocks, worker
from noa_async.cluster.messages import Terms
from noa_async.cluster.worker import Desk
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.events import ProductFinished, TransferAdvanced, TransferStarted

from ..integration.conftest import WHO, Recorder, assert_right, settings_for
from .crowd import Crowd, until

ALL = Query(everything=True)


def cluster_client(mirror: Emulator, recorder: Recorder, **changes: object) -> NoaClient:
    settings = settings_for(mirror, dask="tcp://nowhere:1", **changes)
    return NoaClient(settings, WHO, observer=recorder)


async def bring_all(mirror: Emulator, recorder: Recorder, folder: Path, **changes: object) -> int:
    async with cluster_client(mirror, recorder, **changes) as noa:
        outcomes = [outcome async for outcome in noa.download_all(noa.search(ALL), folder)]
    assert all(outcome.ok for outcome in outcomes), [one.error for one in outcomes]
    assert not list(folder.glob(".noa-async/parts/*"))
    return len(outcomes)


def each_once(mirror: Emulator, count: int) -> None:
    """The service gave every product whole once, in one answer or several."""
    whole = [
        product
        for product, answers in mirror.stats.downloads.items()
        if sum(one.bytes_sent for one in answers) == mirror.content(product).size
    ]
    assert len(whole) == count


async def test_all_are_fetched_once_by_all_within_one_quota_and_one_log_in(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    settings = EmulatorSettings(products=60, mean_bytes=30_000, quota=4, latency=0.02)
    async with Emulator(settings) as mirror:
        assert await bring_all(mirror, recorder, tmp_path, workers=4) == 60
        assert_right(mirror, tmp_path, 60)
        each_once(mirror, 60)
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.quota_refusals == 0
        assert mirror.stats.token_logins == 1
    assert {address for address, verb in crowd.asked if verb == "begin"} == set("abcd")


async def test_what_workers_see_is_told_as_on_one_machine(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(EmulatorSettings(products=8, mean_bytes=30_000)) as mirror:
        await bring_all(mirror, recorder, tmp_path)
        needed = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
    assert len(recorder.of(TransferStarted)) == len(recorder.of(ProductFinished)) == 8
    assert sum(event.received for event in recorder.of(TransferAdvanced)) == needed  # type: ignore[attr-defined]


async def test_a_refusal_anywhere_lowers_it_for_all(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    settings = EmulatorSettings(products=150, mean_bytes=30_000, quota=2, latency=0.02)
    async with Emulator(settings) as mirror:
        assert await bring_all(mirror, recorder, tmp_path, workers=8) == 150
        assert mirror.stats.downloads_peak <= 2
        assert 0 < mirror.stats.quota_refusals < 20


async def test_a_token_that_ends_is_renewed_for_all_workers(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    settings = EmulatorSettings(products=100, mean_bytes=30_000, token_life=5.0, latency=0.2)
    async with Emulator(settings) as mirror:
        assert await bring_all(mirror, recorder, tmp_path) == 100
        assert mirror.stats.token_logins == 1
        assert mirror.stats.token_refreshes > 0
        assert mirror.stats.unauthorised == 0
        assert mirror.stats.tokens_in_flight_peak == 1


async def test_a_cap_on_bytes_is_for_all_workers_together(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    limits = Limits(workers=4, bandwidth=2_000_000)
    async with Emulator(EmulatorSettings(products=8, mean_bytes=600_000)) as mirror:
        needed = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        began = time.monotonic()
        await bring_all(mirror, recorder, tmp_path, limits=limits)
        took = time.monotonic() - began
    assert needed / took < 1.3 * 2_000_000


@asynccontextmanager
async def under_way(
    mirror: Emulator, recorder: Recorder, folder: Path
) -> AsyncGenerator[asyncio.Task[int]]:
    """A run that has begun; it is waited for at the end."""
    task = asyncio.create_task(bring_all(mirror, recorder, folder))
    await until(lambda: mirror.stats.bytes_sent > 1_000_000 or task.done())
    yield task
    await task


SLOW = EmulatorSettings(products=8, mean_bytes=3_000_000, rate=3_000_000, quota=4)


@pytest.mark.usefixtures("hasty")
async def test_what_a_worker_that_hangs_had_is_gone_on_with_by_others(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(SLOW) as mirror:
        async with under_way(mirror, recorder, tmp_path):
            crowd.deaf |= {"a", "b"}
        assert_right(mirror, tmp_path, 8)
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.quota_refusals == 0
        assert len(recorder.of(ProductFinished)) == 8
        needed = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        assert mirror.stats.bytes_sent < 1.5 * needed


@pytest.mark.usefixtures("hasty")
async def test_workers_that_die_leave_their_places_to_others(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(SLOW) as mirror:
        async with under_way(mirror, recorder, tmp_path):
            del crowd.desks["a"], crowd.desks["b"]  # what they do goes on until their lease ends
            crowd.desks["e"] = Desk()
        assert_right(mirror, tmp_path, 8)
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.quota_refusals == 0
    assert ("e", "begin") in crowd.asked


@pytest.mark.usefixtures("hasty")
async def test_a_worker_that_comes_back_works_again(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(SLOW) as mirror:
        async with under_way(mirror, recorder, tmp_path):
            crowd.deaf |= set("abcd")
            await until(lambda: not crowd.at_work)
            crowd.deaf.clear()
        assert_right(mirror, tmp_path, 8)
        assert mirror.stats.downloads_peak <= 4


async def test_a_run_that_is_cut_short_is_gone_on_with(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(SLOW) as mirror:
        with pytest.raises(asyncio.CancelledError):
            async with under_way(mirror, recorder, tmp_path) as task:
                task.cancel()
        assert mirror.stats.downloads_in_flight == 0
        assert await bring_all(mirror, recorder, tmp_path) == 8
        assert_right(mirror, tmp_path, 8)
        needed = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        assert mirror.stats.bytes_sent < 1.2 * needed


@pytest.mark.usefixtures("hasty")
async def test_what_workers_of_a_lost_coordinator_had_is_gone_on_with(
    tmp_path: Path, crowd: Crowd, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Emulator(SLOW) as mirror:
        with monkeypatch.context() as lost:  # it neither parts from its workers nor puts in order
            lost.setattr(stocks, "adopt", lambda _folder: set())
            lost.setattr(stocks, "take_over", lambda *_: None)
            with pytest.raises(asyncio.CancelledError):
                async with under_way(mirror, recorder, tmp_path) as task:
                    crowd.deaf |= set("abcd")
                    task.cancel()
        assert list(tmp_path.glob(".noa-async/parts/*.w-*.part"))
        crowd.deaf.clear()
        assert await bring_all(mirror, recorder, tmp_path) == 8
        assert_right(mirror, tmp_path, 8)
        assert mirror.stats.downloads_peak <= 4
        needed = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        assert mirror.stats.bytes_sent < 1.3 * needed


async def test_a_cluster_of_nobody_ends_the_run(
    tmp_path: Path, crowd: Crowd, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd.desks.clear()
    monkeypatch.setattr(opening, "Terms", lambda: Terms(look=0.05, nobody=0.2))
    async with Emulator(EmulatorSettings(products=3)) as mirror:
        with pytest.raises(Exception, match="The cluster had no worker"):
            await bring_all(mirror, recorder, tmp_path)


async def test_a_refused_log_in_ends_the_run(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(EmulatorSettings(products=3, catalogue_auth=False)) as mirror:
        wrong = Credentials("demo", "wrong", source="test")
        client = NoaClient(settings_for(mirror, dask="tcp://nowhere:1"), wrong, observer=recorder)
        async with client as noa:
            with pytest.raises(Exception, match="rejects the credentials"):
                [one async for one in noa.download_all(noa.search(ALL), tmp_path)]
        assert mirror.stats.wrong_passwords == 1


async def test_a_place_is_free_while_what_it_brought_is_sealed(
    tmp_path: Path, crowd: Crowd, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal, first, another = worker.seal, threading.Lock(), threading.Event()
    waited: list[bool] = []

    def seal_late(part: Path) -> None:
        if first.acquire(blocking=False):
            waited.append(another.wait(10))
        else:
            another.set()
        seal(part)

    monkeypatch.setattr(worker, "seal", seal_late)
    async with Emulator(EmulatorSettings(products=2, mean_bytes=30_000, quota=1)) as mirror:
        assert await bring_all(mirror, recorder, tmp_path, workers=1) == 2
        assert mirror.stats.downloads_peak == 1
    assert waited == [True]


async def test_what_arrived_wrong_is_fetched_again_within_the_quota(
    tmp_path: Path, crowd: Crowd, recorder: Recorder
) -> None:
    faults = FaultPlan((Fault(FaultKind.WRONG_BYTES, times=1),))
    settings = EmulatorSettings(
        products=12, mean_bytes=200_000, quota=2, rate=2_000_000, faults=faults
    )
    async with Emulator(settings) as mirror:
        assert await bring_all(mirror, recorder, tmp_path, workers=2) == 12
        assert_right(mirror, tmp_path, 12)
        assert mirror.stats.downloads_peak == 2
        assert mirror.stats.quota_refusals == 0
        assert sum(map(len, mirror.stats.downloads.values())) == 24


@pytest.mark.parametrize("kind", [FaultKind.NOT_FOUND, FaultKind.FORBIDDEN])
async def test_what_fails_is_asked_for_as_often_as_by_one_machine(
    tmp_path: Path, crowd: Crowd, recorder: Recorder, kind: FaultKind
) -> None:
    faults = FaultPlan((Fault(kind, index=1, times=None),))
    asked = []
    for dask in (None, "tcp://nowhere:1"):
        async with Emulator(
            EmulatorSettings(products=3, mean_bytes=30_000, faults=faults)
        ) as mirror:
            settings = settings_for(mirror, dask=dask)
            async with NoaClient(settings, WHO, observer=recorder) as noa:
                found = noa.download_all(noa.search(ALL), tmp_path / str(dask))
                [failed] = [one async for one in found if not one.ok]
            asked.append((mirror.stats.requests, failed.attempts, type(failed.error)))
    assert asked[0] == asked[1]
