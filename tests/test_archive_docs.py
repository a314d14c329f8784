"""What the tables of docs/archive.md say is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from noa_async.archive.states import State
from noa_async.settings import KEYS, Following, Settings

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "archive.md").read_text("utf-8")


def table(head: str) -> list[list[str]]:
    rows = TEXT.split(head, 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_every_state_is_told() -> None:
    told = [name for row in table("| State |") for name in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(State)


def test_the_settings_are_those_of_the_code() -> None:
    rows = table("| Setting |")
    told = set()
    for _, option, variable, default in rows:
        key = variable.strip("`").removeprefix("NOA_").lower()
        told.add(key)
        assert option in {"", f"`--{key.replace('_', '-')}`", "`--no-check-files`"}
        assert Settings().with_values({key: default.strip("`")}) == Settings()
    assert told == set(Following.__slots__) & set(KEYS)
