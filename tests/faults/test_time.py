"""Time (rows 3.6 and 3.8) and values (row 3.7): what belongs to a range, and what is none."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from noa_async import MissionRule, Query, QueryError
from noa_async.catalogue.known import doubts
from noa_async.catalogue.moments import TimeRange, TimeRelation, parse_instant
from noa_async.cli.conditions import asking, conditions
from noa_async.cli.explain import time_note
from noa_async.cli.words import sensed_words
from noa_async.emulator import Catalogue, Emulator, EmulatorSettings, make_product
from noa_async.emulator import Product as Held
from noa_async.services import SERVICES

from ..cli.conftest import Open
from ..integration.conftest import Connect

DAY = timedelta(days=1)
FIRST = datetime(2026, 1, 11, tzinfo=UTC)
LONG = EmulatorSettings(
    products=60,
    mean_bytes=1000,
    start=datetime(2026, 1, 10, tzinfo=UTC),
    end=datetime(2026, 1, 16, tzinfo=UTC),
    long_products=True,
)


def belongs(product: Held, relation: str, start: datetime, end: datetime) -> bool:
    """What the three relations mean, written down once more; ``end`` is the first instant after."""
    last = end - timedelta(milliseconds=1)
    if relation == "within":
        return product.start >= start and product.end <= last
    if relation == "touches":
        return product.end >= start and product.start <= last
    return start <= product.start < end


def matching(catalogue: Catalogue, query: Query) -> set[str]:
    return {product.id for product in catalogue.select(query.filter, [])}


@pytest.mark.parametrize("relation", list(TimeRelation))
@pytest.mark.parametrize("days", [1, 4])
def test_row_3_6_each_relation_is_what_it_says(relation: str, days: int) -> None:
    catalogue = Emulator(LONG).catalogue
    last = date(2026, 1, 11) + (days - 1) * DAY
    query = Query(content=("2026-01-11", last), time=relation)
    wanted = {
        product.id
        for product in catalogue.products
        if belongs(product, relation, FIRST, FIRST + days * DAY)
    }
    assert matching(catalogue, query) == wanted
    assert wanted


def test_row_3_6_the_emulator_has_products_that_cross_midnight_and_last_for_days() -> None:
    plain = Emulator(replace(LONG, long_products=False)).catalogue.products
    products = Emulator(LONG).catalogue.products
    assert {one.id for one in plain} <= {one.id for one in products}
    crossing = [one for one in products if one.start.date() != one.end.date()]
    assert len(crossing) >= 10
    assert any(one.end - one.start > DAY for one in crossing)
    assert any(one.end - one.start == timedelta(minutes=101) for one in products)


@pytest.mark.parametrize(
    ("relation", "lost", "twice"),
    [("within", True, False), ("touches", False, True), ("starts", False, False)],
)
def test_row_3_6_day_by_day(relation: str, lost: bool, twice: bool) -> None:
    """Only ``starts`` is a loop that neither loses a product nor has it twice."""
    catalogue = Emulator(LONG).catalogue
    days = [date(2026, 1, 9) + n * DAY for n in range(8)]
    whole = matching(catalogue, Query(content=(days[0], days[-1]), time=relation))
    found = [
        product for day in days
        for product in matching(catalogue, Query(content=(day, day), time=relation))
    ]  # fmt: skip
    assert (set(found) < whole, len(set(found)) < len(found)) == (lost, twice)
    if not lost:
        assert set(found) == whole == {product.id for product in catalogue.products}


instants = st.integers(0, 4 * 86_400_000).map(lambda ms: FIRST + timedelta(milliseconds=ms))


@given(
    st.lists(st.tuples(instants, st.integers(0, 2 * 86_400_000)), min_size=1, max_size=12),
    st.lists(instants, min_size=2, max_size=5, unique=True),
)
def test_row_3_6_any_ranges_that_meet_hold_each_product_once(
    times: list[tuple[datetime, int]], edges: list[datetime]
) -> None:
    products = [
        make_product(f"P{n}.nc", 100, start=start, end=start + timedelta(milliseconds=length))
        for n, (start, length) in enumerate(times)
    ]
    catalogue = Catalogue(products)
    edges = sorted(edges)
    found = [
        product
        for pair in pairwise(edges)
        for product in matching(catalogue, Query(content=pair, time="starts"))
    ]
    assert sorted(found) == sorted(
        {one.id for one in products if edges[0] <= one.start < edges[-1]}
    )


@pytest.mark.parametrize("relation", list(TimeRelation))
@pytest.mark.parametrize("counts", [True, False])
async def test_row_3_6_a_listing_in_windows_loses_nothing(
    connect: Connect, relation: str, counts: bool
) -> None:
    """Windows are cut by the start of sensing, whatever the query asks for."""
    products = [
        make_product(
            f"P{n}.nc",
            100,
            start=FIRST + timedelta(minutes=3 * n),
            end=FIRST + timedelta(minutes=3 * n, hours=(n * 7) % 60),
        )
        for n in range(2400)
    ]
    settings = EmulatorSettings(counts=counts, max_skip=200)
    query = Query(content=("2026-01-12", "2026-01-14"), time=relation)
    async with Emulator(settings, catalogue=Catalogue(products)) as mirror:
        async with connect(mirror) as noa:
            found = [product.id async for product in noa.search(query)]
    wanted = {one.id for one in products if belongs(one, relation, FIRST + DAY, FIRST + 4 * DAY)}
    assert len(found) == len(set(found))
    assert set(found) == wanted
    assert len(wanted) > 750


@pytest.mark.parametrize(
    ("relation", "filter_"),
    [
        ("within", "(ContentDate/Start ge {0} and ContentDate/End le {1})"),
        ("touches", "(ContentDate/End ge {0} and ContentDate/Start le {1})"),
        ("starts", "(ContentDate/Start ge {0} and ContentDate/Start lt {2})"),
    ],
)
def test_row_3_6_the_filters(relation: str, filter_: str) -> None:
    query = Query(content=("2026-01-11", "2026-01-11"), time=relation)
    times = ("2026-01-11T00:00:00.000Z", "2026-01-11T23:59:59.999Z", "2026-01-12T00:00:00.000Z")
    assert query.filter == filter_.format(*times)
    assert Query(time=relation, everything=True).filter == ""
    start_only = Query(content=("2026-01-11", None), time=relation)
    assert start_only.filter == f"({filter_[1:].partition(' and ')[0].format(*times)})"


def test_row_3_6_the_references_form_stays() -> None:
    query = Query.from_reference(
        [], None, {"content_start": "2026-01-11", "content_end": "2026-01-11"}
    )
    assert query.time is TimeRelation.WITHIN
    assert query.filter == (
        "(ContentDate/Start ge 2026-01-11T00:00:00.000Z "
        "and ContentDate/End le 2026-01-11T23:59:59.999Z)"
    )


@pytest.mark.parametrize(
    ("end", "after"),
    [
        ("2026-01-11", "2026-01-12T00:00:00.000Z"),  # all of the day
        ("2026-01", "2026-02-01T00:00:00.000Z"),
        ("2026", "2027-01-01T00:00:00.000Z"),
        (date(2026, 1, 11), "2026-01-12T00:00:00.000Z"),
        ("2026-01-12T00:00:00Z", "2026-01-12T00:00:00.000Z"),  # an instant is left out
        ("2026-01-11T23:59:59.999Z", "2026-01-11T23:59:59.999Z"),
        (datetime(2026, 1, 12, tzinfo=UTC), "2026-01-12T00:00:00.000Z"),
        ("9999-12-31", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_row_3_6_the_end_of_a_half_open_range(end: Any, after: str) -> None:
    query = Query(content=("2025-01-01", end), time="starts")
    assert query.filter.endswith(f"ContentDate/Start lt {after})")
    # Another relation of the same query means the same time, and back again.
    touches = replace(query, time="touches")
    assert replace(touches, time="starts") == query
    assert str(TimeRange.read(query.content, "content", half_open=True)) == str(query.content)


def test_row_3_6_the_same_query_in_other_relations() -> None:
    query = Query(content=("2026-01-11", "2026-01-12"))
    assert replace(query, time="starts") == Query(
        content=("2026-01-11", "2026-01-12"), time="starts"
    )
    assert replace(replace(query, time="starts"), time="within") == query


@pytest.mark.parametrize("bad", ["inside", "", None, 3, "Touches it"])
def test_row_3_6_another_relation_is_refused(bad: Any) -> None:
    with pytest.raises(QueryError, match="within, touches or starts"):
        Query(everything=True, time=bad)
    with pytest.raises(QueryError, match="within, touches or starts"):
        Query.from_mapping({"everything": True, "time": {"relation": bad}})


def test_row_3_6_a_range_of_no_instant_is_refused() -> None:
    noon = "2026-01-11T12:00:00Z"
    assert Query(content=(noon, noon)).content.end is not None
    with pytest.raises(QueryError, match="at its end, which is exclusive"):
        Query(content=(noon, noon), time="starts")


async def test_row_3_6_options_file_and_words(open_mirror: Open) -> None:
    day = ("--content-start", "2026-01-12", "--content-end", "2026-01-12")
    _, noa = await open_mirror(
        products=60, long_products=True, start=LONG.start, end=LONG.end, mean_bytes=1000
    )
    counts = {}
    for relation in TimeRelation:
        ended = await noa("count", *day, "--time", relation)
        assert ended.code == 0
        counts[relation] = int(ended.out.split()[0])
        (noa.folder / "query.toml").write_text(
            '[time]\ncontent_start = "2026-01-12"\ncontent_end = "2026-01-12"\n'
            f'relation = "{relation}"\n'
        )
        assert (await noa("count", "--config", "query.toml")).out == ended.out
    assert counts["within"] < counts["starts"] < counts["touches"]
    assert (await noa("count", *day)).out.split()[0] == str(counts["within"])
    # What the file says is replaced by the option.
    ended = await noa("count", "--config", "query.toml", "--time", "touches")
    assert ended.out.split()[0] == str(counts["touches"])
    ended = await noa("explain", *day)
    assert "(--time within, the default)" in ended.err
    assert "Use --time touches to include them" in ended.err
    for verb in ("search", "count", "explain", "download", "mirror"):
        text = " ".join((await noa(verb, "--help")).out.split())
        assert "--time [within|touches|starts]" in text
        assert "within, those sensed entirely between them (default)" in text
    assert (await noa("count", *day, "--time", "before")).code == 2


def test_row_3_6_a_query_says_how_products_belong_to_its_time() -> None:
    query = Query(content=("2026-01-11", "2026-01-19"))
    assert sensed_words(query) == "sensed from 2026-01-11 to 2026-01-19"
    assert "are excluded (--time within" in time_note(query)
    query = replace(query, time="starts")
    assert sensed_words(query) == "sensing began from 2026-01-11 to 2026-01-19"
    noon = Query(content=(None, "2026-01-11T12:00:00Z"), time="starts")
    assert sensed_words(noon) == "sensing began to before 2026-01-11T12:00:00.000Z"
    assert time_note(Query(published=("2026-01-11", None))) == ""


@pytest.mark.parametrize("relation", list(TimeRelation))
def test_row_3_6_the_conditions_together_are_the_query(relation: str) -> None:
    catalogue = Emulator(LONG).catalogue
    query = Query(
        content=("2026-01-11", "2026-01-12"), published=("2026-01-01", None), time=relation
    )
    whole = matching(catalogue, query)
    assert matching(catalogue, asking(conditions(query))) == whole
    assert whole


async def test_row_3_6_months_of_what_touches_are_all_counted(open_mirror: Open) -> None:
    """What began in the month before has its place in the table, too."""
    _, noa = await open_mirror(
        products=3000,
        mean_bytes=1000,
        long_products=True,
        start=datetime(2026, 1, 20, tzinfo=UTC),
        end=datetime(2026, 2, 10, tzinfo=UTC),
    )
    ended = await noa("explain", "--content-start", "2026-02-01", "--time", "touches",
                      "--rule", "platform=SENTINEL-5P|SENTINEL-1|SENTINEL-2")  # fmt: skip
    assert ended.code == 0
    assert "SENTINEL-5P  2026-01" in ended.out
    assert "other" not in ended.out


# 3.8: instants that are none.


class Wild(tzinfo):
    """A zone of an offset that no place on Earth has."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=25)

    def dst(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _: datetime | None) -> str:
        return "wild"


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-11T10:00:00+25:00",
        "2026-01-11T10:00:00-24:00",
        "2026-01-11T10:00:00+24:00",
        "2026-01-11T10:00:00+99:99",
        "2026-01-11 10:00 +2500",
        "Jan 11 2026 10:00 +9999",
        "2026-01-11T10:00:00+99999999",
        "2026-01-11T10:00:00.5+1e9",
        "10000-01-01",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
        "2026-01-11T25:00",
        "2026-13-45",
        "99999999999999999999",
        "1e999999999",
        "2026-01-11T10:00:00" + "0" * 5000,
        "-2026-01-11",
        "inf",
        "nan",
        datetime(2026, 1, 11, tzinfo=Wild()),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5))),
        10**5000,
        1.5,
        True,
    ],
    ids=range(25),
)
def test_row_3_8_instants_that_are_none_are_refused_in_a_sentence(moment: Any) -> None:
    for content in ((moment, None), (None, moment)):
        for relation in TimeRelation:
            with pytest.raises(QueryError) as caught:
                Query(content=content, time=relation)
            assert len(str(caught.value)) < 400


