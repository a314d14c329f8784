"""The fault suite: how it judges, what it covers, and a run of one fault with our own tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import fault_tables
from benchmarks.__main__ import main
from benchmarks.fault_rows import ROWS
from benchmarks.judging import File, Outcome, judge
from benchmarks.tools import TOOLS
from noa_async.emulator import FaultKind

WHOLE, MISSING, PART, WRONG = File


@pytest.mark.parametrize(
    ("files", "code", "outcome"),
    [
        ([WHOLE, WHOLE], 0, Outcome.WHOLE),
        ([WHOLE, WHOLE], 1, Outcome.WHOLE_SAID_FAILED),
        ([WHOLE, MISSING], 1, Outcome.MISSING_SAID),
        ([WHOLE, MISSING], 0, Outcome.MISSING_SILENT),
        ([MISSING, PART], 1, Outcome.WRONG_SAID),
        ([WHOLE, PART], 0, Outcome.WRONG_SILENT),
        ([MISSING, WRONG], 0, Outcome.WRONG_SILENT),
        ([WHOLE, WHOLE], None, Outcome.HUNG),
    ],
)
def test_the_worst_file_and_the_exit_code_decide(files, code, outcome):
    assert judge(files, code) is outcome


def test_every_fault_of_a_product_has_a_row():
    kinds = {fault.kind for row in ROWS for fault in row.faults}
    assert kinds == {kind for kind in FaultKind if kind.scope == "product"}
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_a_fault_is_met_and_survived(capsys):
    arguments = ["--only", "cut", "--tool", "noa-async", "--products", "1", "--no-write"]
    assert main(["faults", *arguments, "--size", "100000"]) == 0
    assert "noa-async: 1 whole" in capsys.readouterr().out


def test_every_fault_was_dealt_out_in_the_kept_run():
    results = json.loads(fault_tables.JSON.read_text())
    planned = {row.key: row for row in ROWS}
    assert [row["key"] for row in results["rows"]] == list(planned)
    for row in results["rows"]:
        assert set(row["cells"]) == {tool.name for tool in TOOLS}
        if planned[row["key"]].faults:
            assert all(cell["struck"] for cell in row["cells"].values())


def test_in_the_kept_run_noa_async_is_never_wrong_and_never_silent():
    results = json.loads(fault_tables.JSON.read_text())
    ours = {row["key"]: row["cells"]["noa-async"] for row in results["rows"]}
    assert {key for key, cell in ours.items() if cell["outcome"] != "whole"} == {"forbidden"}
    assert ours["forbidden"]["outcome"] == "missing, said so"
    assert not any(cell["leaked"] for cell in ours.values())


def test_the_kept_markdown_is_that_of_the_kept_json():
    results = json.loads(fault_tables.JSON.read_text())
    assert fault_tables.MARKDOWN.read_text() == fault_tables.markdown(results)


def test_only_measured_cells_are_refreshed():
    cell = {"outcome": "whole", "exit": 0, "files": ["whole"], "sent": 1.0, "leaked": 0}
    results = {"rows": [{"key": "cut", "cells": {"a": cell}}]}
    text = "| Fault | Said | a |\n|---|---|---|\n| `cut` | goes on | old |\n| `else` | x | y |\n"
    assert fault_tables.refreshed(text, results) == text.replace("old", "whole (exit 0, 1.00x)")


def test_the_kept_results_name_no_place():
    text = fault_tables.JSON.read_text() + fault_tables.MARKDOWN.read_text()
    assert str(Path.home()) not in text
    assert "/tmp" not in text
    assert "127.0.0.1" not in text
