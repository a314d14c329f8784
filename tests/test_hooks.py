"""Commands and callbacks for products that came: what they get, and what their failures do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async import Command, Outcome, Product, SettingsError, Status
from noa_async.errors import NoaError
from noa_async.events import Event, HookFailed, Observer
from noa_async.hooks import run_hook

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def outcome(name: str = "S2A.SAFE", **changes: object) -> Outcome:
    held = {
        "folder": Path("/data"),
        "key": "S2A.SAFE.zip",
        "bytes": 12,
        "checksum": "md5:00",
        "attempts": 1,
    }
    return Outcome(Product("0a5c", name), **{"status": Status.DOWNLOADED} | held | changes)  # type: ignore[arg-type]


def python(code: str, *more: str) -> Command:
    """A command that runs some Python."""
    quoted = code.replace("{", "{{").replace("}", "}}")
    return Command.parse(shlex.join([sys.executable, "-c", quoted, *more]))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def gone(number: int) -> bool:
    """Whether a process has ended; one that nobody reaps has, too."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("ls {path}", ["ls", "/data/S2A.SAFE.zip"]),
        ("ls '{id} {size}' {checksum}", ["ls", "0a5c 12", "md5:00"]),
        ("ls a{name}b{{name}} {{{name}}}", ["ls", "aS2A.SAFEb{name}", "{S2A.SAFE}"]),
        ("ls {{}} ''", ["ls", "{}", ""]),
        (r"ls a\ b $HOME ; * # x", ["ls", "a b", "$HOME", ";", "*", "#", "x"]),
    ],
)
def test_what_a_command_comes_to(text: str, filled: list[str]) -> None:
    assert Command.parse(text).filled(outcome()) == filled


def test_what_is_not_known_is_empty_and_a_path_is_absolute(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    command = Command.parse("ls {checksum} {path}")
    assert command.filled(outcome(checksum=None, folder=Path("data"), key="x")) == [
        "ls",
        "",
        f"{tmp_path}/data/x",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no program"),
        ("  ", "has no program"),
        ("ls 'x", "no closing quotation"),
        ("ls x\\", "no escaped character"),
        ("ls {paht}", r"Unknown field \{paht\} in the command\. Did you mean \{path\}\?"),
        ("ls {zzz}", r"Unknown field \{zzz\} .*\. Fields: \{path\}, .*\{\{ and \}\} for braces"),
        ("ls {}", r"Unknown field \{\}"),
        ("ls {path!r}", r"Unknown field \{path!r\}"),
        ("ls {path", "unmatched brace"),
        ("ls path}", "unmatched brace"),
        ("{path} x", "field in its program"),
        ("no-such-program-here {path}", "program 'no-such-program-here' was not found"),
        ("/etc/passwd {path}", "program '/etc/passwd' was not found"),
    ],
)
def test_a_command_that_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Command.parse(text)
    assert re.search(told, str(caught.value))


@given(name=VALUES, before=VALUES, behind=VALUES)
def test_a_name_never_splits_or_merges_arguments(name: str, before: str, behind: str) -> None:
    def quoted(text: str) -> str:
        return text.replace("{", "{{").replace("}", "}}")

    word = f"{quoted(before)}{{name}}{quoted(behind)}"
    command = Command.parse(shlex.join(["ls", word, "{name}{id}", "{size}"]))
    assert command.filled(outcome(name)) == [
        "ls",
        f"{before}{name}{behind}",
        f"{name}0a5c",
        "12",
    ]


async def test_the_program_gets_exactly_these_arguments(tmp_path: Path) -> None:
    told = tmp_path / "told"
    name = "a b'\"$(x);{path}\n-rf *"
    code = "import json, sys; json.dump(sys.argv[1:], open(sys.argv[-1], 'w'))"
    await python(code, "{name}", "x{size}", str(told))(outcome(name))
    assert json.loads(told.read_text()) == [name, "x12", str(told)]


async def test_it_has_no_password_and_nothing_to_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("NOA_PASSWORD", "ESA_PASSWORD", "NOA_USERNAME", "SOMETHING"):
        monkeypatch.setenv(variable, "s3cret")
    told = tmp_path / "told"
    code = (
        "import json, os, sys; json.dump([sys.stdin.read(), *os.environ], open(sys.argv[1], 'w'))"
    )
    await python(code, str(told))(outcome())
    read, *names = json.loads(told.read_text())
    assert read == ""
    assert {"NOA_USERNAME", "SOMETHING"} <= set(names)
    assert not {"NOA_PASSWORD", "ESA_PASSWORD"} & set(names)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("raise SystemExit('no such\\x1b band')", "exited with status 1: no such band"),
        ("print('x\\n \\n'); raise SystemExit(7)", "exited with status 7: x"),
        ("import os; os._exit(3)", "exited with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "was terminated by signal 9 (Killed)"),
    ],
)
async def test_how_it_ended_is_told(code: str, told: str) -> None:
    with pytest.raises(NoaError) as caught:
        await python(code)(outcome())
    assert str(caught.value) == f"{Path(sys.executable).name} {told}"


async def test_much_output_does_not_block_it_and_is_not_held() -> None:
    code = "import sys\nfor _ in range(160): sys.stderr.write('x' * 65536)\nsys.exit('the end')"
    with pytest.raises(NoaError, match="status 1: the end"):
        await python(code.replace("65536)", "65536 + chr(10))"))(outcome())
    with pytest.raises(NoaError) as caught:
        await python(code)(outcome())
    assert len(str(caught.value)) < 300


