"""Queries: the reference's filters, the TOML form, the URL's encoding, every refusal."""

import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.query import Clause, Query, encode_query, quote_odata
from noa_async.catalogue.rules import MissionRule
from noa_async.errors import QueryError

ROI = "POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62, 14.72 37.62, 14.72 41.46))"
TIME_CONFIG = {
    "content_start": "2026-01-11T00:00:00.000Z",
    "content_end": "2026-01-19T23:59:59.999Z",
    "pub_start": "2026-01-11T00:00:00.000Z",
    "pub_end": "2026-01-19T23:59:59.999Z",
}
MISSION_RULES: list[dict[str, object]] = [
    {
        "platform": "SENTINEL-1",
        "product_type": ["S2_GRDM_1S", "IW_OCN__2S"],
        "polarisation": ["HH", "VV", "VV,VH"],
        "orbit": ["DESCENDING"],
    },
    {"platform": "SENTINEL-2", "product_type": ["S2MSI2A"], "cloud_min": 0, "cloud_max": 20},
]
README_FILTER = (
    "(ContentDate/Start ge 2026-01-11T00:00:00.000Z and ContentDate/End le 2026-01-19T23:59:59.999Z"
    " and PublicationDate ge 2026-01-11T00:00:00.000Z and PublicationDate le"
    " 2026-01-19T23:59:59.999Z) and ((Attributes/OData.CSC.StringAttribute/any(att:att/Name eq"
    " 'platformShortName' and att/OData.CSC.StringAttribute/Value eq 'SENTINEL-1') and"
    " Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'productType' and"
    " att/OData.CSC.StringAttribute/Value in ('S2_GRDM_1S', 'IW_OCN__2S')) and"
    " Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'polarisationChannels' and"
    " att/OData.CSC.StringAttribute/Value in ('HH', 'VV', 'VV,VH')) and"
    " Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'orbitDirection' and"
    " att/OData.CSC.StringAttribute/Value in ('DESCENDING'))) or"
    " (Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'platformShortName' and"
    " att/OData.CSC.StringAttribute/Value eq 'SENTINEL-2') and"
    " Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'productType' and"
    " att/OData.CSC.StringAttribute/Value in ('S2MSI2A')) and"
    " Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover' and"
    " att/OData.CSC.DoubleAttribute/Value ge 0) and"
    " Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover' and"
    " att/OData.CSC.DoubleAttribute/Value le 20))) and"
    " OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((14.72 41.46, 22.19 41.46, 22.19 37.62,"
    " 14.72 37.62, 14.72 41.46))')"
)
S1 = MissionRule(platform="SENTINEL-1")
S1_FILTER = (
    "Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'platformShortName' "
    "and att/OData.CSC.StringAttribute/Value eq 'SENTINEL-1')"
)


def test_the_reference_readme_example_byte_for_byte() -> None:
    assert Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG).filter == README_FILTER


def test_the_same_in_this_library_s_words() -> None:
    query = Query(
        rules=[MissionRule.from_mapping(MISSION_RULES[0]), MISSION_RULES[1]],
        roi=ROI,
        content=(date(2026, 1, 11), "2026-01-19"),
        published=("2026-01-11", date(2026, 1, 19)),
    )
    assert query.filter == README_FILTER
    assert query == Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG)


LONG_RULES: list[dict[str, object]] = [
    {
        "platform": "SENTINEL-1",
        "serial": ["A", "B"],
        "product_type": ["S2_GRDM_1S", "S6_GRDM_1S", "S6_OCN__2S", "IW_OCN__2S"],
        "polarisation": ["HH", "VV", "HV", "VH", "VV,VH", "HH,HV"],
        "op_mode": ["WV", "EW", "IW", "SM"],
        "orbit": ["ASCENDING", "DESCENDING"],
        "timeliness": ["Reprocessing", "Off-line", "Fast-24h", "NRT-3h", "NRT-1h", "NRT-10m"],
    },
    {
        "platform": "SENTINEL-2",
        "serial": ["A", "B"],
        "product_type": ["S2MSI1C", "S2MSI2A"],
        "cloud_min": 2,
        "cloud_max": 80,
    },
    {
        "platform": "SENTINEL-3",
        "serial": ["A", "B"],
        "product_type": ["SR_2_LAN_LI"],
        "instrument": ["SRAL", "SLSTR", "SYNERGY", "OLCI"],
        "level": ["2", "1"],
        "timeliness": ["ST", "NT", "NR"],
    },
    {
        "platform": "SENTINEL-5P",
        "product_type": ["L2__AER_AI", "L2__CO____", "L2__O3_TCL"],
        "proc_mode": ["NRTI", "OFFL", "RPRO"],
        "level": ["L1b", "L2"],
    },
]
LONG_ATTRIBUTES = {
    "platform": "platformShortName",
    "serial": "platformSerialIdentifier",
    "product_type": "productType",
    "polarisation": "polarisationChannels",
    "orbit": "orbitDirection",
    "timeliness": "timeliness",
    "instrument": "instrumentShortName",
    "level": "processingLevel",
    "op_mode": "operationalMode",
    "proc_mode": "processingMode",
}


