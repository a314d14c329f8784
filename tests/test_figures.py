"""The figures of the structure, counted in a made-up package whose figures are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "scripts/figures.py"
MADE_UP = {
    "__init__.py": "",
    "a.py": "from made_up.sub import b\n\nclass Twice:\n    pass\n",
    "sub/__init__.py": "",
    "sub/b.py": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from made_up.a import Twice\n"
        "def late():\n"
        "    from made_up.sub.c import Once\n"
    ),
    "sub/c.py": "class Twice:\n    pass\n\nclass Once:\n    pass\n",
}


def figures(folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_figures_of_a_package(tmp_path: Path) -> None:
    package = tmp_path / "made_up"
    for name, text in MADE_UP.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text)
    code, said = figures(package)
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert code == 0
    assert rows == [
        "modules 5",
        "lines 14",
        "modules at the top level 1",
        "modules with one importer 3",
        "... and under 80 lines 3 made_up.a, made_up.sub.b, made_up.sub.c",
        "class names used twice or more 1 Twice x 2",
        "import cycles 1 made_up.a -> made_up.sub.b -> made_up.a",
    ]


def test_a_folder_that_is_no_package_is_named(tmp_path: Path) -> None:
    assert figures(tmp_path) == (2, f"figures: {tmp_path} is no package: it has no __init__.py\n")
