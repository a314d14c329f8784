"""Hooks: an async callback or a command that runs for each downloaded product."""

from __future__ import annotations

import asyncio
import difflib
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Self

from noa_async.errors import NoaError, SettingsError
from noa_async.events import HookFailed, Observer
from noa_async.excerpts import excerpt
from noa_async.transfer.outcome import Outcome

Hook = Callable[[Outcome], Awaitable[object]]
"""An async callable that receives the outcome of a downloaded product; its result is ignored."""

_FIELDS: dict[str, Callable[[Outcome], str]] = {
    "path": lambda outcome: str(outcome.path.absolute()) if outcome.path else outcome.url or "",
    "id": lambda outcome: outcome.product.id,
    "name": lambda outcome: outcome.product.name,
    "size": lambda outcome: str(outcome.bytes),
    "checksum": lambda outcome: outcome.checksum or "",
}
_PIECE = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|[{}]")
_SHELL = re.compile(r"&&?|\|[|&]?|[0-9]?(?:>>?|<<?<?)(?:&[0-9-])?|&>>?")
"""Shell operators that stand as separate words: control operators and redirections. ``;`` is not
among them, because find -exec needs it."""
_SECRETS = frozenset({"NOA_PASSWORD", "ESA_PASSWORD"})
_KEPT = 4096
_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL."""
_PIPE = 1 << 16
_PIPES_LEFT = 16


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, without a shell, for each product; create it with ``Command.parse``.

    >>> Command.parse("ls -l {path}").arguments
    ('ls', '-l', '{path}')
    """

    arguments: tuple[str, ...]
    """The program and its arguments, with fields in braces."""
    timeout: float | None = None
    """Maximum run time per product in seconds; None for no limit."""
    consumes: bool = False
    """Whether it may move, change or delete the file; the product then counts as done."""

    @classmethod
    def parse(cls, text: str, *, timeout: float | None = None, consumes: bool = False) -> Self:
        """Parse a command, splitting words like a shell; ``{{`` and ``}}`` are literal braces.

        Fields: ``{path}`` (absolute, or the URL of an object), ``{id}``, ``{name}`` (as in the
        catalogue, unsanitized), ``{size}`` in bytes, ``{checksum}`` (empty if there is none).
        ``timeout`` is in seconds.

        Raise SettingsError if the command is invalid, its program does not exist, or it contains
        shell operators.

        >>> Command.parse("ls {paht}")
        Traceback (most recent call last):
        noa_async.errors.SettingsError: Unknown field {paht} in the command. Did you mean {path}?
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise _invalid(text, f"cannot be split: {error}".lower().rstrip(".")) from None
        if not words:
            raise _invalid(text, "has no program")
        if sign := _shell_operator(text):
            raise SettingsError(
                f"The command {text!r} contains {sign!r}, but commands are not run by a shell.",
                hint=f"""Write it as "sh -c '... \\"$1\\" {sign} ...' sh {{path}}".""",
            )
        for word in words:
            _check_fields(word, text)
        if any(piece["field"] for piece in _PIECE.finditer(words[0])):
            raise _invalid(text, "has a field in its program")  # it would execute a product
        program = _fill(words[0], {})
        if shutil.which(program) is None:
            raise SettingsError(
                f"The program {program!r} was not found.",
                hint="Write its full path, or add its folder to PATH.",
            )
        return cls(tuple(words), timeout, consumes)

    def filled(self, outcome: Outcome) -> list[str]:
        """Return the arguments for one product; values are never split into several arguments."""
        values = {field: value(outcome) for field, value in _FIELDS.items()}
        return [_fill(word, values) for word in self.arguments]

    def _too_slow(self, program: str, said: str) -> NoaError:
        took = f"{Path(program).name} was terminated after {self.timeout:g} s (timeout)"
        return NoaError(": ".join(filter(None, (took, said))))

    async def __call__(self, outcome: Outcome) -> None:
        """Run the command, with no input and without passwords in its environment.

        Error handling: NoaError, with the last line of its output, if its exit status is not 0 or
        it exceeds ``timeout``; OSError if it cannot be started.
        Resources: on a timeout or cancellation, SIGTERM is sent to the command's process group, and
        SIGKILL after 5 s. The last 4 KiB of its output are kept. Processes that it leaves running
        after its regular end are not terminated.
        """
        words = self.filled(outcome)
        with _OutputTail() as tail:
            process = _Process(words, tail.write_end)
            tail.write_end.close()
            try:
                async with asyncio.timeout(self.timeout):
                    status = await process.wait()
            except BaseException as error:
                await process.end()
                if isinstance(error, TimeoutError):
                    raise self._too_slow(words[0], tail.last_line()) from None
                raise
            if status:
                said = f"{Path(words[0]).name} {_ended(status)}", tail.last_line()
                raise NoaError(": ".join(filter(None, said)))


@dataclass(frozen=True, slots=True)
class Consuming:
    """A hook that may move, change or delete its product's file; the product counts as done."""

    hook: Hook
    """The hook to call for each product."""
    consumes: ClassVar[bool] = True
    """Marks hooks that may take the file."""

    async def __call__(self, outcome: Outcome) -> None:
        await self.hook(outcome)


