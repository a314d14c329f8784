"""Scripts on top of NOA's own example client: its script as it stands, and its calls one by one."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from noa_async.emulator import (
    Catalogue,
    Emulator,
    EmulatorSettings,
    Fault,
    FaultKind,
    FaultPlan,
    make_product,
)
from noa_async.emulator import routes as emulator_routes
from noa_async.errors import CredentialsMissing, CredentialsRefused, QueryError, ServiceFault
from noa_async.reference import NOAClient, ODataBuilder

from ..catalogue.test_catalogue_query import MISSION_RULES, README_FILTER, ROI, TIME_CONFIG

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "noa_mirror_documentation_example.py"
EVERYTHING = ([{"platform": ["SENTINEL-1", "SENTINEL-2", "SENTINEL-3", "SENTINEL-5P"]}], None, None)
_T = TypeVar("_T")


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Emulator], None]:
    """Lead this process to a mirror, with an empty folder to work in."""

    def lead_to(mirror: Emulator) -> None:
        monkeypatch.setenv("NOA_CATALOGUE_URL", mirror.catalogue_url)
        monkeypatch.setenv("NOA_TOKEN_URL", mirror.token_url)
        monkeypatch.setenv("NOA_RETRIES", "1")
        monkeypatch.chdir(tmp_path)

    return lead_to


async def called(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call what blocks, with the mirror alive beside it."""
    return await asyncio.to_thread(function, *arguments)


async def run_script(
    mirror: Emulator, folder: Path, password: str = "demo"
) -> tuple[int, str, str]:
    environ = os.environ | {
        "NOA_CATALOGUE_URL": mirror.catalogue_url,
        "NOA_TOKEN_URL": mirror.token_url,
        "ESA_USERNAME": "demo",
        "ESA_PASSWORD": password,
        "PYTHONPATH": str(ROOT),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), cwd=folder, env=environ,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_the_script_prints_and_fetches_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    answer = emulator_routes.product_list

    async def noting(mirror: Any, request: Any) -> Any:
        asked.append(request.raw_path)
        return await answer(mirror, request)

    monkeypatch.setattr(emulator_routes, "product_list", noting)
    async with Emulator(EmulatorSettings(mean_bytes=20_000)) as mirror:
        code, out, err = await run_script(mirror, tmp_path)
        matching = mirror.catalogue.select(README_FILTER, [("ContentDate/Start", False)])
        assert code == 0, err
        assert (mirror.stats.token_logins, mirror.sessions) == (1, 0)
        sent = parse_qs(urlsplit(asked[0]).query)
        assert sent["$filter"] == [README_FILTER]
        assert sent["$orderby"] == ["ContentDate/Start asc,Id asc"]
        assert sent["$top"] == ["50"]

        lines = [
            re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", "", line) for line in err.splitlines()
        ]
        assert lines[:5] == [
            "[INFO] Authenticating...",
            "[INFO] Authentication successful.",
            "[INFO] Executing Complex Search (with Pagination)...",
            "[INFO] Fetched 50 items (Total: 50)",
            f"[INFO] Fetched {len(matching) - 50} items (Total: {len(matching)})",
        ]
        assert len(lines) == 5 + len(matching)
        assert all(
            re.fullmatch(
                r"\[INFO\] \S+ is complete and its checksum is correct \(\d+ bytes\)\.", one
            )
            for one in lines[5:]
        )

        blank, head, *listed = out.splitlines()
        assert (blank, head) == ("", "--- Download Candidates ---")
        pattern = re.compile(r"(\d+)\. (\S+) \((\d+) bytes\)")
        found = [pattern.fullmatch(line).groups() for line in listed]  # type: ignore[union-attr]
        assert [int(number) for number, _, _ in found] == list(range(1, len(matching) + 1))
        assert {(name, int(size)) for _, name, size in found} == {
            (one.name, one.size) for one in matching
        }
        for product in matching:
            assert (tmp_path / product.name).read_bytes() == mirror.content(product.id).read()


