"""docs/library.md and docs/testing.md run, and no public name is without words and an example."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import re
from pathlib import Path

import pytest

import noa_async
from noa_async.pytest_plugin import EmulatedMirror

from .event_docs import fields_of

pytest_plugins = "pytester"
DOCS = Path(__file__).parent.parent / "docs"
LIBRARY = (DOCS / "library.md").read_text("utf-8")
TESTING = (DOCS / "testing.md").read_text("utf-8")
PUBLIC = {name: getattr(noa_async, name) for name in noa_async.__all__}
DATA = {name: one for name, one in PUBLIC.items() if dataclasses.is_dataclass(one)}
ALIASES = {"Event", "Hook", "SERVICES"}
"""A sum of types, a type of functions, a table: Python keeps no words for these."""


def test_its_examples_run(
    noa_environment: EmulatedMirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest(LIBRARY, {}, "library.md", None, 0)
    assert len(examples.examples) > 40
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    runner.run(examples, out=said.append)
    assert not runner.failures, "".join(said)


def examples_of(text: str) -> str:
    return "\n".join(re.findall(r"^\s*(?:>>>|\.\.\.) .*", text, re.MULTILINE))


@pytest.mark.parametrize("name", noa_async.__all__)
def test_every_public_name_has_words_and_an_example(name: str) -> None:
    words = inspect.getdoc(getattr(noa_async, name)) or ""
    assert name in ALIASES or "." in words
    assert not words.startswith(f"{name}(")  # what a dataclass says where nobody wrote anything
    own = inspect.isclass(getattr(noa_async, name)) or inspect.isfunction(getattr(noa_async, name))
    shown = examples_of(LIBRARY) + (examples_of(words) if own else "")
    assert re.search(rf"\b{name}\b", shown), f"{name} is shown nowhere"


@pytest.mark.parametrize("name", sorted(DATA))
def test_every_field_has_a_sentence(name: str) -> None:
    assert len(fields_of(DATA[name])) >= len(dataclasses.fields(DATA[name]))


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    assert sorted(noa_async.__all__) == sorted(noa_async._HOME_OF)


def test_the_tests_for_users_run(pytester: pytest.Pytester) -> None:
    fixtures, mode = re.findall(r"```python\n(.*?)```", TESTING, re.DOTALL)
    pytester.makepyfile(test_fixtures=fixtures, test_mode=f"def test_mode():\n    {indented(mode)}")
    plain = ("-p", "no:asyncio", "-p", "no:hypothesispytest", "-p", "no:timeout")
    pytester.runpytest_subprocess("--strict-markers", *plain).assert_outcomes(passed=4)


def indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def test_every_fixture_is_told() -> None:
    module = (DOCS.parent / "noa_async" / "pytest_plugin.py").read_text("utf-8")
    fixtures = re.findall(r"@pytest\.fixture\ndef (\w+)", module)
    assert fixtures == re.findall(r"^\| `(\w+)` \|", TESTING, re.MULTILINE)
