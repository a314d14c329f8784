"""Areas: valid ones go out as they came, every wrong one names its point."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.geometry import Area, parse_area
from noa_async.errors import QueryError

SQUARE = "POLYGON((22 38, 23 38, 23 39, 22 39, 22 38))"
RING = [[22, 38], [23, 38], [23, 39], [22, 39], [22, 38]]
POLYGON = {"type": "Polygon", "coordinates": [RING]}
CRS84 = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
MERCATOR = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "LineString"}
    for _ in range(depth):
        value = {"type": "GeometryCollection", "geometries": [value]}
    return value


@pytest.mark.parametrize(
    "wkt",
    [
        SQUARE,
        "POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))",
        "polygon ((22 38,23 38,23.50 39,22 38))",
        "Polygon((22 38, 23 38, 23 39, 22 39, 22 38),(22.2 38.2,22.2 38.4,22.4 38.4,22.2 38.2))",
        "POLYGON((22 39, 23 39, 23 38, 22 38, 22 39))",
        "POLYGON((0 0, 4 0, 4 4, 2 1, 0 4, 0 0))",
        "POLYGON((-180 -90, 180 -90, 180 90, -180 90, -180 -90))",
        "POINT(23.7 38)",
        "point ( 2.37e1 +38. )",
    ],
)
def test_valid_wkt_goes_out_as_it_was_given(wkt: str, tmp_path: Path) -> None:
    assert parse_area(wkt) == (wkt,)
    assert parse_area(f"  SRID=4326;{wkt}\n") == (wkt,)
    assert parse_area([wkt]) == (wkt,)
    (tmp_path / "area.wkt").write_text(f"\ufeff{wkt}\n")
    assert parse_area(tmp_path / "area.wkt") == (wkt,)
    assert parse_area("area.wkt", folder=tmp_path) == (wkt,)


TWO = (
    "POLYGON((22 38, 23 38, 23 39, 22 38))",
    "POLYGON((0 0, 1 0, 1 1, 0 0), (0.5 0.2, 0.6 0.2, 0.6 0.3, 0.5 0.2))",
)
POINTS = ("POINT(1 2)", "POINT(3 4)")


@pytest.mark.parametrize(
    ("roi", "parts"),
    [
        (
            ("MULTIPOLYGON(((22 38,23 38,23 39,22 38)),"
            "((0 0,1 0,1 1,0 0),(0.5 0.2,0.6 0.2,0.6 0.3,0.5 0.2)))"),
            TWO,
        ),
        ("MULTIPOLYGON (((22 38,23 38,23 39,22 38)))", TWO[:1]),
        (f"GEOMETRYCOLLECTION({TWO[0]}, MULTIPOINT(1 2, 3 4))", (TWO[0], *POINTS)),
        ("MULTIPOINT((1 2), (3 4))", POINTS),
        ("POLYGON Z ((22 38 7, 23 38 7, 23 39 7, 22 38 7))", TWO[:1]),
        ("POLYGONZ((22 38 7, 23 38 7, 23 39 7, 22 38 7))", TWO[:1]),
        ("POLYGON((22 38 7, 23 38 7, 23 39 7, 22 38 7))", TWO[:1]),
        ("POINT ZM (1 2 3 4)", POINTS[:1]),
        ("POINT Z (1 2)", POINTS[:1]),
        ("POINT(1\t2)\n", POINTS[:1]),
        ("POINT(1\n2)", POINTS[:1]),
        (TWO, TWO),
        (POLYGON, (SQUARE,)),
        (json.dumps(POLYGON), (SQUARE,)),
        ({**POLYGON, "crs": CRS84}, (SQUARE,)),
        ({**POLYGON, "crs": {"type": "EPSG", "properties": {"code": 4326}}}, (SQUARE,)),
        ({**POLYGON, "crs": "EPSG:4326"}, (SQUARE,)),
        ({**POLYGON, "crs": None}, (SQUARE,)),
        ({"type": "Feature", "geometry": POLYGON, "properties": None}, (SQUARE,)),
        (
            {
                "type": "FeatureCollection",
                "features": [
                    {"type": "Feature", "geometry": POLYGON},
                    {"type": "Feature", "geometry": None},
                    {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2.5, 9]}},
                ],
            },
            (SQUARE, "POINT(1 2.5)"),
        ),
        ({"type": "MultiPolygon", "coordinates": [[RING], [RING]]}, (SQUARE,)),
        ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, POINTS),
        ({"type": "Point", "coordinates": [1e-7, 4]}, ("POINT(0.0000001 4)",)),
        ({"type": "GeometryCollection", "geometries": [POLYGON]}, (SQUARE,)),
        (shapely.Point(1, 2), ("POINT(1.0 2.0)",)),
        ("22,38,23,39", (SQUARE,)),
        (" 22 , 38 , 23 , 39 ", (SQUARE,)),
        ((22, 38, 23, 39), (SQUARE,)),
        ([22, 38, 23, 39], (SQUARE,)),
        ("[22, 38, 23, 39]", (SQUARE,)),
        (["22", "38", "23", "39"], (SQUARE,)),
        ("-1,-1e1,1,10", ("POLYGON((-1 -1e1, 1 -1e1, 1 10, -1 10, -1 -1e1))",)),
        (
            "170,-10,-175,10",
            (
                "POLYGON((170 -10, 180 -10, 180 10, 170 10, 170 -10))",
                "POLYGON((-180 -10, -175 -10, -175 10, -180 10, -180 -10))",
            ),
        ),
        ("180,-10,-175,10", ("POLYGON((-180 -10, -175 -10, -175 10, -180 10, -180 -10))",)),
    ],
)  # fmt: skip
def test_other_forms(roi: Any, parts: tuple[str, ...]) -> None:
    assert parse_area(roi) == parts
    for part in parts:
        assert shapely.from_wkt(part).is_valid


def test_the_filter() -> None:
    one = f"OData.CSC.Intersects(area=geography'SRID=4326;{SQUARE}')"
    assert Area.read(SQUARE).filter == one
    assert Area.read([SQUARE, SQUARE]).filter == one
    point = "OData.CSC.Intersects(area=geography'SRID=4326;POINT(1 2)')"
    assert Area.read([SQUARE, "POINT(1 2)"]).filter == f"({one} or {point})"
    area = Area.read(SQUARE)
    assert Area.read(area) is area


@pytest.mark.parametrize(
    ("roi", "sentence"),
    [
        # a ring
        (
            "POLYGON((22 38, 23 38, 23 39, 22 39))",
            (
                "The ring is not closed: its last point, 4 (22 39), is not its first, (22 38). "
                "Add 22 38 at its end."
            ),
        ),
        ("POLYGON((22 38, 23 38, 23 39))", "its last point, 3 (23 39), is not its first, (22 38)."),
        (
            "POLYGON((0 0, 9 0, 9 9, 0 0), (1 1, 2 1, 2 2))",
            "The ring of ring 2 is not closed",
        ),
        (
            "MULTIPOLYGON(((0 0, 9 0, 9 9, 0 0)), ((1 1, 2 1, 2 2)))",
            "The ring of part 2 is not closed: its last point, 3 (2 2), is not its first, (1 1).",
        ),
        ("POLYGON((22 38, 23 38))", "The ring has 2 points, the last (23 38): a polygon needs 4"),
        ("POLYGON((22 38, 23 38, 22 38))", "The ring has 3 points, the last (22 38)"),
        ("POLYGON((0 0, 1 1, 2 2, 0 0))", "its points from (0 0) on lie on one line."),
        ("POLYGON((1 1, 1 1, 1 1, 1 1))", "The polygon has no area"),
        (
            "POLYGON((22 38, 23 39, 23 38, 22 39, 22 38))",
            (
                "The polygon crosses or touches itself at (22.5 38.5): the side from point 1 "
                "(22 38) to point 2 (23 39) meets the side from point 3 (23 38) to point 4 "
                "(22 39). List the points in order along the boundary."
            ),
        ),
        (
            "MULTIPOLYGON(((0 0, 9 0, 9 9, 0 0)), ((22 38, 23 39, 23 38, 22 39, 22 38)))",
            "The polygon of part 2 crosses or touches itself at (22.5 38.5)",
        ),
        (
            "POLYGON((0 0, 4 0, 4 4, 2 0, 0 4, 0 0))",
            (
                "touches itself at (2 0): the side from point 1 (0 0) to point 2 (4 0) meets the "
                "side from point 3 (4 4) to point 4 (2 0)."
            ),
        ),
        (
            "POLYGON((0 0,9 0,9 9,0 9,0 0),(12 2,13 2,13 3,12 2))",
            (
                "The polygon is not a valid polygon: hole lies outside shell, near point 1 (12 2) "
                "of ring 2."
            ),
        ),
        # a point
        (
            "POLYGON((41 114, 42 114, 42 115, 41 114))",
            (
                "Point 1 (41 114) has a latitude of 114, beyond 90 degrees: latitude and longitude "
                "may be swapped. Write longitude first, then latitude."
            ),
        ),
        ("POINT(37.9 123.7)", "Point 1 (37.9 123.7) has a latitude of 123.7"),
        (
            "POLYGON((0 0, 9 0, 9 99, 0 0))",
            "Point 3 (9 99) has a latitude of 99, beyond 90 degrees",
        ),
        (
            "POLYGON((0 0, 9 0, 9 9, 0 0), (1 1, 2 91, 2 2, 1 1))",
            "Point 2 (2 91) of ring 2 has a latitude of 91",
        ),
        (
            "MULTIPOINT(0 0, 200 9)",
            "Point 1 (200 9) of part 2 is out of range: its longitude is beyond 180 degrees.",
        ),
        ("POINT(100 100)", "Point 1 (100 100) is out of range: its latitude is beyond 90 degrees."),
        ("POLYGON((0 0, 9 0, 9 nan, 0 0))", "Point 3 (9 nan) has a value that is not a finite"),
        ("POINT(inf 0)", "Point 1 (inf 0) has a value that is not a finite number."),
        ("POINT(1e999 0)", "Point 1 (1e999 0) has a value that is not a finite number."),
        (
            "POINT(1 two)",
            "The area is not valid WKT: point 1 is (1 two), which are not two numbers.",
        ),
        # the writing
        ("POLYGON((22 38, 23, 23 39, 22 38))", "point 2 is (23), not a longitude and a latitude."),
        ("POLYGON((22 38,, 23 39, 22 38))", "point 2 is (), not a longitude"),
        ("POINT(1 2 3 4 5)", "point 1 is (1 2 3 4 5), not a longitude"),
        ("POINT(1 2, 3 4)", "a POINT with 2 points"),
        ("POINT(22.1.5 38)", "cannot parse '22.1.5 38)' at character 7"),
        ("POINT(1 2); drop", "The area is not valid WKT: cannot parse '; drop' at character 11"),
        ("POINT(1 2)')", 'The area is not valid WKT: cannot parse "\')" at character 11.'),
        ("POINT(1 2) 3", "there is text after its end: '3'. Such as POLYGON(("),
        ("POLYGON(22 38, 23 38)", "expected '(' after 'POLYGON (', found '22'."),
        (
            "POLYGON((22 38, 23 38, 23 39, 22 38)",
            "expected ')' after ', 22 38 )', found 'its end'.",
        ),
        ("POLYGON EMPTY", "The area is an empty POLYGON."),
        ("POLIGON((1 2))", "The area is a POLIGON, which the catalogue cannot search with."),
        (
            "LINESTRING(1 2, 3 4)",
            (
                "The area is a LINESTRING, which the catalogue cannot search with. Draw a "
                "polygon around"
            ),
        ),
        ("GEOMETRYCOLLECTION(" * 20 + "POINT(1 2)" + ")" * 20, "cannot search with."),
        ("SRID=3857;POINT(1 2)", "The area's coordinates are in SRID 3857; the catalogue needs"),
        ("", "The area is empty. Give WKT, a .wkt or .geojson file"),
        ("   ", "The area is empty."),
        ("Attica", "Cannot parse the area 'Attica'. Give WKT"),
        (None, "The area is None, which is not supported."),
        (5, "The area is 5, which is not supported."),
        ([], "The area is [], which is not supported."),
        (b"POINT(1 2)", "The area is b'POINT(1 2)', which is not supported."),
        # GeoJSON
        ({}, "The area is not GeoJSON: {} has no type."),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "Draw a polygon around it"),
        ({"type": ["Point"]}, "The area is not GeoJSON: {'type': ['Point']} has no type."),
        ({**POLYGON, "crs": MERCATOR}, "not WGS 84: its crs is 'urn:ogc:def:crs:EPSG::3857'."),
        ({**POLYGON, "crs": {"type": "link"}}, "not WGS 84: its crs is {'type': 'link'}."),
        (nested(5), "cannot search with."),
        (nested(5000), "The area is not GeoJSON: {"),
        (
            {"type": "FeatureCollection", "features": []},
            "The area is not GeoJSON: [] in place of a list of features.",
        ),
        ({"type": "Feature", "geometry": None}, "The area has no polygon and no point."),
        ({"type": "Feature", "geometry": 3}, "The area is not GeoJSON: 3 in place of an object."),
        ({"type": "Polygon", "coordinates": [RING[:-1]]}, "its last point, 4 (22 39), is not its"),
        (
            {"type": "Polygon", "coordinates": [[[22, 38], [23, "38"], [23, 39], [22, 38]]]},
            "Point 2 of the area is [23, '38'], not a longitude and a latitude.",
        ),
        ({"type": "Polygon", "coordinates": RING}, "Point 1 of the area is 22, not a longitude"),
        ({"type": "Point", "coordinates": [True, 1]}, "Point 1 of the area is [True, 1]"),
        ({"type": "Point", "coordinates": [1]}, "Point 1 of the area is [1]"),
        ({"type": "Point"}, "Point 1 of the area is None"),
        ({"type": "Point", "coordinates": [math.nan, 1]}, "not a finite number"),
        ({"type": "Point", "coordinates": [10**400, 1]}, "has a value that is not a finite number"),
        ('{"type": ', "The area is not JSON: Expecting value: line 1 column 9"),
        ("[" * 100_000, "The area is not JSON"),
        # boxes
        (
            "1,2,3",
            "The box 1, 2, 3 does not have four numbers. Write the box as W,S,E,N, such as 14.7",
        ),
        ("1,2,3,4,5", "does not have four numbers."),
        ("1,2,,4", "does not have four numbers."),
        ((1, 2, 3, True), "does not have four numbers."),
        ((1, 2, 3, None), "does not have four numbers."),
        (
            "23,38,22,39",
            "The box's west, 23, is not less than its east, 22. Write the box as W,S,E,N",
        ),
        ("22,38,22,39", "The box's west, 22, is not less than its east, 22."),
        ("22,39,23,38", "The box's south, 39, is not less than its north, 38."),
        ("22,38,23,38", "The box's south, 38, is not less than its north, 38."),
        ("38,22,39,123", "Point 2 (39 123) of the box has a latitude of 123, beyond 90 degrees"),
        ("200,38,201,39", "Point 1 (200 38) of the box is out of range"),
        (
            (math.nan, 1, 2, 3),
            "Point 1 (nan 1) of the box has a value that is not a finite number.",
        ),
        # files
        ("nothing.wkt", "Cannot read the area file nothing.wkt: No such file or directory."),
        (Path("nothing"), "Cannot read the area file nothing: No such file or directory."),
        ("/", "Cannot read the area file /: Is a directory."),
        ("a\0.wkt", "Cannot read the area file"),
        ("~nobody-at-all/a.wkt", "Cannot read the area file"),
        ("x" * 300, "Cannot parse the area"),
    ],
)
def test_refusals(roi: Any, sentence: str) -> None:
    with pytest.raises(QueryError, match=re.escape(sentence)):
        parse_area(roi)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty. Give WKT"),
        (b" \n", "is empty. Give WKT"),
        (b"POLYGON((22 38, 23 38, 23 39))", "area.wkt: The ring is not closed"),
        (
            b'{"type": "Polygon"}',
            "area.wkt: The area is not GeoJSON: None in place of a list of rings",
        ),
        (b"\xff\xfe\x00", "The area is not valid WKT"),
        (b"x" * 20_000_001, "is larger than 20 MB"),
    ],
)
def test_files_that_hold_no_area(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "area.wkt").write_bytes(content)
    with pytest.raises(QueryError, match=re.escape(sentence)):
        parse_area(tmp_path / "area.wkt")


def test_files_by_what_they_hold(tmp_path: Path) -> None:
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "Feature", "geometry": POLYGON}))
    (tmp_path / "area.txt").write_text(SQUARE)
    assert parse_area(str(tmp_path / "area.geojson")) == (SQUARE,)
    assert parse_area(str(tmp_path / "area.txt")) == (SQUARE,)


def circle(points: int) -> str:
    angles = [2 * math.pi * i / (points - 1) for i in range(points - 1)]
    ring = [f"{22 + math.cos(a):.5f} {38 + math.sin(a):.5f}" for a in angles]
    return f"POLYGON(({', '.join([*ring, ring[0]])}))"


def test_an_area_of_any_length_is_read() -> None:
    assert parse_area(circle(1000)) == (circle(1000),)
    assert Area.read(circle(1000)).points == 1000


NUMBER = st.floats(-80, 80, allow_nan=False).map(lambda n: round(n, 4))


@st.composite
def stars(draw: st.DrawFn) -> str:
    """Star-shaped polygons: always simple."""
    lon, lat = draw(st.floats(-100, 100)), draw(st.floats(-50, 50))
    count = draw(st.integers(3, 20))
    radii = draw(st.lists(st.floats(1, 30), min_size=count, max_size=count))
    if draw(st.booleans()):
        radii.reverse()
    ring = [
        f"{lon + r * math.cos(2 * math.pi * i / count):.6f} "
        f"{lat + r * math.sin(2 * math.pi * i / count):.6f}"
        for i, r in enumerate(radii)
    ]
    comma = draw(st.sampled_from([",", ", ", " , "]))
    return f"{draw(st.sampled_from(['POLYGON', 'Polygon ']))}(({comma.join([*ring, ring[0]])}))"


@given(stars())
def test_valid_polygons_are_accepted_unchanged(wkt: str) -> None:
    assert parse_area(wkt) == (wkt,)
    assert shapely.from_wkt(wkt).is_valid


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=3, max_size=6))
def test_shapely_agrees_on_what_is_valid(points: list[tuple[float, float]]) -> None:
    ring = [*points, points[0]]
    wkt = f"POLYGON(({', '.join(f'{lon} {lat}' for lon, lat in ring)}))"
    if shapely.Polygon(ring).is_valid:
        assert parse_area(wkt) == (wkt,)
    else:
        with pytest.raises(QueryError, match=r"crosses or touches itself|has no area"):
            parse_area(wkt)


@given(st.lists(stars(), min_size=2, max_size=4))
def test_parts_cover_what_was_given(wkts: list[str]) -> None:
    shapes = [shapely.from_wkt(wkt) for wkt in wkts]
    parts = [shapely.from_wkt(part) for part in parse_area(shapely.GeometryCollection(shapes).wkt)]
    given, sent = shapely.union_all(shapes), shapely.union_all(parts)
    assert sent.buffer(1e-6).covers(given)
    assert given.buffer(1e-6).covers(sent)
    assert len(parts) == (1 if given.geom_type == "Polygon" else len(given.geoms))


@given(st.text(st.sampled_from("POLYGONZEMT(), 0123.-+eE;SRID=\n'{}[]\""), max_size=40) | st.text())
def test_any_text_is_an_area_or_refused(text: str) -> None:
    try:
        parts = parse_area(text, folder=Path("/nonexistent"))
    except QueryError:
        return
    assert all(shapely.from_wkt(part).is_valid for part in parts)
    assert not any("'" in part for part in parts)


GEOJSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.fixed_dictionaries(
        {"type": st.sampled_from(["Point", "Polygon", "Feature", "FeatureCollection", "Multi"])},
        optional=dict.fromkeys(["coordinates", "geometry", "features", "crs"], inner),
    ),
    max_leaves=15,
)  # fmt: skip


@given(GEOJSON)
def test_any_json_is_an_area_or_refused(value: Any) -> None:
    if isinstance(value, str):
        return
    try:
        parts = parse_area(value)
    except QueryError:
        return
    assert all(shapely.from_wkt(part).is_valid for part in parts)


def test_boxes_and_plain_polygons_do_without_shapely() -> None:
    code = (
        "import sys; from noa_async.catalogue.query import Query;"
        f"Query(roi='22,38,23,39', content=('2026-01-11', '2026-01-19')); Query(roi={SQUARE!r});"
        "print(sorted({'shapely', 'numpy', 'dateutil', 'tomllib', 'difflib'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
