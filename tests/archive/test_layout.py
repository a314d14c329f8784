"""Layouts: presets, templates, what they refuse, and that no product leaves the folder."""

from __future__ import annotations

import string
from datetime import UTC, datetime, timedelta, timezone
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.archive.layout import Layout
from noa_async.archive.names import LONGEST
from noa_async.catalogue.product import Product
from noa_async.errors import SettingsError

ALL = "{platform}/{product_type}/{level}/{tile}/{orbit}/{year}/{month}/{day}/{name}"
MOMENT = datetime(2026, 1, 12, 9, 23, 21, tzinfo=UTC)
S1 = "S1A_IW_GRDH_1SDV_20260112T043204_20260112T043229_062732_07DC5E_ABCD.SAFE"
S2 = "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE.zip"
S3 = (
    "S3A_OL_1_EFR____20260112T084512_20260112T084812_20260112T104512_0179_135_207_2160"
    "_PS1_O_NR_004.SEN3"
)
S3_TRACK = (
    "S3B_SR_2_LAN_LI_20260112T084512_20260112T084812_20260112T104512_0179_135_007______"
    "PS1_O_NR_004.SEN3.zip"
)
S5P = "S5P_OFFL_L2__AER_AI_20260112T100000_20260112T114130_42622_03_020800_20260113T020000.nc"
S5P_L1B = "S5P_NRTI_L1B_RA_BD3_20260112T100000_20260112T114130_42622_03_020800_20260113T020000.nc"


def product(name: str = S2, moment: datetime | None = MOMENT, **attributes: object) -> Product:
    return Product(id="0a5c8f2e", name=name, sensing_start=moment, attributes=attributes)


def folders(one: Product, template: str = ALL) -> str:
    return str(Layout.parse(template).path(one, one.name).parent)


def test_flat_is_just_the_name():
    assert Layout.parse("flat").path(product(), "X.SAFE.zip") == PurePosixPath("X.SAFE.zip")


def test_date_is_a_folder_for_each_day_of_sensing():
    assert Layout.parse("date").path(product(), "X.nc") == PurePosixPath("2026/01/12/X.nc")


def test_days_are_those_of_utc():
    athens = timezone(timedelta(hours=2))
    night = datetime(2026, 1, 1, 0, 30, tzinfo=athens)
    assert folders(product(moment=night), "date") == "2025/12/31"


def test_no_sensing_time_is_unknown():
    assert folders(product(moment=None), "date") == "unknown/unknown/unknown"


def test_an_early_year_has_four_digits():
    assert folders(product(moment=datetime(1, 2, 3, tzinfo=UTC)), "date") == "0001/02/03"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (S1, "SENTINEL-1/IW_GRDH_1S/L1/unknown/unknown"),
        (S1.replace("GRDH_1S", "SLC__1S"), "SENTINEL-1/IW_SLC__1S/L1/unknown/unknown"),
        (S1.replace("GRDH_1S", "RAW__0S"), "SENTINEL-1/IW_RAW__0S/L0/unknown/unknown"),
        (S2, "SENTINEL-2/S2MSI2A/L2A/34SGH/093"),
        (S2.replace("MSIL2A", "MSIL1C"), "SENTINEL-2/S2MSI1C/L1C/34SGH/093"),
        (S3, "SENTINEL-3/OL_1_EFR___/L1/unknown/207"),
        (S3_TRACK, "SENTINEL-3/SR_2_LAN_LI/L2/unknown/007"),
        (S5P, "SENTINEL-5P/L2__AER_AI/L2/unknown/unknown"),
        (S5P_L1B, "SENTINEL-5P/L1B_RA_BD3/L1B/unknown/unknown"),
        ("S1C_OPER_AUX_POEORB.EOF", "SENTINEL-1/unknown/unknown/unknown/unknown"),
        ("S2B_OPER_GIP.tar", "SENTINEL-2/unknown/unknown/unknown/unknown"),
        ("S5P_x", "SENTINEL-5P/unknown/unknown/unknown/unknown"),
        ("anything.nc", "unknown/unknown/unknown/unknown/unknown"),
    ],
)
def test_a_name_tells_what_attributes_do_not(name, expected):
    assert folders(product(name)) == f"{expected}/2026/01/12"


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        (
            S1,
            {
                "platformShortName": "SENTINEL-1",
                "productType": "IW_GRDH_1S",
                "processingLevel": "LEVEL1",
            },
        ),
        (
            S2,
            {
                "platformShortName": "SENTINEL-2",
                "productType": "S2MSI2A",
                "processingLevel": "S2MSI2A",
                "tileId": "34SGH",
                "relativeOrbitNumber": 93,
            },
        ),
        (S2, {"processingLevel": "L2A", "tileId": "T34SGH", "relativeOrbitNumber": "93"}),
        (S2, {"relativeOrbitNumber": 93.0}),
        (S3, {"processingLevel": "1", "relativeOrbitNumber": 207}),
        (S3, {"processingLevel": 1}),
        (S5P_L1B, {"processingLevel": "L1b", "productType": "L1B_RA_BD3"}),
    ],
)
def test_a_product_lies_in_one_place_with_attributes_or_without(name, attributes):
    assert folders(product(name, **attributes)) == folders(product(name))


