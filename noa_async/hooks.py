"""What is to be done with each product that came: an async callback, or a command."""

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
"""Awaited with the outcome of a product that came; what it returns is not looked at."""

_FIELDS: dict[str, Callable[[Outcome], str]] = {
    "path": lambda outcome: str(outcome.path.absolute()) if outcome.path else outcome.url or "",
    "id": lambda outcome: outcome.product.id,
    "name": lambda outcome: outcome.product.name,
    "size": lambda outcome: str(outcome.bytes),
    "checksum": lambda outcome: outcome.checksum or "",
}
_PIECE = re.compile(r"\{\{|\}\}|\{(?P<field>[^{}]*)\}|[{}]")
_SHELL = re.compile(r"&&?|\|[|&]?|[0-9]?(?:>>?|<<?<?)(?:&[0-9-])?|&>>?")
"""What stands between a shell's commands, or leads their output elsewhere, as a word of its own.
Not ``;``, which find -exec ends with."""
_SECRETS = frozenset({"NOA_PASSWORD", "ESA_PASSWORD"})
_KEPT = 4096
_GRACE = 5.0
"""Seconds that a command has to end in order."""
_PIPE = 1 << 16
_PIPES_LEFT = 16


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run for each product, with no shell; make one with ``Command.parse``.

    >>> Command.parse("ls -l {path}").arguments
    ('ls', '-l', '{path}')
    """

    arguments: tuple[str, ...]
    """The program and its arguments, with the fields in braces."""
    timeout: float | None = None
    """Seconds that it may take for one product; None is no limit."""
    consumes: bool = False
    """Whether it may move, change or delete the product's file, which then counts as done."""

    @classmethod
    def parse(cls, text: str, *, timeout: float | None = None, consumes: bool = False) -> Self:
        """Read a command as a shell splits it; ``{{`` and ``}}`` stand for braces.

        Fields: ``{path}`` (absolute, or the object's address), ``{id}``, ``{name}`` (the server's,
        whatever it holds), ``{size}`` in bytes, ``{checksum}`` (empty where there is none).
        ``timeout`` is in seconds. Raises SettingsError saying what cannot be, such as a program
        that is not there, or what only a shell would understand.

        >>> Command.parse("ls {paht}")
        Traceback (most recent call last):
        noa_async.errors.SettingsError: A command has no field {paht}. Did you mean {path}?
        """
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise _cannot_be(text, f"cannot be split: {error}".lower().rstrip(".")) from None
        if not words:
            raise _cannot_be(text, "names no program")
        if sign := _for_a_shell(text):
            raise SettingsError(
                f"The command {text!r} has {sign!r}, which only a shell understands, and none runs "
                "it.",
                hint=f"""Write it as "sh -c '... \\"$1\\" {sign} ...' sh {{path}}".""",
            )
        for word in words:
            _check_fields(word, text)
        if any(piece["field"] for piece in _PIECE.finditer(words[0])):
            raise _cannot_be(text, "has a field in its program")  # a product would be run
        program = _filled(words[0], {})
        if shutil.which(program) is None:
            raise SettingsError(
                f"There is no program {program!r} to run.",
                hint="Write where it lies, or add its folder to PATH.",
            )
        return cls(tuple(words), timeout, consumes)

    def filled(self, outcome: Outcome) -> list[str]:
        """The arguments for one product; no value ever splits or merges them."""
        values = {field: value(outcome) for field, value in _FIELDS.items()}
        return [_filled(word, values) for word in self.arguments]

    def _too_slow(self, program: str, said: str) -> NoaError:
        took = f"{Path(program).name} was ended: it took longer than {self.timeout:g} s"
        return NoaError(": ".join(filter(None, (took, said))))

    async def __call__(self, outcome: Outcome) -> None:
        """Run it to its end, with nothing to read and without our password.

        Error handling: NoaError, with the last line it wrote, if it does not end with 0, or not
        within ``timeout``; OSError if it cannot be started.
        Resources: cancelled, it ends the command and all that it started: asked first, then made
        to after 5 s. Of its output, 4 KiB are held. What it leaves running when it ends is its own.
        """
        words = self.filled(outcome)
        with _Heard() as heard:
            process = _Process(words, heard.entrance)
            heard.entrance.close()
            try:
                async with asyncio.timeout(self.timeout):
                    status = await process.wait()
            except BaseException as error:
                await process.end()
                if isinstance(error, TimeoutError):
                    raise self._too_slow(words[0], heard.last_line()) from None
                raise
            if status:
                said = f"{Path(words[0]).name} {_ended(status)}", heard.last_line()
                raise NoaError(": ".join(filter(None, said)))


@dataclass(frozen=True, slots=True)
class Consuming:
    """A hook that may move, change or delete the file of its product, which then counts as done."""

    hook: Hook
    """What is awaited for each product."""
    consumes: ClassVar[bool] = True
    """What tells it from others."""

    async def __call__(self, outcome: Outcome) -> None:
        await self.hook(outcome)


def is_consuming(hook: Hook | None) -> bool:
    """Whether a hook may take the files of its products."""
    return bool(getattr(hook, "consumes", False))