@given(st.text(st.sampled_from("0123456789-+:T.Z eEJan/"), max_size=30))
@profile(max_examples=400)
def test_row_3_8_any_text_is_an_instant_or_refused(text: str) -> None:
    try:
        instant = parse_instant(text, "start", end=True)
    except QueryError:
        return
    assert instant.tzinfo is UTC


async def test_row_3_8_they_end_with_two(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=1)
    for given_ in (
        ("--content-start", "2026-01-11T10:00:00+25:00"),
        ("--pub-end", "2026-01-11T10:00:00+24:00"),
        ("--content-end", "10000-01-01"),
        ("--rule", f"cloud_max={'9' * 5000}"),
        ("--rule", "cloud_max=1e999"),
        ("--rule", "cloud_max=nan"),
    ):
        ended = await noa("count", *given_)
        assert ended.code == 2
        assert ended.err.startswith("noa-async: ")
    assert mirror.stats.requests == 0


@pytest.mark.parametrize(
    "value", [10**5000, -(10**5000), float("nan"), [10**5000], {10**5000}], ids=range(5)
)
@pytest.mark.parametrize("key", ["cloud_max", "level", "orbit", "platform"])
def test_row_3_8_values_that_are_none_are_refused_in_a_sentence(key: str, value: Any) -> None:
    with pytest.raises(QueryError):
        MissionRule.from_mapping({key: value})


