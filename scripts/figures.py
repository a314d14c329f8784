#!/usr/bin/env python3
"""Print figures of the structure of a package, read from its source; none of it is imported.

Usage: scripts/figures.py [FOLDER], where FOLDER is the package (default: noa_async).
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SMALL = 80
"""Lines: a shorter module with one importer belongs to that importer."""


def modules_of(package: Path) -> dict[str, ast.Module]:
    """Return the parsed modules of a package by dotted name; a package has its folder's name."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports_of(name: str, tree: ast.Module, known: Mapping[str, object]) -> set[str]:
    """Return the modules of the same package that a module imports, wherever in its text.

    Imports under TYPE_CHECKING and inside functions count.
    """

    def asked() -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (one if one in known else node.module for one in inner)

    return {one for one in asked() if one in known and one != name}


def cycles_of(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return import cycles that share no import, each as a path that ends where it begins."""
    left = {name: set(others) for name, others in graph.items()}
    found = []
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            path = list(reversed(error.args[1]))
            found.append(path)
            for importer, imported in itertools.pairwise(path):
                left[importer].discard(imported)
        else:
            return found


def main(arguments: list[str]) -> int:
    """Print the figures of the package in the folder given."""
    package = Path(arguments[0]) if arguments else Path(__file__).parent.parent / "noa_async"
    if not (package / "__init__.py").is_file():
        print(f"figures: {package} is no package: it has no __init__.py", file=sys.stderr)
        return 2
    package = package.resolve()
    trees = modules_of(package)
    graph = {name: imports_of(name, tree, trees) for name, tree in trees.items()}
    lines = {name: sum(1 for _ in _file_of(package, name).open(encoding="utf-8")) for name in trees}
    top = [name for name in trees if name.count(".") == 1 and not _is_package(package, name)]
    importers: defaultdict[str, set[str]] = defaultdict(set)
    for name, imported in graph.items():
        for one in imported:
            importers[one].add(name)
    once = [name for name in trees if len(importers[name]) == 1]
    classes = Counter(
        node.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    )
    repeated = sorted(f"{name} x {count}" for name, count in classes.items() if count > 1)
    cycles = cycles_of(graph)
    rows = [
        ("modules", len(trees), ""),
        ("lines", sum(lines.values()), ""),
        ("modules at the top level", len(top), ""),
        ("modules with one importer", len(once), ""),
        (
            f"... and under {SMALL} lines",
            len(small := [one for one in once if lines[one] < SMALL]),
            ", ".join(small),
        ),
        ("class names used twice or more", len(repeated), ", ".join(repeated)),
        ("import cycles", len(cycles), "; ".join(" -> ".join(cycle) for cycle in cycles)),
    ]
    for label, figure, detail in rows:
        print(f"{label:32} {figure:>7}" + (f"  {detail}" if detail else ""))
    return 0


def _file_of(package: Path, name: str) -> Path:
    path = package.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _is_package(package: Path, name: str) -> bool:
    return package.parent.joinpath(*name.split(".")).is_dir()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