async def test_the_script_says_that_nothing_was_found_and_that_the_account_is_refused(
    tmp_path: Path,
) -> None:
    async with Emulator(EmulatorSettings(products=0)) as mirror:
        code, out, err = await run_script(mirror, tmp_path)
        assert (code, out) == (0, "No products found. Try expanding dates or ROI.\n")
        assert "Fetched 0 items (Total: 0)" in err
        code, out, err = await run_script(mirror, tmp_path, password="no")
        assert (code, out) == (3, "")
        assert "[ERROR] The service rejects the credentials of 'demo'" in err
        assert "Traceback" not in err
        assert mirror.stats.wrong_passwords == 1


async def test_entries_are_the_catalogues_own(lead: Any) -> None:
    async with Emulator(EmulatorSettings(products=120, mean_bytes=2000)) as mirror:
        lead(mirror)
        client = NOAClient("demo", "demo")
        entries = await called(client.search_complex, *EVERYTHING)
        assert type(entries) is list
        assert {type(entry) for entry in entries} == {dict}
        assert {"Id", "Name", "ContentLength", "ContentDate"} <= entries[0].keys()
        assert [one["Id"] for one in entries] == [
            one.id for one in mirror.catalogue.select("", [("ContentDate/Start", False)])
        ]
        assert len(await called(client.search_complex, *EVERYTHING, 7)) == 7
        assert mirror.stats.token_logins == 1  # one session, however many calls


async def test_a_page_that_fails_is_no_end_of_the_list(lead: Any) -> None:
    faults = FaultPlan((Fault(FaultKind.PAGE_ERROR, page=1, times=None),))
    async with Emulator(EmulatorSettings(products=120, mean_bytes=2000, faults=faults)) as mirror:
        lead(mirror)
        client = NOAClient("demo", "demo")
        with pytest.raises(ServiceFault, match="503"):
            await called(client.search_complex, *EVERYTHING)
        mirror.faults = FaultPlan(())
        assert len(await called(client.search_complex, *EVERYTHING)) == 120


