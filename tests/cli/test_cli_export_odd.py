"""``export`` of what a service may send: names that act, footprints that are none, no times."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pystac
import pytest
import shapely
from pystac.validation import validate_dict

from noa_async import Product
from noa_async.archive.database import open_database
from noa_async.archive.destination import ledger_of
from noa_async.archive.record import Record
from noa_async.archive.rows import COLUMNS, row_of
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum
from noa_async.cli import geoparquet
from noa_async.cli.program import run
from noa_async.cli.stac import multihash

KEPT = 1_790_000_000.25
START = datetime(2026, 1, 12, 9, 23, 21, 24000, UTC)
SQUARE = "POLYGON((22 38,23 38,23 39,22 39,22 38))"
SPLIT = "MULTIPOLYGON(((179 1,180 1,180 2,179 2,179 1)),((-180 1,-179 1,-179 2,-180 2,-180 1)))"


def kept(number: int, state: State = State.VERIFIED, **changes: Any) -> Record:
    product = Product(f"id-{number}", f"{number}.zip", sensing_start=START, footprint=SQUARE)
    facts = {"path": f"{number}.zip", "size": 1000, "verified": KEPT, "updated": KEPT}
    own = {name: changes.pop(name) for name in list(changes) if name in facts or name == "checksum"}
    return Record(replace(product, **changes), state, **facts | own)


def archive(folder: Path, *records: Record) -> str:
    path = ledger_of(folder / "data")
    path.parent.mkdir(parents=True)
    database = open_database(path)
    places = ", ".join("?" for _ in COLUMNS)
    insert = f"INSERT INTO products ({', '.join(COLUMNS)}) VALUES ({places})"
    database.write([(insert, map(row_of, records))])
    database.close()
    return str(folder / "data")


def told(folder: str, form: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["export", folder, "--format", form]) == 0
    return capsys.readouterr().out


def items(folder: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Each is valid."""
    made: list[dict[str, Any]] = json.loads(told(folder, "stac", capsys))["features"]
    for each in made:
        pystac.Item.from_dict(each)
        core = each | {"stac_version": "1.1.0", "stac_extensions": []}
        validate_dict(core, stac_object_type=pystac.STACObjectType.ITEM)
    return made


NAMES = ["=cmd|'/C calc'!A0", "+1", "-1+2", "@SUM(A1)", "\x1b[2J\nX", 'a",b', "Κρήτη", "\ud800"]


def test_names_do_not_act(tmp_path: Path, capsys: Any):
    records = [kept(number, name=name) for number, name in enumerate(NAMES)]
    folder = archive(tmp_path, *records)
    rows = list(csv.DictReader(io.StringIO(told(folder, "csv", capsys))))
    assert [row["name"] for row in rows] == [
        "'=cmd|'/C calc'!A0", "'+1", "'-1+2", "'@SUM(A1)", "?[2J?X", 'a",b', "Κρήτη", "?",
    ]  # fmt: skip
    named = [*NAMES[:-1], "?"]  # the ledger cannot hold half a surrogate
    for form in ("jsonl", "geojson", "stac"):
        out = told(folder, form, capsys)
        assert out.isascii()
        assert out.replace("\n", "").isprintable()
    assert [
        json.loads(line)["name"] for line in told(folder, "jsonl", capsys).splitlines()
    ] == named
    assert [item["properties"]["title"] for item in items(folder, capsys)] == named
    file = tmp_path / "x.parquet"
    assert run(["export", folder, "--format", "geoparquet", "--output", str(file)]) == 0
    assert pq.read_table(file)["title"].to_pylist() == named


def test_paths_that_are_no_addresses_are_quoted(tmp_path: Path, capsys: Any):
    folder = archive(tmp_path, kept(1, path="S2:a b/ε#?.zip"), kept(2, path="a/b.nc"))
    odd, plain = items(folder, capsys)
    assert odd["assets"]["data"]["href"] == f"file://{folder}/S2%3Aa%20b/%CE%B5%23%3F.zip"
    assert "file:local_path" not in odd["assets"]["data"]
    assert plain["assets"]["data"] == {
        "href": f"file://{folder}/a/b.nc",
        "type": "application/netcdf",
        "title": "2.zip",
        "roles": ["data"],
        "file:size": 1000,
        "file:local_path": "a/b.nc",
    }
    file = tmp_path / "items.json"
    assert run(["export", folder, "--format", "stac", "--output", str(file)]) == 0
    [href, _] = [
        item["assets"]["data"]["href"] for item in json.loads(file.read_text())["features"]
    ]
    assert href == "./data/S2%3Aa%20b/%CE%B5%23%3F.zip"