def long_clause(key: str, value: object) -> str:
    if key in {"cloud_min", "cloud_max"}:
        compared = f"{'ge' if key == 'cloud_min' else 'le'} {value}"
        return (
            "Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover' and "
            f"att/OData.CSC.DoubleAttribute/Value {compared})"
        )
    listed = ", ".join(f"'{each}'" for each in value) if isinstance(value, list) else ""
    compared = f"in ({listed})" if listed else f"eq '{value}'"
    return (
        f"Attributes/OData.CSC.StringAttribute/any(att:att/Name eq '{LONG_ATTRIBUTES[key]}' and "
        f"att/OData.CSC.StringAttribute/Value {compared})"
    )


def test_the_reference_long_example_has_the_same_clauses() -> None:
    query = Query.from_reference(LONG_RULES, ROI, TIME_CONFIG)
    for rule, given_as in zip(query.rules, LONG_RULES, strict=True):
        assert set(rule.clauses) == {long_clause(*item) for item in given_as.items()}
        assert f"({' and '.join(rule.clauses)})" in query.filter
    joined = " or ".join(rule.filter for rule in query.rules)
    assert f") and ({joined}) and OData.CSC.Intersects(" in query.filter
    assert query.filter.startswith(README_FILTER.split(" and ((", maxsplit=1)[0])
    assert len(encode_query({"$filter": query.filter})) < 8000


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(rules=[S1]), f"(({S1_FILTER}))"),
        (Query(rules=S1), f"(({S1_FILTER}))"),  # type: ignore[arg-type]
        (
            Query(content=("2026-01-11", None)),
            "(ContentDate/Start ge 2026-01-11T00:00:00.000Z)",
        ),
        (
            Query(published=(None, "2026-01-11")),
            "(PublicationDate le 2026-01-11T23:59:59.999Z)",
        ),
        (
            Query(roi="POINT(23 38)"),
            "OData.CSC.Intersects(area=geography'SRID=4326;POINT(23 38)')",
        ),
        (
            Query(roi=["POINT(23 38)", "POINT(24 38)"]),
            (
                "(OData.CSC.Intersects(area=geography'SRID=4326;POINT(23 38)') or "
                "OData.CSC.Intersects(area=geography'SRID=4326;POINT(24 38)'))"
            ),
        ),
        (Query(raw="Online eq true"), "(Online eq true)"),
        (Query(raw=["a eq 1 or b eq 2", "c eq ')'"]), "(a eq 1 or b eq 2) and (c eq ')')"),
        (Query(raw=" a eq 1\n  or\tb eq 2 "), "(a eq 1 or b eq 2)"),
        (Query(raw="Name eq 'O''Neil ('"), "(Name eq 'O''Neil (')"),
        (Query(everything=True), ""),
        (
            Query(rules=[S1], roi="POINT(23 38)", published=("2026-01-11", None), raw=["a eq 1"]),
            (
                f"(PublicationDate ge 2026-01-11T00:00:00.000Z) and (({S1_FILTER})) and "
                "OData.CSC.Intersects(area=geography'SRID=4326;POINT(23 38)') and (a eq 1)"
            ),
        ),
    ],
)
def test_filters(query: Query, expected: str) -> None:
    assert query.filter == expected


def test_clauses_stand_alone_and_are_the_filter() -> None:
    query = replace(Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG), raw=["a eq 1"])
    labels = [clause.label for clause in query.clauses]
    assert labels == [
        "sensed from 2026-01-11T00:00:00.000Z",
        "sensed until 2026-01-19T23:59:59.999Z",
        "published from 2026-01-11T00:00:00.000Z",
        "published until 2026-01-19T23:59:59.999Z",
        "any of 2 rules",
        "area",
        "filter a eq 1",
    ]
    for clause in query.clauses:
        assert clause.filter in query.filter
        assert clause.filter.count("(") == clause.filter.count(")")
    assert Query(rules=[S1]).clauses == (Clause("the rule", f"(({S1_FILTER}))"),)


