"""The overview: what a ledger adds up to, by indexes, also while a run writes."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from benchmarks.ledgers import FILTER, made_record, make_ledger
from noa_async.archive import overview as module
from noa_async.archive.database import read_database
from noa_async.archive.destination import ledger_of
from noa_async.archive.journal import Journal
from noa_async.archive.ledger import Ledger
from noa_async.archive.overview import Amount, Trouble, read_overview
from noa_async.archive.states import State
from noa_async.errors import DestinationError


async def put(folder: Path, **changes: object) -> None:
    async with Ledger(ledger_of(folder)) as ledger:
        for number in range(1, 7):
            ledger.put(replace(made_record(number, 6, 1e9), **changes))  # type: ignore[arg-type]


def test_what_a_ledger_adds_up_to(tmp_path: Path):
    make_ledger(tmp_path, 2000)
    found = read_overview(tmp_path)
    records = [made_record(number, 2000, 1e9) for number in range(2000)]
    for amounts in (found.states, found.types, found.days):
        assert sum(one.products for one in amounts) == 2000
        assert sum(one.bytes for one in amounts) == sum(one.product.size or 0 for one in records)
    assert {one.state: one.products for one in found.states} == {
        "verified": 1990, "failed": 3, "waiting": 3, "quarantined": 2, "damaged": 2,
    }  # fmt: skip
    assert {(one.platform, one.product_type) for one in found.types} == {
        ("SENTINEL-2", "S2MSI1C"), ("SENTINEL-2", "S2MSI2A"),
    }  # fmt: skip
    assert found.days[0].day == records[-1].product.sensing_start.date()
    assert found.days[-1].day == date(2017, 1, 1)
    failed = next(one for one in found.troubles if one.state == "failed")
    newest = records[1600].product.name
    assert failed == Trouble("failed", "ServiceRefused", 3, 3, newest, records[1600].error)
    shut = next(one for one in found.troubles if one.state == "quarantined")
    assert (shut.products, shut.retried) == (2, 0)
    assert (found.to_do, found.unfollowed, found.gone) == (8, 0, 0)
    assert [one.filter for one in found.queries] == [FILTER]
    assert [(one.verb, one.ending) for one in found.runs] == [("mirror", "complete")]


async def test_only_the_query_followed_last_is_worked_off(tmp_path: Path):
    path = make_ledger(tmp_path, 0)
    async with Ledger(path) as ledger:
        for number, query in enumerate([1, 1, 1, 2, 2, None], start=1):
            one = replace(made_record(number, 6, 1e9), state=State.MISSING, path=None)
            ledger.put(replace(one, query=query, todo=number))
        ledger.put(replace(made_record(7, 7, 1e9), state=State.MISSING, path=None))
        await ledger.flush()
        found = read_overview(tmp_path)
        assert (found.to_do, found.unfollowed) == (3, 3)
        assert [(one.products, one.retried) for one in found.troubles] == [(7, 3)]
        journal = Journal(ledger)
        other = await journal.follow("other")
        await journal.begin("mirror", other.number, 2e9)
        await journal.begin("verify", None, 3e9)
        found = read_overview(tmp_path)
        assert (found.to_do, found.unfollowed) == (2, 4)
        assert [(one.products, one.retried) for one in found.troubles] == [(7, 2)]


async def test_what_is_gone_but_kept(tmp_path: Path):
    make_ledger(tmp_path, 0)
    await put(tmp_path, gone=5.0)
    assert read_overview(tmp_path).gone == 6
    await put(tmp_path, gone=5.0, state=State.REMOVED)
    assert read_overview(tmp_path).gone == 0


async def test_sums_that_came_to_nothing_are_left_out(tmp_path: Path):
    make_ledger(tmp_path, 0)
    await put(tmp_path, state=State.LISTED)
    await put(tmp_path)
    size = sum(made_record(number, 6, 1e9).size or 0 for number in range(1, 7))
    assert read_overview(tmp_path).states == (Amount("verified", 6, size),)


async def test_an_unknown_day(tmp_path: Path):
    make_ledger(tmp_path, 0)
    unknown = replace(made_record(1, 6, 1e9).product, sensing_start=None)
    await put(tmp_path, product=unknown)
    assert [one.day for one in read_overview(tmp_path).days] == [None]


@pytest.mark.parametrize(
    ("question", "index"),
    [
        (module.TROUBLES, "USING COVERING INDEX products_troubled"),
        (module.TO_DO, "USING COVERING INDEX products_todo"),
        (module.GONE, "USING COVERING INDEX products_gone"),
    ],
)
def test_nothing_is_read_through(tmp_path: Path, question: str, index: str):
    make_ledger(tmp_path, 10)
    database = read_database(ledger_of(tmp_path))
    try:
        plan = [row[-1] for row in database.rows(f"EXPLAIN QUERY PLAN {question}")]
    finally:
        database.close()
    assert index in plan[0]
    assert not any("TEMP B-TREE" in step for step in plan)


async def test_it_is_read_while_a_run_writes(tmp_path: Path):
    make_ledger(tmp_path, 10)
    async with Ledger(ledger_of(tmp_path)) as ledger:
        ledger.put(made_record(11, 12, 1e9))
        await ledger.flush()
        assert sum(one.products for one in read_overview(tmp_path).states) == 11


def test_where_there_is_none(tmp_path: Path):
    with pytest.raises(DestinationError, match="holds no archive"):
        read_overview(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("count", "seconds"),
    [(20_000, 0.2), pytest.param(1_000_000, 1.0, marks=pytest.mark.soak)],
)
@pytest.mark.timeout(600)
def test_it_is_quick(tmp_path: Path, count: int, seconds: float):
    make_ledger(tmp_path, count)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = read_overview(tmp_path)
        took.append(time.perf_counter() - began)
    assert sum(one.products for one in found.states) == count
    assert min(took) < seconds
