"""Entries of every kind that servers of this family send."""

import json
import math
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.product import Checksum, Product
from noa_async.catalogue.times import format_instant, read_instant
from noa_async.errors import ServiceFault

ENTRY: dict[str, Any] = {
    "@odata.mediaContentType": "application/zip",
    "Id": "0a5c8f2e-6b1d-4c55-9f0e-5b0f3a2d7c11",
    "Name": "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE.zip",
    "ContentType": "application/zip",
    "ContentLength": 1048576000,
    "OriginDate": "2026-01-12T13:15:02.000Z",
    "PublicationDate": "2026-01-12T13:40:11.123Z",
    "ModificationDate": "2026-01-12T13:41:11.123Z",
    "Online": True,
    "EvictionDate": None,
    "Checksum": [
        {
            "Value": "9e107d9d372bb6826bd81d3542a419d6",
            "Algorithm": "MD5",
            "ChecksumDate": "2026-01-12T13:40:12.000Z",
        }
    ],
    "ContentDate": {"Start": "2026-01-12T09:23:21.024Z", "End": "2026-01-12T09:23:22.024Z"},
    "Footprint": "geography'SRID=4326;Polygon((22 38,23 38,23 39,22 39,22 38))'",
    "GeoFootprint": {
        "type": "Polygon",
        "coordinates": [[[22, 38], [23, 38], [23, 39], [22, 39], [22, 38]]],
    },
    "Attributes": [
        {
            "@odata.type": "#OData.CSC.StringAttribute",
            "Name": "productType",
            "ValueType": "String",
            "Value": "S2MSI2A",
        },
        {
            "@odata.type": "#OData.CSC.DoubleAttribute",
            "Name": "cloudCover",
            "ValueType": "Double",
            "Value": 12.3,
        },
    ],
}
MD5 = "9e107d9d372bb6826bd81d3542a419d6"
SQUARE = "POLYGON((22 38,23 38,23 39,22 39,22 38))"


def read(**changes: object) -> Product:
    return Product.from_entry({**ENTRY, **changes})


def test_a_whole_entry() -> None:
    product = Product.from_entry(ENTRY)
    assert product == Product(
        id=ENTRY["Id"],
        name=ENTRY["Name"],
        size=1048576000,
        checksums=(Checksum("md5", MD5),),
        content_type="application/zip",
        online=True,
        published=datetime(2026, 1, 12, 13, 40, 11, 123000, UTC),
        modified=datetime(2026, 1, 12, 13, 41, 11, 123000, UTC),
        sensing_start=datetime(2026, 1, 12, 9, 23, 21, 24000, UTC),
        sensing_end=datetime(2026, 1, 12, 9, 23, 22, 24000, UTC),
        evicted=None,
        footprint=SQUARE,
        attributes={"productType": "S2MSI2A", "cloudCover": 12.3},
    )
    assert product.entry is ENTRY
    assert "Attributes" not in repr(product)
    assert str(product.checksums[0]) == f"md5:{MD5}"
    assert pickle.loads(pickle.dumps(product)) == product
    assert len({product, Product.from_entry(ENTRY)}) == 1


def test_the_least_entry() -> None:
    assert Product.from_entry({"Id": "1", "Name": "x.nc"}) == Product(id="1", name="x.nc")


SHA3 = "a" * 64


@pytest.mark.parametrize(
    ("checksum", "expected"),
    [
        ([], []),
        ([{}], []),
        (None, []),
        ("md5", []),
        ([None, 3, "x"], []),
        ({"Value": MD5, "Algorithm": "MD5"}, [f"md5:{MD5}"]),
        ([{"Value": MD5.upper(), "Algorithm": "md5"}], [f"md5:{MD5}"]),
        ([{"Value": f" {MD5} ", "Algorithm": "MD-5"}], [f"md5:{MD5}"]),
        ([{"Value": MD5[:-1], "Algorithm": "MD5"}], []),
        ([{"Value": MD5 + "00", "Algorithm": "MD5"}], []),
        ([{"Value": "g" * 32, "Algorithm": "MD5"}], []),
        ([{"Value": "", "Algorithm": "MD5"}], []),
        ([{"Value": MD5}], []),
        ([{"Value": MD5, "Algorithm": ""}], []),
        ([{"Value": None, "Algorithm": "MD5"}], []),
        ([{"Value": SHA3, "Algorithm": "SHA3-256"}], [f"sha3-256:{SHA3}"]),
        ([{"Value": SHA3, "Algorithm": "SHA3_256"}], [f"sha3-256:{SHA3}"]),
        ([{"Value": SHA3, "Algorithm": "SHA-256"}], [f"sha256:{SHA3}"]),
        ([{"Value": "a" * 40, "Algorithm": "SHA-1"}], [f"sha1:{'a' * 40}"]),
        ([{"Value": "a" * 128, "Algorithm": "SHA512"}], [f"sha512:{'a' * 128}"]),
        ([{"Value": SHA3, "Algorithm": "xxh-odd"}], [f"xxh-odd:{SHA3}"]),
        ([{"Value": "٣" * 32, "Algorithm": "MD5"}], []),
        (
            [
                {"Value": MD5, "Algorithm": "MD5"},
                {"Value": SHA3, "Algorithm": "BLAKE3"},
                {"Value": MD5.upper(), "Algorithm": "MD5"},
            ],
            [f"md5:{MD5}", f"blake3:{SHA3}"],
        ),
    ],
)
def test_checksums(checksum: object, expected: list[str]) -> None:
    assert [str(each) for each in read(Checksum=checksum).checksums] == expected
    renamed = {key: value for key, value in ENTRY.items() if key != "Checksum"}
    product = Product.from_entry({**renamed, "Checksums": checksum})
    assert [str(each) for each in product.checksums] == expected


