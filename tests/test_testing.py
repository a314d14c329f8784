"""The mode without waits: what it takes away, what it leaves, and that it ends."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from noa_async import NoaClient, Query, Status, is_testing, set_testing
from noa_async.budget import Patience
from noa_async.emulator import Fault, FaultKind, FaultPlan, make_product
from noa_async.events import (
    Event,
    PageRetried,
    ProductWaiting,
    TransferAdvanced,
    TransferRetried,
)
from noa_async.pytest_plugin import EmulatedMirror
from noa_async.settings import RetryPolicy

EVERYTHING = Query(everything=True)


@pytest.fixture
def events() -> list[Event]:
    return []


async def bring(mirror: EmulatedMirror, folder: Path, events: list[Event]) -> dict[Status, int]:
    counts: dict[Status, int] = {}
    async with NoaClient(mirror.settings, mirror.credentials, observer=events.append) as noa:
        async for outcome in noa.download_all(noa.search(EVERYTHING), folder):
            counts[outcome.status] = counts.get(outcome.status, 0) + 1
    return counts


def waits(events: list[Event]) -> list[float]:
    """The seconds that were told."""
    kinds = (TransferRetried, PageRetried, ProductWaiting)
    return [event.delay for event in events if isinstance(event, kinds)]


def faults(**held: object) -> FaultPlan:
    return FaultPlan((Fault(**held),))  # type: ignore[arg-type]


SLOW = {
    "back-off": faults(kind=FaultKind.CUT, times=3, at=0),
    "retry-after": faults(kind=FaultKind.TOO_MANY, retry_after="40"),
    "quota": faults(kind=FaultKind.QUOTA_403, times=2),
    "not found": faults(kind=FaultKind.NOT_FOUND),
    "off line": faults(kind=FaultKind.EMPTY_202, times=4),
    "page": faults(kind=FaultKind.PAGE_TOO_MANY, times=2, retry_after="30"),
}


@pytest.mark.parametrize("kind", SLOW)
@pytest.mark.noa_emulator(products=5)
async def test_nothing_is_waited_for(
    kind: str, noa_emulator: EmulatedMirror, noa_testing: None, tmp_path: Path, events: list[Event]
) -> None:
    noa_emulator.emulator.faults = SLOW[kind]
    began = time.monotonic()
    assert await bring(noa_emulator, tmp_path, events) == {Status.DOWNLOADED: 5}
    assert sum(waits(events)) > 2.0  # it would have
    assert time.monotonic() - began < min(2.0, sum(waits(events)))
    assert any(isinstance(event, TransferAdvanced) for event in events)


@pytest.mark.noa_emulator(make_product(online=False), make_product("S2B.SAFE.zip", online=False))
async def test_what_never_comes_on_line_is_given_up_after_a_few_asks(
    noa_emulator: EmulatedMirror, noa_testing: None, tmp_path: Path, events: list[Event]
) -> None:
    noa_emulator.emulator.faults = faults(kind=FaultKind.EMPTY_202, times=None)
    assert await bring(noa_emulator, tmp_path, events) == {Status.FAILED: 2}
    assert sum(waits(events)) == 2 * noa_emulator.settings.retry.offline_wait
    assert len(waits(events)) < 20


@pytest.mark.noa_emulator(products=30, quota=1, rate=2e6)
async def test_a_quota_is_found_without_waits(
    noa_emulator: EmulatedMirror, noa_testing: None, tmp_path: Path, events: list[Event]
) -> None:
    assert await bring(noa_emulator, tmp_path, events) == {Status.DOWNLOADED: 30}
    assert noa_emulator.emulator.stats.quota_refusals > 0


@pytest.mark.noa_emulator(products=1)
async def test_fewer_retries_may_be_asked_for(
    noa_emulator: EmulatedMirror, tmp_path: Path, events: list[Event]
) -> None:
    noa_emulator.emulator.faults = faults(kind=FaultKind.CUT, times=None, at=0)
    with set_testing(True, retries=2):
        assert await bring(noa_emulator, tmp_path, events) == {Status.FAILED: 1}
    assert len(waits(events)) == 2
    with pytest.raises(ValueError, match="retries"):
        set_testing(True, retries=-1)


@pytest.mark.noa_emulator(products=1)
async def test_it_ends_with_its_context(
    noa_emulator: EmulatedMirror, tmp_path: Path, events: list[Event]
) -> None:
    noa_emulator.emulator.faults = faults(kind=FaultKind.TOO_MANY, retry_after="1", times=1)
    with pytest.raises(LookupError), set_testing(True), set_testing(True, retries=0):
        raise LookupError
    assert not is_testing()
    began = asyncio.get_running_loop().time()
    assert await bring(noa_emulator, tmp_path, events) == {Status.DOWNLOADED: 1}
    assert asyncio.get_running_loop().time() - began > 0.9


def test_it_may_be_set_and_taken_back() -> None:
    set_testing(True, retries=1)
    try:
        assert is_testing()
    finally:
        set_testing(False)
    assert not is_testing()


def test_patience_counts_the_waits_it_gave() -> None:
    policy = RetryPolicy(cap=60, offline_wait=500)
    cut, real = Patience(policy), Patience(policy)
    passed, given = 0.0, []
    while (wait := real.after(passed)) is not None:
        given.append(wait)
        passed += wait
    assert given == [60.0, 120.0, 240.0, 80.0]
    assert [cut.after(0.0) for _ in range(5)] == [*given, None]
