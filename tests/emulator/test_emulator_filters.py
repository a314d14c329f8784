from __future__ import annotations

from datetime import UTC, datetime

import pytest

from noa_async.emulator import Catalogue, make_product
from noa_async.emulator.errors import RefusedError

START = datetime(2026, 1, 12, 9, 0, tzinfo=UTC)
PRODUCTS = (
    make_product(
        "S1A_IW_GRDH.SAFE.zip",
        id="00000000-0000-4000-8000-000000000001",
        start=START,
        end=START.replace(minute=1),
        published=START.replace(hour=12),
        footprint="POLYGON((22 38, 23 38, 23 39, 22 39, 22 38))",
        attributes={
            "platformShortName": "SENTINEL-1",
            "platformSerialIdentifier": "A",
            "productType": "IW_GRDH_1S",
            "polarisationChannels": "VV,VH",
            "orbitDirection": "DESCENDING",
            "timeliness": "NRT-3h",
            "instrumentShortName": "SAR",
            "processingLevel": "LEVEL1",
            "operationalMode": "IW",
            "orbitNumber": 62_700,
        },
    ),
    make_product(
        "S2B_MSIL2A.SAFE.zip",
        id="00000000-0000-4000-8000-000000000002",
        start=START.replace(day=13),
        published=START.replace(day=13, hour=13),
        footprint="POLYGON((25 35, 26 35, 26 36, 25 36, 25 35))",
        attributes={"platformShortName": "SENTINEL-2", "cloudCover": 12.5},
    ),
    make_product(
        "S5P_NRTI.nc",
        id="00000000-0000-4000-8000-000000000003",
        start=START.replace(day=14),
        published=START.replace(day=14, hour=14),
        footprint=None,
        online=False,
        attributes={"processingMode": "NRTI", "name": "O'Neil", "begin": START, "sliced": True},
    ),
)


def text(name: str, test: str) -> str:
    kind = "OData.CSC.StringAttribute"
    return f"Attributes/{kind}/any(att:att/Name eq '{name}' and att/{kind}/Value {test})"


def number(name: str, test: str, kind: str = "Double") -> str:
    kind = f"OData.CSC.{kind}Attribute"
    return f"Attributes/{kind}/any(a:a/Name eq '{name}' and a/{kind}/Value {test})"


def area(wkt: str) -> str:
    return f"OData.CSC.Intersects(area=geography'SRID=4326;{wkt}')"


MATCHES = {
    "": {1, 2, 3},
    text("platformShortName", "eq 'SENTINEL-1'"): {1},
    text("platformShortName", "ne 'SENTINEL-1'"): {2},
    text("platformShortName", "in ('SENTINEL-1')"): {1},
    text("platformShortName", "in ('SENTINEL-1', 'SENTINEL-2')"): {1, 2},
    text("platformShortName", "in ( 'SENTINEL-1','SENTINEL-2' )"): {1, 2},
    text("platformSerialIdentifier", "eq 'A'"): {1},
    text("productType", "in ('IW_GRDH_1S')"): {1},
    text("polarisationChannels", "in ('VV,VH')"): {1},
    text("polarisationChannels", "in ('VV', 'VH')"): set(),
    text("orbitDirection", "eq 'DESCENDING'"): {1},
    text("timeliness", "eq 'NRT-3h'"): {1},
    text("instrumentShortName", "eq 'SAR'"): {1},
    text("processingLevel", "eq 'LEVEL1'"): {1},
    text("operationalMode", "eq 'IW'"): {1},
    text("processingMode", "eq 'NRTI'"): {3},
    text("name", "eq 'O''Neil'"): {3},
    text("cloudCover", "eq '12.5'"): set(),
    text("unknown", "eq 'x'"): set(),
    number("cloudCover", "le 20"): {2},
    number("cloudCover", "le 12.5"): {2},
    number("cloudCover", "lt 12.5"): set(),
    number("cloudCover", "ge -1"): {2},
    number("cloudCover", "gt 1e1"): {2},
    number("orbitNumber", "eq 62700", "Integer"): {1},
    number("orbitNumber", "eq 62700"): set(),
    number("sliced", "eq true", "Boolean"): {3},
    number("begin", "ge 2026-01-12T09:00:00Z", "DateTimeOffset"): {3},
    "ContentDate/Start ge 2026-01-13T09:00:00.000Z": {2, 3},
    "ContentDate/Start gt 2026-01-13T09:00:00.000Z": {3},
    "ContentDate/End le 2026-01-12T09:01:00Z": {1},
    "ContentDate/Start lt 2026-01-13T11:00:00+02:00": {1},
    "2026-01-13T09:00:00Z le ContentDate/Start": {2, 3},
    "PublicationDate ge 2026-01-13T13:00:00.000000Z": {2, 3},
    "ModificationDate ge 2026-01-14T00:00:00Z": {3},
    "ContentLength gt 1 and Online eq true": {1, 2},
    "Online eq false": {3},
    "not (Online eq false)": {1, 2},
    "Id eq 00000000-0000-4000-8000-000000000002": {2},
    "Id in ('00000000-0000-4000-8000-000000000002')": {2},
    "ContentType eq 'application/x-netcdf'": {3},
    area("POLYGON((21 37, 22.5 37, 22.5 38.5, 21 38.5, 21 37))"): {1},
    area("POLYGON ((21 37,22 37,22 38,21 38,21 37))"): {1},
    area("POLYGON((10 30, 30 30, 30 45, 10 45, 10 30),(24 34, 27 34, 27 37, 24 37, 24 34))"): {1},
    area("POINT(25.5 35.5)"): {2},
    f"{area('POINT(25.5 35.5)')} or {area('POINT(22.5 38.5)')}": {1, 2},
    "Online eq true or Online eq false and ContentLength lt 0": {1, 2},
    "(Online eq true or Online eq false) and ContentLength lt 0": set(),
    " or ".join(["Online eq false"] * 3000): {3},
}