@pytest.mark.parametrize(
    ("length", "size"),
    [
        (0, None), (None, None), (-1, None), ("12", 12), (" 12 ", 12), ("", None), ("x", None),
        ("1e3", None), (12.0, 12), (12.5, None), (math.inf, None), (math.nan, None), (True, None),
        (2**50, 2**50), (2**50 + 1, None), (2**63, None), ("9" * 5000, None), ("²", None),
        ([1], None),
    ],
)  # fmt: skip
def test_sizes(length: object, size: int | None) -> None:
    assert read(ContentLength=length).size == size


@pytest.mark.parametrize(
    ("online", "expected"),
    [
        (True, True), (False, False), (None, True), ("true", True), ("True", True),
        ("false", False), (" FALSE ", False), ("0", False), (0, False), (1, True),
    ],
)  # fmt: skip
def test_online(online: object, expected: bool) -> None:
    assert read(Online=online).online is expected


AT = datetime(2026, 1, 12, 9, 23, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-12T09:23:21Z", AT),
        ("2026-01-12T09:23:21", AT),
        ("2026-01-12T09:23:21.024Z", AT.replace(microsecond=24000)),
        ("2026-01-12T09:23:21.024", AT.replace(microsecond=24000)),
        ("2026-01-12T09:23:21.024001Z", AT.replace(microsecond=24001)),
        ("2026-01-12T09:23:21.024001", AT.replace(microsecond=24001)),
        ("2026-01-12T09:23:21.0240019Z", AT.replace(microsecond=24001)),
        ("2026-01-12T09:23:21.0240019", AT.replace(microsecond=24001)),
        (" 2026-01-12T09:23:21Z\n", AT),
        ("2026-01-12T11:23:21+02:00", AT),
        ("2026-01-12", AT.replace(hour=0, minute=0, second=0)),
        ("", None),
        ("soon", None),
        (None, None),
        (1768209801, None),
        ("0001-01-01T00:00:00+02:00", None),
    ],
)
def test_instants(text: object, expected: datetime | None) -> None:
    product = read(
        PublicationDate=text,
        ModificationDate=text,
        EvictionDate=text,
        ContentDate={"Start": text, "End": text},
    )
    read_back = {
        product.published, product.modified, product.evicted, product.sensing_start,
        product.sensing_end,
    }  # fmt: skip
    assert read_back == {expected}
    assert expected is None or product.published.tzinfo is UTC  # type: ignore[union-attr]


@pytest.mark.parametrize("never", ["", None, "9999-12-31T23:59:59.999999Z", "9999-12-31"])
def test_never_evicted(never: object) -> None:
    assert read(EvictionDate=never).evicted is None


@pytest.mark.parametrize("missing", [None, [], "x", {}, {"Start": 3}])
def test_no_content_date(missing: object) -> None:
    assert read(ContentDate=missing).sensing_start is None