def test_attributes_go_before_the_name():
    attributes = {
        "platformShortName": "LANDSAT-9",
        "productType": "TYPE",
        "processingLevel": "raw",
        "tileId": "a tile",
        "relativeOrbitNumber": 7,
    }
    assert folders(product(S2, **attributes)) == "LANDSAT-9/TYPE/raw/a tile/007/2026/01/12"


def test_an_empty_attribute_is_none():
    attributes = {"platformShortName": " ", "relativeOrbitNumber": True}
    assert folders(product(S2, **attributes), "{platform}/{orbit}/{name}") == "SENTINEL-2/093"


def test_text_stands_around_fields():
    layout = Layout.parse("mirror {year}/orbit-{orbit}/{tile}_{name}")
    assert str(layout.path(product(), "X.nc")) == "mirror 2026/orbit-093/34SGH_X.nc"


def test_what_fields_make_together_is_made_safe():
    attributes = {"platformShortName": "CO", "productType": "N"}
    layout = Layout.parse("{platform}{product_type}/{name}")
    assert str(layout.path(product(**attributes), "X.nc")) == "_CON/X.nc"


def test_a_long_field_is_cut():
    layout = Layout.parse("{platform}/{name}")
    path = layout.path(product(platformShortName="x" * 300), "X.nc")
    assert str(path) == f"{'x' * LONGEST}/X.nc"


def test_a_name_is_never_cut_for_other_fields():
    name = "x" * (LONGEST - 13) + "_0a5c8f2e.zip"
    layout = Layout.parse("{platform}/{product_type}-{name}")
    assert layout.path(product(), name) == PurePosixPath("SENTINEL-2", name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("flatt", "Did you mean flat?"),
        ("dates", "Did you mean date?"),
        ("", "neither flat, date nor a template"),
        ("{platfrom}/{name}", "no field {platfrom}. Did you mean {platform}?"),
        ("{YEAR}/{name}", "Did you mean {year}?"),
        ("{producttype}/{name}", "Did you mean {product_type}?"),
        ("{}/{name}", "The fields are {platform}, "),
        ("{0}/{name}", "no field {0}"),
        ("{name.__class__}", "no field {name.__class__}"),
        ("{name[0]}", "no field {name[0]}"),
        ("{name!r}", "write the name of the field only"),
        ("{name:>300}", "write the name of the field only"),
        ("{name:{year}}", "write the name of the field only"),
        ("{year/{name}", "an unmatched brace"),
        ("{year}}/{name}", "an unmatched brace"),
        ("/data/{name}", "begins or ends with a slash"),
        ("{year}//{name}", "has two slashes in a row"),
        ("{name}/", "begins or ends with a slash"),
        ("../{name}", "'..', which begins with a dot"),
        ("{year}/../{name}", "'..', which begins with a dot"),
        ("./{name}", "'.', which begins with a dot"),
        (".hidden/{name}", "begins with a dot"),
        (".{name}", "begins with a dot"),
        ("{year}/{month}", "no {name} in its last part"),
        ("{name}/{year}", "no {name} in its last part"),
        ("{name}/data", "no {name} in its last part"),
        ("C:\\{name}", "not every file system supports"),
        ("a:b/{name}", "not every file system supports"),
        ("a\0b/{name}", "not every file system supports"),
        ("-x/{name}", "not every file system supports"),
        ("{year}./{name}", "not every file system supports"),
        (" {year}/{name}", "not every file system supports"),
        ("nul/{name}", "not every file system supports"),
        ("x" * 300 + "/{name}", "not every file system supports"),
    ],
)
def test_what_cannot_be_is_said(text, said):
    with pytest.raises(SettingsError) as caught:
        Layout.parse(text)
    assert said in str(caught.value)


def test_layouts_are_values():
    assert Layout.parse("date") == Layout.parse("{year}/{month}/{day}/{name}")
    assert Layout.parse("{year}/{year}_{name}").fields == ("year", "name")


HOSTILE = st.lists(
    st.sampled_from(
        ["/", "\\", "\0", "..", ".", " ", "-", "~", "{name}", "{", "CON", "\u202e", "S2A_"]
    )
    | st.text(max_size=5),
    max_size=8,
).map("".join)
VALUES = HOSTILE | st.integers() | st.floats(allow_nan=True) | st.booleans()
KEYS = ("platformShortName", "productType", "processingLevel", "tileId", "relativeOrbitNumber")
TEMPLATES = st.sampled_from(["flat", "date", ALL, "{orbit}{tile}/{level}_{name}", "a/{name}.bak"])


@given(TEMPLATES, HOSTILE, HOSTILE, st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, VALUES)))
def test_no_product_leaves_the_folder(template, name, own_name, attributes):
    one = Product(id="0a5c8f2e", name=own_name, sensing_start=MOMENT, attributes=attributes)
    layout = Layout.parse(template)
    path = layout.path(one, name)
    assert len(path.parts) == layout.template.count("/") + 1
    for kind in (PurePosixPath, PureWindowsPath):
        parts = kind("out", path).parts
        assert parts == ("out", *path.parts)
    for part in path.parts:
        assert 0 < len(part.encode()) <= LONGEST
        assert not part.startswith(".")
        assert not set(part) & set("/\\:\0\u202e")


@given(st.text(alphabet=string.ascii_letters + "{}/.!:[]-_ \\", max_size=30))
def test_any_text_is_a_layout_or_a_settings_error(text):
    try:
        layout = Layout.parse(text)
    except SettingsError:
        return
    layout.path(product(), S2)