def test_a_narrower_copy() -> None:
    query = Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG, limit=5)
    narrow = replace(query, published=("2026-01-12", "2026-01-12"))
    assert str(narrow.published) == "2026-01-12T00:00:00.000Z to 2026-01-12T23:59:59.999Z"
    assert replace(narrow, published=query.published) == query
    assert narrow.limit == 5
    assert narrow.roi is query.roi


def test_a_query_is_frozen_hashable_and_pickles() -> None:
    query = Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG)
    assert len({query, Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG)}) == 1
    assert pickle.loads(pickle.dumps(query)) == query
    assert "SENTINEL-1" in repr(query)
    with pytest.raises(FrozenInstanceError):
        query.limit = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Query, "no condition: it would match the whole catalogue. Add a rule"),
        (lambda: Query(content=(None, None)), "no condition"),
        (lambda: Query(limit=3), "no condition"),
        (lambda: Query.from_reference([], "", {}), "no condition"),
        (lambda: Query.from_reference(None, None, None), "no condition"),
        (lambda: Query(roi=""), "The area is empty."),
        (
            lambda: Query(rules=[S1], limit=0),
            "limit is 0; it must be a number of products, 1 or more.",
        ),
        (lambda: Query(rules=[S1], limit=True), "limit is True;"),
        (lambda: Query(rules=[S1], limit="3"), "limit is '3';"),
        (lambda: Query(everything="yes"), "everything is 'yes'; it must be true or false."),
        (lambda: Query(rules="platform=A"), "rules is 'platform=A', not a list of rules."),
        (lambda: Query(rules=[S1, {"platfrom": "A"}]), "Rule 2: There is no rule key platfrom."),
        (lambda: Query(rules=[{"platfrom": "A"}]), "There is no rule key platfrom."),
        (lambda: Query(rules=[{}]), "A rule with no condition matches everything."),
        (lambda: Query(rules=[3]), "A rule must be a table"),
        (lambda: Query(content=("2026-01-19", "2026-01-11")), "content starts at 2026-01-19"),
        (lambda: Query(published=("2026-01-19", "2026-01-11")), "published starts at 2026-01-19"),
        (
            lambda: Query(published=("next week", None)),
            "The published start 'next week' cannot be parsed",
        ),
        (lambda: Query(raw=""), "filter is empty."),
        (lambda: Query(raw=[3]), "filter is [3], not a string or a list of strings."),
        (lambda: Query(raw=3), "filter is 3, not a string"),
        (lambda: Query(raw="a) or (b"), "has an unmatched parenthesis."),
        (lambda: Query(raw="a) or 'x' eq (b"), "has an unmatched parenthesis."),
        (lambda: Query(raw="(a"), "has an unmatched parenthesis."),
        (lambda: Query(raw="Name eq 'O'Neil'"), "has an unmatched quote. Within a value, write ''"),
        (lambda: Query(raw="Name eq 'a\nb'"), "filter has a character that cannot be sent"),
        (lambda: Query(raw="$filter=a eq 1"), "starts with $filter=. Leave out $filter=."),
        (
            lambda: Query.from_reference([], None, {"pub_strat": "2026"}),
            "There is no time key pub_strat. Did you mean pub_start?",
        ),
        (lambda: Query.from_mapping({"rule": []}), "no query key rule. Did you mean rules?"),
        (lambda: Query.from_mapping({"xx": 1}), "There are: roi, time, rules, filter, limit"),
        (lambda: Query.from_mapping({"time": "2026"}), "time is '2026', not a table. Its keys:"),
        (lambda: Query.from_mapping({"time": {"start": "2026"}}), "There is no time key start."),
        (lambda: Query.from_mapping({"rules": "x"}), "rules is 'x', not a list"),
    ],
)
def test_refusals(make: Callable[[], Query], sentence: str) -> None:
    with pytest.raises(QueryError, match=re.escape(sentence)):
        make()


TOML = f"""
roi = "{ROI}"
filter = "Online eq true"
limit = 7
[time]
content_start = "2026-01-11T00:00:00.000Z"
content_end = 2026-01-19
pub_start = 2026-01-11T00:00:00Z
pub_end = 2026-01-19T23:59:59.999
[[rules]]
platform = "SENTINEL-1"
product_type = ["S2_GRDM_1S", "IW_OCN__2S"]
polarisation = ["HH", "VV", "VV,VH"]
orbit = ["DESCENDING"]
[[rules]]
platform = "SENTINEL-2"
product_type = ["S2MSI2A"]
cloud_min = 0
cloud_max = 20
[service]
catalogue_url = "http://127.0.0.1:8080/"
[transfer]
workers = 8
"""