# 3.7: values that match nothing.


@pytest.mark.parametrize(
    ("rule", "meant"),
    [
        ({"orbit": "descending"}, "DESCENDING"),
        ({"orbit": "Ascending"}, "ASCENDING"),
        ({"orbit": "DESC"}, "DESCENDING"),
        ({"orbit": "north"}, "not a known value."),
        ({"orbit": "93"}, "relativeOrbitNumber"),
        ({"orbit": 93}, "Value eq 93)"),
        ({"orbit": "093"}, "Value eq 93)"),
        ({"platform": "sentinel-2"}, "SENTINEL-2?"),
        ({"platform": "S2"}, "SENTINEL-2?"),
        ({"platform": "S2A"}, "SENTINEL-2 and serial=A?"),
        ({"platform": "Sentinel2"}, "SENTINEL-2?"),
        ({"platform": "sentinel 5p"}, "SENTINEL-5P?"),
        ({"platform": "SENTINEL-2", "product_type": "s2msi2a"}, "S2MSI2A"),
        ({"platform": "SENTINEL-2", "product_type": "L2A"}, "S2MSI2A"),
        ({"product_type": "MSIL1C"}, "S2MSI1C"),
        ({"platform": "SENTINEL-1", "product_type": "GRD"}, "IW_GRDH_1S"),
        ({"serial": "a"}, "did you mean A?"),
        ({"polarisation": "vv,vh"}, "VV,VH"),
        ({"polarisation": "VH,VV"}, "VV,VH"),
        ({"polarisation": "VV&VH"}, "VV,VH"),
        ({"polarisation": "VV VH"}, "VV,VH"),
        ({"timeliness": "nrt-3H"}, "NRT-3h"),
        ({"timeliness": "offline"}, "Off-line"),
        ({"instrument": "olci"}, "OLCI"),
        ({"instrument": "TROPOMY"}, "TROPOMI"),
        ({"op_mode": "iw"}, "IW"),
        ({"proc_mode": "offl"}, "OFFL"),
        ({"level": "l2"}, "L2"),
        ({"level": "S2MSI2B"}, "S2MSI2A"),
    ],
)
def test_row_3_7_what_matches_nothing_is_doubted(rule: dict[str, Any], meant: str) -> None:
    [doubt] = doubts([MissionRule.from_mapping(rule)])
    assert meant in doubt