async def test_what_it_leaves_running_does_not_hold_us(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    async with asyncio.timeout(20):
        await Command.parse(f"sh -c 'sleep 60 & echo $! > {told}'")(outcome())
    number = int(told.read_text())
    assert not gone(number)
    os.kill(number, 9)


STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
if sys.argv[2] == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1] + ".draft", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".draft", sys.argv[1])
time.sleep(60)
"""


@pytest.mark.parametrize("manner", ["heed", "ignore"])
async def test_cancelling_ends_all_it_started(
    manner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noa_async.hooks._GRACE", 20.0 if manner == "heed" else 0.2)
    told = tmp_path / "pids"
    task = asyncio.create_task(python(STUBBORN, str(told), manner)(outcome()))
    await until(told.exists)
    numbers = [int(number) for number in told.read_text().split()]
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not Path(f"/proc/{numbers[0]}").exists()  # waited for: no zombie of ours
    await until(lambda: all(map(gone, numbers)))


TIDY = """
import os, signal, sys, time
if os.fork():
    time.sleep(60)  # the first to go
def tidy(*_):
    time.sleep(0.3)
    os.rename(sys.argv[1], sys.argv[1] + ".tidy")
    os._exit(0)
signal.signal(signal.SIGTERM, tidy)
open(sys.argv[1], "w").close()
time.sleep(60)
"""


async def test_what_it_started_has_time_to_end_in_order(tmp_path: Path) -> None:
    told = tmp_path / "told"
    task = asyncio.create_task(python(TIDY, str(told))(outcome()))
    await until(told.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "told.tidy").exists()


async def test_cancelled_twice_it_is_killed_at_once(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    task = asyncio.create_task(python(STUBBORN, str(told), "ignore")(outcome()))
    await until(told.exists)
    numbers = [int(number) for number in told.read_text().split()]
    task.cancel()
    await until(lambda: gone(numbers[1]))  # asked to end: the child does, its parent does not
    task.cancel()
    async with asyncio.timeout(3):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not Path(f"/proc/{numbers[0]}").exists()


class Hooked:
    """A hook, and the observer of its failures."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.outcomes: list[Outcome] = []
        self.events: list[Event] = []

    async def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self.error is not None:
            raise self.error

    async def run(self, outcome: Outcome) -> None:
        await run_hook(self, outcome, self.events.append)


@pytest.mark.parametrize(
    ("status", "attempts", "runs"),
    [
        (Status.DOWNLOADED, 1, True),
        (Status.UNVERIFIED, 2, True),
        (Status.UNVERIFIED, 0, False),
        (Status.PRESENT, 0, False),
        (Status.FAILED, 3, False),
    ],
)
async def test_a_hook_runs_for_what_this_run_brought(
    status: Status, attempts: int, runs: bool
) -> None:
    hook = Hooked()
    given_ = outcome(status=status, attempts=attempts)
    await hook.run(given_)
    assert hook.outcomes == [given_] * runs
    assert hook.events == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NoaError("It ended.", hint="Look."), "It ended. Look."),
        (KeyError("x"), "KeyError: 'x'"),
        (RuntimeError(), "RuntimeError"),
        (asyncio.CancelledError(), "it was cancelled from within"),
    ],
)
async def test_what_a_hook_raises_becomes_an_event(error: BaseException, reason: str) -> None:
    hook = Hooked(error)
    await hook.run(outcome())
    assert hook.events == [HookFailed("0a5c", "S2A.SAFE", reason)]


async def test_a_program_that_cannot_be_started_becomes_an_event(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo x")  # no first line that names its interpreter
    script.chmod(0o755)
    events: list[Event] = []
    await run_hook(Command.parse(f"{script}"), outcome(), events.append)
    await run_hook(Command.parse("ls {name}"), outcome("a\0b"), events.append)
    reasons = [event.reason for event in events if isinstance(event, HookFailed)]
    assert "OSError: [Errno 8] Exec format error" in reasons[0]
    assert "null" in reasons[1]


async def test_cancelling_goes_through_a_hook() -> None:
    events: list[Event] = []
    started = asyncio.Event()

    async def wait(_: Outcome) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(run_hook(wait, outcome(), events.append))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert events == []


def open_and_close(over: threading.Event, errors: list[object]) -> None:
    while not over.is_set():
        try:
            os.close(os.open("/", os.O_RDONLY))
        except OSError as error:
            errors.append(error)


async def run_side_by_side(note: Observer) -> None:
    async def run_often() -> None:
        for _ in range(80):
            await run_hook(command, outcome(), note)

    command = Command.parse("false")
    await asyncio.gather(*(run_often() for _ in range(4)))


def test_running_commands_touches_no_descriptor_of_a_disk_thread() -> None:
    """uvloop's own ways to start a program and to read a pipe close a descriptor twice."""
    uvloop = pytest.importorskip("uvloop")
    events: list[Event] = []
    errors: list[object] = []
    over = threading.Event()
    threads = [threading.Thread(target=open_and_close, args=(over, errors)) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_side_by_side(events.append))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []
    reasons = [event.reason for event in events if isinstance(event, HookFailed)]
    assert reasons == ["false exited with status 1"] * 320
