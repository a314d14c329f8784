"""``explain``: the query in words, as a filter that can be read, as an address; how much it is."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from noa_async import Query, Settings
from noa_async.catalogue.geometry import Area
from noa_async.catalogue.known import PLATFORMS, PRODUCT_TYPES, doubts
from noa_async.catalogue.rules import MissionRule
from noa_async.catalogue.swapping import swapped
from noa_async.cli.conditions import Condition, Found, asking, conditions, findings
from noa_async.cli.outline import outline
from noa_async.cli.sounding import reasons
from noa_async.cli.spread import MOST_CELLS, Amounts, cells, closing, estimated, last_of, missions
from noa_async.cli.stage import MISSION_RULES, ROI, TIME_CONFIG
from noa_async.emulator import Emulator, EmulatorSettings, make_product
from noa_async.errors import ServiceFault

from .conftest import Open, Program

EXAMPLE = Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG)


def joined(lines: list[str]) -> str:
    text = " ".join(line.strip() for line in lines)
    return text.replace("( ", "(").replace(" )", ")")


def test_an_outline_is_the_filter() -> None:
    lines = outline(EXAMPLE.filter)
    assert joined(lines) == EXAMPLE.filter
    assert lines[:3] == [
        "(",
        "  ContentDate/Start ge 2026-01-11T00:00:00.000Z",
        "  and ContentDate/End le 2026-01-19T23:59:59.999Z",
    ]
    assert lines[5:8] == [")", "and (", "  ("]
    assert lines[-1].startswith("and OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((14.72 ")
    assert all(line.count("any(") < 2 for line in lines)


ATOMS = st.sampled_from(
    [
        "Online eq true",
        "Name eq 'it''s (and) or'",
        "ContentLength in (1, 2)",
        "contains(Name,'S2A (x')",
        "Attributes/X/any(att:att/Name eq 'a' and att/X/Value eq 'b')",
        "OData.CSC.Intersects(area=geography'SRID=4326;POINT(22 38)')",
    ]
)
FILTERS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"not ({text})"),
    ),
    max_leaves=12,
)


@given(FILTERS)
def test_nothing_is_lost_in_an_outline(text: str) -> None:
    lines = outline(text)
    assert joined(lines) == text
    depth = 0
    for line in lines:
        depth -= line.strip().startswith(")")
        assert line.startswith("  " * depth)
        assert not line.startswith("  " * depth + " ")
        depth += line.endswith("(")
    assert depth == 0


def test_a_query_comes_apart_into_its_conditions() -> None:
    rule = {"platform": "SENTINEL-2", "product_type": ["A", "B"], "cloud_min": 5, "cloud_max": 20}
    query = Query(
        rules=[rule], roi="22,38,23,39", content=("2026-01-11", None), raw="Online eq true"
    )
    assert [part.words for part in conditions(query)] == [
        "SENTINEL-2",
        "product type A or B",
        "cloud cover 5 to 20 %",
        "in the area from 22 to 23 east, 38 to 39 north",
        "sensed from 2026-01-11",
        "the filter Online eq true",
    ]
    assert [part.words for part in conditions(EXAMPLE)] == [
        "one of the 2 rules",
        "in the area from 14.72 to 22.19 east, 37.62 to 41.46 north",
        "sensed from 2026-01-11 to 2026-01-19",
        "published from 2026-01-11 to 2026-01-19",
    ]


@pytest.mark.parametrize("query", [EXAMPLE, Query(rules=[MISSION_RULES[0]], roi="22,38,24,40")])
def test_the_conditions_together_are_the_query(query: Query) -> None:
    catalogue = Emulator(EmulatorSettings(products=600)).catalogue
    whole = {one.id for one in catalogue.select(query.filter, [])}
    assert whole
    assert {one.id for one in catalogue.select(asking(conditions(query)).filter, [])} == whole


A, B, C = (Condition(word, "") for word in ("A", "B", "C"))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([Found(A, 0, 0)], ["No product matches 'A'."]),
        (
            [Found(A, 0, 7), Found(B, 7, 0)],
            ["No product matches 'A'; without it 7 products match."],
        ),
        (
            [Found(A, 0, 0), Found(B, 5, 0), Found(C, 3, 0)],
            ["No product matches 'A'; no product matches the other conditions either."],
        ),
        (
            [Found(A, 5, 1), Found(B, 7, 0), Found(C, 7, 0)],
            [
                (
                    "'A' excludes every product that matches the other conditions: "
                    "without it 1 product matches."
                )
            ],
        ),
        (
            [Found(A, 5, 2), Found(B, 7, 4), Found(C, 7, 0)],
            [
                (
                    "Each condition matches some products, but no product matches all: "
                    "2 without 'A', 4 without 'B'."
                )
            ],
        ),
        (
            [Found(A, 5, 0), Found(B, 7, 0), Found(C, 7, 0)],
            [
                (
                    "Each condition matches some products, but dropping a single one is not "
                    "enough: widen two or more."
                )
            ],
        ),
    ],
)
def test_what_empties_an_answer_is_said(found: list[Found], said: list[str]) -> None:
    assert findings(found)[-len(said) :] == said
    assert len(findings(found)) == (1 if len(found) == 1 else len(found) + 3)


@pytest.mark.parametrize(
    ("roi", "other"),
    [
        ("22,38,23,39", "POLYGON((38 22, 38 23, 39 23, 39 22, 38 22))"),
        ("POINT(23.70 38)", "POINT(38 23.70)"),
        ("120,38,121,39", None),
    ],
)
def test_an_area_the_other_way_round(roi: str, other: str | None) -> None:
    turned = swapped(Area.read(roi))
    assert (turned and turned.parts) == (other and (other,))
    assert turned is None or swapped(turned) == Area.read(roi)


@pytest.mark.parametrize(
    ("rule", "doubt"),
    [
        ({"platform": "SENTINEL2"}, ("SENTINEL2 is not a known platform; did you mean "
         "SENTINEL-2?")),
        ({"platform": "Landsat"}, "Landsat is not a known platform."),
        ({"product_type": "S2MSI2B"}, ("No mission is known to have the product type S2MSI2B; did "
         "you mean S2MSI2A?")),
        ({"platform": "SENTINEL-3", "product_type": "S2MSI2A"}, ("SENTINEL-3 is not known to have "
         "the product type S2MSI2A.")),
        ({"platform": ["SENTINEL-3", "SENTINEL-2"], "product_type": "S2MSI2A"}, None),
        ({"cloud_max": 20}, None),
    ],
)  # fmt: skip
def test_what_is_not_known_is_doubted(rule: dict[str, object], doubt: str | None) -> None:
    assert doubts([MissionRule.from_mapping(rule)]) == ([doubt] if doubt else [])


def test_what_the_mirror_is_made_of_is_not_doubted() -> None:
    for product in Emulator(EmulatorSettings(products=3000)).catalogue.products:
        platform = str(product.attributes["platformShortName"])
        assert product.attributes["productType"] in PRODUCT_TYPES[platform]
    assert doubts(EXAMPLE.rules) == []


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("rules", "first", "last", "spans"),
    [
        (["SENTINEL-2"], "2026-01-11", "2026-03-01", ["2026-01", "2026-02", "2026-03"]),
        (PLATFORMS, "2025-01-01", "2025-12-31", [f"2025-{month:02}" for month in range(1, 13)]),
        (PLATFORMS, "2025-01-01", "2026-01-01", ["2025", "2026"]),
        (["SENTINEL-2"], "2014-10-03", "2026-01-01", [str(year) for year in range(2014, 2027)]),
        (PLATFORMS, "1900-01-01", "2026-12-30", [""]),
        (["SENTINEL-2"], "2026-02-01", "2026-01-01", []),
    ],
)
def test_what_is_counted_stays_cheap(rules, first: str, last: str, spans: list[str]) -> None:
    query = Query(rules=[{"platform": platform} for platform in rules])
    made = cells(query, at(first), at(last))
    assert [cell.span for cell in made if cell.mission == rules[0]] == spans
    assert len(made) == len(spans) * len(rules) <= MOST_CELLS


def test_the_cells_are_all_there_is_and_nothing_twice() -> None:
    catalogue = Emulator(EmulatorSettings(products=500)).catalogue
    query = Query(roi="20,35,27,41")
    made = cells(query, at("2026-01-05"), at("2026-02-05"))
    counts = [len(catalogue.select(cell.filter, [])) for cell in made]
    assert sum(counts) == len(catalogue.select(query.filter, []))
    assert len(made) == 8


def test_what_is_in_no_cell_is_told() -> None:
    query = Query(rules=[{"platform": "SENTINEL-2"}])
    made = cells(query, at("2026-01-05"), at("2026-02-05"))
    amounts = estimated(made, [10, 5], {"SENTINEL-2": 2e9}, 18, 7)
    assert amounts.rows()[1:] == [
        ("SENTINEL-2", "2026-01", "10", "about 20.0 GB"),
        ("SENTINEL-2", "2026-02", "5", "about 10.0 GB"),
        ("other", "", "3", "unknown"),
        ("total", "", "18", "about 30.0 GB"),
    ]
    assert "estimated from 7 products" in closing(amounts, 4)
    assert Amounts().rows()[1:] == [("total", "", "0", "unknown")]


def test_the_missions_are_those_of_the_rules() -> None:
    assert missions(EXAMPLE) == ("SENTINEL-1", "SENTINEL-2")
    assert missions(Query(rules=[{"cloud_max": 20}, {"platform": "SENTINEL-2"}])) == PLATFORMS
    assert missions(Query(everything=True)) == PLATFORMS
    late = replace(EXAMPLE, published=(None, "2026-01-15"))
    assert last_of(late, at("2026-11-01")) == late.published.end


async def test_it_tells_words_filter_and_address(program: Program) -> None:
    (program.folder / "query.toml").write_text(
        f'roi = "{ROI}"\nlimit = 5\n[[rules]]\nplatform = "SENTINEL-2"\ncloud_max = 20\n'
    )
    ended = await program("explain", "--config", "query.toml")
    assert ended.code == 0
    assert ended.err.startswith("Nothing was counted because no user name and password were found")
    words, filter_, address = re.split(r"\n\n", ended.out.strip())
    assert words.splitlines() == [
        "Query:",
        "  SENTINEL-2, cloud cover up to 20 %",
        "  in the area from 14.72 to 22.19 east, 37.62 to 41.46 north",
        "  at most 5 products",
    ]
    query = Query.from_toml(program.folder / "query.toml")
    assert joined(filter_.splitlines()[1:]) == query.filter
    assert address.startswith("First page:\n  https://sentinels.space.noa.gr/catalogue/odata/")
    assert unquote(address).count(query.filter) == 1
    ended = await program("explain", "--everything", "--counts")
    assert ended.code == 3


async def test_the_address_is_what_a_search_asks_first(serve, program: Program) -> None:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response({"access_token": "a", "expires_in": 300})
        asked.append(request.raw_path)
        return web.json_response({"value": [], "@odata.count": 0})

    url = await serve(answer)
    program.environ |= {
        "NOA_CATALOGUE_URL": f"{url}/Products",
        "NOA_TOKEN_URL": f"{url}/token",
        "NOA_USERNAME": "demo",
        "NOA_PASSWORD": "demo",
    }
    query = ("--roi", "22,38,23,39", "--rule", "platform=SENTINEL-2", "--content-end", "2026-01-19")
    assert (await program("search", *query)).code == 0
    told = (await program("explain", *query, "--no-counts")).out
    assert f"  {url}{asked[0]}\n" in told


async def test_a_short_answer_is_listed_whole(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=120)
    ended = await noa("explain", "--everything", "--limit", "3")
    told = ended.out.split("Matching products, ignoring the limit:\n")[1].splitlines()
    assert ended.code == 0
    products = mirror.catalogue.products
    rows = [re.split(r" {2,}", line.strip()) for line in told[1:-2]]
    for mission, span, count, _ in rows[:-1]:
        held = [
            one for one in products
            if one.attributes["platformShortName"] == mission and f"{one.start:%Y-%m}" == span
        ]  # fmt: skip
        assert len(held) == int(count)
    assert rows[-1][:2] == ["total", "120"]
    assert "about" not in ended.out
    assert f"{mirror.stats.pages} requests made" in told[-1]


async def test_a_long_answer_is_counted_and_its_bytes_are_an_estimate(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=3000)
    query = ("--everything", "--content-end", "2026-02-28")
    ended = await noa("explain", *query)
    assert ended.code == 0
    whole = sum(one.size for one in mirror.catalogue.products)
    [row] = [line for line in ended.out.splitlines() if line.strip().startswith("total")]
    assert "  3000  about " in row
    told = float(row.split("about ")[1].split()[0]) * 1e6
    assert 0.5 * whole < told < 2 * whole
    assert len(re.findall(r"SENTINEL-\w+ +2026-0[12] ", ended.out)) == 8
    asked = re.search(r"(\d+) requests made. The sizes are estimated from \d+ products", ended.out)
    assert asked is not None
    assert int(asked[1]) == mirror.stats.pages == 1 + 4 + 8


async def test_an_empty_answer_is_taken_apart(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=400)
    rule = "platform=SENTINEL-2,product_type=S2MSI2B"
    ended = await noa("explain", "--rule", rule, "--content-start", "2026-01-06")
    assert ended.code == 0
    lines = ended.out.splitlines()
    held = [one for one in mirror.catalogue.products
            if one.attributes["platformShortName"] == "SENTINEL-2"]  # fmt: skip
    late = sum(one.start >= at("2026-01-06") for one in held)
    assert re.search(rf"  SENTINEL-2 +{len(held)} +0\n", ended.out)
    assert re.search(rf"  product type S2MSI2B +0 +{late}\n", ended.out)
    assert lines[-2] == (
        f"No product matches 'product type S2MSI2B'; without it {late} products match."
    )
    assert lines[-1] == f"{mirror.stats.pages} requests made."
    assert mirror.stats.pages == 7
    note, doubt = ended.err.splitlines()
    assert note.startswith("Products that cross the start or end of the time range are excluded")
    assert doubt == (
        "SENTINEL-2 is not known to have the product type S2MSI2B; did you mean S2MSI2A?"
    )


async def test_swapped_coordinates_are_noticed_where_they_would_match(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(make_product("S2A.SAFE"), make_product("S2B.SAFE"))
    warning = (
        "The area may have latitude and longitude swapped: 2 products match in the area from "
        "22 to 23 east, 38 to 39 north."
    )
    ended = await noa("explain", "--roi", "38,22,39,23")
    assert warning in ended.out.splitlines()
    for verb in ("search", "count", "download"):
        mirror.stats.reset()
        ended = await noa(verb, "--roi", "38,22,39,23")
        assert ended.code == 0
        assert ended.err.splitlines() == [
            f"No product matches. {warning}",
            (
                "Run noa-async explain with the same query to see which condition excludes all "
                "products."
            ),
        ]
    for roi in ("22,38,23,39", "-60,-30,-59,-29"):  # right as it is; wrong both ways
        assert "swapped" not in (await noa("search", "--roi", roi)).err


async def test_a_hint_that_cannot_be_had_spoils_nothing() -> None:
    class Away:
        settings = Settings()

        async def count(self, _query: Query) -> int:
            raise ServiceFault("The catalogue answered 503.")

    query = Query(roi="38,22,39,23", rules=[{"platform": "SENTINEL-2", "product_type": "S2MSI2"}])
    assert await reasons(Away(), query) == doubts(query.rules)  # type: ignore[arg-type]


async def test_an_empty_mirror_is_said(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=0)
    ended = await noa("explain", "--everything")
    assert ended.out.splitlines()[-2:] == [
        "No product matches: the catalogue is empty.",
        "1 request made.",
    ]
