"""Mission rules: each key's clause, the text form, every refusal."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.catalogue.names import split_rule
from noa_async.catalogue.rules import RULE_KEYS, MissionRule
from noa_async.errors import QueryError

STRINGS = {
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
TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), max_codepoint=0x2FFF), min_size=1
).filter(str.strip)


def string(attribute: str, compared: str) -> str:
    return (
        f"Attributes/OData.CSC.StringAttribute/any(att:att/Name eq '{attribute}' "
        f"and att/OData.CSC.StringAttribute/Value {compared})"
    )


def cloud(compared: str) -> str:
    return (
        "Attributes/OData.CSC.DoubleAttribute/any(att:att/Name eq 'cloudCover' "
        f"and att/OData.CSC.DoubleAttribute/Value {compared})"
    )


def make(**keys: Any) -> MissionRule:
    return MissionRule(**keys)


def test_the_keys_are_those_of_the_reference() -> None:
    assert set(RULE_KEYS) == {*STRINGS, "cloud_min", "cloud_max"}


@pytest.mark.parametrize(("key", "attribute"), STRINGS.items())
@pytest.mark.parametrize(
    ("value", "compared"),
    [
        ("A", "eq 'A'"),
        (["A"], "in ('A')"),
        (("A", "B"), "in ('A', 'B')"),
        ("VV,VH", "eq 'VV,VH'"),
        ("O'Neil", "eq 'O''Neil'"),
        (["O'Neil", "é b"], "in ('O''Neil', 'é b')"),
        (2, "eq '2'"),
    ],
)
def test_each_string_key(key: str, attribute: str, value: object, compared: str) -> None:
    assert make(**{key: value}).clauses == (string(attribute, compared),)
    assert make(**{key: value}).filter == f"({string(attribute, compared)})"


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"cloud_max": 20}, ["le 20"]),
        ({"cloud_min": 0}, ["ge 0"]),
        ({"cloud_min": 2, "cloud_max": 80}, ["ge 2", "le 80"]),
        ({"cloud_min": 5, "cloud_max": 5}, ["ge 5", "le 5"]),
        ({"cloud_max": 20.5}, ["le 20.5"]),
        ({"cloud_max": 1e-7}, ["le 0.0000001"]),
        ({"cloud_min": -0.0}, ["ge 0.0"]),
        ({"cloud_max": "20"}, ["le 20"]),
        ({"cloud_max": "20.5"}, ["le 20.5"]),
        ({"cloud_max": 100}, ["le 100"]),
    ],
)
def test_cloud_cover(keys: dict[str, object], expected: list[str]) -> None:
    assert make(**keys).clauses == tuple(map(cloud, expected))


def test_all_keys_stand_in_the_reference_order() -> None:
    rule = make(cloud_max=3, cloud_min=1, **dict.fromkeys(reversed(STRINGS), "x"))
    strings = [string(attribute, "eq 'x'") for attribute in STRINGS.values()]
    assert rule.clauses == (*strings, cloud("ge 1"), cloud("le 3"))
    assert rule.filter == f"({' and '.join(rule.clauses)})"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "no condition matches everything. Add one"),
        ({"platform": ""}, "platform is empty. Leave it out"),
        ({"platform": "  "}, "platform is empty."),
        ({"platform": []}, "platform is an empty list."),
        ({"platform": ["A", ""]}, "platform is empty."),
        ({"platform": True}, "platform is True, which is not a string."),
        ({"platform": [None]}, "platform is None, which is not a string."),
        ({"platform": {"A"}}, "platform is {'A'}, which is not a string."),
        ({"platform": [["A"]]}, "platform is ['A'], which is not a string."),
        ({"platform": 1.5}, "platform is 1.5, which is not a string."),
        (
            {"platform": "A\nB"},
            r"platform has a character that cannot be sent: '\n', at position 2.",
        ),
        ({"platform": "A\x7f"}, r"cannot be sent: '\x7f', at position 2."),
        ({"platform": "\ud800"}, r"cannot be sent: '\ud800', at position 1."),
        ({"cloud_min": 30, "cloud_max": 20}, "cloud_min 30 is greater than cloud_max 20"),
        ({"cloud_max": 101}, "cloud_max is 101; cloud cover must be a number from 0 to 100."),
        ({"cloud_min": -1}, "cloud_min is -1; cloud cover must be a number from 0 to 100."),
        ({"cloud_max": True}, "cloud_max is True;"),
        ({"cloud_max": float("nan")}, "cloud_max is nan;"),
        ({"cloud_max": "many"}, "cloud_max is 'many';"),
        ({"cloud_max": "nan"}, "cloud_max is 'nan';"),
        ({"cloud_max": "²"}, "cloud_max is '²';"),
        ({"cloud_max": [20]}, "cloud_max is [20];"),
    ],
)
def test_refusals(keys: dict[str, object], sentence: str) -> None:
    with pytest.raises(QueryError, match=re.escape(sentence)):
        make(**keys)


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("plattform", "Did you mean platform?"),
        ("Platform", "Did you mean platform?"),
        ("platformShortName", "Did you mean platform?"),
        ("mission", "Did you mean platform?"),
        ("producttype", "Did you mean product_type?"),
        ("productType", "Did you mean product_type?"),
        ("polarization", "Did you mean polarisation?"),
        ("cloudmax", "Did you mean cloud_max?"),
        ("cloudCover", "Did you mean cloud_max?"),
        ("opmode", "Did you mean op_mode?"),
        ("zzz", "There are: platform, serial, product_type, "),
        (3, "There are: platform"),
    ],
)
def test_a_typo_names_the_nearest_key(key: Any, near: str) -> None:
    with pytest.raises(QueryError, match=re.escape(f"There is no rule key {key}. {near}")):
        MissionRule.from_mapping({key: "x"})


def test_from_mapping_refuses_what_is_no_table() -> None:
    with pytest.raises(QueryError, match="A rule must be a table of keys and values, not 'x'"):
        MissionRule.from_mapping("x")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match=r"platform is None\. Leave it out"):
        MissionRule.from_mapping({"platform": None})


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (
            "platform=SENTINEL-2,product_type=S2MSI2A|S2MSI1C,cloud_max=20",
            {
                "platform": "SENTINEL-2",
                "product_type": ["S2MSI2A", "S2MSI1C"],
                "cloud_max": 20,
            },
        ),
        (" platform = A , orbit = B | C ", {"platform": "A", "orbit": ["B", "C"]}),
        (r"polarisation=VV\,VH|HH", {"polarisation": ["VV,VH", "HH"]}),
        (r"serial=a\|b", {"serial": "a|b"}),
        (r"serial=a\\,level=2", {"serial": "a\\", "level": "2"}),
        ("serial=a=b", {"serial": "a=b"}),
        ("cloud_min=2.5", {"cloud_min": 2.5}),
    ],
)
def test_text_form(text: str, keys: dict[str, Any]) -> None:
    assert MissionRule.parse(text) == make(**keys)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has '' in place of key=value"),
        ("platform", "has 'platform' in place of key=value"),
        ("platform=A,", "has '' in place of key=value"),
        ("polarisation=VV,VH", r"has 'VH' in place of key=value. Write it as"),
        ("polarisation=VV,VH", r"Write a comma within a value as \,."),
        ("platform=", "platform is empty"),
        ("platform=A|", "platform is empty"),
        ("=A", "There is no rule key ''."),
        ("level=1,level=2", "has level twice. Write level=A|B"),
        (r"level=a\b", r"has a backslash before 'b'. Write \, for a comma"),
        ("level=a\\", "has a backslash before 'nothing'."),
        ("colour=red", "There is no rule key colour."),
        ("cloud_max=1|2", "cloud_max is ['1', '2'];"),
        ("cloud_max=lots", "cloud_max is 'lots';"),
    ],
)
def test_text_refusals(text: str, sentence: str) -> None:
    with pytest.raises(QueryError, match=re.escape(sentence)):
        MissionRule.parse(text)


@given(st.lists(TEXT.map(str.strip), min_size=1, max_size=3))
def test_escaped_values_come_back(values: list[str]) -> None:
    escaped = "|".join(re.sub(r"([\\,|])", r"\\\1", value) for value in values)
    split = split_rule(f"platform=x,serial={escaped}")
    assert split == {"platform": "x", "serial": values if len(values) > 1 else values[0]}


@given(st.text())
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    try:
        MissionRule.parse(text)
    except QueryError:
        return


@given(TEXT)
def test_no_value_leaves_its_quotes(value: str) -> None:
    clause = make(platform=value).clauses[0]
    held = clause.removeprefix(string("platformShortName", "eq '")[:-1]).removesuffix("')")
    assert "'" not in held.replace("''", "")
    assert held.replace("''", "'") == value


def test_a_rule_is_frozen_hashable_and_short() -> None:
    rule = make(platform="A", level=["1"])
    assert repr(rule) == "MissionRule(platform='A', level=('1',))"
    assert rule == MissionRule.from_mapping({"platform": "A", "level": ["1"]})
    assert len({rule, make(platform="A", level=("1",))}) == 1
