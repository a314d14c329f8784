"""Areas as GIS files hold them (row 3.5): digits, parts, coast lines, other kinds of files."""

from __future__ import annotations

import json
import math
import random
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from noa_async import Query, QueryError, Service
from noa_async.catalogue.addresses import fitted, longest_address
from noa_async.catalogue.geometry import Area, parse_area
from noa_async.catalogue.odata import quote_odata

from ..cli.conftest import Open

SQUARE = "POLYGON((22 38, 23 38, 23 39, 22 39, 22 38))"
RING = [[22, 38], [23, 38], [23, 39], [22, 39], [22, 38]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}


def feature(*polygons: list[list[float]]) -> dict[str, Any]:
    return {
        "type": "FeatureCollection",
        "features": [
            {"type": "Feature", "properties": {"name": "Κρήτη"}, "geometry": {
                "type": "Polygon", "coordinates": [ring]}}
            for ring in polygons
        ],
    }  # fmt: skip


def cell(west: float, south: float, size: float) -> list[list[float]]:
    east, north = west + size, south + size
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def whole(area: Area) -> Any:
    return shapely.union_all([shapely.from_wkt(part) for part in area.parts])


# Digits.


def test_row_3_5_coordinates_have_seven_decimals_at_most() -> None:
    ring = [[22.123456789012345, 38], [23.1, 38.000000049], [23, 39], [22.123456789012345, 38]]
    assert parse_area({"type": "Polygon", "coordinates": [ring]}) == (
        "POLYGON((22.1234568 38, 23.1 38, 23 39, 22.1234568 38))",
    )
    wkt = "POLYGON((22.12345678 38.0,23.5 38.000000001,23 39,22.12345678 38.0))"
    assert parse_area(wkt) == ("POLYGON((22.1234568 38.0, 23.5 38, 23 39, 22.1234568 38.0))",)
    assert parse_area("POINT(22.123456789 -0.00000001)") == ("POINT(22.1234568 0)",)
    assert parse_area("POINT(22.1234567 38)") == ("POINT(22.1234567 38)",)


@pytest.mark.parametrize(
    "ring",
    [
        [[180.00000000000003, 10], [170, 10], [170, 20], [180.00000000000003, 10]],
        [[22, 38], [23, 38], [23, 39], [22.000000000000004, 38.000000000000007]],
        [[22, 38], [22.00000000001, 38], [23, 38], [23, 39], [22, 38]],
        [[22, 90.00000000000001], [22, 80], [30, 80], [22, 90.00000000000001]],
    ],
    ids=["antimeridian", "not quite closed", "twice the same point", "pole"],
)
def test_row_3_5_what_differs_by_less_than_a_millimetre_is_the_same(ring: Any) -> None:
    [part] = parse_area({"type": "Polygon", "coordinates": [ring]})
    shape = shapely.from_wkt(part)
    assert shape.is_valid
    west, south, east, north = shape.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90


def stars(digits: int) -> st.SearchStrategy[list[list[float]]]:
    """Star-shaped rings with many digits: always simple."""

    def made(drawn: tuple[float, float, list[float]]) -> list[list[float]]:
        lon, lat, radii = drawn
        ring = [
            [
                round(lon + r * math.cos(2 * math.pi * i / len(radii)), digits),
                round(lat + r * math.sin(2 * math.pi * i / len(radii)), digits),
            ]
            for i, r in enumerate(radii)
        ]
        return [*ring, ring[0]]

    return st.tuples(
        st.floats(-100, 100),
        st.floats(-50, 50),
        st.lists(st.floats(0.5, 30), min_size=3, max_size=20),
    ).map(made)


@given(stars(16))
def test_row_3_5_a_rounded_area_is_the_given_one(ring: list[list[float]]) -> None:
    area = Area.read({"type": "Polygon", "coordinates": [ring]})
    given_shape, sent = shapely.Polygon(ring), whole(area)
    assert sent.is_valid
    assert sent.hausdorff_distance(given_shape) < 2e-7
    numbers = [n for part in area.parts for n in part.strip("POLYGN()").replace(",", " ").split()]
    assert all(len(number.partition(".")[2].strip("()")) <= 7 for number in numbers)


# Parts.


def test_row_3_5_cells_that_are_a_rectangle_are_one() -> None:
    cells = [cell(22 + x * 0.1, 38 + y * 0.1, 0.1) for x in range(10) for y in range(6)]
    area = Area.read(feature(*cells))
    assert len(area.parts) == 1
    assert area.points == 5
    assert whole(area).bounds == pytest.approx((22, 38, 23, 38.6))
    multi = {"type": "MultiPolygon", "coordinates": [[ring] for ring in cells]}
    assert Area.read(multi) == area
    texts = [shapely.Polygon(ring).wkt for ring in cells]
    assert whole(Area.read(texts)).equals(whole(area))