REFUSED = {
    "Collection/Name eq 'SENTINEL-1'": "Collection/Name",
    "Name eq 'x'": "Name",
    "contains(Name, 'S2')": "Name",
    "startswith(ContentLength, 'S2')": "texts",
    "Nothing eq 1": "Nothing",
    "soundex(Id) eq 1": "soundex",
    "geo.intersects(Id, 'x')": "geo.intersects",
    "Intersects(area=geography'SRID=4326;POINT(1 1)')": "Intersects",
    "OData.CSC.Touches(area=geography'SRID=4326;POINT(1 1)')": "Touches",
    "OData.XYZ.Intersects(area=geography'SRID=4326;POINT(1 1)')": "OData.XYZ",
    "OData.CSC.Intersects(geography'SRID=4326;POINT(1 1)')": "area",
    "ContentDate/Start ge 'yesterday'": "yesterday",
    "ContentDate/Start ge 2026-01-12": "value",
    "ContentDate/Start ge 2026-02-30T00:00:00Z": "instant",
    "ContentDate/Start ge 2026-01-12T00:00:00": "time zone",
    "ContentLength eq 'x'": "compared",
    "ContentLength in (1": "parse",
    "ContentLength in 1": "parse",
    "Online eq": "parse",
    "Online": "condition",
    # OData binds not closer than eq.
    "not Online eq false": "compared",
    "((Online eq true)": "parse",
    "Online eq true and": "parse",
    "Online eq 'unfinished": "tokenize",
    "Online eq true; drop": "tokenize",
    text("platformShortName", "eq 5"): "compared",
    number("cloudCover", "eq 'x'"): "compared",
    number("cloudCover", "le 20", "Decimal"): "attribute clause",
    "Attributes/OData.CSC.StringAttribute/any(att:att/Value eq 'x')": "attribute clause",
    "Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'x' and "
    "att/OData.CSC.DoubleAttribute/Value eq 1)": "attribute clause",
    area("POLYGON((21 37, 22 37, 22 38, 21 38))"): "closed",
    area("POLYGON((0 0, 2 2, 2 0, 0 2, 0 0))"): "Self-intersection",
    area("POLYGON((181 0, 190 0, 190 2, 181 0))"): "range",
    area("MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))"): "MultiPolygon",
    area("POLYGON EMPTY"): "not supported",
    area("CIRCLE(1)"): "geometry",
    "OData.CSC.Intersects(area=geography'POINT(1 1)')": "SRID",
}


@pytest.mark.parametrize("filter_text", MATCHES)
def test_a_clause_matches_what_it_says(filter_text: str) -> None:
    found = Catalogue(PRODUCTS).select(filter_text, ())
    assert {int(one.id[-1]) for one in found} == MATCHES[filter_text]


@pytest.mark.parametrize("filter_text", REFUSED)
def test_what_the_mirror_refuses_is_a_400_that_names_it(filter_text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        Catalogue(PRODUCTS).select(filter_text, ())
    assert refused.value.status == 400
    assert REFUSED[filter_text].lower() in refused.value.message.lower()


def test_names_can_be_filtered_where_the_site_lets_them() -> None:
    catalogue = Catalogue(PRODUCTS)
    for clause in (
        "contains(Name, 'L2A')",
        "startswith(Name,'S2B')",
        "endswith(Name,'A.SAFE.zip')",
    ):
        assert [one.id[-1] for one in catalogue.select(clause, (), names=True)] == ["2"]


def test_order_by_several_keys_with_ties_by_id() -> None:
    catalogue = Catalogue(reversed(PRODUCTS))
    order = [("Online", False), ("ContentDate/Start", True)]
    assert [one.id[-1] for one in catalogue.select("", order)] == ["3", "2", "1"]
    assert [one.id[-1] for one in catalogue.select("", [("Online", True)])] == ["1", "2", "3"]


def test_a_changed_catalogue_is_asked_anew() -> None:
    catalogue = Catalogue(PRODUCTS[:2])
    assert len(catalogue.select("Online eq true", ())) == 2
    catalogue.remove(PRODUCTS[0].id)
    assert len(catalogue.select("Online eq true", ())) == 1
    catalogue.add(PRODUCTS[2])
    catalogue.update(PRODUCTS[2].id, online=True)
    assert len(catalogue.select("Online eq true", ())) == 2


def test_the_reference_filter_is_read(reference_filter: str) -> None:
    assert len(Catalogue(PRODUCTS).select(reference_filter, ())) == 0


def test_attributes_as_the_servers_own_client_writes_them() -> None:
    clause = "StringAttributes/any(d:d/Name eq 'productType' and d/Value eq 'IW_GRDH_1S')"
    found = Catalogue(PRODUCTS).select(clause, ())
    assert [product.name for product in found] == ["S1A_IW_GRDH.SAFE.zip"]