def test_toml(tmp_path: Path) -> None:
    (tmp_path / "query.toml").write_text(TOML)
    query = Query.from_toml(tmp_path / "query.toml")
    assert query.filter == f"{README_FILTER} and (Online eq true)"
    assert query.limit == 7


def test_changes_stand_in_for_what_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "query.toml").write_text(TOML)
    changes = {"time": {"pub_start": "2026-01-12"}, "rules": [S1], "filter": (), "limit": None}
    query = Query.from_toml(str(tmp_path / "query.toml"), changes)
    assert query.rules == (S1,)
    assert query.raw == ()
    assert query.limit is None
    assert str(query.published) == "2026-01-12T00:00:00.000Z to 2026-01-19T23:59:59.999Z"
    assert str(query.content).startswith("2026-01-11T")


def test_a_file_of_settings_alone_and_changes(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text("[service]\n")
    assert Query.from_toml(tmp_path / "service.toml", {"rules": [S1]}).rules == (S1,)
    with pytest.raises(QueryError, match="no condition"):
        Query.from_toml(tmp_path / "service.toml")


def test_an_area_beside_the_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "area.wkt").write_text("POINT(23 38)\n")
    (tmp_path / "here.wkt").write_text("POINT(1 2)")
    (tmp_path / "sub" / "query.toml").write_text('roi = "area.wkt"\n')
    monkeypatch.chdir(tmp_path)
    query = Query.from_toml("sub/query.toml")
    assert "POINT(23 38)" in query.filter
    changed = Query.from_toml("sub/query.toml", {"roi": "here.wkt"})
    assert "POINT(1 2)" in changed.filter


def test_one_rules_table_is_one_rule() -> None:
    assert Query.from_mapping({"rules": {"platform": "SENTINEL-1"}}).rules == (S1,)


def test_toml_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match=r"Cannot read .*none.toml: No such file"):
        Query.from_toml(tmp_path / "none.toml")
    with pytest.raises(QueryError, match="Is a directory"):
        Query.from_toml(tmp_path)
    (tmp_path / "bad.toml").write_text("roi = \n")
    with pytest.raises(QueryError, match=r"bad.toml is not valid TOML: .*line 1"):
        Query.from_toml(tmp_path / "bad.toml")
    (tmp_path / "latin.toml").write_bytes(b'roi = "\xe9"')
    with pytest.raises(QueryError, match="is not valid TOML"):
        Query.from_toml(tmp_path / "latin.toml")


PARAMS = st.dictionaries(st.text(min_size=1), st.text(min_size=1), max_size=5)


@given(PARAMS)
def test_whatever_is_encoded_comes_back(params: dict[str, str]) -> None:
    encoded = encode_query(params)
    assert re.fullmatch(r"[A-Za-z0-9_.~%()$@,=:;/&-]*", encoded)
    pairs = [pair.split("=", 1) for pair in encoded.split("&")] if encoded else []
    assert {unquote(key): unquote(value) for key, value in pairs} == params
    assert parse_qs(encoded.replace(";", "%3B")) == {key: [value] for key, value in params.items()}


@given(st.text())
def test_quoted_text_comes_back(text: str) -> None:
    quoted = quote_odata(text)
    assert unquote(quoted) == text
    assert not set("'+&#\" <>") & set(quoted)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", "a%20b"),
        ("O''Neil", "O%27%27Neil"),
        ("é", "%C3%A9"),
        ("a+b&c#d%e?f", "a%2Bb%26c%23d%25e%3Ff"),
        ("(),=:;/", "(),=:;/"),
        ("$", "%24"),
    ],
)
def test_quoting(text: str, expected: str) -> None:
    assert quote_odata(text) == expected


def test_encoding_refuses_half_a_surrogate_pair() -> None:
    with pytest.raises(QueryError, match="cannot"):
        Query(rules=[MissionRule(platform="\ud800")])
    with pytest.raises(QueryError, match=r"Cannot encode this text as UTF-8: '\\ud800'"):
        quote_odata("\ud800")


def test_the_filter_in_a_url() -> None:
    query = Query.from_reference(MISSION_RULES, ROI, TIME_CONFIG)
    url: Any = encode_query({"$filter": query.filter, "$orderby": "ContentDate/Start asc"})
    assert url.startswith("$filter=(ContentDate/Start%20ge%202026-01-11T00:00:00.000Z%20and%20")
    assert "geography%27SRID=4326;POLYGON((14.72%2041.46,%20" in url
    assert url.endswith("&$orderby=ContentDate/Start%20asc")