@pytest.mark.parametrize(
    "kind",
    [FaultKind.CUT, FaultKind.WRONG_BYTES, FaultKind.TOO_MANY, FaultKind.ERROR_PAGE,
     FaultKind.REVOKED_TOKEN],
)  # fmt: skip
async def test_a_download_that_is_cut_goes_on(
    lead: Any, kind: FaultKind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    product = make_product(size=4_000_000)
    settings = EmulatorSettings(faults=FaultPlan((Fault(kind, at=0.75),)))
    caplog.set_level(logging.INFO)
    async with Emulator(settings, catalogue=Catalogue([product], seed=1)) as mirror:
        lead(mirror)
        client = NOAClient("demo", "demo")
        assert await called(client.download_product, product.id, product.name) is True
        right = mirror.content(product.id).read()
        assert (tmp_path / product.name).read_bytes() == right
        assert (
            f"{product.name} is complete and its checksum is correct ({product.size} bytes)."
            in caplog.messages
        )
        starts = [each.range_start for each in mirror.stats.downloads[product.id]]
        assert (max(starts) > 0) is (kind is FaultKind.CUT)
        sent = mirror.stats.bytes_sent
        assert await called(client.download_product, product.id, product.name) is True
        assert mirror.stats.bytes_sent == sent  # it is there


async def test_what_cannot_be_had_is_false_and_leaves_no_file(
    lead: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    product = make_product()
    faults = FaultPlan((Fault(FaultKind.WRONG_BYTES, times=None),))
    settings = EmulatorSettings(faults=faults)
    async with Emulator(settings, catalogue=Catalogue([product], seed=1)) as mirror:
        lead(mirror)
        client = NOAClient("demo", "demo")
        assert await called(client.download_product, product.id, product.name) is False
        assert f"{product.name} was not downloaded: {product.name} arrived whole" in caplog.text
        assert await called(client.download_product, "of-nothing", "x.zip") is False
        assert "x.zip was not downloaded: the catalogue has no product of-nothing." in caplog.text
        await mirror.stop()
        assert await called(client.download_product, product.id, product.name) is False
        assert "Traceback" not in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == [".noa-async"]


async def test_the_file_has_the_name_that_was_given(
    lead: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the bytes are a zip and the bare Name does not say so, again and again."""
    bare = make_product("S1A_IW_GRDH_1SDV_20260111T042011.SAFE")
    twin = make_product(bare.name, id="5c1e0000-0000-0000-0000-000000000000", size=30_000)
    (tmp_path / "sub").mkdir()
    catalogue = Catalogue([bare, twin], seed=1)
    async with Emulator(EmulatorSettings(), catalogue=catalogue) as mirror:
        lead(mirror)
        client = NOAClient("demo", "demo")

        def holds(name: str, product_id: str) -> bool:
            return (tmp_path / name).read_bytes() == mirror.content(product_id).read()

        for name in (bare.name, "my.zip", f"sub/{bare.name}"):
            (tmp_path / name).write_bytes(b"an old one")
            assert await called(client.download_product, bare.id, name) is True
            assert await called(client.download_product, bare.id, name) is True
            assert holds(name, bare.id) is (name != "my.zip")
        assert "my.zip belongs to another product and is kept" in caplog.text
        mirror.catalogue.replace(bare.id)
        fresh = NOAClient("demo", "demo")
        assert await called(fresh.download_product, bare.id, bare.name) is True
        assert holds(bare.name, bare.id)

        assert await called(client.download_product, twin.id, bare.name) is True
        assert holds(bare.name, bare.id)
        assert holds(f"{bare.name.removesuffix('.SAFE')}_5c1e0000.SAFE.zip", twin.id)
        assert f"{bare.name} belongs to another product and is kept" in caplog.text


async def test_a_refused_password_is_sent_once(lead: Any, caplog: pytest.LogCaptureFixture) -> None:
    product = make_product()
    async with Emulator(catalogue=Catalogue([product], seed=1)) as mirror:
        lead(mirror)
        client = NOAClient("demo", "wrong-one")
        with pytest.raises(CredentialsRefused):
            await called(client.search_complex, *EVERYTHING)
        for _ in range(3):
            assert await called(client.download_product, product.id, product.name) is False
        with pytest.raises(CredentialsRefused):
            await called(client.search_complex, *EVERYTHING)
        assert mirror.stats.wrong_passwords == 1
        assert "wrong-one" not in caplog.text


async def test_it_works_where_a_loop_runs_already(lead: Any, tmp_path: Path) -> None:
    """As in a notebook."""
    product = make_product()

    async def cell() -> bool:
        client = NOAClient("demo", "demo")
        [entry] = client.search_complex(None, "POINT(22.5 38.5)", None)
        return client.download_product(entry["Id"], entry["Name"])

    async with Emulator(catalogue=Catalogue([product], seed=1)) as mirror:
        lead(mirror)
        assert await called(asyncio.run, cell()) is True
    assert (tmp_path / product.name).stat().st_size == product.size


def test_bad_input_is_told_before_anything_is_sent() -> None:
    client = NOAClient("demo", "demo")
    with pytest.raises(QueryError, match="no condition"):
        client.search_complex([], "", {})
    with pytest.raises(QueryError, match="limit is 0"):
        client.search_complex(MISSION_RULES, ROI, TIME_CONFIG, max_results=0)
    with pytest.raises(CredentialsMissing):
        NOAClient(None, None).search_complex(MISSION_RULES, ROI, TIME_CONFIG)


def test_the_builder_builds_the_clauses_of_the_readmes_filter() -> None:
    built = [
        ODataBuilder.string_attr("platformShortName", "SENTINEL-2"),
        ODataBuilder.string_attr("productType", ["S2MSI2A"]),
        ODataBuilder.double_attr("cloudCover", 0, "ge"),
        ODataBuilder.double_attr("cloudCover", 20, "le"),
    ]
    assert f"({' and '.join(built)})" in README_FILTER
    assert ODataBuilder.string_attr("x", ("A", "B")) == ODataBuilder.string_attr("x", ["A", "B"])
    for wrong in ((lambda: ODataBuilder.double_attr("cloudCover", 1, "<=")),  # type: ignore[arg-type]
                  (lambda: ODataBuilder.string_attr("x", [])),
                  (lambda: ODataBuilder.string_attr("x", " "))):  # fmt: skip
        with pytest.raises(QueryError):
            wrong()