@pytest.mark.parametrize(
    ("rings", "parts"),
    [
        ([cell(22, 38, 1), cell(23, 38, 1)], 1),  # an edge in common
        ([cell(22, 38, 1), cell(23.000000000001, 38, 1)], 1),  # but for a hair
        ([cell(22, 38, 1), cell(22.5, 38.5, 1)], 1),  # overlapping
        ([cell(22, 38, 3), cell(23, 39, 1)], 1),  # one in the other
        ([cell(22, 38, 1), cell(22, 38, 1)], 1),  # the same
        ([cell(22, 38, 1), cell(23, 39, 1)], 2),  # a corner in common
        ([cell(22, 38, 1), cell(25, 38, 1)], 2),
    ],
)
def test_row_3_5_parts_that_touch_are_joined(rings: Any, parts: int) -> None:
    area = Area.read(feature(*rings))
    assert len(area.parts) == parts
    given_shape = shapely.union_all([shapely.Polygon(ring) for ring in rings])
    assert whole(area).symmetric_difference(given_shape).area < 1e-9


def test_row_3_5_parts_that_touch_no_other_stay_as_they_are() -> None:
    touching = "((22 38,23 38,23 39,22 38)),((22.5 38,24 38,24 39,22.5 38))"
    area = Area.read(f"MULTIPOLYGON(((0 0,1.50 0,1 1,0 0)),{touching})")
    assert len(area.parts) == 2
    assert "POLYGON((0 0, 1.50 0, 1 1, 0 0))" in area.parts


def test_row_3_5_nothing_wider_than_half_the_earth_is_made() -> None:
    halves = ["POLYGON((-180 -90, 0 -90, 0 -60, -180 -60, -180 -90))",
              "POLYGON((0 -90, 180 -90, 180 -60, 0 -60, 0 -90))"]  # fmt: skip
    assert Area.read(halves).parts == tuple(halves)


def test_row_3_5_points_within_a_polygon_are_left_out() -> None:
    assert parse_area([SQUARE, "POINT(22.5 38.5)", "POINT(30 30)"]) == (SQUARE, "POINT(30 30)")


# Long areas.


def coast(points: int, seed: int = 1, decimals: int = 7) -> list[list[float]]:
    """A ring as a coast line has it: rough on every scale, never crossing itself."""
    draw = random.Random(seed)
    waves = [(k, draw.uniform(0, 7), draw.uniform(0.2, 1.0) / k) for k in (3, 7, 17, 41, 97, 211)]
    ring = []
    for n in range(points - 1):
        angle = 2 * math.pi * n / (points - 1)
        radius = 2 + 0.3 * sum(size * math.sin(k * angle + at) for k, at, size in waves)
        ring.append([round(23 + radius * math.cos(angle), decimals),
                     round(37 + radius * math.sin(angle), decimals)])  # fmt: skip
    return [*ring, ring[0]]


@pytest.mark.parametrize("limit", [1500, 4000, 8000])
@pytest.mark.parametrize("seed", [1, 2])
def test_row_3_5_a_coast_line_is_grown_until_it_fits(limit: int, seed: int) -> None:
    service = Service(max_url_length=limit)
    query = Query(roi=feature(coast(2000, seed)), simplify=True)
    fits = fitted(query, service)
    assert fits.roi is not None
    assert longest_address(fits.filter, service) <= limit
    given_shape = shapely.Polygon(coast(2000, seed))
    assert whole(fits.roi).covers(given_shape)
    growth = fits.roi.growth
    assert growth is not None
    assert growth.percent == pytest.approx(
        100 * (whole(fits.roi).area / given_shape.area - 1), abs=0.01
    )
    corners = shapely.points(shapely.get_coordinates(whole(fits.roi)))
    assert shapely.distance(corners, given_shape).max() * 111.2 <= growth.km + 0.001
    assert growth.km < {1500: 40, 4000: 12, 8000: 5}[limit]
    # Nearly all of what an address holds is used.
    assert len(quote_odata(fits.roi.filter)) > 0.4 * limit - 400


def test_row_3_5_the_same_area_comes_of_it_whatever_the_time() -> None:
    service = Service(max_url_length=3000)
    query = Query(roi=feature(coast(500)), simplify=True)
    later = Query(
        roi=feature(coast(500)),
        simplify=True,
        content=("2026-01-01", "2026-02-01"),
        published=("2026-01-01", "2026-02-01"),
    )
    one, other = fitted(query, service).roi, fitted(later, service).roi
    assert one is not None
    assert one == other


