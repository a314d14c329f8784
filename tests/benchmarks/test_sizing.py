"""The planning suite: its model beside measured runs, and the page that shows its tables."""

from __future__ import annotations

import json
import time

import pytest

from benchmarks import planning, sizing
from benchmarks.__main__ import main
from benchmarks.ledgers import make_ledger
from benchmarks.listing import JSON as LISTING
from benchmarks.planning import Measured, Spread, bringing, spread, token_requests
from benchmarks.sizing import PAGE, Scenario
from noa_async import Credentials, Limits, NoaClient, Query, Service, Settings
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.events import Status

MEASURED = Measured.kept()
LATENCY, RATE = 0.1, 200_000.0


@pytest.mark.parametrize("way", ["one_by_one", "windows"])
def test_the_model_of_a_listing_is_close_to_the_kept_run(way):
    kept = json.loads(LISTING.read_text())
    at_once = kept["at_once"] if way == "windows" else 1
    modelled = planning.listing(
        spread(kept["products"], 31),
        page_size=kept["page_size"],
        at_once=at_once,
        answer=kept["latency_seconds"],
        own=MEASURED.page_seconds,
    )
    [requests] = {run["requests"] for run in kept["runs"] if run["way"] == "windows"}
    assert modelled.requests == pytest.approx(requests, rel=0.01)
    assert modelled.seconds == pytest.approx(kept["medians"][way], rel=0.15)


def test_a_ledgers_row_costs_what_is_planned_with(tmp_path):
    count = 20_000
    size = make_ledger(tmp_path, count).stat().st_size
    assert size / count == pytest.approx(MEASURED.row_bytes, rel=0.1)


async def test_a_real_run_is_close_to_the_model(tmp_path):
    emulated = EmulatorSettings(products=1500, mean_bytes=60_000, latency=LATENCY, rate=RATE)
    async with Emulator(emulated) as mirror:
        service = Service(catalogue_url=mirror.catalogue_url, token_url=mirror.token_url)
        limits = Limits(workers=4, listings=4)
        settings = Settings(service=service, limits=limits)
        async with NoaClient(settings, Credentials("demo", "demo")) as noa:
            await noa.log_in()
            began = time.perf_counter()
            found = [product async for product in noa.search(Query(everything=True))]
            listed = time.perf_counter() - began
            some = found[::15]
            began = time.perf_counter()
            outcomes = [one async for one in noa.download_all(some, tmp_path)]
            brought = time.perf_counter() - began
        stats = mirror.stats
    where = Spread.of(product.sensing_start for product in found if product.sensing_start)
    modelled = planning.listing(
        where, page_size=50, at_once=4, answer=LATENCY, own=MEASURED.page_seconds
    )
    total = sum(product.size or 0 for product in some)
    seconds = bringing(
        len(some),
        total / len(some),
        connections=4,
        rate=RATE,
        answer=LATENCY,
        own=MEASURED.product_seconds,
    )
    assert stats.pages == pytest.approx(modelled.requests, rel=0.05)
    assert stats.token_logins == token_requests(listed + brought, emulated.token_life) == 1
    assert {outcome.status for outcome in outcomes} == {Status.DOWNLOADED}
    assert stats.bytes_sent == total
    assert 0.65 * modelled.seconds < listed < 3 * modelled.seconds
    assert 0.65 * seconds < brought < 3 * seconds  # other work on the machine takes its part


@pytest.mark.parametrize(
    ("seconds", "life", "asked"), [(0, 300, 1), (239, 300, 1), (241, 300, 2), (86_400, 600, 161)]
)
def test_tokens_are_renewed_in_time(seconds, life, asked):
    assert token_requests(seconds, life) == asked


def test_a_line_a_machine_or_a_volume_is_what_holds_a_run_up():
    few = {"connections": 4, "rate": 1e6, "answer": 0.0, "own": 0.001}
    assert bringing(1000, 1e6, **few) == 250
    assert bringing(1000, 1e3, **few) == 1  # the machine's work
    assert bringing(1000, 1e6, **few, volume=1e8) == 10 * 30 * 86_400


def test_the_page_shows_what_the_model_prints():
    page = PAGE.read_text("utf-8")
    assert sizing.refreshed(page, sizing.tables(Scenario(), MEASURED)) == page
    assert page.count("<!-- table: ") == len(sizing.tables(Scenario(products=1000), MEASURED))


def test_another_scenario_is_printed_and_the_page_left_alone(capsys):
    before = PAGE.read_text("utf-8")
    assert main(["sizing", "--products", "5000", "--bytes", "2T", "--days", "30"]) == 0
    shown = capsys.readouterr().out
    assert "| Files | 5,000 |" in shown
    assert "| Their bytes | 2 TB |" in shown
    assert PAGE.read_text("utf-8") == before


@pytest.mark.parametrize(
    ("text", "meant"),
    [("1P", 1e15), ("80T", 80e12), ("1.5TB", 1.5e12), ("20M", 20e6), ("1000", 1000.0)],
)
def test_bytes_are_read_with_their_unit(text, meant):
    assert sizing.byte_count(text) == meant
