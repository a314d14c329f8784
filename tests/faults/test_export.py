"""Exports (row 5.5): footprints over the antimeridian, and how products were sensed."""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from noa_async.archive.schema import MIGRATIONS
from noa_async.cli.antimeridian import box_around, cut_at_antimeridian
from noa_async.emulator import Emulator, make_product

from ..cli.conftest import Open

SPLIT = "MULTIPOLYGON(((179 1,180 1,180 2,179 2,179 1)),((-180 1,-178 1,-178 2,-180 2,-180 1)))"


@pytest.mark.parametrize(
    ("wkt", "box"),
    [
        (SPLIT, (179, 1, -178, 2)),
        ("MULTIPOINT((180 1), (-180 2))", (180, 1, -180, 2)),
        ("MULTIPOINT((170 1), (180 1), (-180 2), (-150 3))", (170, 1, -150, 3)),
        # Parts on both sides that do not reach the antimeridian are merely far apart.
        ("MULTIPOINT((170 1), (-170 2))", (-170, 1, 170, 2)),
        ("POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))", (-180, -90, 180, 90)),
        ("POLYGON((170 1,180 1,180 2,170 1))", (170, 1, 180, 2)),
        # The widest gap is what is left out.
        (
            (
                "MULTIPOLYGON(((150 1,180 1,180 2,150 1)),((-180 1,-170 1,-170 2,-180 1)),"
                "((0 1,10 1,10 2,0 1)))"
            ),
            (0, 1, -170, 2),
        ),
    ],
)
def test_row_5_5_the_box_goes_from_west_to_east(wkt: str, box: tuple[float, ...]) -> None:
    assert box_around(shapely.from_wkt(wkt)) == box


@pytest.mark.parametrize(
    ("wkt", "whole"),
    [
        ("POLYGON((179 1,-178 1,-178 2,179 2,179 1))", SPLIT),
        ("POLYGON((22 38,23 38,23 39,22 38))", "POLYGON((22 38,23 38,23 39,22 38))"),
        (
            "POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))",
            "POLYGON((-180 -90,180 -90,180 90,-180 90,-180 -90))",
        ),
        (SPLIT, SPLIT),
    ],
)
def test_row_5_5_a_footprint_is_cut_at_the_antimeridian(wkt: str, whole: str) -> None:
    assert cut_at_antimeridian(shapely.from_wkt(wkt)).equals(shapely.from_wkt(whole))


@given(st.floats(-179, 179), st.floats(-60, 60), st.floats(1, 50), st.integers(3, 12))
def test_row_5_5_a_cut_footprint_is_the_same_on_the_globe(
    lon: float, lat: float, size: float, corners: int
) -> None:
    angles = [2 * math.pi * n / corners for n in range(corners)]
    plain = [(lon + size * math.cos(a), lat + size / 2 * math.sin(a)) for a in angles]
    wrapped = [((x + 180) % 360 - 180, y) for x, y in plain]
    cut = cut_at_antimeridian(shapely.Polygon(wrapped))
    assert cut.is_valid
    assert cut.area == pytest.approx(shapely.Polygon(plain).area, rel=1e-6)
    west, _south, east, _north = box_around(cut)
    assert (east - west) % 360 == pytest.approx(max(x for x, _ in plain) - min(x for x, _ in plain))


ATTRIBUTES: dict[str, Any] = {
    "platformShortName": "SENTINEL-1",
    "productType": "IW_GRDH_1S",
    "orbitDirection": "DESCENDING",
    "polarisationChannels": "VV&VH",
    "operationalMode": "IW",
}


def items(text: str) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in json.loads(text)["features"]}