@pytest.mark.parametrize(
    ("footprint", "kind", "box"),
    [
        (SQUARE, "Polygon", [22, 38, 23, 39]),
        (SPLIT, "MultiPolygon", [179, 1, -179, 2]),
        ("POLYGON((0 0,1 1,1 0,0 1,0 0))", "Polygon", [0, 0, 1, 1]),
        ("POINT Z (22 38 100)", "Point", [22, 38, 22, 38]),
        (None, None, None),
        ("POLYGON((22 38))", None, None),
        ("POLYGON((22 38,23 38,23 39))", None, None),
        ("POLYGON EMPTY", None, None),
        ("GEOMETRYCOLLECTION(POINT(22 38))", None, None),
        ("POLYGON((181 1,182 1,182 2,181 1))", None, None),
        ("POINT(22 91)", None, None),
        ("POINT(1E999 38)", None, None),
        ("nothing", None, None),
    ],
)
def test_a_footprint_is_a_geometry_or_null(
    tmp_path: Path, footprint: str, kind: str | None, box: list[float] | None, capsys: Any
):
    folder = archive(tmp_path, kept(1, footprint=footprint), kept(2))
    for form in ("geojson", "stac"):
        features = json.loads(told(folder, form, capsys), parse_constant=pytest.fail)["features"]
        assert (features[0]["geometry"] or {"type": None})["type"] == kind
        assert features[1]["geometry"]["type"] == "Polygon"
    assert items(folder, capsys)[0].get("bbox") == box
    assert json.loads(told(folder, "jsonl", capsys).splitlines()[0])["footprint"] == footprint
    file = tmp_path / "x.parquet"
    assert run(["export", folder, "--format", "geoparquet", "--output", str(file)]) == 0
    row = pq.read_table(file).to_pylist()[0]
    if kind is None:
        assert (row["geometry"], row["bbox"]) == (None, None)
    else:
        flat = shapely.force_2d(shapely.from_wkt(footprint))
        assert shapely.equals_exact(shapely.from_wkb(row["geometry"]), flat)
        corners = zip(("xmin", "ymin", "xmax", "ymax"), flat.bounds, strict=True)
        assert row["bbox"] == dict(corners)


def test_an_item_has_a_time_whatever_is_known(tmp_path: Path, capsys: Any):
    end, published = START.replace(minute=24), START.replace(day=13)
    nothing = {"sensing_start": None}
    records = (
        kept(1, sensing_end=end, published=published),
        kept(2),
        kept(3, **nothing, sensing_end=end),
        kept(4, **nothing, published=published),
        kept(5, **nothing),
        kept(6, **nothing, verified=None, updated=1.0),
        kept(7, sensing_end=START.replace(year=2025)),
    )
    made = [item["properties"] for item in items(archive(tmp_path, *records), capsys)]
    sensed, ended = "2026-01-12T09:23:21.024Z", "2026-01-12T09:24:21.024Z"
    assert [one["datetime"] for one in made] == [
        sensed, sensed, ended, "2026-01-13T09:23:21.024Z", "2026-09-21T14:13:20.250Z",
        "1970-01-01T00:00:01.000Z", sensed,
    ]  # fmt: skip
    assert [one.get("start_datetime") for one in made] == [sensed, *[None] * 6]
    assert made[0]["end_datetime"] == ended
    assert made[3]["published"] == "2026-01-13T09:23:21.024Z"
    assert made[4]["noa:verified"] == "2026-09-21T14:13:20.250Z"


