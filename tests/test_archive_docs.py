"""What docs/archive.md says: its commands run, its tables are the code's."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from noa_async.archive.states import State
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.settings import KEYS, Following, Settings

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "archive.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ (noa-async .*)$", TEXT, re.MULTILINE)


def table(head: str) -> list[list[str]]:
    rows = TEXT.split(head, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_state_is_told() -> None:
    told = [name for row in table("| State |") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(State)


def test_the_settings_are_those_of_the_code() -> None:
    rows = table("| Setting |")
    assert len(rows) == len(Following.__slots__)
    for _, option, variable, default in rows:
        key = option.strip("`-").replace("-", "_")
        assert key in KEYS
        assert variable == f"`NOA_{key.upper()}`"
        assert Settings().with_values({key: default.strip("`")}) == Settings()


async def test_its_commands_run(tmp_path: Path) -> None:
    """In their order, in one folder; the one that stays is parsed with the others in the CLI's."""
    (tmp_path / "query.toml").write_text("everything = true\n")
    async with Emulator(EmulatorSettings(products=12, mean_bytes=2000)) as mirror:
        environment = os.environ | {
            "NOA_CATALOGUE_URL": mirror.catalogue_url,
            "NOA_TOKEN_URL": mirror.token_url,
            "NOA_USERNAME": "demo",
            "NOA_PASSWORD": "demo",
            "PYTHONPATH": str(DOCS.parent),
        }
        run = [line for line in COMMANDS if "--watch" not in line]
        assert len(run) == 5
        for line in run:
            await _run(shlex.split(line)[1:], tmp_path, environment)
    products = [path for path in (tmp_path / "archive").rglob("*") if path.is_file()]
    held = [path for path in products if ".noa-async" not in path.parts]
    assert len(held) == 12
    assert all(path.parent.parent.name == "2026" for path in held)


async def _run(arguments: list[str], folder: Path, environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "noa_async", *arguments, cwd=folder, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, error = await process.communicate()
    assert process.returncode == 0, (arguments, out, error)
