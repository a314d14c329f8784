"""``search``, ``count`` and ``login``: what is listed, and in which form."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import ssl
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import trustme

from noa_async.cli.program import VERBS
from noa_async.emulator import Fault, FaultKind, FaultPlan, make_product

from .conftest import ROI, Open, Program

HOSTILE = "S2A_\x1b[2J\x1b]0;owned\x07_\n\u202eEFAS.zip"


async def test_search_lists_every_product_in_every_form(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=120)
    ids = {product.id for product in mirror.catalogue.products}
    found = {
        form: await noa("search", "--everything", "--format", form)
        for form in ("table", "json", "jsonl", "csv", "geojson")
    }
    assert {ended.code for ended in found.values()} == {0}

    entries = json.loads(found["json"].out)
    assert {entry["Id"] for entry in entries} == ids
    assert [json.loads(line) for line in found["jsonl"].out.splitlines()] == entries
    assert {"Name", "ContentLength", "Checksum", "Footprint"} <= set(entries[0])

    rows = list(csv.DictReader(io.StringIO(found["csv"].out)))
    assert {row["id"] for row in rows} == ids
    assert rows[0]["checksum"].startswith("md5:")

    features = json.loads(found["geojson"].out)
    assert features["type"] == "FeatureCollection"
    assert {feature["id"] for feature in features["features"]} == ids
    assert all(feature["geometry"]["coordinates"] for feature in features["features"])

    header, *lines = found["table"].out.splitlines()
    assert header.split() == ["SENSED", "(UTC)", "SIZE", "ID", "NAME"]
    assert len(lines) == 120
    assert lines[0].endswith(entries[0]["Name"])
    assert found["table"].err.startswith("120 products, ")


async def test_search_takes_a_query_file_and_options_over_it(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=600)
    (noa.folder / "query.toml").write_text(
        f"""
        roi = "{ROI}"
        limit = 7
        [time]
        content_start = "2026-01-11"
        content_end = "2026-01-19"
        [[rules]]
        platform = "SENTINEL-2"
        product_type = ["S2MSI2A"]
        """
    )
    (noa.folder / "area.wkt").write_text("POINT(23.7 38)")
    query = ("search", "--config", "query.toml", "--format", "jsonl")

    def names(out: str) -> list[str]:
        return [json.loads(line)["Name"] for line in out.splitlines()]

    plain = names((await noa(*query)).out)
    assert len(plain) == 7
    assert all("_MSIL2A_" in name for name in plain)
    changed = await noa(*query, "--rule", "platform=SENTINEL-1|SENTINEL-3", "--limit", "3")
    assert {name[:2] for name in names(changed.out)} <= {"S1", "S3"}
    assert len(names(changed.out)) == 3
    assert (await noa(*query, "--roi", "area.wkt", "--content-end", "2026-01-20")).code == 0


async def test_attributes_come_where_they_are_asked_for(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=10)
    form = ("search", "--everything", "--format")
    assert "Attributes" not in (await noa(*form, "jsonl")).out
    entry = json.loads((await noa(*form, "jsonl", "--attributes")).out.splitlines()[0])
    assert {"platformShortName"} <= {attribute["Name"] for attribute in entry["Attributes"]}
    feature = json.loads((await noa(*form, "geojson", "--attributes")).out)["features"][0]
    assert feature["properties"]["platformShortName"].startswith("SENTINEL-")
    row = next(csv.DictReader(io.StringIO((await noa(*form, "csv", "--attributes")).out)))
    assert json.loads(row["attributes"])["platformShortName"].startswith("SENTINEL-")


async def test_a_hostile_name_cannot_act_on_a_terminal(open_mirror: Open) -> None:
    _, noa = await open_mirror(make_product(name=HOSTILE))
    forms = ("table", "json", "jsonl", "csv", "geojson")
    runs = [*(("search", "--format", form) for form in forms), ("download", "--dry-run")]
    for arguments in [*runs, ("download",)]:
        ended = await noa(*arguments, "--everything")
        assert ended.code == 0
        shown = ended.out + ended.err
        assert not {sign for sign in shown if ord(sign) < 32 and sign != "\n"}
        assert "\u202e" not in shown
        if "jsonl" in arguments:
            assert json.loads(ended.out)["Name"] == HOSTILE


async def test_an_empty_result_is_no_error(open_mirror: Open) -> None:
    _, noa = await open_mirror()
    never = ("--pub-start", "2031-01-01")
    for form, empty in {
        "json": [],
        "geojson": {"type": "FeatureCollection", "features": []},
    }.items():
        ended = await noa("search", *never, "--format", form)
        assert (ended.code, json.loads(ended.out)) == (0, empty)
        assert "Widen the dates or the area" in ended.err
    ended = await noa("count", *never)
    assert (ended.code, ended.out) == (0, "0 products\n")
    ended = await noa("download", *never)
    assert ended.code == 0
    assert "No product matches" in ended.err


async def test_a_reader_that_leaves_ends_the_search_quietly(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=2000)
    process = await noa.start("search", "--everything", "--format", "jsonl")
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["Id"]
    process.stdout._transport.close()  # type: ignore[attr-defined] # as head does
    assert process.stderr is not None
    assert await process.stderr.read() == b""
    assert await process.wait() == 141
    assert mirror.stats.pages < 40


async def test_count_says_products_and_bytes(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=70)
    whole = sum(product.size for product in mirror.catalogue.products)
    ended = await noa("count", "--everything", "--bytes")
    assert ended.code == 0
    assert ended.out.startswith("70 products, ")
    assert ended.out.endswith(f" ({whole} bytes)\n")
    ended = await noa("count", "--everything", "--limit", "60", "--bytes", "--format", "json")
    told = json.loads(ended.out)
    assert (told["products"], told["without_size"]) == (60, 0)
    assert 0 < told["bytes"] < whole


async def test_count_keeps_its_number_where_the_listing_fails(open_mirror: Open) -> None:
    plan = FaultPlan((Fault(FaultKind.PAGE_ERROR, page=1, times=None),))
    _, noa = await open_mirror(products=70, faults=plan)
    noa.environ["NOA_RETRIES"] = "0"
    ended = await noa("count", "--everything", "--bytes")
    assert (ended.code, ended.out) == (4, "70 products, unknown size\n")


async def test_login_says_who_and_until_when(open_mirror: Open) -> None:
    _, noa = await open_mirror(token_life=300)
    ended = await noa("login")
    assert ended.code == 0
    first, second, third = ended.out.splitlines()
    assert first == "The credentials of demo are accepted (found in NOA_USERNAME and NOA_PASSWORD)."
    assert "for 5 min 00 s" in second
    assert third.startswith("The session can be renewed without the password until ")
    assert "for 30 min 00 s" in third


async def test_json_logs_are_one_object_a_line(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=60)
    for arguments in (
        ("--log-format", "json", "search", "--everything"),
        ("search", "--everything", "--log-format", "json"),
    ):
        events = [json.loads(line) for line in (await noa(*arguments)).err.splitlines()]
        kinds = [event["event"] for event in events]
        assert kinds == ["token_obtained", "page_listed", "page_listed", "message"]
        assert all(event["time"].endswith("Z") for event in events)
    assert (await noa("-q", "search", "--everything")).err == ""
    assert "page 2: 60 products listed" in (await noa("-v", "search", "--everything")).err


def test_help_is_quick(program: Program) -> None:
    """The best of some runs: a busy machine slows all, not only ours."""
    code = "import time; a = time.process_time(); import atexit, sys; sys.argv = ['x', '--help']\n"
    code += "atexit.register(lambda: print(time.process_time() - a, file=sys.stderr))\n"
    code += "import noa_async.__main__\n"
    took = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stderr)
        for _ in range(5)
    ]
    assert min(took) < 0.15


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from noa_async.cli.program import VERBS, run\n"
    code += "for verb in ([], *([verb] for verb in VERBS)): assert run([*verb, '--help']) == 0\n"
    code += "print({'aiohttp', 'shapely', 'tqdm', 'uvloop', 'numpy'} & set(sys.modules))"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.count("Usage: noa-async") == len(VERBS) + 1
    assert ended.stdout.endswith("set()\n")


def test_no_authorities_are_read_before_somebody_is_asked(tmp_path: Path) -> None:
    """Nor is anything else changed: aiohttp makes its contexts when it is imported."""
    authority = tmp_path / "authority.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    environ = os.environ | {"SSL_CERT_FILE": str(authority)}
    code = "import gc, os, ssl; before = dict(os.environ); import {}; assert os.environ == before\n"
    code += "made = [one for one in gc.get_objects() if isinstance(one, ssl.SSLContext)]\n"
    code += "print(sum(one.cert_store_stats()['x509'] for one in made))\n"
    read = [
        subprocess.check_output([sys.executable, "-c", code.format(module)], env=environ)
        for module in ("aiohttp", "noa_async.cli.library")
    ]
    assert [int(number) > 0 for number in read] == [True, False]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "NOA_CA_FILE"])
async def test_over_tls_whom_the_machine_or_a_named_file_trusts_is_trusted(
    open_mirror: Open, tmp_path: Path, variable: str
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    _, noa = await open_mirror(products=3, tls=tls)
    refused = await noa("count", "--everything")
    assert (refused.code, "is not trusted" in refused.err) == (4, True)
    noa.environ[variable] = str(tmp_path / "authority.pem")
    ended = await noa("download", "--everything", "--output", "out", "--no-progress")
    assert ended.code == 0
    assert len(list((tmp_path / "work" / "out").glob("*.zip"))) == 3


async def test_a_search_of_a_page_takes_less_than_half_a_second(open_mirror: Open) -> None:
    """Of its process's own time, which others on the machine do not stretch; on a slow processor
    twice what aiohttp alone takes to be imported.
    """
    _, noa = await open_mirror(products=50)
    code = "import sys, time\n"
    code += "from noa_async.cli.program import run\n"
    code += "assert run(['search', '--everything', '-q', '--format', 'jsonl']) == 0\n"
    code += "heavy = {'shapely', 'numpy', 'tqdm', 'uvloop', 'blake3', 'dateutil', 'aiofiles'}\n"
    code += "heavy |= {'noa_async.archive.archive', 'noa_async.transfer', 'sqlite3', 'tomllib'}\n"
    code += "print(time.process_time(), *(heavy & set(sys.modules)), file=sys.stderr)\n"
    aiohttp = [sys.executable, "-c", "import aiohttp, time; print(time.process_time())"]
    took, alone = [], []
    for _ in range(5):
        known = await asyncio.to_thread(
            subprocess.run, aiohttp, capture_output=True, text=True, check=True
        )
        alone.append(float(known.stdout))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            env=noa.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert len(out.splitlines()) == 50
        [seconds] = err.split()  # and nothing heavy behind it
        took.append(float(seconds))
    assert min(took) < max(0.45, 2 * min(alone)), (took, alone)


def test_the_list_of_verbs_is_what_the_verbs_say() -> None:
    for name, verb in VERBS.items():
        command = import_module(verb.module).command
        assert command.help, name
        assert name in verb.module
