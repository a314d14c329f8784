from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import shapely

from noa_async.emulator import Emulator, EmulatorSettings, Product
from noa_async.emulator.missions.tiles import tiles, utm_to_degrees

if TYPE_CHECKING:
    from conftest import OpenSite

STAMP = r"\d{8}T\d{6}"
NAMES = {
    "SENTINEL-1": rf"S1[AC]_(IW|S[1-6])_(GRD[HM]|SLC_|OCN_|RAW_)_[012]S[SD][VH]_{STAMP}_{STAMP}"
    r"_\d{6}_[0-9A-F]{5,6}_[0-9A-F]{4}\.SAFE(\.zip)?",
    "SENTINEL-2": rf"S2[ABC]_MSIL(1C|2A)_{STAMP}_N\d{{4}}_R\d{{3}}_T3[345][ST][A-Z]{{2}}_{STAMP}"
    r"\.SAFE\.zip",
    "SENTINEL-3": rf"S3[AB]_[A-Z]{{2}}_[12]_[A-Z_]{{6}}_{STAMP}_{STAMP}_{STAMP}_\d{{4}}_\d{{3}}"
    r"_\d{3}_(\d{4}|____)_PS[12]_O_(NR|ST|NT)_\d{3}\.SEN3\.zip",
    "SENTINEL-5P": rf"S5P_(NRTI|OFFL|RPRO)_L[12][A-Z0-9_]{{8}}_{STAMP}_{STAMP}_\d{{5}}_03_\d{{6}}"
    rf"_{STAMP}\.nc",
}
MEDITERRANEAN = shapely.box(-6, 28, 42, 48)


@pytest.fixture(scope="module")
def products() -> list[Product]:
    return Emulator().catalogue.products


def platform(product: Product) -> str:
    return str(product.attributes["platformShortName"])


def test_names_follow_each_missions_convention(products: list[Product]) -> None:
    assert {platform(one) for one in products} == set(NAMES)
    for product in products:
        assert re.fullmatch(NAMES[platform(product)], product.name), product.name


def test_names_and_attributes_say_the_same(products: list[Product]) -> None:
    for product in products:
        kind = str(product.attributes["productType"])
        mission = platform(product)
        if mission == "SENTINEL-2":
            assert f"MSIL{kind[-2:]}" in product.name
            assert f"_T{product.attributes['tileId']}_" in product.name
            assert f"_R{product.attributes['relativeOrbitNumber']:03d}_" in product.name
        else:
            assert kind.rstrip("S_") in product.name
        assert product.start.strftime("%Y%m%dT%H%M%S") in product.name


def test_products_lie_over_the_mediterranean(products: list[Product]) -> None:
    for product in products:
        assert product.footprint is not None
        assert product.footprint.geometry.is_valid
        assert product.footprint.geometry.intersects(MEDITERRANEAN), product.name


def test_published_shortly_after_sensing_and_within_the_period(products: list[Product]) -> None:
    settings = EmulatorSettings()
    for product in products:
        assert settings.start <= product.start < settings.end
        assert product.end < product.published < product.end + timedelta(days=4)
    days = {one.start.date() for one in products}
    assert len(days) == 31


def test_sizes_differ_by_type_and_keep_the_mean(products: list[Product]) -> None:
    assert sum(one.size for one in products) / len(products) == pytest.approx(2e6, rel=0.05)
    sizes: dict[object, list[int]] = {}
    for one in products:
        sizes.setdefault(one.attributes["productType"], []).append(one.size)
    mean = {kind: sum(all_) / len(all_) for kind, all_ in sizes.items()}
    assert mean["IW_SLC__1S"] > mean["IW_GRDH_1S"] > 10 * mean["IW_OCN__2S"]


def test_products_of_a_datatake_share_their_sensing_time(products: list[Product]) -> None:
    starts = Counter(one.start for one in products)
    shared = sum(count for count in starts.values() if count > 1)
    assert shared > len(products) / 2


def test_the_types_of_the_reference_client_are_there(products: list[Product]) -> None:
    kinds = {one.attributes["productType"] for one in products}
    assert {
        "S2_GRDM_1S", "S6_GRDM_1S", "S6_OCN__2S", "IW_OCN__2S", "IW_GRDH_1S", "S2MSI1C", "S2MSI2A",
        "SR_2_LAN_LI", "L2__AER_AI", "L2__CO____", "L2__O3_TCL",
    } <= kinds  # fmt: skip


def test_the_seed_decides() -> None:
    def made(seed: int) -> list[tuple[str, str, int]]:
        settings = EmulatorSettings(seed=seed, products=300)
        return [(one.id, one.name, one.size) for one in Emulator(settings).catalogue.products]

    assert made(7) == made(7)
    assert made(7) != made(8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_reference_query_finds_enough(seed: int, reference_filter: str) -> None:
    found = Emulator(EmulatorSettings(seed=seed)).catalogue.select(reference_filter, ())
    by_mission = Counter(platform(one) for one in found)
    assert len(found) >= 60
    assert by_mission["SENTINEL-2"] > by_mission["SENTINEL-1"] >= 1


def test_more_products_than_one_months_passes() -> None:
    products = Emulator(EmulatorSettings(products=12_000, mean_bytes=4_000)).catalogue.products
    assert len({one.id for one in products}) == 12_000
    assert len({one.name for one in products}) > 11_990


def test_tiles_lie_where_their_names_say() -> None:
    known = {tile.name: tile.outline for tile in tiles()}
    athens = shapely.Point(23.73, 37.98)
    assert "34SGH" in {name for name, outline in known.items() if outline.contains(athens)}
    # Heraklion in Crete, from the published tiling grid.
    assert known["35SLV"].contains(shapely.Point(25.13, 35.2))
    assert utm_to_degrees(34, 500_000, 0) == (21.0, 0.0)
    longitude, latitude = utm_to_degrees(34, 739_000, 4_207_000)
    assert (longitude, latitude) == (pytest.approx(23.72, abs=0.02), pytest.approx(37.98, abs=0.02))


async def test_an_entry_has_the_servers_shape(open_site: OpenSite) -> None:
    site = await open_site(products=5, mean_bytes=5_000)
    _, data = await site.page(expand="Attributes", orderby="Name", top=1)
    entry = data["value"][0]
    assert set(entry) == {
        "@odata.mediaContentType", "Id", "Name", "ContentType", "ContentLength", "OriginDate",
        "PublicationDate", "ModificationDate", "Online", "EvictionDate", "Checksum", "ContentDate",
        "Footprint", "GeoFootprint", "Attributes",
    }  # fmt: skip
    assert re.fullmatch(r"geography'SRID=4326;Polygon\(\(.*\)\)'", entry["Footprint"])
    assert shapely.from_wkt(entry["Footprint"][20:-1]).equals_exact(
        shapely.geometry.shape(entry["GeoFootprint"]), 1e-9
    )
    assert re.fullmatch(rf"{'....-..-..T..:..:..'}\.\d{{3}}Z", entry["ContentDate"]["Start"])
    assert datetime.fromisoformat(entry["PublicationDate"]) > datetime.fromisoformat(
        entry["ContentDate"]["End"]
    )
    assert [one["Algorithm"] for one in entry["Checksum"]] == ["MD5"]
    kinds = {one["@odata.type"].split(".")[-1]: one["ValueType"] for one in entry["Attributes"]}
    assert all(key == f"{value}Attribute" for key, value in kinds.items())
