"""``export``: what a real download left, in each form; where it is written, and what refuses."""

from __future__ import annotations

import asyncio
import csv
import fcntl
import hashlib
import io
import json
import os
import re
import resource
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pystac
import pytest
from pystac.extensions.file import FileExtension
from pystac.validation import validate_dict

from benchmarks.ledgers import make_ledger
from noa_async import Product
from noa_async.archive.layout import facets
from noa_async.archive.rows import COLUMNS as ROW
from noa_async.catalogue.times import format_instant
from noa_async.cli.held import COLUMNS, sensed
from noa_async.cli.program import run

from .conftest import Open, Program

HOWTO = (Path(__file__).parents[2] / "docs" / "howto" / "export.md").read_text()
FORMS = ("jsonl", "csv", "geojson", "stac", "geoparquet")


def told(text: str) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    return {line["id"]: line for line in lines}


async def brought(noa: Program) -> dict[str, Product]:
    """What the catalogue says of what was brought into ``data``."""
    listed = (await noa("search", "--everything", "--format", "jsonl")).out
    assert (await noa("download", "--everything", "--output", "data", "-q")).code == 0
    found = [Product.from_entry(json.loads(line)) for line in listed.splitlines()]
    return {product.id: product for product in found}


async def test_each_field_is_the_files_or_the_catalogues(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=30)
    products = await brought(noa)
    alone = Program(noa.folder)
    ended = await alone("export", "data")
    assert (ended.code, ended.err) == (0, "")
    held = told(ended.out)
    assert held.keys() == products.keys()
    for key, line in held.items():
        product, file = products[key], noa.folder / "data" / line["path"]
        content = file.read_bytes()
        known = {name: text or None for name, text in facets(product).items()}
        assert line == known | sensed(product) | {
            "id": key,
            "name": product.name,
            "path": file.name,
            "url": file.as_uri(),
            "size": len(content),
            "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
            "verified": line["verified"],
            "state": "verified",
            "sensing_start": format_instant(product.sensing_start),
            "sensing_end": format_instant(product.sensing_end),
            "published": format_instant(product.published),
            "footprint": product.footprint,
        }
        assert line["footprint"].startswith(("POLYGON", "MULTIPOLYGON"))
        assert line["verified"].startswith("20")
    assert {line["platform"] for line in held.values()} > {"SENTINEL-1", "SENTINEL-2"}

    rows = list(csv.DictReader(io.StringIO((await alone("export", "data", "--format", "csv")).out)))
    assert rows == [
        {name: "" if line[name] is None else str(line[name]) for name in COLUMNS}
        for line in held.values()
    ]

    features = json.loads((await alone("export", "data", "--format", "geojson")).out)["features"]
    for feature in features:
        line = held[feature["id"]]
        wanted = {name: line[name] for name in COLUMNS if name not in {"id", "footprint"}}
        assert feature["properties"] == wanted
        assert feature["geometry"]["type"].upper() == line["footprint"].partition("(")[0]
    assert len(features) == len(held)


def test_the_fields_and_the_forms_are_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", HOWTO, re.MULTILINE)
    assert rows == [*FORMS, *COLUMNS]


async def test_stac_items_are_valid_and_lead_to_the_files(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=30)
    products = await brought(noa)
    file = noa.folder / "items.json"
    ended = await Program(noa.folder)("export", "data", "--format", "stac", "--output", file)
    assert (ended.out, ended.err) == ("", f"30 products in {file}.\n")
    held = json.loads(file.read_text())
    for each in held["features"]:
        assert each["stac_version"] == "1.0.0"
        core = each | {"stac_version": "1.1.0", "stac_extensions": []}  # pystac brings no other
        assert validate_dict(core, stac_object_type=pystac.STACObjectType.ITEM)
    items = list(pystac.ItemCollection.from_dict(held))
    assert {item.id for item in items} == products.keys()
    for item in items:
        product = products[item.id]
        item.set_self_href(str(file))
        item.make_asset_hrefs_absolute()
        content = Path(item.assets["data"].href).read_bytes()
        asset = FileExtension.ext(item.assets["data"])
        assert (asset.size, asset.checksum) == (
            len(content), f"d50110{hashlib.md5(content).hexdigest()}",
        )  # fmt: skip
        assert asset.local_path == Path(item.assets["data"].href).name
        assert item.datetime == item.common_metadata.start_datetime == product.sensing_start
        assert item.common_metadata.end_datetime == product.sensing_end
        assert item.assets["data"].roles == ["data"]
        assert item.properties["title"] == product.name
        mission = facets(product)["platform"].lower()
        assert item.common_metadata.constellation == mission
        letter = "" if mission == "sentinel-5p" else product.name[2].lower().strip("_")
        assert item.common_metadata.platform == mission + letter