@pytest.mark.parametrize(
    "rule",
    [
        {"orbit": ["ASCENDING", "DESCENDING"]},
        {"polarisation": ["VV", "VV,VH", "HH,HV"]},
        {"level": ["2", "L2", "L1b", "LEVEL1", "S2MSI2A"]},
        {"serial": "P"},
        {"timeliness": "SOMETHING ELSE"},
        {"op_mode": "Earth Observation"},
    ],
)
def test_row_3_7_what_may_be_right_is_not_doubted(rule: dict[str, Any]) -> None:
    assert doubts([MissionRule.from_mapping(rule)]) == []


def test_row_3_7_the_emulators_own_values_are_not_doubted() -> None:
    keys = {
        "platform": "platformShortName", "product_type": "productType", "orbit": "orbitDirection",
        "serial": "platformSerialIdentifier", "polarisation": "polarisationChannels",
        "timeliness": "timeliness", "instrument": "instrumentShortName",
        "level": "processingLevel", "op_mode": "operationalMode", "proc_mode": "processingMode",
    }  # fmt: skip
    for product in Emulator(EmulatorSettings(products=2000)).catalogue.products:
        held = {key: product.attributes.get(name) for key, name in keys.items()}
        rule = MissionRule.from_mapping({key: value for key, value in held.items() if value})
        assert doubts([rule]) == []


