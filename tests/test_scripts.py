"""The scripts, the units, the cron line and the documentation of the service name what there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import click
import pytest

from noa_async.cli.manner import Manner
from noa_async.cli.program import VERBS, program
from scripts import contents

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "scripts"
UNITS = sorted(SCRIPTS.glob("noa-async-*@.*"))
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
CRON = SCRIPTS / "noa-async-mirror.cron"
SERVICE = (ROOT / "docs" / "service.md").read_text()
PROGRAM = "/opt/noa-async/bin/noa-async"
_CRON_LINE = re.compile(r"(?:[\d*/,-]+ +){5}(\w+) +(.*)")


def read(unit: Path) -> ConfigParser:
    """A unit; a key that is given twice, or a line that is none, is an error."""
    parser = ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    return parser


def of_unit(command: str) -> list[str]:
    """A command line of systemd's, with ``greece`` for the instance."""
    assert not re.search(r"%[^i%]", command.replace("%%", ""))
    return shlex.split(command.replace("%i", "greece").replace("%%", "%"))


def cron_lines() -> list[tuple[str, str]]:
    """User and command of each line; an unescaped ``%`` would end the command."""
    found = []
    for line in CRON.read_text().splitlines():
        if line and not line.startswith("#") and not re.match(r"[A-Z]+=", line):
            match = _CRON_LINE.fullmatch(line)
            assert match, line
            assert not re.search(r"(?<!\\)%", match[2])
            found.append((match[1], match[2].replace("\\%", "%")))
    return found


def commands() -> dict[str, list[str]]:
    """Every command line of ours that a script or the documentation holds."""
    units = {unit.name: of_unit(read(unit)["Service"]["ExecStart"]) for unit in SERVICES}
    cron = {f"cron {line}": shlex.split(line) for _, line in cron_lines()}
    told = re.findall(rf"^.*?({PROGRAM} .*)$", SERVICE, re.MULTILINE)
    return units | cron | {f"service.md {line}": of_unit(line) for line in told}


@pytest.mark.parametrize("name", ["check", "demo", "docs", "release-check", "test", "versions"])
def test_a_script_can_be_run_and_says_what_it_does(name: str) -> None:
    script = SCRIPTS / name
    assert script.stat().st_mode & 0o100
    assert script.read_text().startswith(f"#!/usr/bin/env bash\n# scripts/{name}")
    subprocess.run(["bash", "-n", script], check=True)


def test_a_warning_ends_the_build_of_the_documentation() -> None:
    """``--quiet`` would pass over them, ``--strict`` or not."""
    [build] = re.findall(r"mkdocs build[^#\n]*", (SCRIPTS / "docs").read_text())
    assert build.split() == ["mkdocs", "build", "--strict"]


def test_versions_asks_which() -> None:
    ended = subprocess.run(
        [SCRIPTS / "versions", "oldest"], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "scripts/versions lowest" in ended.stderr


def test_the_quick_part_of_the_tests_is_there() -> None:
    quick = re.findall(r"\btests/[\w/.]+", (SCRIPTS / "versions").read_text())
    assert len(quick) > 5
    assert all((ROOT / path).exists() for path in quick)


def test_what_is_released_is_looked_into() -> None:
    package = contents.package_files()
    assert {"noa_async/py.typed", "noa_async/__init__.py"} <= package
    whole = package | {"noa_async-0.1.0.dist-info/licenses/LICENSE"}
    assert contents.wrong_in_wheel(whole, package) == []
    assert contents.wrong_in_wheel(whole - {"noa_async/py.typed"}, package)
    assert contents.wrong_in_wheel(whole | {"tests/test_scripts.py"}, package)
    told = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "setup.py"}
    source = package | told | {"setup.cfg"}
    assert contents.wrong_in_sdist(source, package) == []
    assert contents.wrong_in_sdist(source - {"LICENSE"}, package)
    assert contents.wrong_in_sdist(source | {"tests/test_scripts.py"}, package)


def test_the_changes_name_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.search(
        rf"^## .*{project['version']}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )


def test_what_a_commit_is_checked_by_is_installed() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    programs = re.findall(r"entry: \.venv/bin/(\S+)", hooks)
    assert len(programs) == hooks.count("- id:") > 5
    assert [one for one in programs if not (Path(sys.executable).parent / one).exists()] == []


def test_units_for_mirror_and_verify_are_there() -> None:
    assert [unit.name for unit in UNITS] == [
        f"noa-async-{verb}@.{kind}"
        for verb in ("mirror", "verify")
        for kind in ("service", "timer")
    ]
    assert len(cron_lines()) == 2
    assert len(commands()) >= 6


@pytest.mark.parametrize("verb", ["mirror", "verify", "status"])
def test_the_verbs_that_they_need_are_there(verb: str) -> None:
    assert verb in VERBS


@pytest.mark.parametrize("where", commands())
def test_every_command_is_one_that_the_program_takes(where: str) -> None:
    path, verb, *arguments = commands()[where]
    assert path == PROGRAM
    assert verb in VERBS
    command: click.Command = import_module(VERBS[verb].module).command
    with program.make_context("noa-async", [verb], obj=Manner()) as parent:
        command.make_context(verb, arguments, parent=parent).close()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_hardened_and_ends_in_order(unit: Path) -> None:
    service = read(unit)["Service"]
    expected = {
        "Type": "oneshot",
        "User": "noa",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "ReadWritePaths": "/srv/noa/%i",
        "TimeoutStartSec": "infinity",
        "KillMode": "mixed",
        "KillSignal": "SIGTERM",
        "SuccessExitStatus": "130",
    }
    assert {key: service.get(key) for key in expected} == expected
    assert "Restart" not in service  # it would try refused credentials again and again
    assert not re.search(r"PASSWORD=\S*\w", service.get("ExecStart", ""))
    assert int(service["TimeoutStopSec"]) >= 60


def test_the_documentation_names_files_that_are_there() -> None:
    for name in set(re.findall(r"scripts/[\w@.*-]+\w", SERVICE)):
        assert list(ROOT.glob(name)), name
    for name in set(re.findall(r"noa-async-\w+@greece(\.\w+)", SERVICE)):
        assert name in {".service", ".timer"}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert not os.environ.get("NOA_REQUIRE_PARTS"), "systemd-analyze is not installed (systemd)"
        pytest.skip("systemd-analyze is not installed (systemd)")
    for each in UNITS:  # a command that is there: what is not installed here is not the question
        (tmp_path / each.name).write_text(each.read_text().replace(PROGRAM, "/bin/true"))
    ended = subprocess.run(
        [analyze, "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
