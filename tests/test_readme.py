"""What the README says works."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.pytest_plugin import EmulatedMirror

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def block(language: str, holding: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    [found] = [text for text in blocks if holding in text]
    return found


async def test_the_library_example_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "query.toml").write_text(block("toml", "[[rules]]"))
    monkeypatch.chdir(tmp_path)
    source = "async def example():\n" + textwrap.indent(block("python", "async with"), "    ")
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    async with Emulator(EmulatorSettings(mean_bytes=2000)) as mirror:
        environ = {
            "NOA_CATALOGUE_URL": mirror.catalogue_url,
            "NOA_TOKEN_URL": mirror.token_url,
            "NOA_USERNAME": "demo",
            "NOA_PASSWORD": "demo",
        }
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        await names["example"]()  # type: ignore[operator]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10
    assert all(line.startswith(f"downloaded {tmp_path}/data/S2") for line in lines)


def test_the_script_without_await_runs(
    noa_environment: EmulatedMirror,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "query.toml").write_text("everything = true")
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python", "SyncNoaClient"), "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert all(line.endswith(" downloaded") for line in lines)


def test_the_pages_it_names_are_there() -> None:
    for page in set(re.findall(r"docs/[\w-]+\.md", README)):
        assert (Path(__file__).parent.parent / page).is_file()


def test_the_scripts_it_names_are_there() -> None:
    for script in set(re.findall(r"scripts/[\w.]*\w", README)):
        assert (Path(__file__).parent.parent / script).stat().st_mode & 0o100
