"""Search, count and download as the README shows them."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from noa_async import (
    Credentials,
    CredentialsRefused,
    DestinationInUse,
    MissionRule,
    NoaClient,
    Product,
    Query,
    QueryError,
    RetryPolicy,
    ServiceFault,
    Settings,
    Status,
    UsageError,
)
from noa_async.archive.destination import FileFacts
from noa_async.archive.folder import LocalFolder
from noa_async.auth.credentials import find_credentials
from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.events import PageListed, TokenObtained, TransferRetried, TransferStarted

from .conftest import WHO, Connect, Recorder, assert_right, settings_for

ALL = Query(everything=True)


def small(**changes: object) -> EmulatorSettings:
    return EmulatorSettings(**{"products": 40, "mean_bytes": 20_000} | changes)


async def test_search_counts_lists_and_downloads(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small()) as mirror, connect(mirror) as noa:
        assert await noa.count(ALL) == 40
        found = [product async for product in noa.search(ALL)]
        assert [product.sensing_start for product in found] == sorted(
            product.sensing_start for product in found
        )
        assert {product.id for product in found} == {each.id for each in mirror.catalogue.products}

        outcomes = [outcome async for outcome in noa.download_all(noa.search(ALL), tmp_path)]

        assert [outcome.status for outcome in outcomes] == [Status.DOWNLOADED] * 40
        assert_right(mirror, tmp_path, 40)
        for outcome in outcomes:
            assert outcome.path is not None
            digest = hashlib.md5(outcome.path.read_bytes()).hexdigest()
            assert outcome.checksum == f"md5:{digest}"
            assert outcome.bytes == outcome.path.stat().st_size
            assert outcome.attempts == 1


async def test_what_is_there_is_not_fetched_again(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small()) as mirror:
        for expected in (Status.DOWNLOADED, Status.PRESENT):
            async with connect(mirror) as noa:
                outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
            assert {outcome.status for outcome in outcomes} == {expected}
        assert sum(map(len, mirror.stats.downloads.values())) == 40


async def test_a_lost_ledger_costs_no_download(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small()) as mirror:
        async with connect(mirror) as noa:
            _ = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        for file in (tmp_path / ".noa-async").glob("ledger*"):
            file.unlink()
        mirror.stats.reset()
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {outcome.status for outcome in outcomes} == {Status.PRESENT}
        assert mirror.stats.downloads == {}


@pytest.mark.parametrize("damage", ["changed", "gone", "short"])
async def test_a_damaged_file_is_fetched_again(
    connect: Connect, tmp_path: Path, damage: str
) -> None:
    async with Emulator(small(products=3)) as mirror, connect(mirror) as noa:
        first = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        victim = first[1].path
        assert victim is not None
        if damage == "changed":
            victim.write_bytes(b"\0" * victim.stat().st_size)
        elif damage == "short":
            victim.write_bytes(victim.read_bytes()[:-1])
        else:
            victim.unlink()
        again = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert sorted(each.status for each in again) == ["downloaded", "present", "present"]
        assert_right(mirror, tmp_path, 3)


async def test_two_products_of_one_name_lie_beside_each_other(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(small(products=0)) as mirror, connect(mirror) as noa:
        for number in range(2):
            mirror.catalogue.add(make_product(id=f"{number}" * 8 + "-0000", name="S2A_X.SAFE"))
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        names = sorted(each.path.name for each in outcomes if each.path)
        assert names[0] == "S2A_X.SAFE.zip"
        assert names[1] in {"S2A_X_00000000.SAFE.zip", "S2A_X_11111111.SAFE.zip"}
        again = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in again} == {Status.PRESENT}
        assert_right(mirror, tmp_path, 2)


async def test_a_foreign_file_in_the_way_is_put_aside(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small(products=1)) as mirror, connect(mirror) as noa:
        [product] = [each async for each in noa.search(ALL)]
        (tmp_path / product.name).write_text("not a product")
        (tmp_path / f"{product.name}.zip").write_text("not a product")
        outcome = await noa.download(product, tmp_path)
        assert outcome.status is Status.DOWNLOADED
        assert outcome.path is not None
        assert hashlib.md5(outcome.path.read_bytes()).hexdigest() == mirror.content(product.id).md5
        [aside] = (tmp_path / ".noa-async/quarantine").iterdir()
        assert aside.read_text() == "not a product"


async def test_one_failure_ends_nothing(connect: Connect, tmp_path: Path) -> None:
    plan = FaultPlan((Fault(FaultKind.FORBIDDEN, index=5, times=None),))
    async with Emulator(small(faults=plan)) as mirror, connect(mirror) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        failed = [each for each in outcomes if not each.ok]
        assert len(outcomes) == 40
        assert [each.status for each in failed] == [Status.FAILED]
        assert "403" in str(failed[0].error)
        assert failed[0].attempts == 1
        assert_right(mirror, tmp_path, 39)


async def test_downloads_start_while_pages_still_come(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_SLOW, page=2, seconds=1.0),))
    async with Emulator(small(products=150, faults=plan)) as mirror, connect(mirror) as noa:
        _ = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
    kinds = [type(event) for event in recorder.events]
    last_page = max(place for place, kind in enumerate(kinds) if kind is PageListed)
    assert TransferStarted in kinds[:last_page]


async def test_a_slow_consumer_holds_the_listing_back(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    async with Emulator(small(products=500, mean_bytes=2000)) as mirror:
        async with connect(mirror, workers=1) as noa:
            outcomes = noa.download_all(noa.search(ALL), tmp_path)
            await anext(outcomes)
            async with asyncio.timeout(30):
                while len(list(tmp_path.glob("*"))) < 9:  # what one worker may do unread
                    await asyncio.sleep(0)
            # Beside the queue, products that are looked at together are read ahead, and no more.
            assert len(recorder.of(PageListed)) <= 4
            await outcomes.aclose()


def ours_among(tasks: set[asyncio.Task[object]]) -> set[str]:
    """What the tasks do that are not the emulator's."""
    doing = {repr(task.get_coro()) for task in tasks}
    return {one for one in doing if "noa_async/emulator" not in one and "aiohttp/web" not in one}