@pytest.mark.parametrize(
    ("name", "attributes", "told_of_it"),
    [
        (
            "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE",
            {},
            {
                "constellation": "sentinel-2",
                "platform": "sentinel-2a",
                "product:type": "S2MSI2A",
                "processing:level": "L2A",
                "grid:code": "MGRS-34SGH",
                "sat:relative_orbit": 93,
            },
        ),
        (
            "S5P_OFFL_L2__CH4____20260112T092321.nc",
            {"platformShortName": "SENTINEL-5P", "relativeOrbitNumber": "0"},
            {
                "constellation": "sentinel-5p",
                "platform": "sentinel-5p",
                "product:type": "L2__CH4___",
                "processing:level": "L2",
            },
        ),
        (
            "S1A_X",
            {"platformShortName": "SENTINEL-2", "tileId": "34s", "relativeOrbitNumber": "9" * 5000},
            {"constellation": "sentinel-2", "platform": "sentinel-2"},
        ),
        ("LC08", {"platformShortName": "LANDSAT-8"}, {"platform": "landsat-8"}),
        ("x", {}, {}),
    ],
)  # fmt: skip
def test_what_is_known_stands_in_the_fields_of_the_extensions(
    tmp_path: Path, name: str, attributes: dict[str, Any], told_of_it: dict[str, Any], capsys: Any
):
    [item] = items(archive(tmp_path, kept(1, name=name, attributes=attributes)), capsys)
    own = {"title", "datetime", "noa:state", "noa:verified"}
    found = {key: value for key, value in item["properties"].items() if key not in own}
    assert found == told_of_it
    used = {url.split("/")[3] for url in item["stac_extensions"]}
    assert used == {key.partition(":")[0] for key in found if ":" in key} | {"file"}


def test_checksums_are_multihashes_where_there_is_a_code(tmp_path: Path, capsys: Any):
    records = (
        kept(1, checksum=f"sha256:{'ab' * 32}"),
        kept(2, State.UNVERIFIED, checksum=f"blake3:{'ab' * 32}"),
        kept(3, checksum="crc32:0a5c8f2e"),
        kept(4, checksum="md5:zz"),
        kept(5),
    )
    made = items(archive(tmp_path, *records), capsys)
    assert [item["assets"]["data"].get("file:checksum") for item in made] == [
        f"1220{'ab' * 32}", f"1e20{'ab' * 32}", None, None, None,
    ]  # fmt: skip
    assert [item["properties"]["noa:state"] for item in made[:2]] == ["verified", "unverified"]


@pytest.mark.parametrize(
    ("checksum", "begins"),
    [("sha1:" + "ab" * 20, "1114"), ("sha512:" + "ab" * 64, "1340"),
     ("sha3-256:" + "ab" * 32, "1620"), ("sha384:" + "ab" * 48, "2030"),
     ("sha224:" + "ab" * 28, "93201c"), ("blake2b:" + "ab" * 64, "c0e40240"),
     ("blake2s:" + "ab" * 32, "e0e40220")],
)  # fmt: skip
def test_multihashes_begin_with_code_and_length(checksum: str, begins: str):
    made = multihash(checksum)
    assert made == begins + Checksum(*checksum.split(":")).value


def test_geoparquet_comes_in_groups_and_says_what_it_is(tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr(geoparquet, "_AT_ONCE", 2)
    records = [
        kept(1, sensing_end=START, checksum=f"md5:{'ab' * 16}"),
        kept(2, name="S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE"),
        kept(3, footprint=None),
        kept(4),
        kept(5),
    ]
    folder, file = archive(tmp_path, *records), tmp_path / "x.parquet"
    assert run(["export", folder, "--format", "geoparquet", "--output", str(file)]) == 0
    with pq.ParquetFile(file) as made:
        assert made.num_row_groups == 3
        metadata = made.schema_arrow.metadata
        geo = json.loads(metadata[b"geo"])
        assert geo["columns"][geo["primary_column"]]["encoding"] == "WKB"
        assert json.loads(metadata[b"stac-geoparquet"]) == {"version": "1.0.0"}
        rows = made.read().to_pylist()
    assert [row["id"] for row in rows] == [f"id-{number}" for number in range(1, 6)]
    first, second = rows[:2]
    assert first["datetime"] == first["end_datetime"] == START
    assert first["assets"]["data"] == {
        "href": "./data/1.zip",
        "type": "application/zip",
        "title": "1.zip",
        "roles": ["data"],
        "file:size": 1000,
        "file:checksum": f"d50110{'ab' * 16}",
        "file:local_path": "1.zip",
    }
    assert (second["grid:code"], second["sat:relative_orbit"]) == ("MGRS-34SGH", 93)
    assert {row["type"] for row in rows} == {"Feature"}
    assert rows[2]["geometry"] is None