def test_row_3_5_an_area_that_fits_is_not_grown() -> None:
    query = Query(roi=SQUARE, simplify=True)
    assert fitted(query, Service()) is query
    assert query.roi is not None
    assert query.roi.growth is None


def test_row_3_5_what_fits_without_blanks_is_sent_so() -> None:
    query = Query(roi=SQUARE)
    service = Service(max_url_length=longest_address(query.filter, Service()) - 1)
    roi = fitted(query, service).roi
    assert roi is not None
    assert (roi.parts, roi.growth) == ((SQUARE.replace(", ", ","),), None)


@profile(max_examples=40)
@given(
    st.lists(stars(9), min_size=1, max_size=3),
    st.lists(st.tuples(st.floats(-170, 170), st.floats(-80, 80)), max_size=3),
    st.integers(900, 3000),
)
def test_row_3_5_whatever_is_simplified_holds_all_of_it(
    rings: list[list[list[float]]], points: list[tuple[float, float]], limit: int
) -> None:
    parts = [{"type": "Polygon", "coordinates": [ring]} for ring in rings]
    parts += [{"type": "Point", "coordinates": list(point)} for point in points]
    query = Query(roi={"type": "GeometryCollection", "geometries": parts}, simplify=True)
    service = Service(max_url_length=limit)
    try:
        fits = fitted(query, service)
    except QueryError:
        assert limit < 1500  # there is room for a box at least
        return
    assert longest_address(fits.filter, service) <= limit
    assert query.roi is not None
    assert fits.roi is not None
    assert whole(fits.roi).covers(whole(query.roi)) or fits.roi.growth is None
    for part in fits.roi.parts:
        shape = shapely.from_wkt(part)
        assert shape.is_valid
        west, south, east, north = shape.bounds
        assert east - west <= 180
        assert -180 <= west <= east <= 180
        assert -90 <= south <= north <= 90


async def test_row_3_5_a_coast_line_from_a_file(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=60, max_address=9000)
    (noa.folder / "coast.geojson").write_text(json.dumps(feature(coast(2000))))
    ended = await noa("search", "--roi", "coast.geojson", "--format", "csv")
    assert ended.code == 2
    assert "--simplify" in ended.err
    assert mirror.stats.requests == 0
    ended = await noa("search", "--roi", "coast.geojson", "--simplify", "--format", "csv")
    assert ended.code == 0
    assert "The area was simplified to" in ended.err
    assert "% more area" in ended.err
    (noa.folder / "query.toml").write_text('roi = "coast.geojson"\nsimplify = true\n')
    again = await noa("search", "--config", "query.toml", "--format", "csv")
    assert (again.code, again.out) == (0, ended.out)
    meeting = {
        product.id
        for product in mirror.catalogue.products
        if product.footprint is not None
        and product.footprint.geometry.intersects(shapely.Polygon(coast(2000)))
    }
    found = {line.split(",")[0] for line in ended.out.splitlines()[1:]}
    assert meeting <= found


# Forms.


class Frame:
    """As a GeoDataFrame: it says in which coordinates it is."""

    def __init__(self, epsg: int) -> None:
        self.crs = self
        self._epsg = epsg
        self.__geo_interface__ = feature(RING)

    def to_epsg(self) -> int:
        return self._epsg


@pytest.mark.parametrize(
    "roi",
    [
        np.array([22.0, 38.0, 23.0, 39.0]),
        tuple(np.array([22.0, 38.0, 23.0, 39.0])),
        [np.float32(22), np.float64(38), np.int64(23), 39],
        Frame(4326),
        {"type": "Polygon", "coordinates": [[tuple(np.array(point)) for point in RING]]},
        f"geography'SRID=4326;{SQUARE}'",
        f"geometry'SRID=4326;{SQUARE}'",
        f"Geography'{SQUARE}'",
        f"OData.CSC.Intersects(area=geography'SRID=4326;{SQUARE}')",
        f"SRID=4326;{SQUARE}",
        f"srid = 4326 ; {SQUARE}",
        f"EPSG:4326;{SQUARE}",
        f"\ufeff{SQUARE}",
        "\ufeff" + json.dumps(POLYGON),
        "\n".join(json.dumps(one) for one in (POLYGON, POLYGON)),
        "\x1e" + json.dumps({"type": "Feature", "geometry": POLYGON}) + "\n",
    ],
)
def test_row_3_5_every_form_is_read(roi: Any) -> None:
    assert whole(Area.read(roi)).equals(shapely.from_wkt(SQUARE))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