async def test_leaving_early_leaves_parts_and_no_task(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small(products=8, mean_bytes=8_000_000, rate=20_000_000)) as mirror:
        before = asyncio.all_tasks()
        async with connect(mirror) as noa:
            async for _ in noa.download_all(noa.search(ALL), tmp_path):
                break
        async with asyncio.timeout(10):  # a generator that is left is closed by the loop, soon
            while ours_among(asyncio.all_tasks() - before):
                await asyncio.sleep(0.01)
        parts = [part.stat().st_size for part in tmp_path.glob(".noa-async/parts/*.part")]
        assert sum(parts) > 0
        mirror.stats.reset()
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert all(each.ok for each in outcomes)
        assert_right(mirror, tmp_path, 8)
        whole = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        assert mirror.stats.bytes_sent < whole - sum(parts) / 2


async def test_an_error_in_the_source_is_raised(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small()) as mirror, connect(mirror) as noa:

        async def broken() -> AsyncGenerator[Product]:
            async for product in noa.search(ALL):
                yield product
                raise LookupError("the source is broken")

        with pytest.raises(LookupError, match="source is broken"):
            _ = [each async for each in noa.download_all(broken(), tmp_path)]


async def test_a_token_life_of_three_seconds(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    settings = small(products=200, mean_bytes=100_000, token_life=3.0, latency=0.25)
    async with Emulator(settings) as mirror, connect(mirror, workers=8) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert mirror.stats.tokens_in_flight_peak == 1
        assert mirror.stats.token_logins == 1
        assert mirror.stats.token_refreshes >= 2
        assert len(recorder.of(TokenObtained)) == 1 + mirror.stats.token_refreshes


async def test_a_revoked_token_is_renewed_once(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small()) as mirror, connect(mirror, workers=8) as noa:
        await noa.log_in()
        mirror.revoke_tokens(refresh=True)
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert (mirror.stats.token_logins, mirror.stats.tokens_in_flight_peak) == (2, 1)


async def test_a_wrong_password_is_sent_once(tmp_path: Path) -> None:
    async with Emulator(small()) as mirror:
        who = Credentials("demo", "s3cret-wrong")
        async with NoaClient(settings_for(mirror, workers=8), who) as noa:
            products = [make_listed(number) for number in range(20)]
            with pytest.raises(CredentialsRefused) as caught:
                _ = [each async for each in noa.download_all(products, tmp_path)]
            with pytest.raises(CredentialsRefused):
                await noa.count(ALL)
        assert mirror.stats.wrong_passwords == 1
        assert "s3cret" not in f"{caught.value!r} {caught.value} {noa!r} {noa.settings!r}"


def make_listed(number: int) -> Product:
    return Product(id=f"id-{number}", name=f"S2A_{number}.SAFE.zip")


async def test_a_cut_is_resumed_with_if_range(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    plan = FaultPlan((Fault(FaultKind.CUT, at=0.5),))
    async with Emulator(small(products=4, mean_bytes=3_000_000, faults=plan)) as mirror:
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert [(each.status, each.attempts) for each in outcomes] == [("downloaded", 2)] * 4
        assert len(recorder.of(TransferRetried)) == 4
        for deliveries in mirror.stats.downloads.values():
            assert deliveries[1].status == 206
        whole = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        assert mirror.stats.bytes_sent < 1.15 * whole
        assert_right(mirror, tmp_path, 4)


@pytest.mark.parametrize("algorithms", [("SHA-256",), ("SHA3-256", "MD5"), ("MD5", "BLAKE3")])
async def test_the_strongest_checksum_is_checked(
    connect: Connect, tmp_path: Path, algorithms: tuple[str, ...]
) -> None:
    expected = {"SHA-256": "sha256", "SHA3-256": "sha3-256", "BLAKE3": "blake3"}
    async with Emulator(small(products=3, checksums=algorithms)) as mirror, connect(mirror) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
    [strongest] = [expected[name] for name in algorithms if name in expected]
    assert {str(each.checksum).partition(":")[0] for each in outcomes} == {strongest}
    assert {each.status for each in outcomes} == {Status.DOWNLOADED}


async def test_without_a_checksum_it_is_unverified(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small(products=3, checksums=())) as mirror:
        for attempts in (1, 0):
            async with connect(mirror) as noa:
                outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
            assert {(each.status, each.attempts, each.checksum) for each in outcomes} == {
                (Status.UNVERIFIED, attempts, None)
            }


async def test_a_folder_in_use_is_refused(connect: Connect, tmp_path: Path) -> None:
    async with (
        Emulator(small(products=1)) as mirror,
        connect(mirror) as one,
        connect(mirror) as two,
    ):
        [product] = [each async for each in one.search(ALL)]
        await one.download(product, tmp_path)
        with pytest.raises(DestinationInUse, match="in use by another run"):
            await two.download(product, tmp_path)


async def test_the_same_product_twice_at_once_is_fetched_once(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(small(products=1)) as mirror, connect(mirror) as noa:
        [product] = [each async for each in noa.search(ALL)]
        outcomes = await asyncio.gather(*(noa.download(product, tmp_path) for _ in range(5)))
        assert sorted(each.status for each in outcomes) == ["downloaded"] + ["present"] * 4
        assert len(mirror.stats.downloads[product.id]) == 1


async def test_bandwidth_caps_the_sum(tmp_path: Path) -> None:
    async with Emulator(small(products=8, mean_bytes=500_000)) as mirror:
        settings = settings_for(mirror).with_values({"bandwidth": "4M"})
        whole = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        started = asyncio.get_running_loop().time()
        async with NoaClient(settings, WHO) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        took = asyncio.get_running_loop().time() - started
        assert all(each.ok for each in outcomes)
        assert took > 0.8 * (whole / 4e6) - 0.25


def test_a_query_for_everything_must_be_meant() -> None:
    with pytest.raises(QueryError, match="everything"):
        Query()


async def test_the_library_example_of_the_design(connect: Connect, tmp_path: Path) -> None:
    query = Query(
        rules=[MissionRule(platform="SENTINEL-2", product_type=["S2MSI2A"], cloud_max=20)],
        roi="POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))",
        content=("2026-01-11", "2026-01-19"),
        published=("2026-01-11", "2026-01-19"),
    )
    async with Emulator(EmulatorSettings(mean_bytes=5000)) as mirror, connect(mirror) as noa:
        count = await noa.count(query)
        assert count > 10
        outcomes = [each async for each in noa.download_all(noa.search(query), tmp_path)]
        assert len(outcomes) == count
        assert_right(mirror, tmp_path, count)


def test_from_env_is_noas_mirror() -> None:
    noa = NoaClient.from_env({"NOA_WORKERS": "7"})
    assert noa.settings == Settings().with_values({"workers": 7})
    assert noa.settings.service.catalogue_url.startswith("https://sentinels.space.noa.gr/")


async def test_what_is_in_quarantine_is_not_fetched_again_unasked(
    connect: Connect, tmp_path: Path
) -> None:
    faults = FaultPlan((Fault(FaultKind.WRONG_BYTES, index=1, times=None),))
    async with Emulator(small(products=3, faults=faults)) as mirror:
        for expected, asked in ((1, False), (0, False), (1, True)):
            mirror.stats.reset()
            async with connect(mirror) as noa:
                run = noa.download_all(noa.search(ALL), tmp_path, retry_failed=asked)
                [failed] = [each async for each in run if not each.ok]
            spoiled = mirror.stats.downloads.get(failed.product.id, [])
            assert len(spoiled) == 2 * expected
            # Both sums are told.
            assert str(failed.error).count("md5:") == 2
        [aside] = (tmp_path / ".noa-async/quarantine").iterdir()
        assert aside.stat().st_size == mirror.content(failed.product.id).size

        mirror.faults = FaultPlan()
        mirror.catalogue.replace(failed.product.id)  # the catalogue says something new of it
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert sorted(each.status for each in outcomes) == ["downloaded", "present", "present"]
        assert_right(mirror, tmp_path, 3)


async def test_a_broken_zip_without_a_checksum_is_no_product(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(small(products=0)) as mirror, connect(mirror) as noa:
        mirror.catalogue.add(make_product(id="good-one", name="A.SAFE.zip", omit=("Checksum",)))
        mirror.catalogue.add(
            make_product(id="bad-one", name="B.SAFE.zip", omit=("Checksum",), broken_zip=True)
        )
        outcomes = {
            each.product.id: each async for each in noa.download_all(noa.search(ALL), tmp_path)
        }
        assert outcomes["good-one"].status is Status.UNVERIFIED
        assert outcomes["bad-one"].status is Status.FAILED
        assert "arrived whole, but is a zip" in str(outcomes["bad-one"].error)
        assert outcomes["bad-one"].attempts == 2
        assert len(mirror.stats.downloads["bad-one"]) == 2


async def test_a_replaced_product_takes_the_place_of_the_old(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(small(products=3)) as mirror:
        async with connect(mirror) as noa:
            before = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        mirror.catalogue.replace(before[0].product.id)
        async with connect(mirror) as noa:
            after = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert sorted(each.status for each in after) == ["downloaded", "present", "present"]
        assert {each.path for each in after} == {each.path for each in before}
        assert_right(mirror, tmp_path, 3)


async def test_a_damaged_part_is_not_built_upon(connect: Connect, tmp_path: Path) -> None:
    settings = small(products=1, mean_bytes=12_000_000, rate=8_000_000)
    async with Emulator(settings) as mirror:
        async with connect(mirror, workers=1) as noa:
            [product] = [each async for each in noa.search(ALL)]
            fetching = asyncio.create_task(noa.download(product, tmp_path))
            part = tmp_path / f".noa-async/parts/{product.id}.part"
            async with asyncio.timeout(30):
                while not (part.exists() and part.stat().st_size > 2_000_000):
                    await asyncio.sleep(0.01)
            fetching.cancel()
            await asyncio.wait({fetching})
        assert part.with_suffix(".json").exists()
        with part.open("r+b") as file:
            file.write(b"damaged!")
        async with connect(mirror, workers=1) as noa:
            outcome = await noa.download(product, tmp_path)
        assert outcome.status is Status.DOWNLOADED
        assert [each.status for each in mirror.stats.downloads[product.id]] == [200, 206, 200]
        assert_right(mirror, tmp_path, 1)


@pytest.mark.parametrize(
    "kind", [FaultKind.TOKEN_ERROR, FaultKind.TOKEN_HTML, FaultKind.TOKEN_SLOW]
)
async def test_a_log_in_that_stumbles_is_tried_again(
    connect: Connect, tmp_path: Path, kind: FaultKind
) -> None:
    faults = FaultPlan((Fault(kind, times=2, seconds=0.1),))
    async with Emulator(small(faults=faults)) as mirror, connect(mirror) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert (mirror.stats.token_logins, mirror.stats.tokens_in_flight_peak) == (1, 1)


async def test_a_product_that_fails_is_never_in_two_hands(
    connect: Connect, recorder: Recorder, tmp_path: Path
) -> None:
    faults = FaultPlan((Fault(FaultKind.FORBIDDEN, times=2), Fault(FaultKind.CUT, first=3)))
    async with Emulator(small(products=1, faults=faults, latency=0.02)) as mirror:
        async with connect(mirror, workers=5) as noa:
            [product] = [each async for each in noa.search(ALL)]
            outcomes = [each async for each in noa.download_all([product] * 6, tmp_path)]
        assert mirror.stats.downloads_peak == 1
        assert sorted(each.status for each in outcomes) == (
            ["downloaded"] + ["failed"] * 2 + ["present"] * 3
        )
        assert_right(mirror, tmp_path, 1)


async def test_off_line_products_do_not_end_the_run(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small(products=0, retrieval_time=3600)) as mirror:
        for number in range(15):
            mirror.catalogue.add(make_product(id=f"tape-{number}", online=False))
        mirror.catalogue.add(make_product(id="disk", start=datetime(2026, 2, 1, tzinfo=UTC)))
        quick = RetryPolicy(base=0.001, cap=0.001, offline_wait=0.05)
        async with connect(mirror, retry=quick) as noa:
            outcomes = {
                each.product.id: each async for each in noa.download_all(noa.search(ALL), tmp_path)
            }
        assert outcomes.pop("disk").status is Status.DOWNLOADED
        assert all("not on line yet" in str(each.error) for each in outcomes.values())


async def test_a_retry_after_of_days_holds_nobody_else(connect: Connect, tmp_path: Path) -> None:
    faults = FaultPlan((Fault(FaultKind.TOO_MANY, index=0, times=None, retry_after="100000"),))
    async with Emulator(small(products=12, faults=faults)) as mirror, connect(mirror) as noa:
        async with asyncio.timeout(20):
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert sorted(each.status for each in outcomes) == ["downloaded"] * 11 + ["failed"]


async def test_three_products_of_one_name_and_like_ids(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small(products=0)) as mirror, connect(mirror) as noa:
        for number in range(3):
            mirror.catalogue.add(make_product(id=f"aaaaaaaa-{number}", name="S2A_X.SAFE.zip"))
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert_right(mirror, tmp_path, 3)


async def test_text_in_place_of_an_unchecked_product_is_no_product(
    connect: Connect, tmp_path: Path
) -> None:
    faults = FaultPlan((Fault(FaultKind.QUOTA_TEXT, times=None, text="maintenance"),))
    async with Emulator(small(products=3, checksums=(), faults=faults)) as mirror:
        async with connect(mirror, retry=RetryPolicy(base=0.001, retries=2)) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.FAILED}
        assert_right(mirror, tmp_path, 0)


async def test_an_unchecked_product_without_a_ledger_is_known_by_its_size(
    connect: Connect, tmp_path: Path
) -> None:
    async with Emulator(small(products=3, checksums=())) as mirror:
        for fetched in (3, 0):
            mirror.stats.reset()
            async with connect(mirror) as noa:
                outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
            assert {each.status for each in outcomes} == {Status.UNVERIFIED}
            assert len(mirror.stats.downloads) == fetched
            for file in (tmp_path / ".noa-async").glob("ledger*"):
                file.unlink()


def test_nothing_of_the_environment_is_in_a_signature() -> None:
    for what in (NoaClient.from_env, Settings.from_env, find_credentials):
        assert "PATH" not in str(inspect.signature(what))


async def test_a_client_that_is_not_open_says_so(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(small(products=1)) as mirror:
        noa = connect(mirror)
        assert isinstance(noa, NoaClient)
        with pytest.raises(UsageError, match="not open"):
            await noa.count(ALL)
        async with noa:
            assert await noa.count(ALL) == 1
            products = [one async for one in noa.search(ALL)]
            outcomes = noa.download_all(products, tmp_path)
            begun = noa.search(ALL)
        with pytest.raises(UsageError, match="not open"):
            await noa.log_in()
        with pytest.raises(UsageError, match="not open"):
            await anext(outcomes)
        with pytest.raises(UsageError, match="not open"):
            await anext(begun)
        assert not list(tmp_path.iterdir())


async def test_what_was_listed_before_an_error_comes_home(connect: Connect, tmp_path: Path) -> None:
    faults = FaultPlan((Fault(FaultKind.PAGE_ERROR, page=1, times=None),))
    async with Emulator(small(products=170, faults=faults)) as mirror, connect(mirror) as noa:
        outcomes = []
        with pytest.raises(ServiceFault, match="answered 503"):
            async for outcome in noa.download_all(noa.search(ALL), tmp_path):
                outcomes.append(outcome)
        assert [each.status for each in outcomes] == [Status.DOWNLOADED] * 50
        assert_right(mirror, tmp_path, 50)


async def test_the_largest_product_that_waits_goes_first(connect: Connect, tmp_path: Path) -> None:
    """So a batch does not end on a large one, which would keep the other workers idle.

    What takes about as long goes by sensing time, as it is listed.
    """
    start = datetime(2026, 1, 12, tzinfo=UTC)
    sizes = (1000, 9_000_000, 20_000, 2000, 18_000_000)
    products = [
        make_product(f"P{size}.nc", size, start=start.replace(hour=hour))
        for hour, size in enumerate(sizes)
    ]
    async with Emulator(small(), catalogue=Catalogue(products)) as mirror:
        async with connect(mirror, workers=1) as noa:
            listed = [each async for each in noa.search(Query(everything=True))]
            found = [each.product.size async for each in noa.download_all(listed, tmp_path)]
    assert found == [18_000_000, 9_000_000, 1000, 20_000, 2000]


async def test_a_file_that_got_its_name_while_its_caller_left_is_found(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that gives the name goes on; the next call must not put the file aside."""
    publish, named, go_on = LocalFolder.publish, threading.Event(), threading.Event()

    def slow(self: LocalFolder, *arguments: Any) -> FileFacts:
        facts = publish(self, *arguments)
        named.set()
        go_on.wait(30)
        return facts

    async with Emulator(small(products=1)) as mirror, connect(mirror) as noa:
        [product] = [each async for each in noa.search(ALL)]
        with monkeypatch.context() as patch:
            patch.setattr(LocalFolder, "publish", slow)
            patch.setattr(LocalFolder, "brief", False)
            fetching = asyncio.create_task(noa.download(product, tmp_path))
            await asyncio.to_thread(named.wait, 30)
            fetching.cancel()
            await asyncio.sleep(0)  # it is told, and waits for the thread
            go_on.set()
            await asyncio.wait({fetching})
        assert (await noa.download(product, tmp_path)).status is Status.PRESENT
    assert list(tmp_path.glob(".noa-async/quarantine/*")) == []


@pytest.mark.parametrize("quota_style", ["429", "403"])
async def test_refusals_in_chunks_are_asked_for_once_and_past_aiohttp(
    connect: Connect,
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quota_style: str,
) -> None:
    """Each that the service sent is one that was met: none was thrown away and asked for again."""
    asked: list[str] = []
    request = aiohttp.ClientSession.request

    def noted(self: aiohttp.ClientSession, method: str, url: Any, **more: Any) -> Any:
        asked.append(str(url))
        return request(self, method, url, **more)

    monkeypatch.setattr(aiohttp.ClientSession, "request", noted)
    busy = small(quota=2, quota_style=quota_style, rate=1e6, chunked_errors=True)
    faults = FaultPlan((Fault(FaultKind.REDIRECT_TRUSTED, index=3), Fault(FaultKind.SERVER_ERROR)))
    async with Emulator(replace(busy, faults=faults)) as mirror:
        async with connect(mirror, workers=6) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert mirror.stats.quota_refusals
        sent = [one.status for some in mirror.stats.downloads.values() for one in some]
        refused = [status for status in sent if status >= 400]
        assert len(refused) == len(recorder.of(TransferRetried))
        assert sent.count(200) == 40
    assert asked
    assert not [url for url in asked if "$value" in url or "/store/" in url]


async def test_products_in_chunks_are_asked_for_once(connect: Connect, tmp_path: Path) -> None:
    chunks = FaultPlan((Fault(FaultKind.CHUNKED, times=None),))
    async with Emulator(small(faults=chunks)) as mirror:
        async with connect(mirror) as noa:
            outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert all(each.ok for each in outcomes)
        assert {len(some) for some in mirror.stats.downloads.values()} == {1}
        assert_right(mirror, tmp_path, 40)
