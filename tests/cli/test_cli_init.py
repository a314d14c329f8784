"""``init``: the file it writes is a query from the first try on, whoever answers and how."""

from __future__ import annotations

import contextlib
import tomllib
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async import MissionRule, Query
from noa_async.catalogue.gazetteer import places
from noa_async.catalogue.known import PLATFORMS
from noa_async.catalogue.rules import RULE_KEYS
from noa_async.cli.answers import Answers, AreaAnswer, read_area, read_missions
from noa_async.cli.program import run
from noa_async.cli.queryfile import query_file
from noa_async.errors import QueryError

from .conftest import Program
from .conversation import converse

BOX = "POLYGON((23.5 34.75, 26.35 34.75, 26.35 35.7, 23.5 35.7, 23.5 34.75))"


async def test_options_answer_every_question(program: Program) -> None:
    ended = await program(
        *("init", "--area", "κρητη", "--missions", "S1,s2", "--cloud", "35"),
        *("--start", "2026-01-11", "--end", "2026-01-19"),
    )
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.splitlines() == [
        "Wrote query.toml. The query:",
        "  SENTINEL-1",
        "  or SENTINEL-2, cloud cover up to 35 %",
        "  in the area from 23.5 to 26.35 east, 34.75 to 35.7 north",
        "  sensed from 2026-01-11 to 2026-01-19",
        "See how much it matches: noa-async explain --config query.toml",
    ]
    assert Query.from_toml(program.folder / "query.toml") == Query(
        rules=[
            MissionRule(platform="SENTINEL-1"),
            MissionRule(platform="SENTINEL-2", cloud_max=35),
        ],
        roi=BOX,
        content=("2026-01-11", "2026-01-19"),
    )


async def test_a_file_that_is_there_is_left_alone(program: Program) -> None:
    file = program.folder / "mine.toml"
    file.write_text("everything = true\n")
    ended = await program("init", file, "--area", "Crete")
    assert ended.code == 2
    assert ended.err.splitlines() == [
        f"noa-async: {file} already exists and was not changed.",
        "Specify another file, or overwrite it with --force.",
    ]
    assert file.read_text() == "everything = true\n"
    assert (await program("init", file, "--area", "Crete", "--force")).code == 0
    assert Query.from_toml(file).roi is not None


async def test_without_a_terminal_the_area_has_to_be_given(program: Program) -> None:
    ended = await program("init")
    assert (ended.code, ended.out) == (2, "")
    assert "No area was given and there is no terminal to ask at" in ended.err
    assert not (program.folder / "query.toml").exists()
    ended = await program("init", "-", "--area", "everywhere")
    assert ended.code == 0
    query = Query.from_mapping(tomllib.loads(ended.out))
    assert (query.roi, query.rules) == (None, (MissionRule(platform="SENTINEL-2", cloud_max=20),))
    assert query.content.start is not None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--area", "Kreta"), "The gazetteer does not contain 'Kreta'."),
        (("--area", "gone.geojson"), "Cannot read the area file gone.geojson"),
        (("--area", "1,2,3"), "does not have four numbers"),
        (("--area", "Crete", "--missions", "S9"), "Unknown mission 'S9'."),
        (("--area", "Crete", "--start", "soon"), "cannot be parsed as a date or time"),
        (("--area", "Crete", "--start", "2026-02-01", "--end", "2026-01-01"), "after its end"),
        (("--area", "Crete", "--cloud", "120"), "cloud cover must be a number from 0 to 100"),
        (("--area", "Crete", "--missions", "S1", "--cloud", "20"), "--cloud applies to SENTINEL-2"),
        (("nowhere/query.toml", "--area", "Crete"), "nowhere/query.toml cannot be written"),
    ],
)
async def test_a_bad_answer_writes_nothing(program: Program, arguments, told: str) -> None:
    ended = await program("init", *arguments)
    assert ended.code == (5 if "nowhere" in arguments[0] else 2)
    assert told in ended.err
    assert not (program.folder / "query.toml").exists()


async def test_an_areas_file_is_found_from_the_query_file(program: Program) -> None:
    (program.folder / "areas").mkdir()
    (program.folder / "queries").mkdir()
    (program.folder / "areas/my area.wkt").write_text(BOX)
    ended = await program("init", "queries/a b.toml", "--area", "areas/my area.wkt")
    assert ended.code == 0
    assert "explain --config 'queries/a b.toml'" in ended.err
    written = program.folder / "queries/a b.toml"
    assert tomllib.loads(written.read_text())["roi"] == "../areas/my area.wkt"
    assert Query.from_toml(written).roi == Query(roi=BOX).roi