async def test_a_run_that_goes_on_is_not_in_the_way(tmp_path: Path, capsys: Any) -> None:
    """Its lock is held, and it is amid a write that is not committed."""
    ledger = make_ledger(tmp_path / "data", 100)
    writer = sqlite3.connect(ledger, isolation_level=None)
    lock = os.open(ledger.with_name("lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM products")
        assert run(["export", str(tmp_path / "data")]) == 0
    finally:
        writer.close()
        os.close(lock)
    assert len(capsys.readouterr().out.splitlines()) == 99  # one of 200 is not here


async def test_only_what_is_here_and_right(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=10)
    await brought(noa)
    gone = next((noa.folder / "data").glob("*.zip"))
    gone.unlink()
    assert len((await noa("export", "data")).out.splitlines()) == 10  # the ledger knows nothing yet
    assert (await noa("verify", "data", "-q")).code == 1
    left = told((await noa("export", "data")).out)
    assert len(left) == 9
    assert gone.name not in {line["path"] for line in left.values()}


@pytest.mark.parametrize("form", FORMS)
def test_an_archive_with_nothing_in_it(tmp_path: Path, form: str) -> None:
    make_ledger(tmp_path / "data", 0)
    file = tmp_path / "out"
    assert run(["export", str(tmp_path / "data"), "--format", form, "--output", str(file)]) == 0
    if form == "geoparquet":
        assert pq.read_table(file).num_rows == 0
    else:
        empty = '{"type": "FeatureCollection", "features": [\n\n]}\n'
        wanted = {"jsonl": "", "csv": ",".join(COLUMNS) + "\n"}.get(form, empty)
        assert file.read_text() == wanted


@pytest.mark.parametrize("form", FORMS)
def test_no_archive_leaves_no_file(tmp_path: Path, form: str, capsys: Any) -> None:
    file = tmp_path / "out"
    assert run(["export", f"{tmp_path}/none", "--format", form, "--output", str(file)]) == 5
    assert f"{tmp_path}/none holds no archive" in capsys.readouterr().err
    words = ["export", "s3://bucket/a", "--scratch", str(tmp_path / "scratch")]
    assert run([*words, "--format", form, "--output", str(file)]) == 5
    assert "--scratch" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    ["path = NULL", "size = 'many'", "checksum = x'00'", "verified = 1e300", "published = 1 << 62"],
)
def test_a_damaged_ledger_leaves_the_file_that_was(tmp_path: Path, damage: str, capsys: Any):
    """The damage is behind what has been written already."""
    ledger = make_ledger(tmp_path / "data", 2000)
    with sqlite3.connect(ledger) as database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute(f"UPDATE products SET {damage} WHERE number = 1900")
    database.close()
    file = tmp_path / "out.jsonl"
    file.write_text("as it was")
    assert run(["export", str(tmp_path / "data"), "--output", str(file)]) == 5
    assert "is damaged" in capsys.readouterr().err
    assert file.read_text() == "as it was"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "out.jsonl"]


