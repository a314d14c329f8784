"""Running other programs: side by side, with nothing of this machine's own configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_KEPT = ("PATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Command:
    """A program, its arguments, and the variables it needs beside the common ones."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """How one or more programs ended."""

    code: int | None
    """The first exit code that is not 0, or 0; None where one hung and was killed."""
    said: str
    """Standard output and error of them all."""


def run(
    commands: Sequence[Command],
    home: Path,
    *,
    seconds: float,
    stop: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run ``commands`` side by side, with ``home`` as their home and working folder.

    After ``seconds``, or as soon as ``stop()``, what still runs is killed.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "said.txt"
    with log.open("wb") as output:
        running = [_start(command, home, output) for command in commands]
        deadline = time.monotonic() + seconds
        while any(each.poll() is None for each in running):
            if time.monotonic() > deadline or stop():
                break
            time.sleep(_POLL_SECONDS)
        hung = [each for each in running if each.poll() is None]
        for each in hung:
            each.kill()
        codes = [each.wait() for each in running]
    failures = [code for code in codes if code]
    code = None if hung else next(iter(failures), 0)
    return Ended(code, log.read_text(errors="replace"))


@dataclass(frozen=True, slots=True)
class Accounted(Ended):
    """How one program ended, and what the kernel says that it and its children took."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system."""
    peak_mib: float
    """Resident memory of the largest process."""


_ACCOUNTANT = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
taken = [time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]
with open(sys.argv[1], "w") as report:
    json.dump([os.waitstatus_to_exitcode(status), *taken], report)
"""
"""A program's peak counts from what started it, so something small has to."""


def spawn(command: Command, home: Path, *, seconds: float) -> Accounted:
    """Run one program to its end, or kill it after ``seconds``."""
    home.mkdir(parents=True, exist_ok=True)
    log, report = home / "said.txt", home / "taken.json"
    report.unlink(missing_ok=True)
    words = (sys.executable, "-I", "-S", "-c", _ACCOUNTANT, str(report), *command.words)
    with log.open("wb") as output:
        running = _start(Command(words, command.environment), home, output, own_session=True)
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
    said = log.read_text(errors="replace")
    if not report.exists():
        return Accounted(None, said, seconds, 0.0, 0.0)
    code, wall, cpu, peak = json.loads(report.read_text())
    return Accounted(code, said, wall, cpu, peak)


def first_line(words: Sequence[str]) -> str | None:
    """The first line that a program prints; None where it is not there, or fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return next(iter((done.stdout or done.stderr).splitlines()), "")


def _start(
    command: Command, home: Path, output: IO[bytes], *, own_session: bool = False
) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"HOME": str(home), **command.environment}
    return subprocess.Popen(
        command.words,
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=own_session,
    )
