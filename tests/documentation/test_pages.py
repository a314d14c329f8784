"""Every block of every page is run, read, or says why not; then the mechanism itself."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from noa_async.catalogue.query import Query
from noa_async.emulator import Emulator, EmulatorSettings, FaultPlan
from noa_async.errors import NoaError
from noa_async.settings import Settings, file_values

from .blocks import Block, blocks, left_to
from .session import ROOT, DocumentationError, open_session

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (
        *sorted((ROOT / "docs").rglob("*.md")),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    )
}
[QUERY] = [block.text for block in blocks(PAGES["README.md"]) if block.language == "toml"]
"""What lies in `query.toml` before a page begins; its account is the README's, too."""
USER, PASSWORD = "you", "secret"


async def run_page(page: str, folder: Path) -> None:
    """Run a page's blocks in their order, in one shell, against a mirror of its own."""
    todo = [block for block in blocks(page) if block.not_run is None]
    if not any(block.language in {"console", "python"} for block in todo):
        return
    (folder / "query.toml").write_text(QUERY)
    settings = EmulatorSettings(mean_bytes=20_000, username=USER, password=PASSWORD)
    async with Emulator(settings) as mirror:
        environment = {
            "NOA_CATALOGUE_URL": mirror.catalogue_url,
            "NOA_TOKEN_URL": mirror.token_url,
            "NOA_USERNAME": USER,
            "NOA_PASSWORD": PASSWORD,
        }
        async with open_session(folder, environment) as session:
            for block in todo:
                await session.run(block)


def read_toml(text: str) -> None:
    """A plan of faults, or a query file whose settings are settings, too."""
    document: dict[str, Any] = tomllib.loads(text)
    if "faults" in document:
        FaultPlan.from_dict(document)
        return
    Query.from_mapping(document)
    Settings().with_values(file_values(document))


@pytest.mark.parametrize("name", PAGES)
async def test_what_a_page_shows_is_what_happens(name: str, tmp_path: Path) -> None:
    if left_to(PAGES[name]) is None:
        await run_page(PAGES[name], tmp_path)


@pytest.mark.parametrize("name", PAGES)
def test_no_block_is_untested(name: str) -> None:
    elsewhere = left_to(PAGES[name])
    if elsewhere is not None:
        assert Path(name).name in (ROOT / elsewhere).read_text("utf-8")
        return
    untested = [b.line for b in blocks(PAGES[name]) if not b.tested and b.not_run is None]
    assert untested == [], f"{name}: say why they are not run, in a comment above them"
    for block in blocks(PAGES[name]):
        if block.not_run is None and block.language == "toml":
            read_toml(block.text)
        if block.not_run is None and block.language == "json":
            json.loads(block.text)


def made_up(*lines: str) -> str:
    return "\n".join(lines) + "\n"


PYTHON = made_up("```python", "import asyncio", "await asyncio.sleep(0)", "print(6 * 7)", "```")


@pytest.mark.parametrize(
    ("page", "where"),
    [
        (made_up("```console", "$ true", "```", "```console", "$ false", "```"), "line 4"),
        (made_up("```console", "$ echo a", "b", "```"), "line 1"),
        (made_up("```console", "$ echo a", "a", "b", "```"), "line 1"),
        (made_up("```console", "$ exit 3", "```"), "line 1"),
        (made_up("<!-- run before: false -->"), "line 1"),
        (made_up("```python", "import nothing_of_that_name", "```"), "line 1"),
        (PYTHON + made_up("```text", "41", "```"), "line 6"),
    ],
)
async def test_a_page_that_is_wrong_fails(page: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(DocumentationError, match=where):
        await run_page(page, tmp_path)


async def test_a_page_that_is_right_passes(tmp_path: Path) -> None:
    shell = made_up(
        "<!-- run before: read_from=given.json -->",
        '```json title="given.json"',
        '{"a": 1}',
        "```",
        "```console",
        "$ cat $read_from && \\",
        "> echo 17.5 MB/s in 3 s at 127.0.0.1:8080",
        '{"a": 1}',
        "2 MB/s   in 1.5 s at 127.0.0.1:46343",
        "$ seq 9",
        "1",
        "...",
        "9",
        "```",
        "<!-- not run: it would fail -->",
        "",
        "```console",
        "$ false",
        "```",
    )
    await run_page(PYTHON + made_up("```text", "42", "```") + shell, tmp_path)


@pytest.mark.parametrize(
    ("block", "tested"),
    [
        (Block(1, "console", "$ true\n"), True),
        (Block(1, "console", "true\n"), False),
        (Block(1, "ini", "[Service]\n"), False),
        (Block(1, "ini", "[Service]\n", title="unit"), True),
        (Block(1, "text", "words\n"), False),
        (Block(1, "text", "words\n", output=True), True),
        (Block(1, "", "words\n"), False),
        (Block(1, "python", "pass\n"), True),
    ],
)
def test_which_blocks_are_tested(block: Block, tested: bool) -> None:
    assert block.tested is tested


def test_a_reason_is_for_the_next_block_alone() -> None:
    page = made_up("<!-- not run: why -->", "```sh", "a", "```", "```sh", "b", "```")
    assert [block.not_run for block in blocks(page)] == ["why", None]
    apart = made_up("<!-- not run: why -->", "Words.", "```sh", "a", "```")
    assert [block.not_run for block in blocks(apart)] == [None]


@pytest.mark.parametrize("text", ["[[rules]]\nplatfrom = 'X'\n", "[transfer]\nworker = 3\n", "a ="])
def test_a_file_that_is_wrong_is_seen(text: str) -> None:
    with pytest.raises((tomllib.TOMLDecodeError, NoaError)):
        read_toml(text)
