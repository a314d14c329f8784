"""The fault suite's results as tables: on the terminal, in Markdown, and in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.machine import sentence

ROOT = Path(__file__).parent.parent
JSON = ROOT / "benchmarks" / "results" / "faults.json"
MARKDOWN = ROOT / "benchmarks" / "results" / "faults.md"
DOCS = ROOT / "docs" / "faults.md"

Results = dict[str, Any]

_MEASURED = re.compile(r"\| `(\w+)` \|")
_SHORT = {"wrong bytes under the product's name, said so": "wrong bytes, said so"}


def words(cell: dict[str, Any]) -> str:
    """A cell of the tables.

    >>> words({"outcome": "whole", "exit": 0, "files": ["whole"], "sent": 1.5, "leaked": 0})
    'whole (exit 0, 1.50x)'
    """
    said = _SHORT.get(cell["outcome"], cell["outcome"])
    broken = set(cell["files"]) & {"part", "wrong"}
    if broken == {"part"}:
        said = said.replace("wrong bytes", "a part").replace("WRONG BYTES", "A PART")
    code = "no exit" if cell["exit"] is None else f"exit {cell['exit']}"
    leaked = ", token leaked" if cell["leaked"] else ""
    return f"{said} ({code}, {cell['sent']:.2f}x{leaked})"


def totals(results: Results) -> dict[str, dict[str, int]]:
    """For each tool, how many rows ended how."""
    counts: dict[str, dict[str, int]] = {name: {} for name in results["tools"]}
    for row in results["rows"]:
        for name, cell in row["cells"].items():
            counts[name][cell["outcome"]] = counts[name].get(cell["outcome"], 0) + 1
    return counts


def terminal(results: Results) -> str:
    """The table in plain text."""
    head = ["fault", *results["tools"]]
    body = [[row["key"], *map(words, row["cells"].values())] for row in results["rows"]]
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *body)
    ]
    return "\n".join([*lines, "", *_counted(results)])


def markdown(results: Results) -> str:
    """The results' own page."""
    products = results["products"]
    tools = results["tools"]
    made = (
        f"Measured on {results['date']}: {sentence(results['machine'])}. "
        f"{products['number']} products of {products['bytes'][0] / 2**20:.0f} MiB a run, "
        f"{results['rate'] / 1e6:.0f} MB/s a connection, loopback. How to read it: "
        "[README](../README.md)."
    )
    lines = [
        "# Faults",
        "",
        made,
        "",
        *_table(["Fault", "", *tools], _body(results)),
        "",
        *(f"- {line}" for line in _counted(results)),
        "",
        "## The tools",
        "",
        *_table(["Tool", "Version", "Flags", "Beside them"], _tools(results)),
    ]
    return "\n".join(lines) + "\n"


def write(results: Results) -> None:
    """Keep the results, as JSON and as Markdown."""
    JSON.write_text(json.dumps(results, indent=1) + "\n")
    MARKDOWN.write_text(markdown(results))


def refreshed(text: str, results: Results) -> str:
    """The documentation's fault tables with the measured columns, the last ones, as they are now.

    A row is known by its key in the first column; rows without one stay as they are.
    """
    rows = {row["key"]: row["cells"] for row in results["rows"]}
    lines = []
    for line in text.splitlines():
        found = _MEASURED.match(line)
        if found and found[1] in rows:
            cells = [words(cell) for cell in rows[found[1]].values()]
            kept = line.strip().strip("|").split("|")[: -len(cells)]
            line = f"|{'|'.join(kept)}| {' | '.join(cells)} |"  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines) + "\n"


def refresh_docs(results: Results) -> None:
    """Bring the documentation's measured columns up to date."""
    DOCS.write_text(refreshed(DOCS.read_text(), results))


def _body(results: Results) -> list[list[str]]:
    return [
        [f"`{row['key']}`", row["title"], *map(words, row["cells"].values())]
        for row in results["rows"]
    ]


def _tools(results: Results) -> list[list[str]]:
    described = []
    for name, tool in results["tools"].items():
        flags = f"`{tool['flags']}`"
        if tool["fresh"]:
            flags += f"; in an empty folder `{tool['fresh']}`"
        if tool["resume"]:
            flags += f"; with partial files `{tool['resume']}`"
        described.append([name, tool["version"], flags, tool["by_hand"]])
    return described


def _counted(results: Results) -> list[str]:
    return [
        f"{name}: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        for name, counts in totals(results).items()
    ]


def _table(head: list[str], body: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(line)} |" for line in lines]
