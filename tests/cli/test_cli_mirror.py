"""``noa-async mirror`` as a user, or a timer, starts it."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta

import pytest

from noa_async.cli.mirror import passes
from noa_async.emulator import Fault, FaultKind, FaultPlan, make_product
from noa_async.errors import (
    CredentialsMissing,
    CredentialsRefused,
    DestinationFull,
    DestinationInUse,
    NoaError,
    ServiceAway,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)

from .conftest import Open, until

MIRROR = ("mirror", "--everything", "--output", "archive")
START = datetime(2026, 1, 1, tzinfo=UTC)


def product(number: int, days: float, *, online: bool = True):
    at = START + timedelta(days=days)
    return make_product(f"P{number}.SAFE.zip", 4000, start=at, published=at, online=online)


async def line_with(process: asyncio.subprocess.Process, text: str) -> str:
    """The next line of standard error that holds ``text``."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while line := (await process.stderr.readline()).decode():
            if text in line:
                return line
    raise AssertionError(f"the program ended without {text!r}")


async def stop(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def test_the_first_run_brings_all_and_the_second_nothing(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(*(product(n, n) for n in range(30)))
    first = await noa(*MIRROR, "--report", "report.json")
    assert (first.code, first.out) == (0, "")
    assert "Listing the whole query." in first.err
    assert "30 products in" in first.err
    report = json.loads((noa.folder / "report.json").read_text())
    assert report["counts"] == {
        "downloaded": 30,
        "present": 0,
        "unverified": 0,
        "gone": 0,
        "failed": 0,
    }
    assert len(report["products"]) == 30
    assert set(report["products"][0]) == {
        "id", "name", "path", "status", "bytes", "checksum", "attempts", "error",
    }  # fmt: skip
    mirror.stats.reset()
    second = await noa(*MIRROR, "--overlap", "12h")
    assert second.code == 0
    assert "Listing products published since 2026-01-29T12:00:00.000Z" in second.err
    assert "present  1 " in second.err
    assert mirror.stats.downloads == {}
    mirror.catalogue.remove(product(29, 29).id)
    third = await noa(*MIRROR, "--overlap", "12h")
    assert (third.code, "No new products." in third.err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--limit", "3"), "omit --limit"),
        (("--watch", "soon"), "such as 90s, 15m, 12h or 7d"),
        (("--watch", "0.1s"), "at least 1s"),
        (("--max-delete", "5"), "must be a percentage"),
        (("--on-removed", "purge"), "it must be keep or delete"),
        (("--overlap", "3"), "a number with a unit"),
        (("--dry-run", "--report", "x.json"), "--report cannot be combined"),
    ],
)
async def test_what_makes_no_sense_is_said_before_anything_is_sent(
    open_mirror: Open, arguments: tuple[str, ...], told: str
) -> None:
    mirror, noa = await open_mirror(products=3)
    ended = await noa(*MIRROR, *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert mirror.stats.requests == 0
    assert list(noa.folder.iterdir()) == []


async def test_the_settings_come_from_file_and_environment(open_mirror: Open) -> None:
    _, noa = await open_mirror(*(product(n, n) for n in range(30)))
    (noa.folder / "query.toml").write_text(
        'everything = true\n[mirror]\noverlap = "2d"\nreconcile_every = "4w"\n'
    )
    command = ("mirror", "--config", "query.toml", "--output", "archive")
    await noa(*command)
    assert "since 2026-01-28T00:00:00.000Z" in (await noa(*command)).err
    noa.environ["NOA_OVERLAP"] = "1d"
    assert "since 2026-01-29T00:00:00.000Z" in (await noa(*command)).err
    assert "since 2026-01-27T00:00:00.000Z" in (await noa(*command, "--overlap", "3d")).err
    assert "Listing the whole query." in (await noa(*command, "--reconcile")).err


async def test_what_is_absent_is_exit_1_until_it_is_there(open_mirror: Open) -> None:
    products = [product(n, n) for n in range(10)]
    plan = FaultPlan([Fault(FaultKind.FORBIDDEN, product=products[2].id, times=None)])
    mirror, noa = await open_mirror(*products, faults=plan)
    first = await noa(*MIRROR)
    assert first.code == 1
    assert "P2.SAFE.zip" in first.err
    assert (await noa(*MIRROR, "-q")).code == 1
    mirror.faults = FaultPlan()
    assert (await noa(*MIRROR)).code == 0


async def test_a_listing_that_breaks_off_is_exit_4(open_mirror: Open) -> None:
    plan = FaultPlan([Fault(FaultKind.PAGE_ERROR, page=1, times=None)])
    _, noa = await open_mirror(*(product(n, n / 10) for n in range(80)), faults=plan)
    ended = await noa(*MIRROR, "--retries", "1")
    assert ended.code == 4
    assert "50 products in" in ended.err


async def test_removals_and_those_that_are_held(open_mirror: Open) -> None:
    products = [product(n, n) for n in range(20)]
    mirror, noa = await open_mirror(*products)
    await noa(*MIRROR)
    for each in products[:2]:
        mirror.catalogue.remove(each.id)
    noa.environ["NOA_GONE_LISTINGS"] = "1"
    delete = (*MIRROR, "--reconcile", "--on-removed", "delete", "--gone-for", "0d")
    held = await noa(*delete, "-q")
    assert held.code == 1
    assert "Nothing was deleted: the products of 2 of 20 files are gone" in held.err
    assert "not deleted because of --max-delete    2" in (await noa("status", "archive")).out
    assert (await noa(*MIRROR)).code == 1  # until somebody decides
    done = await noa(*delete, "--max-delete", "10%")
    assert done.code == 0
    assert "removed  P0.SAFE.zip: the service no longer has it" in done.err
    assert len(list((noa.folder / "archive").glob("*.zip"))) == 18


async def test_another_query_on_the_folder_is_said(open_mirror: Open) -> None:
    _, noa = await open_mirror(*(product(n, n) for n in range(8)))
    await noa(*MIRROR)
    ended = await noa("mirror", "--content-start", "2026-01-05", "--output", "archive")
    assert "The query differs from the ones this folder followed before" in ended.err


async def test_refused_credentials_end_it_at_once(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=3)
    noa.environ["NOA_PASSWORD"] = "wrong"
    assert (await noa(*MIRROR, "--watch", "1s")).code == 3
    assert mirror.stats.wrong_passwords == 1


async def test_it_stays_and_follows_and_outlives_an_outage(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(*(product(n, n) for n in range(5)))
    process = await noa.start(*MIRROR, "--watch", "1s", "--retries", "0", "-v")
    await line_with(process, "The next run starts at")
    new = mirror.catalogue.add(product(5, 5.5)).id
    await until(lambda: new in mirror.stats.downloads)
    mirror.outage = True
    await line_with(process, "503")
    await line_with(process, "The next run starts at")
    mirror.outage = False
    newer = mirror.catalogue.add(product(6, 6.5)).id
    archive = noa.folder / "archive"
    await until(lambda: len(list(archive.glob("*.zip"))) == 7)
    assert newer in mirror.stats.downloads
    assert await stop(process) == 130


async def test_an_outage_that_looks_like_a_refusal_is_outlived(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(*(product(n, n) for n in range(5)))
    process = await noa.start(*MIRROR, "--watch", "1s", "--retries", "0")
    await line_with(process, "The next run starts at")
    mirror.faults = FaultPlan([Fault(FaultKind.PAGE_ERROR, times=None, status=404)])
    for _ in range(2):
        await line_with(process, "404")
        await line_with(process, "The next run starts at")
    mirror.faults = FaultPlan()
    mirror.catalogue.add(product(5, 5.5))
    await until(lambda: len(list((noa.folder / "archive").glob("*.zip"))) == 6)
    assert await stop(process) == 130


async def test_a_first_look_that_is_refused_ends_it(open_mirror: Open) -> None:
    plan = FaultPlan([Fault(FaultKind.PAGE_ERROR, times=None, status=404)])
    _, noa = await open_mirror(products=3, faults=plan)
    assert (await noa(*MIRROR, "--watch", "1s", "--retries", "0")).code == 4


NEW_TOKEN = CredentialsRefused("The catalogue answered 401.", more_tries=3)


@pytest.mark.parametrize(
    ("error", "at_first", "later"),
    [
        (ServiceAway("503"), True, True),
        (ServiceFault("503"), True, True),
        (ServiceUnreachable("silence"), True, True),
        (DestinationInUse("locked"), True, True),
        (ServiceRefused("404"), False, True),
        (NEW_TOKEN, False, True),
        (CredentialsRefused("wrong password"), False, False),
        (CredentialsMissing("none"), False, False),
        (DestinationFull("full"), False, False),
    ],
)
def test_what_one_that_stays_outlives(error: NoaError, *, at_first: bool, later: bool) -> None:
    assert passes(error, was_good=False) is at_first
    assert passes(error, was_good=True) is later


async def test_what_is_off_line_does_not_hold_up_the_next_look(open_mirror: Open) -> None:
    tape = product(0, 0, online=False)
    mirror, noa = await open_mirror(tape, product(1, 1), retrieval_time=3600.0)
    process = await noa.start(*MIRROR, "--watch", "1s")
    await line_with(process, "The next run starts at")
    new = mirror.catalogue.add(product(2, 2)).id
    await until(lambda: new in mirror.stats.downloads)
    await until(lambda: len(mirror.stats.downloads[tape.id]) >= 4)
    assert await stop(process) == 130


async def test_between_looks_the_folder_is_free(open_mirror: Open) -> None:
    _, noa = await open_mirror(*(product(n, n) for n in range(5)))
    process = await noa.start(*MIRROR, "--watch", "1h")
    await line_with(process, "The next run starts at")
    assert (await noa("verify", "archive")).code == 0
    assert await stop(process) == 130


async def test_a_folder_in_use_is_exit_5_and_waited_for_by_one_that_stays(
    open_mirror: Open,
) -> None:
    slow = FaultPlan([Fault(FaultKind.SLOW_FIRST_BYTE, times=None, seconds=60)])
    mirror, noa = await open_mirror(products=3, faults=slow)
    first = await noa.start(*MIRROR)
    await until(lambda: mirror.stats.downloads_in_flight > 0)
    assert (await noa(*MIRROR)).code == 5
    second = await noa.start(*MIRROR, "--watch", "1s")
    await line_with(second, "in use by another run")
    assert await stop(first) == 130
    mirror.faults = FaultPlan()
    await line_with(second, "3 products in")
    assert await stop(second) == 130
