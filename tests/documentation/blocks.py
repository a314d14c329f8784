"""The blocks of a page of documentation, and what becomes of each.

| block                      | what the tests do                                                   |
|----------------------------|---------------------------------------------------------------------|
| `console`                  | runs each line that begins with `$ `, and compares what is beneath  |
| `python`                   | runs it; `await` may stand outside of functions                     |
| `text` behind one of both  | is what that wrote                                                  |
| `toml`                     | reads it as a query file, or as a plan of faults                    |
| `json`                     | reads it                                                            |
| any, with `title="NAME"`   | writes it into that file first; a Python file is run by a command   |
| any other                  | is a fault, unless `<!-- not run: REASON -->` stands above it       |

`<!-- run before: COMMAND -->` is run in its place and not shown; `<!-- tested by: tests/FILE -->`
leaves a whole page to a test of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_FENCE = re.compile(r"( *)(`{3,})(\w*)(.*)")
_TITLE = re.compile(r'title="([^"]+)"')
_NOT_RUN = re.compile(r" *<!-- not run: (.+) -->")
_BEFORE = re.compile(r" *<!-- run before: (.+) -->")
_ELSEWHERE = re.compile(r"^<!-- tested by: (\S+) -->$", re.MULTILINE)
_RUN = {"console", "python"}
_READ = {"toml", "json"}


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, or a command that is not shown (`console`)."""

    line: int
    """Where it begins on its page, from 1."""
    language: str
    text: str
    title: str | None = None
    not_run: str | None = None
    """Why it is not, where that is said."""
    output: bool = False
    """Whether it is what the block before it wrote."""

    @property
    def tested(self) -> bool:
        if self.language == "console":
            return bool(self.commands)
        return self.output or self.title is not None or self.language in _RUN | _READ

    @property
    def commands(self) -> list[Command]:
        """Of a console: what is typed, each with the lines beneath it."""
        found: list[Command] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:]))
            elif found and line.startswith("> ") and not found[-1].output:
                found[-1].typed += "\n" + line[2:]
            elif found:
                found[-1].output.append(line)
        return found


@dataclass(slots=True)
class Command:
    typed: str
    output: list[str] = field(default_factory=list)


def left_to(page: str) -> str | None:
    """The test that a page is left to."""
    match = _ELSEWHERE.search(page)
    return match and match[1]


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines = page.splitlines()
    reason, behind, at = None, False, 0
    while at < len(lines):
        fence = _FENCE.fullmatch(lines[at])
        if fence is None:
            if before := _BEFORE.fullmatch(lines[at]):
                yield Block(at + 1, "console", f"$ {before[1]}")
            if lines[at].strip():
                match = _NOT_RUN.fullmatch(lines[at])
                reason = match and match[1]
            at += 1
            continue
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == fence[2])
        language, title = fence[3], _TITLE.search(fence[4])
        yield Block(
            at + 1,
            language,
            "\n".join(line.removeprefix(fence[1]) for line in lines[at + 1 : end]) + "\n",
            title[1] if title else None,
            reason,
            output=language == "text" and behind and title is None and reason is None,
        )
        behind = language in _RUN and reason is None and title is None
        reason, at = None, end + 1