@pytest.mark.parametrize("text", [SQUARE, json.dumps(feature(RING) | {"owner": "\u00e9"})])
def test_row_3_5_files_in_any_encoding_are_read(tmp_path: Path, encoding: str, text: str) -> None:
    content = json.loads(text) if text[0] == "{" else None
    if content is not None:
        content["owner"] = "\u00e9"
        content["features"][0]["properties"] = {"name": "\u00e9"}
        text = json.dumps(content, ensure_ascii=False)
    written = text.encode(encoding)
    (tmp_path / "area.json").write_bytes(b"\xff\xfe" * (encoding == "utf-16-le") + written)
    (tmp_path / "area.txt").write_bytes(b"\xff\xfe" * (encoding == "utf-16-le") + written)
    for name in ("area.json", "area.txt"):
        assert whole(Area.read(name, folder=tmp_path)).equals(shapely.from_wkt(SQUARE))


def test_row_3_5_coordinates_of_another_system_are_refused() -> None:
    with pytest.raises(QueryError, match=r"in EPSG:3857.*to_crs\(4326\)"):
        Area.read(Frame(3857))  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="ogr2ogr -t_srs EPSG:4326"):
        Area.read("POLYGON((2500000 4500000, 2600000 4500000, 2600000 4600000, 2500000 4500000))")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("crete.shp", b"\x00\x00\x27\x0a" + bytes(96)),
        ("crete.gpkg", b"SQLite format 3\x00" + bytes(84)),
        ("crete.kml", b'<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"></kml>'),
        ("crete.kmz", b"PK\x03\x04" + bytes(30)),
        ("crete.gml", b"<gml:FeatureCollection/>"),
        ("crete.gpx", b"<gpx/>"),
        ("crete.fgb", b"fgb\x03fgb\x00" + bytes(30)),
        ("crete.parquet", b"PAR1" + bytes(30)),
        ("crete.SHP", b"\x00\x00\x27\x0a" + bytes(96)),
        ("crete.geojson", b"PK\x03\x04" + bytes(30)),  # whatever it is called
        ("crete.json", b"\xef\xbb\xbf<kml/>"),
        ("crete.wkt", b"\x01\x03\x00\x00\x00" + bytes(40)),
    ],
)
def test_row_3_5_files_of_other_kinds_are_named_with_what_converts_them(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(QueryError) as caught:
        Area.read(name, folder=tmp_path)
    assert "which is not supported" in str(caught.value)
    assert "ogr2ogr -f GeoJSON -t_srs EPSG:4326" in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_row_3_5_a_geodatabase_is_a_folder_and_a_missing_file_is_missing(tmp_path: Path) -> None:
    (tmp_path / "crete.gdb").mkdir()
    with pytest.raises(QueryError, match="ogr2ogr"):
        Area.read("crete.gdb", folder=tmp_path)
    with pytest.raises(QueryError, match="No such file"):
        Area.read("other.shp", folder=tmp_path)


# Numbers that are none.


@pytest.mark.parametrize(
    "roi",
    [
        {"type": "Point", "coordinates": [10**5000, 38]},
        {"type": "Point", "coordinates": [float("nan"), 38]},
        {"type": "Point", "coordinates": [float("inf"), 38]},
        {"type": "Point", "coordinates": [22, -(10**400)]},
        {"type": "Polygon", "coordinates": [[[22, 38], [10**5000, 38], [23, 39], [22, 38]]]},
        json.dumps({"type": "Point", "coordinates": [1, 2]}).replace("1", "1" * 5000),
        f"POINT({'9' * 5000} 38)",
        "POINT(1E5000 38)",
        "POINT(22 nan)",
        "POINT(22 inf)",
        (10**5000, 38, 23, 39),
        (float("nan"), 38, 23, 39),
        "1e999,38,23,39",
        "nan,38,23,39",
        [10**5000],
        {"type": "Point", "coordinates": 10**5000},
        {"type": 10**5000},
        {"type": "Polygon", "crs": 10**5000, "coordinates": [RING]},
        10**5000,
        date(2026, 1, 1),
    ],
    ids=range(20),
)
def test_row_3_8_coordinates_that_are_none_are_refused_in_a_sentence(roi: Any) -> None:
    with pytest.raises(QueryError) as caught:
        Area.read(roi)
    assert len(str(caught.value)) < 400


async def test_row_3_8_they_end_with_two(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=1)
    (noa.folder / "area.json").write_text(
        json.dumps({"type": "Point", "coordinates": [1, 2]}).replace("1", "1" * 5000)
    )
    (noa.folder / "query.toml").write_text(f"everything = true\nlimit = {'9' * 5000}\n")
    for options in (
        ("--roi", "area.json"),
        ("--roi", "1e999,38,23,39"),
        ("--config", "query.toml"),
    ):
        ended = await noa("count", *options)
        assert ended.code == 2
        assert ended.err.startswith("noa-async: ")
    assert mirror.stats.requests == 0