@pytest.mark.parametrize(
    ("footprint", "expected"),
    [
        ("geography'SRID=4326;Polygon((22 38,23 38,23 39,22 39,22 38))'", SQUARE),
        ("geography'SRID=4326;POLYGON((22 38,23 38,23 39,22 39,22 38))'", SQUARE),
        ("GEOGRAPHY'srid=4326; polygon((22 38,23 38,23 39,22 39,22 38))' ", SQUARE),
        ("SRID=4326;Polygon((22 38,23 38,23 39,22 39,22 38))", SQUARE),
        (SQUARE, SQUARE),
        (
            "geography'SRID=4326;MULTIPOLYGON (((2 3, 3 3, 3 4, 2 3)), ((5 5, 6 5, 6 6, 5 5)))'",
            "MULTIPOLYGON (((2 3, 3 3, 3 4, 2 3)), ((5 5, 6 5, 6 6, 5 5)))",
        ),
        (ENTRY["GeoFootprint"], SQUARE),
        ({"type": "Feature", "geometry": ENTRY["GeoFootprint"]}, SQUARE),
        ({"type": "Point", "coordinates": [23.5, -1e-7]}, "POINT(23.5 -1e-07)"),
        (
            {"type": "MultiPolygon", "coordinates": [[[[2, 3], [3, 3], [3, 4], [2, 3]]]]},
            "MULTIPOLYGON(((2 3,3 3,3 4,2 3)))",
        ),
        (
            {
                "type": "GeometryCollection",
                "geometries": [{"type": "LineString", "coordinates": [[2, 3, 9], [3, 3, 9]]}],
            },
            "GEOMETRYCOLLECTION(LINESTRING(2 3,3 3))",
        ),
        (None, None),
        ("", None),
        ("POLYGON EMPTY", None),
        ("<gml:Polygon/>", None),
        ("geography'SRID=3857;POINT(1 2)'", None),
        ({"type": "Polygon", "coordinates": [[["a", "b"]]]}, None),
        ({"type": "Polygon", "coordinates": []}, None),
        ({"type": "Point", "coordinates": [True, 1]}, None),
        ({"type": "Point", "coordinates": [math.nan, 1]}, None),
        ({"type": ["Point"], "coordinates": [1, 1]}, None),
        ({"type": "GeometryCollection", "geometries": []}, None),
        ({"type": "Feature", "geometry": None}, None),
    ],
)
def test_footprints(footprint: object, expected: str | None) -> None:
    assert read(Footprint=footprint, GeoFootprint=None).footprint == expected
    assert read(Footprint=None, GeoFootprint=footprint).footprint == expected
    if expected:
        shapely.from_wkt(expected)


def test_a_footprint_that_cannot_be_read_leaves_the_other() -> None:
    assert read(Footprint="<gml/>").footprint == SQUARE


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (None, {}),
        ("x", {}),
        ([None, {}, {"Name": "a"}, {"Name": 3, "Value": 3}, {"Name": "b", "Value": []}], {}),
        ([{"Name": "a", "Value": math.nan}], {}),
        ([{"Name": "a", "Value": True}, {"Name": "b", "Value": 3}], {"a": True, "b": 3}),
    ],
)
def test_attributes(attributes: object, expected: dict[str, object]) -> None:
    assert read(Attributes=attributes).attributes == expected


def test_content_type() -> None:
    assert read(ContentType=None).content_type == "application/zip"
    assert read(ContentType=" ", **{"@odata.mediaContentType": 3}).content_type is None


@pytest.mark.parametrize(
    "key",
    [
        None,
        -3,
        3.5,
        True,
        10**30,
        "",
        ".",
        "..",
        "a/b",
        "../a",
        "a b",
        "a\n",
        "é",
        "a" * 129,
        "a\0",
        ["a"],
        {"a": 1},
    ],
)
def test_an_unusable_id_is_a_fault(key: object) -> None:
    with pytest.raises(ServiceFault, match="unusable Id") as caught:
        read(Id=key)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", ["a", "...", "a" * 128, "A_b-c.9", ENTRY["Id"].upper()])
def test_a_usable_id(key: str) -> None:
    assert read(Id=key).id == key


@pytest.mark.parametrize("name", [None, "", "  ", 3, []])
def test_an_unusable_name_is_a_fault(name: object) -> None:
    with pytest.raises(ServiceFault, match="no Name"):
        read(Name=name)


def test_a_hostile_name_stays_as_it_came() -> None:
    assert read(Name="../x\0").name == "../x\0"


@pytest.mark.parametrize("entry", [None, [], "x" * 999, 3])
def test_what_is_no_entry_is_a_fault(entry: Any) -> None:
    with pytest.raises(ServiceFault, match="in place of a product"):
        Product.from_entry(entry)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
KEYED = st.fixed_dictionaries(
    {},
    optional={
        key: JSON
        | st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(
            ["Name", "Value", "Algorithm", "type", "coordinates", "Start", "End"], JSON)))
        | st.fixed_dictionaries({}, optional={
            "type": st.sampled_from(["Point", "Polygon", "Feature", "GeometryCollection"]) | JSON,
            **dict.fromkeys(["coordinates", "geometry", "geometries", "Start", "End"], JSON)})
        for key in ENTRY
    },
)  # fmt: skip


@given(JSON)
def test_arbitrary_json_is_a_product_or_a_fault(value: Any) -> None:
    try:
        Product.from_entry(value)
    except ServiceFault:
        return


@given(KEYED)
def test_whatever_stands_in_an_entry_is_tolerated(value: dict[str, Any]) -> None:
    product = Product.from_entry({**value, "Id": "a", "Name": "b"})
    assert product.size is None or product.size > 0
    assert product.entry["Id"] == "a"
    hash(product)


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)))
def test_instants_come_back_to_the_millisecond(instant: datetime) -> None:
    cut = instant.replace(microsecond=instant.microsecond // 1000 * 1000, tzinfo=UTC)
    assert read_instant(format_instant(instant)) == cut


def test_importing_it_is_light() -> None:
    code = "import noa_async.catalogue.product, sys, json; print(json.dumps(list(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"shapely", "numpy", "dateutil", "aiohttp", "asyncio", "sqlite3"}
    assert not heavy & set(json.loads(run.stdout))