def is_consuming(hook: Hook | None) -> bool:
    """Return whether a hook may move, change or delete the files of its products."""
    return bool(getattr(hook, "consumes", False))


async def run_hook(
    hook: Hook, outcome: Outcome, observer: Observer, *, due: bool = False
) -> str | None:
    """Run ``hook`` if this run downloaded the product, or if the hook is still ``due``.

    If it fails, send a HookFailed event to ``observer`` and return the reason.
    """
    if not (outcome.brought or due):
        return None
    try:
        await hook(outcome)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        reason = "it was cancelled from within"  # propagated, it would silently end the worker
    except Exception as error:  # noqa: BLE001 (a failing hook must not fail the product)
        reason = _reason(error)
    else:
        return None
    observer(HookFailed(outcome.product.id, outcome.product.name, reason))
    return reason


class _OutputTail:
    """Read the output of a command from a pipe and keep its end; the command never blocks.

    It does not use a pipe transport, because that of uvloop closes the pipe twice: see `_Process`.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._reading, writing = os.pipe()
        self.write_end = os.fdopen(writing, "wb", 0)

    def __enter__(self) -> Self:
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        self.write_end.close()

    def _read(self) -> bool:
        """Read once and return whether there may be more."""
        try:
            data = os.read(self._reading, _PIPE)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._reading)
        self._kept = (self._kept + data[-_KEPT:])[-_KEPT:]
        return bool(data)

    def last_line(self) -> str:
        """Return the last line of the output that is not blank."""
        for _ in range(_PIPES_LEFT):  # background processes may keep writing
            if not self._read():
                break
        lines = self._kept.decode(errors="replace").splitlines()
        return next(filter(None, map(excerpt, reversed(lines))), "")


class _Process:
    """A running command and its process group, waited for in a thread.

    It does not use asyncio's subprocesses: uvloop closes a descriptor twice when it starts one, and
    the second close can hit a file that another thread has just opened.
    """

    def __init__(self, words: list[str], output: BinaryIO) -> None:
        self._process = subprocess.Popen(  # noqa: S603 (no shell; what the user asked for)
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={name: value for name, value in os.environ.items() if name not in _SECRETS},
            start_new_session=True,  # its own process group, which Ctrl-C does not reach
        )
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._reap, name="noa-hook", daemon=True).start()

    def _reap(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._over.set)

    async def wait(self) -> int:
        """Wait until it ends and return its exit status; negative for a signal."""
        await self._over.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    async def end(self) -> None:
        """Terminate its process group, first with SIGTERM, then with SIGKILL, and wait for it."""
        try:
            async with asyncio.timeout(_GRACE):
                self._signal(signal.SIGTERM)
                await self.wait()
                while self._signal(0):  # noqa: ASYNC110 (there is no notification for the group)
                    await asyncio.sleep(0.02)
        except BaseException as error:
            self._signal(signal.SIGKILL)
            with suppress(TimeoutError):  # not permitted, or the process hangs in the kernel
                await asyncio.wait_for(self.wait(), _GRACE)
            if not isinstance(error, TimeoutError):
                raise

    def _signal(self, number: int) -> bool:
        """Send a signal to the group and return whether a process received it."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _shell_operator(text: str) -> str:
    """Return the first unquoted shell operator in a command; empty if there is none.

    >>> _shell_operator("unzip {path} && rm {path}"), _shell_operator("grep '&&' {path}")
    ('&&', '')
    """
    try:
        words = shlex.split(text, posix=False)  # keeps the quotes of each word
    except ValueError:
        return ""
    return next(filter(_SHELL.fullmatch, words), "")


def _ended(status: int) -> str:
    if status > 0:
        return f"exited with status {status}"
    return f"was terminated by signal {-status} ({signal.strsignal(-status)})"


def _reason(error: Exception) -> str:
    if isinstance(error, NoaError):
        return excerpt(str(error), 400)
    return excerpt(f"{type(error).__name__}: {error}".removesuffix(": "), 400)


def _check_fields(word: str, text: str) -> None:
    """Raise SettingsError if a word of the command ``text`` contains an unknown field."""
    for piece in _PIECE.finditer(word):
        field = piece["field"]
        if field is None and piece[0] in "{}":
            raise _invalid(text, "has an unmatched brace")
        if field is not None and field not in _FIELDS:
            near = difflib.get_close_matches(field.lower(), _FIELDS, n=1, cutoff=0.5)
            known = ", ".join(f"{{{name}}}" for name in _FIELDS)
            hint = f"Fields: {known}; write {{{{ and }}}} for braces."
            if near:
                hint = f"Did you mean {{{near[0]}}}?"
            raise SettingsError(f"Unknown field {{{field}}} in the command.", hint=hint)


def _fill(word: str, values: dict[str, str]) -> str:
    """Fill the fields of one argument, in a single pass: values are not expanded again."""
    return _PIECE.sub(lambda piece: values[piece["field"]] if piece["field"] else piece[0][0], word)


def _invalid(text: str, why: str) -> SettingsError:
    return SettingsError(
        f"The command {text!r} {why}.", hint="Write it as 'PROGRAM ARGUMENT ... {path}'."
    )
