"""The meter: simple numbers, seldom enough to be drawn, and never without the last."""

from __future__ import annotations

from pathlib import Path

import pytest

from noa_async import Figures, Meter, NoaClient, Query
from noa_async.emulator import Fault, FaultKind, FaultPlan
from noa_async.events import (
    AllQueued,
    ProductFinished,
    ProductQueued,
    Status,
    TransferAdvanced,
    TransferStarted,
)
from noa_async.pytest_plugin import EmulatedMirror

CUT = FaultPlan(
    (Fault(FaultKind.CUT, probability=0.5), Fault(FaultKind.FORBIDDEN, index=2, times=None))
)


@pytest.mark.noa_emulator(faults=CUT)
async def test_a_run_in_numbers(
    noa_emulator: EmulatedMirror, noa_testing: None, tmp_path: Path
) -> None:
    shown: list[Figures] = []
    meter = Meter(shown.append, every=0)
    async with NoaClient(noa_emulator.settings, noa_emulator.credentials, observer=meter) as noa:
        async for _ in noa.download_all(noa.search(Query(everything=True)), tmp_path):
            pass
    sizes = [product.size for product in noa_emulator.emulator.catalogue.products]
    last = shown[-1]
    assert (last.products_done, last.products_total, last.products_failed) == (20, 20, 1)
    assert last.bytes_done == last.bytes_total == sum(sizes) - sizes[2]
    assert last.bytes_arrived >= last.bytes_done
    assert (last.listed, last.seconds_left) == (True, 0.0)
    arrived = [one.bytes_arrived for one in shown]
    assert arrived == sorted(arrived)

    again = Meter()
    async with NoaClient(noa_emulator.settings, noa_emulator.credentials, observer=again) as noa:
        async for _ in noa.download_all(noa.search(Query(everything=True)), tmp_path):
            pass
    figures = again.figures
    assert (figures.bytes_done, figures.bytes_arrived, figures.rate) == (last.bytes_done, 0, 0.0)


def test_it_is_shown_seldom_and_at_the_end() -> None:
    now = [0.0]
    shown: list[Figures] = []
    meter = Meter(shown.append, every=1.0, clock=lambda: now[0])
    meter(ProductQueued("a", "A", 100))
    meter(TransferStarted("a", "A", 1, 0, 100))
    for _ in range(10):
        now[0] += 0.25
        meter(TransferAdvanced("a", 5))
    assert [one.bytes_done for one in shown] == [0, 20, 40]
    assert shown[-1].rate == 20.0
    assert shown[-1].seconds_left is None  # what else may be listed nobody knows
    meter(AllQueued())
    assert meter.figures.seconds_left == pytest.approx(2.5)
    meter(ProductFinished("a", "A", Status.DOWNLOADED, "A", 100, 1, None))
    assert (shown[-1].bytes_done, shown[-1].products_done) == (100, 1)


def test_one_run_after_the_other() -> None:
    meter = Meter()
    meter(ProductQueued("a", "A", 100))
    meter(AllQueued())
    assert meter.figures.listed
    meter(ProductQueued("b", "B", 50))
    assert (meter.figures.listed, meter.figures.bytes_total) == (False, 150)


def test_a_product_brought_alone_counts() -> None:
    meter = Meter()
    meter(TransferStarted("a", "A", 1, 0, 100))
    assert (meter.figures.products_total, meter.figures.bytes_total) == (1, 100)
    meter(ProductFinished("a", "A", Status.DOWNLOADED, "A", 100, 1, None))
    assert (meter.figures.products_total, meter.figures.products_done) == (1, 1)