@pytest.mark.parametrize("form", FORMS)
def test_no_room_leaves_the_file_that_was(tmp_path: Path, form: str, capsys: Any):
    make_ledger(tmp_path / "data", 3000)
    file = tmp_path / "out"
    file.write_text("as it was")
    # SQLite needs 32 kB beside the ledger, even to read it
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        code = run(["export", str(tmp_path / "data"), "--format", form, "--output", str(file)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 5
    assert f"Not enough space for {file}" in capsys.readouterr().err
    assert file.read_text() == "as it was"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data", "out"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path, capsys: Any):
    make_ledger(tmp_path / "data", 3)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("data/.noa-async/x")
    for place, why in [
        ("file/x", "Cannot write"),
        ("missing/x", "Cannot write"),
        ("data", "Cannot write"),
        ("data/.noa-async/x", "archive's internal folder"),
        ("data/.noa-async/ledger.sqlite3", "archive's internal folder"),
        ("link", "archive's internal folder"),
    ]:
        assert run(["export", str(tmp_path / "data"), "--output", str(tmp_path / place)]) == 5
        assert why in capsys.readouterr().err
    if Path("/dev/full").exists():
        assert run(["export", str(tmp_path / "data"), "--output", "/dev/full"]) == 5
        assert "Not enough space for /dev/full" in capsys.readouterr().err
    assert run(["status", str(tmp_path / "data")]) == 0


def test_a_product_is_not_written_over(tmp_path: Path, capsys: Any):
    make_ledger(tmp_path / "data", 3)
    assert run(["export", str(tmp_path / "data")]) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])["path"]
    product = tmp_path / "data" / first
    product.write_text("a product")
    assert run(["export", str(tmp_path / "data"), "--output", str(product)]) == 5
    assert "is a product" in capsys.readouterr().err
    assert product.read_text() == "a product"


@pytest.mark.parametrize(
    ("place", "begins"),
    [
        ("items.json", "./data/S2"),
        ("data/items.json", "./S2"),
        ("data/lists/items.json", "../S2"),
        ("elsewhere/items.json", "file:///"),
    ],
)
def test_an_address_is_relative_where_file_and_products_lie_together(
    tmp_path: Path, place: str, begins: str
):
    make_ledger(tmp_path / "data", 3)
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    words = ["--format", "stac", "--output", str(file)]
    assert run(["export", str(tmp_path / "data"), *words]) == 0
    item = json.loads(file.read_text())["features"][0]
    assert item["assets"]["data"]["href"].startswith(begins)


def test_geoparquet_needs_a_file_and_pyarrow(tmp_path: Path, monkeypatch: Any, capsys: Any):
    words = ["export", f"{tmp_path}/none", "--format", "geoparquet"]
    assert run(words) == 2
    assert "Specify --output FILE" in capsys.readouterr().err
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "noa_async.cli.geoparquet", raising=False)
    assert run([*words, "--output", str(tmp_path / "x")]) == 2
    assert "pip install 'noa-async[export]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


async def test_help_and_text_need_nothing_heavy(tmp_path: Path):
    make_ledger(tmp_path / "data", 3)
    script = """
import sys
from noa_async.cli.program import run
assert run(sys.argv[1:]) == 0
heavy = {"pyarrow", "shapely", "numpy", "aiohttp"} & sys.modules.keys()
assert not heavy, heavy
"""
    for words in (["export", "--help"], ["export", "data"], ["export", "data", "--format", "csv"]):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, *words, cwd=tmp_path, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two archives: ``few``, and ``many``, which has each of those 15 times."""
    folder = tmp_path_factory.mktemp("ledgers")
    make_ledger(folder / "few", 2000)
    with sqlite3.connect(make_ledger(folder / "many", 2000)) as database:
        database.execute("DROP TRIGGER products_added")
        own = {name: name for name in ROW} | {
            name: f"{name} || '-' || times.n" for name in ("id", "path", "path_key")
        }
        database.execute(
            "WITH RECURSIVE times(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM times WHERE n < 14) "
            f"INSERT INTO products ({', '.join(own)}) "
            f"SELECT {', '.join(own.values())} FROM times, products"
        )
    database.close()
    return folder


async def test_memory_does_not_grow_with_the_archive(ledgers: Path):
    """The lines of ``many`` are 24 MB."""
    script = r"""
import re, sys
from pathlib import Path
from noa_async.cli.program import run
assert run(["export", sys.argv[1], "--output", "/dev/null"]) == 0
# not ru_maxrss, which begins with that of whoever started the process
print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""
    peaks = []
    for name, count in (("few", 1990), ("many", 29_850)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, ledgers / name,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said, peak = (await process.communicate())[1].splitlines()
        assert said == f"{count} products in /dev/null.".encode()
        peaks.append(int(peak))
    assert peaks[1] < peaks[0] + 6000  # kB
