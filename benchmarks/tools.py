"""The tools that are compared, each with the best flags it has for an unreliable server.

One set of flags serves all faults: who downloads does not know which one comes next.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.programs import Command, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.mirrors import MirrorProcess

TRIES = 8
STALL_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """One product to fetch, as the catalogue has it before the run."""

    product_id: str
    name: str
    url: str
    md5: str


@dataclass(frozen=True, slots=True)
class Errand:
    """What a tool is to fetch, and where to."""

    mirror: MirrorProcess
    wanted: tuple[Wanted, ...]
    folder: Path
    home: Path
    token: str
    resume: bool = False
    """Whether there are partial files to go on with."""

    @property
    def header(self) -> str:
        """The header field with the token."""
        return f"Authorization: Bearer {self.token}"


@dataclass(frozen=True, slots=True)
class Tool:
    """One of the compared tools."""

    name: str
    version_words: tuple[str, ...]
    flags: tuple[str, ...]
    resume_flags: tuple[str, ...]
    """In place of ``fresh_flags`` where there are partial files."""
    commands: Callable[[Tool, Errand], Sequence[Command]]
    fresh_flags: tuple[str, ...] = ()
    by_hand: str = ""
    """What each command line has beside the flags, in words."""

    def version(self) -> str | None:
        """The version's number; None where the tool is not there."""
        line = first_line(self.version_words)
        found = re.search(r"\d+(\.\d+)+", line or "")
        return found[0] if found else line

    def chosen(self, errand: Errand) -> tuple[str, ...]:
        """The flags of this errand."""
        return self.flags + (self.resume_flags if errand.resume else self.fresh_flags)

    def partials(self, errand: Errand) -> list[Path]:
        """Where the tool keeps products that are not whole yet."""
        if self.name == NOA_ASYNC.name:
            return [
                errand.folder / ".noa-async" / "parts" / f"{wanted.product_id}.part"
                for wanted in errand.wanted
            ]
        return [errand.folder / wanted.name for wanted in errand.wanted]


def _noa_async(tool: Tool, errand: Errand) -> list[Command]:
    words = (sys.executable, "-m", "noa_async", "download", "--output", str(errand.folder))
    trusted = ("--trusted-host", errand.mirror.addresses.trusted_host)
    package = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    environment = errand.mirror.environment() | package
    return [Command((*words, *tool.chosen(errand), *trusted), environment)]


def _aria2c(tool: Tool, errand: Errand) -> list[Command]:
    errand.home.mkdir(parents=True, exist_ok=True)
    listed = errand.home / "aria2.txt"
    lines = [
        f"{wanted.url}\n  out={wanted.name}\n  checksum=md5={wanted.md5}\n"
        for wanted in errand.wanted
    ]
    listed.write_text("".join(lines))
    where = ("-i", str(listed), "-d", str(errand.folder), f"--header={errand.header}")
    return [Command(("aria2c", *tool.chosen(errand), *where))]


def _curl(tool: Tool, errand: Errand) -> list[Command]:
    return [
        Command(("curl", *tool.chosen(errand), "-H", errand.header, *_to("-o", errand, wanted)))
        for wanted in errand.wanted
    ]


def _wget2(tool: Tool, errand: Errand) -> list[Command]:
    return [
        Command(
            ("wget2", *tool.chosen(errand), f"--header={errand.header}", *_to("-O", errand, wanted))
        )
        for wanted in errand.wanted
    ]


def _to(option: str, errand: Errand, wanted: Wanted) -> tuple[str, str, str]:
    return option, str(errand.folder / wanted.name), wanted.url


NOA_ASYNC = Tool(
    name="noa-async",
    version_words=(sys.executable, "-m", "noa_async", "--version"),
    flags=(
        *("--everything", "--no-progress"),
        *("--workers", "4", "--retries", f"{TRIES}", "--stall-timeout", f"{STALL_SECONDS}"),
    ),
    resume_flags=(),
    commands=_noa_async,
    by_hand="one process; `--trusted-host` names the host that needs the token",
)
ARIA2C = Tool(
    name="aria2c",
    version_words=("aria2c", "--version"),
    flags=(
        *("--no-conf", "-q", "-j4", "-x1", "--file-allocation=none", "--check-integrity=true"),
        *("--always-resume=false", "--max-resume-failure-tries=1"),
        *("--auto-file-renaming=false", "--allow-overwrite=true"),
        *(f"--max-tries={TRIES}", "--retry-wait=1", f"--max-file-not-found={TRIES}"),
        *(f"--timeout={STALL_SECONDS}", f"--connect-timeout={STALL_SECONDS}"),
    ),
    resume_flags=("-c",),
    commands=_aria2c,
    by_hand="one process with an input file that gives each product's MD5; the token by `--header`",
)
CURL = Tool(
    name="curl",
    version_words=("curl", "--version"),
    flags=(
        *("-q", "-sS", "-f", "-L", "--retry", f"{TRIES}", "--retry-all-errors"),
        *("--retry-delay", "1", "--connect-timeout", f"{STALL_SECONDS}"),
        *("--speed-limit", "1", "--speed-time", f"{STALL_SECONDS}"),
    ),
    fresh_flags=("--remove-on-error",),
    resume_flags=("-C", "-"),
    commands=_curl,
    by_hand="one process a product; the token by `-H`",
)
WGET2 = Tool(
    name="wget2",
    version_words=("wget2", "--version"),
    flags=(
        *("--no-config", "-nv", "--no-hsts", f"--tries={TRIES}", "--waitretry=1"),
        *("--retry-connrefused", f"--timeout={STALL_SECONDS}"),
    ),
    resume_flags=("-c",),
    commands=_wget2,
    by_hand="one process a product; the token by `--header`",
)
TOOLS = (NOA_ASYNC, ARIA2C, CURL, WGET2)