async def run_hook(
    hook: Hook, outcome: Outcome, observer: Observer, *, due: bool = False
) -> str | None:
    """Run ``hook`` if this run brought the product, or if the hook is still ``due``.

    What goes wrong is told to ``observer``, and returned.
    """
    if not (outcome.brought or due):
        return None
    try:
        await hook(outcome)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        reason = "it was cancelled from within"  # let through, it would end our worker unseen
    except Exception as error:  # noqa: BLE001 (the product is there, whatever a hook does)
        reason = _reason(error)
    else:
        return None
    observer(HookFailed(outcome.product.id, outcome.product.name, reason))
    return reason


class _Heard:
    """The end of what comes through a pipe, read as it comes: its writer never has to wait.

    Read by hand, for uvloop's transport closes a pipe twice: see `_Process`.
    """

    def __init__(self) -> None:
        self._kept = b""
        self._loop = asyncio.get_running_loop()
        self._reading, writing = os.pipe()
        self.entrance = os.fdopen(writing, "wb", 0)

    def __enter__(self) -> Self:
        os.set_blocking(self._reading, False)
        self._loop.add_reader(self._reading, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._reading)
        os.close(self._reading)
        self.entrance.close()

    def _read(self) -> bool:
        """Read once; whether there may be more."""
        try:
            data = os.read(self._reading, _PIPE)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._reading)
        self._kept = (self._kept + data[-_KEPT:])[-_KEPT:]
        return bool(data)

    def last_line(self) -> str:
        """The last line that says something, of all that was written until now."""
        for _ in range(_PIPES_LEFT):  # what still runs in the background may write for ever
            if not self._read():
                break
        lines = self._kept.decode(errors="replace").splitlines()
        return next(filter(None, map(excerpt, reversed(lines))), "")


class _Process:
    """A running command and its group, waited for by a thread.

    asyncio's own processes will not do: uvloop closes a descriptor twice where it starts one, and
    the second time that can be a file which a disk thread has just opened.
    """

    def __init__(self, words: list[str], entrance: BinaryIO) -> None:
        self._process = subprocess.Popen(  # noqa: S603 (no shell; what the user asked for)
            words,
            stdin=subprocess.DEVNULL,
            stdout=entrance,
            stderr=entrance,
            env={name: value for name, value in os.environ.items() if name not in _SECRETS},
            start_new_session=True,  # a group to end; a Ctrl-C comes from us, in order
        )
        self._over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._reap, name="noa-hook", daemon=True).start()

    def _reap(self) -> None:
        self._process.wait()
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._over.set)

    async def wait(self) -> int:
        """Its exit status, once it has ended; a signal's number is negative."""
        await self._over.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    async def end(self) -> None:
        """End it and its group, and wait for it: in order, or by force."""
        try:
            async with asyncio.timeout(_GRACE):
                self._signal(signal.SIGTERM)
                await self.wait()
                while self._signal(0):  # noqa: ASYNC110 (nobody tells when the rest is gone)
                    await asyncio.sleep(0.02)
        except BaseException as error:
            self._signal(signal.SIGKILL)
            with suppress(TimeoutError):  # one that we may not kill, or that hangs in the kernel
                await asyncio.wait_for(self.wait(), _GRACE)
            if not isinstance(error, TimeoutError):
                raise

    def _signal(self, number: int) -> bool:
        """Send a signal to the group; whether there is one that we may signal."""
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _for_a_shell(text: str) -> str:
    """The first word of a command that is a shell's own sign, and not quoted; empty if none is.

    >>> _for_a_shell("unzip {path} && rm {path}"), _for_a_shell("grep '&&' {path}")
    ('&&', '')
    """
    try:
        words = shlex.split(text, posix=False)  # which leaves the quotes at each word
    except ValueError:
        return ""
    return next(filter(_SHELL.fullmatch, words), "")


def _ended(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    return f"was ended by signal {-status} ({signal.strsignal(-status)})"


def _reason(error: Exception) -> str:
    if isinstance(error, NoaError):
        return excerpt(str(error), 400)
    return excerpt(f"{type(error).__name__}: {error}".removesuffix(": "), 400)


def _check_fields(word: str, text: str) -> None:
    """Raise SettingsError where a word of the command ``text`` has a field that is none."""
    for piece in _PIECE.finditer(word):
        field = piece["field"]
        if field is None and piece[0] in "{}":
            raise _cannot_be(text, "has a brace with no partner")
        if field is not None and field not in _FIELDS:
            near = difflib.get_close_matches(field.lower(), _FIELDS, n=1, cutoff=0.5)
            known = ", ".join(f"{{{name}}}" for name in _FIELDS)
            hint = f"There are {known}; {{{{ and }}}} are braces."
            if near:
                hint = f"Did you mean {{{near[0]}}}?"
            raise SettingsError(f"A command has no field {{{field}}}.", hint=hint)


def _filled(word: str, values: dict[str, str]) -> str:
    """One argument, in one pass: what a value holds is not looked at again."""
    return _PIECE.sub(lambda piece: values[piece["field"]] if piece["field"] else piece[0][0], word)


def _cannot_be(text: str, why: str) -> SettingsError:
    return SettingsError(
        f"The command {text!r} {why}.", hint="Write it as 'PROGRAM ARGUMENT ... {path}'."
    )
