"""The reference is whole: every public name, every option, every setting has its place."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

import noa_async
from noa_async.archive.states import State
from noa_async.cli.program import VERBS
from noa_async.services import Service
from noa_async.settings import KEYS, Settings
from scripts.docstrings import laid_out
from scripts.pages import cli_pages, on_page_markdown

DOCS = Path(__file__).parent.parent.parent / "docs"
REFERENCE = {path.name: path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md")}
WHOLE = ("noa_async.errors", "noa_async.events", "noa_async.settings")
"""Modules whose every public name is shown."""


def documented() -> set[str]:
    """The names that the reference is made of."""
    return {
        name
        for page in REFERENCE.values()
        for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)
    }


@pytest.mark.parametrize("name", noa_async.__all__)
def test_every_public_name_has_its_place(name: str) -> None:
    home = getattr(getattr(noa_async, name), "__module__", "")
    if name == "Event":  # a union has no home of its own
        home = "noa_async.events"
    assert home in WHOLE or f"noa_async.{name}" in documented()
    assert set(WHOLE) <= documented()


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_stands_on_its_verbs_page(verb: str) -> None:
    page = cli_pages()[f"reference/cli/{verb}.md"]
    command = import_module(VERBS[verb].module).command
    options = [one for one in command.params if isinstance(one, click.Option)]
    shown = [one for one in options if not one.hidden]
    assert shown
    for parameter in shown:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        assert f"| <code>{names.split(',')[0]}" in page
    assert "\b" not in page
    assert f"[`{verb}`]({verb}.md)" in cli_pages()["reference/cli/index.md"]


def test_the_settings_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (`.*) \|$", REFERENCE["settings.md"], re.MULTILINE)
    found = [[cell.strip(" `") for cell in row.split("|")] for row in rows]
    assert [key for key, *_ in found] == list(KEYS)
    options = {
        name: option
        for verb in ("mirror", "verify")
        for parameter in import_module(VERBS[verb].module).command.params
        if isinstance(name := parameter.name, str)
        for option in parameter.opts
    }
    for key, option, variable, default in found:
        assert variable == f"NOA_{key.upper()}"
        assert option == options.get(key, "")
        if key == "service":  # its addresses are the default, and stand in rows of their own
            assert Service.named(default).catalogue_url == Settings().service.catalogue_url
        elif default:
            assert Settings().with_values({key: default}) == Settings()
        else:
            assert _default(key) in (None, frozenset())


def _default(key: str) -> object:
    name = {"trusted_hosts": "service", "bandwidth": "limits"}.get(key)
    return getattr(getattr(Settings(), name) if name else Settings(), key)


@pytest.mark.parametrize(
    ("docstring", "page"),
    [
        ("Adds.\nTwice.", "Adds.\nTwice."),
        ("Adds.\n\n>>> 1 + 1\n2\n\nMore.", "Adds.\n\n```pycon\n>>> 1 + 1\n2\n```\n\nMore."),
        ("So:\n>>> a\n1", "So:\n\n```pycon\n>>> a\n1\n```"),
        ("A tree.\n\nA\n├── B", "A tree.\n\n```text\nA\n├── B\n```"),
        ("| a | b |\n|---|---|", "| a | b |\n|---|---|"),
    ],
)
def test_docstrings_keep_their_shape(docstring: str, page: str) -> None:
    assert laid_out(docstring) == page


def test_the_design_draws_every_state() -> None:
    drawing = (DOCS / "design.md").read_text("utf-8").split("What the ledger holds", 1)[1]
    drawn = set(re.findall(r"[a-z]+", drawing.split("```")[1]))
    assert set(State) <= drawn


def test_links_lead_to_the_same_pages_in_the_site() -> None:
    class Page:
        class file:  # noqa: N801 (as mkdocs names it)
            src_uri = "faults.md"

    assert on_page_markdown("[a](../benchmarks/README.md)", Page) == "[a](benchmarks/README.md)"
    Page.file.src_uri = "CONTRIBUTING.md"
    assert on_page_markdown("[a](docs/design.md)", Page) == "[a](design.md)"
    Page.file.src_uri = "howto/proxy.md"
    assert on_page_markdown("[a](../service.md)", Page) == "[a](../service.md)"
