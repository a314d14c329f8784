"""A shell in which a page's blocks are run, one after another, as its reader would."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from .blocks import Block
from .normal import same

ROOT = Path(__file__).parent.parent.parent
_END = "--- ended"
_RUNNER = """\
import ast, asyncio, inspect, pathlib, sys
source = pathlib.Path(sys.argv[1]).read_text("utf-8")
code = compile(source, sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
names = {"__name__": "__main__"}
result = eval(code, names)
if inspect.iscoroutine(result):
    asyncio.run(result)
"""


class DocumentationError(AssertionError):
    """A page does not say what happens."""


class Session:
    """A shell of its own, in a folder of its own. Use ``open_session``."""

    def __init__(self, shell: asyncio.subprocess.Process, folder: Path) -> None:
        self._shell = shell
        self._folder = folder
        self._written: list[str] = []

    async def run(self, block: Block) -> None:
        """Do with a block what is to be done. Raises DocumentationError where it is not right."""
        if block.title is not None:
            path = self._folder / block.title
            await asyncio.to_thread(path.write_text, block.text)
        elif block.output:
            self._compare(block, block.text.splitlines(), self._written)
        elif block.language == "console":
            for command in block.commands:
                self._written = await self._type(block, command.typed)
                if command.output:
                    self._compare(block, command.output, self._written)
        elif block.language == "python":
            path = self._folder / f".line-{block.line}.py"
            await asyncio.to_thread(path.write_text, block.text)
            self._written = await self._type(block, f"python .runner.py {path.name}")

    async def _type(self, block: Block, command: str) -> list[str]:
        """Run a command; what it wrote."""
        waits = ""
        if command.rstrip().endswith("&"):  # it says that it is ready in a file
            waits = f"until grep -q NOA_PASSWORD {shlex.split(command)[-2]}; do sleep 0.02; done\n"
        typed = f"{{\n{command}\n}} </dev/null\ncode=$?\n{waits}echo; echo '{_END}' $code\n"
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(typed.encode())
        lines: list[str] = []
        async with asyncio.timeout(60):
            while not (lines and lines[-1].startswith(_END)):
                line = await self._shell.stdout.readline()
                if not line:
                    raise DocumentationError(f"line {block.line}: the shell ended: {command}")
                lines.append(line.decode().rstrip("\n"))
        if lines.pop() != f"{_END} 0":
            wrote = "\n".join(lines)
            raise DocumentationError(f"line {block.line}: {command} failed, and wrote:\n{wrote}")
        return lines[:-1] if lines[-1] == "" else lines

    def _compare(self, block: Block, shown: list[str], written: list[str]) -> None:
        if not same(shown, written):
            wrote = "\n".join(written)
            raise DocumentationError(f"line {block.line}: another output is written:\n{wrote}")


@asynccontextmanager
async def open_session(folder: Path, environment: dict[str, str]) -> AsyncIterator[Session]:
    """A session in ``folder``; whatever it started ends with it."""
    programs = folder / ".bin"
    programs.mkdir()
    (folder / ".runner.py").write_text(_RUNNER)
    for name, what in (("noa-async", " -m noa_async"), ("python", "")):
        path = programs / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{what} "$@"\n')
        path.chmod(0o755)
    shell = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "--noprofile"),
        cwd=folder,
        env=os.environ
        | {
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "error",
            "COLUMNS": "100",
            "HOME": str(folder),
        }
        | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield Session(shell, folder)
    finally:
        with suppress(ProcessLookupError):  # it ended by itself, and all that it started
            os.killpg(shell.pid, signal.SIGKILL)
        await shell.wait()
