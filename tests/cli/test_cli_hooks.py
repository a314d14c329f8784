"""``--exec``: a command for each product that came."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import sys
from pathlib import Path

import pytest

from .conftest import PASSWORD, Open, until

ALL = ("download", "--everything", "--output", "data")


def script(folder: Path, code: str) -> str:
    """A command that runs some Python."""
    path = folder / "hook.py"
    path.write_text(code)
    return f"{shlex.quote(sys.executable)} {path}"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_the_command_gets_each_product_and_no_password(open_mirror: Open, loop: str) -> None:
    _, noa = await open_mirror(products=5)
    noa.environ["NOA_LOOP"] = loop
    code = (
        "import hashlib, os, sys\n"
        "path, *rest = sys.argv[1:]\n"
        "digest = hashlib.md5(open(path, 'rb').read()).hexdigest()\n"
        "print('x' * 10_000_000)\n"
        f"assert {PASSWORD!r} not in str(os.environ)\n"
        "open('told', 'a').write('|'.join([path, f'md5:{digest}', *rest]) + '\\n')\n"
    )
    command = f"{script(noa.folder, code)} {{path}} {{checksum}} {{size}} {{id}} '{{name}}'"
    ended = await noa(*ALL, "--exec", command, "--report", "report.json")
    assert (ended.code, ended.out) == (0, "")
    assert "hook" not in ended.err
    lines = (noa.folder / "told").read_text().splitlines()
    report = json.loads((noa.folder / "report.json").read_text())
    assert sorted(lines) == sorted(
        f"{noa.folder}/data/{each['path']}|{each['checksum']}|{each['checksum']}|{each['bytes']}"
        f"|{each['id']}|{each['name']}"
        for each in report["products"]
    )
    assert len(lines) == 5
    assert (await noa(*ALL, "--exec", command)).code == 0
    assert len((noa.folder / "told").read_text().splitlines()) == 5


async def test_a_failing_command_is_told_and_is_exit_1(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=6)
    code = "import sys; sys.exit('no band here' if int(sys.argv[1]) % 2 else 0)"
    command = script(noa.folder, code) + " 1{size}1"
    ended = await noa(*ALL, "--exec", command)
    assert ended.code == 1
    assert ended.err.count("hook failed  ") == 6
    assert ended.err.count("exited with status 1: no band here") == 6
    assert ", 6 hooks failed\n" in ended.err
    assert len([file for file in (noa.folder / "data").iterdir() if file.is_file()]) == 6


@pytest.mark.parametrize("extra", [(), ("--log-format", "json")])
async def test_a_failing_command_is_told_however_quiet(
    open_mirror: Open, extra: tuple[str, ...]
) -> None:
    _, noa = await open_mirror(products=2)
    ended = await noa(*ALL, "-q", "--exec", "false", *extra)
    lines = ended.err.splitlines()
    assert (ended.code, len(lines)) == (1, 2)
    assert all("false exited with status 1" in line for line in lines)


async def test_the_json_log_counts_them(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=3)
    ended = await noa(*ALL, "--exec", "false {path}", "--log-format", "json")
    events = [json.loads(line) for line in ended.err.splitlines()]
    failed = [event for event in events if event["event"] == "hook_failed"]
    assert [event["reason"] for event in failed] == ["false exited with status 1"] * 3
    assert (events[-1]["event"], events[-1]["hooks_failed"]) == ("run_finished", 3)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("", "has no program"),
        ("ls 'x", "no closing quotation"),
        ("ls {paht}", "Did you mean {path}?"),
        ("no-such-program-here {path}", "The program 'no-such-program-here' was not found"),
    ],
)
async def test_a_bad_command_is_refused_before_anything_is_sent(
    open_mirror: Open, command: str, told: str
) -> None:
    mirror, noa = await open_mirror(products=3)
    for more in ((), ("--dry-run",)):
        ended = await noa(*ALL, "--exec", command, *more)
        assert ended.code == 2
        assert told in ended.err
    assert mirror.stats.requests == 0
    assert not list(noa.folder.iterdir())


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_a_signal_ends_the_commands_too(open_mirror: Open, loop: str) -> None:
    _, noa = await open_mirror(products=1)
    noa.environ["NOA_LOOP"] = loop
    code = "import os, pathlib, time; pathlib.Path(f'pid-{os.getpid()}').touch(); time.sleep(60)"
    process = await noa.start(*ALL, "--exec", script(noa.folder, code))
    await until(lambda: bool(list(noa.folder.glob("pid-*"))))
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(5):
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"hook failed" not in err
    [told] = noa.folder.glob("pid-*")
    assert not Path(f"/proc/{told.name.partition('-')[2]}").exists()
    assert len([file for file in (noa.folder / "data").iterdir() if file.is_file()]) == 1
