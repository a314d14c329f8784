"""The documentation's tables are those of the code, of the tests, and of the last benchmark."""

from __future__ import annotations

import ast
import inspect
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import fault_tables
from noa_async import errors
from noa_async.cli import endings
from noa_async.cli.program import program
from noa_async.emulator import FaultKind
from noa_async.events import Status

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
FAULTS = (DOCS / "faults.md").read_text()
TABLES = (DOCS / "reference-tables.md").read_text()
RESULTS = json.loads(fault_tables.JSON.read_text())
NAMED = re.compile(r"`(test_\w+)(?:\[(\w+)\])?`")


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def functions() -> set[str]:
    return {
        node.name
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def tried_kinds() -> set[str]:
    """The kinds that `CASES` of the fault tests holds."""
    tree = ast.parse((TESTS / "integration" / "test_faults.py").read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CASES":
            assert isinstance(node.value, ast.Dict)
            return {key.attr.lower() for key in node.value.keys if isinstance(key, ast.Attribute)}
    return set()


@pytest.mark.parametrize("kind", FaultKind, ids=lambda kind: kind.value)
def test_every_fault_of_the_emulator_has_its_row(kind):
    headings = {
        "product": "A product's bytes",
        "label": "Wrong labels of correct bytes",
        "page": "A page of the catalogue",
    }
    rows = table(FAULTS, headings.get(kind.scope, "The log-in"))
    found = [row for row in rows if row[0] == f"`{kind.value}`"]
    assert len(found) == 1
    assert found[0][1]


def test_every_test_that_is_named_exists():
    named = NAMED.findall(FAULTS)
    assert len(named) > 60
    assert {name for name, _ in named} <= functions()
    assert {case for _, case in named} <= tried_kinds() | {"", "KIND"}


@pytest.mark.parametrize("heading", ["The connection", "Disk and process"])
def test_every_row_names_its_test(heading):
    assert all(NAMED.search(row[-1]) for row in table(FAULTS, heading))


def test_the_peers_columns_are_those_of_the_last_run():
    rows = {row["key"]: row for row in RESULTS["rows"]}
    documented = table(FAULTS, "A product's bytes")
    assert [row[0].strip("`") for row in documented] == list(rows)
    assert fault_tables.refreshed(FAULTS, RESULTS) == FAULTS
    assert f"| {' | '.join(RESULTS['tools'])} |" in FAULTS


def test_the_exit_codes_are_those_of_the_code():
    documented = [int(row[0]) for row in table(TABLES, "Exit codes")]
    classes = [each for each in vars(errors).values() if is_error(each)]
    codes = {0, endings.INTERRUPTED, endings._OUR_FAULT, endings._NOBODY_READS}
    assert {endings._USAGE, endings._DESTINATION} <= {each.exit_code for each in classes}
    assert documented == sorted(codes | {each.exit_code for each in classes})


def test_the_help_tells_the_same_exit_codes():
    said = re.search(r"Exit codes:.*", program.epilog or "", re.DOTALL)
    assert said is not None
    codes = [int(code) for code in re.findall(r"\d+", said[0])]
    assert sorted(codes) == [int(row[0]) for row in table(TABLES, "Exit codes")]


def test_the_statuses_are_those_of_the_code():
    documented = [tuple(row) for row in table(TABLES, "Statuses")]
    assert documented == [
        (f"`{status}`", f"`Status.{status.name}`", described[status.name])
        for described in [status_docstrings()]
        for status in Status
    ]


def status_docstrings() -> dict[str, str]:
    """The sentence beneath each member, which Python itself does not keep."""
    [definition] = ast.parse(inspect.getsource(Status)).body
    assert isinstance(definition, ast.ClassDef)
    body = definition.body
    return {
        ast.unparse(member.targets[0]): sentence.value.value
        for member, sentence in pairwise(body)
        if isinstance(member, ast.Assign)
        and isinstance(sentence, ast.Expr)
        and isinstance(sentence.value, ast.Constant)
    }


def is_error(value: object) -> bool:
    return inspect.isclass(value) and value.__module__ == errors.__name__


def test_the_errors_are_those_of_the_code():
    documented = {tuple(row) for row in table(TABLES, "Errors")}
    assert documented == {
        (
            f"`{name}`",
            f"`{value.__base__.__name__}`",
            str(value.exit_code),
            "yes" if value.retryable else "no",
            (inspect.getdoc(value) or "").splitlines()[0],
        )
        for name, value in vars(errors).items()
        if is_error(value)
    }