async def test_row_5_5_what_a_mirror_knows_is_exported(open_mirror: Open) -> None:
    radar = make_product("S1C_X.SAFE.zip", footprint=SPLIT, attributes=ATTRIBUTES)
    optical = make_product(
        "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE.zip",
        attributes={"cloudCover": 0.0, "orbitDirection": "ASCENDING"},
    )
    odd = make_product("odd.nc", attributes={"cloudCover": 170.5, "orbitDirection": "SIDEWAYS"})
    _, noa = await open_mirror(radar, optical, odd)
    for _ in range(2):  # what a later listing does not tell stays known
        assert (await noa("mirror", "--everything", "--output", "kept", "-q")).code == 0
        found = items((await noa("export", "kept", "--format", "stac")).out)
        item = found[radar.id]
        assert item["bbox"] == [179.0, 1.0, -178.0, 2.0]
        assert item["geometry"]["type"] == "MultiPolygon"
        told = item["properties"]
        assert told["sat:orbit_state"] == "descending"
        assert told["sar:instrument_mode"] == "IW"
        assert told["sar:polarizations"] == ["VV", "VH"]
        assert (told["sar:frequency_band"], told["sar:product_type"]) == ("C", "GRD")
        assert {url.split("/")[3] for url in item["stac_extensions"]} >= {"sat", "sar"}
        item = found[optical.id]
        assert item["properties"]["eo:cloud_cover"] == 0.0
        assert item["properties"]["sat:orbit_state"] == "ascending"
        assert {url.split("/")[3] for url in item["stac_extensions"]} >= {"sat", "eo"}
        fields = found[odd.id]["properties"].keys()
        assert not {name for name in fields if name.startswith(("eo:", "sar:", "sat:"))}
    rows = csv.DictReader(io.StringIO((await noa("export", "kept", "--format", "csv")).out))
    row = {row["id"]: row for row in rows}[radar.id]
    assert (row["polarisation"], row["mode"]) == ("VV,VH", "IW")
    assert row["orbit_direction"] == "DESCENDING"
    ended = await noa("export", "kept", "--format", "geoparquet", "--output", "kept.parquet")
    assert ended.code == 0


@pytest.mark.parametrize("given_", [("--no-attributes",), ()])
async def test_row_5_5_a_service_without_attributes_is_mirrored_all_the_same(
    open_mirror: Open, given_: tuple[str, ...]
) -> None:
    radar = make_product("S1A_S3_GRDH_1SDV_20260111T042011_X.SAFE.zip")
    mirror, noa = await open_mirror(radar, expand=False)
    ended = await noa("mirror", "--everything", "--output", "kept", *given_)
    assert ended.code == 0
    told = items((await noa("export", "kept", "--format", "stac")).out)[radar.id]["properties"]
    assert told["sar:polarizations"] == ["VV", "VH"]  # the name tells
    assert told["sar:instrument_mode"] == "SM"
    assert mirror.stats.pages == 1  # those that were refused are none


async def test_row_5_5_a_layout_that_needs_attributes_is_told_where_there_are_none(
    open_mirror: Open,
) -> None:
    _, noa = await open_mirror(products=3, expand=False)
    layout = ("--layout", "{tile}/{name}")
    ended = await noa("mirror", "--everything", "--output", "kept", *layout)
    assert ended.code == 4
    assert "$expand is not supported" in ended.err


async def test_row_5_5_an_older_ledger_is_taken_over(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=5)
    assert (await noa("mirror", "--everything", "--output", "kept", "-q")).code == 0
    ledger = noa.folder / "kept/.noa-async/ledger.sqlite3"
    with sqlite3.connect(ledger) as connection:
        connection.execute("ALTER TABLE products DROP COLUMN attributes")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) - 1}")
    ended = await noa("mirror", "--everything", "--output", "kept", "--reconcile")
    assert ended.code == 0
    assert {len(each) for each in mirror.stats.downloads.values()} == {1}
    found = items((await noa("export", "kept", "--format", "stac")).out).values()
    assert all("sat:orbit_state" in item["properties"] for item in found)


def test_row_5_5_the_emulators_products_have_them() -> None:
    names = {"cloudCover", "orbitDirection", "polarisationChannels", "operationalMode"}
    held = {name for one in Emulator().catalogue.products for name in one.attributes}
    assert names <= held