def test_row_3_7_a_service_that_writes_a_value_in_its_own_way() -> None:
    spellings = SERVICES["cdse"].habits.spellings
    rule = MissionRule(polarisation="VV,VH")
    assert doubts([rule]) == []
    assert doubts([rule], spellings) == ["This service spells polarisation VV,VH as VV&VH."]
    assert doubts([MissionRule(polarisation="VV&VH")], spellings) == []
    assert doubts([MissionRule(polarisation="VH,VV")], spellings) == [
        "polarisation VH,VV is not a known value; did you mean VV&VH?"
    ]


@pytest.mark.parametrize("verb", ["search", "count", "download", "mirror", "explain"])
async def test_row_3_7_it_is_told_where_nothing_matches(open_mirror: Open, verb: str) -> None:
    _, noa = await open_mirror(products=30)
    ended = await noa(verb, "--rule", "orbit=descending")
    assert ended.code == 0
    assert "did you mean DESCENDING?" in ended.err
    ended = await noa(verb, "--rule", "orbit=93")
    assert "relativeOrbitNumber" in ended.err
    if verb == "search":  # what is offered can be used
        command = ended.err.split('--filter "')[1].split('".')[0]
        ended = await noa("search", "--filter", command, "--format", "json")
        assert (ended.code, json.loads(ended.out)) == (0, json.loads(ended.out))