async def test_at_a_terminal_it_asks_and_asks_again(program: Program) -> None:
    code, shown = await converse(
        program, ["init", "--end", "none"], ["Kreta", "Crete", "s1 s2", "2026-01-11", "any"]
    )
    assert code == 0, shown
    for question in ("Area (", "Missions (", "Earliest sensing time [", "Maximum cloud cover"):
        assert question in shown
    assert "Latest sensing time" not in shown  # its option was there
    assert "The gazetteer does not contain 'Kreta'" in shown
    query = Query.from_toml(program.folder / "query.toml")
    assert [rule.platform for rule in query.rules] == ["SENTINEL-1", "SENTINEL-2"]
    assert query.rules[1].cloud_max is None
    assert query.content.end is None


async def test_at_a_terminal_nothing_is_asked_where_it_need_not(program: Program) -> None:
    arguments = ["init", "--area", "Crete", "--defaults"]
    code, shown = await converse(program, arguments, [])
    assert code == 0
    assert "Missions" not in shown


TIMES = st.none() | st.dates(min_value=date(1970, 1, 1)).map(str)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)


@given(
    area=st.sampled_from(places()).map(lambda place: place.names[0])
    | st.just("everywhere")
    | st.sampled_from([BOX, "22,38,24,39", "170,-20,-170,-10", "POINT(23.7 38)"]),
    platforms=st.lists(st.sampled_from(PLATFORMS), min_size=1, unique=True),
    times=st.tuples(TIMES, TIMES).filter(lambda two: None in two or two[0] <= two[1]),
    cloud=st.none() | st.integers(0, 100) | st.floats(0, 100),
    name=TEXT,
)
def test_what_is_written_is_what_was_asked(area, platforms, times, cloud, name) -> None:
    where = read_area(area, Path())
    text = query_file(Answers(where, tuple(platforms), *times, cloud), name)
    text.encode()
    query = Query.from_mapping(tomllib.loads(text))
    assert query == Query(
        rules=[
            MissionRule(platform=one, cloud_max=cloud if one == "SENTINEL-2" else None)
            for one in platforms
        ],
        roi=list(where.roi) if isinstance(where.roi, tuple) else where.roi,
        content=times,
    )


NAMES = TEXT.filter(lambda name: name and not set(name) & {"/", "\0"} and len(name.encode()) < 200)


@given(NAMES, NAMES)
def test_an_areas_file_may_have_any_name(name: str, query_name: str) -> None:
    with TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path(f"{name}.wkt").write_text(BOX)
        answer = read_area(f"./{name}.wkt", Path())
        text = query_file(Answers(answer, ("SENTINEL-1",), None, None, None), query_name)
        Path("query.toml").write_text(text, "utf-8", newline="")
        query = Query.from_toml("query.toml")
        assert query.roi is not None
        assert query.roi.parts == (BOX,)


def test_what_stands_as_a_remark_can_be_used(tmp_path: Path) -> None:
    """Every line that a user may uncomment is good TOML, and its key a key."""
    answers = Answers(AreaAnswer(None, "everywhere"), PLATFORMS, None, None, None)
    lines = query_file(answers, "query.toml").splitlines()
    offered = [line for line in lines if line.startswith("# ") and " = " in line]
    assert len(offered) >= 10
    used = "\n".join(line.removeprefix("# ") if line in offered else line for line in lines)
    query = Query.from_mapping(tomllib.loads(used))
    assert query.limit == 10
    assert query.published.start is not None
    assert all(rule.product_type for rule in query.rules)
    [keys] = [line for line in lines if "serial, polarisation" in line]
    told = set(keys.strip("# .").split(", "))
    assert told == set(RULE_KEYS) - {"platform", "product_type", "cloud_min", "cloud_max"}


@pytest.mark.parametrize(
    ("text", "missions"),
    [
        ("all", list(PLATFORMS)),
        ("S5P", ["SENTINEL-5P"]),
        ("sentinel-1, SENTINEL2;3", ["SENTINEL-1", "SENTINEL-2", "SENTINEL-3"]),
        ("s2 S2", ["SENTINEL-2"]),
    ],
)
def test_missions_may_be_written_short(text: str, missions: list[str]) -> None:
    assert list(read_missions(text)) == missions


@pytest.mark.parametrize("text", ["", " , ", "S7", "Landsat", "all S1"])
def test_what_is_no_mission_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        read_missions(text)


def test_help_names_it_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert capsys.readouterr().out.split("Verbs:")[1].split()[0] == "init"
