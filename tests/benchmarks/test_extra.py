"""What the benchmarks import is in the extra that their README tells to install."""

from __future__ import annotations

import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"benchmarks", "noa_async"}


def imported(module: Path) -> set[str]:
    """The packages, of others, that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names - OURS - sys.stdlib_module_names


@pytest.mark.parametrize(
    "module", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda module: module.stem
)
def test_what_is_imported_is_in_the_extra(module: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["bench"]
    known = {text.partition(">=")[0].partition(";")[0].strip() for text in wanted}
    for name in imported(module):
        assert known & set(packages_distributions().get(name, [name])), name
