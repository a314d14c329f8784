"""Turn errors into messages on standard error and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from noa_async.cli.sentences import own_record
from noa_async.cli.text import shown
from noa_async.errors import CredentialsMissing, NoaError

if TYPE_CHECKING:
    from noa_async.cli.manner import Manner

INTERRUPTED = 130
_USAGE = 2
_DESTINATION = 5
_OUR_FAULT = 70
_NOBODY_READS = 141
"""The code that a shell reports for a program terminated by SIGPIPE."""
_NO_CREDENTIALS = (
    "Set NOA_USERNAME and NOA_PASSWORD, or enter them once with noa-async login --keep netrc. To "
    "try the program without an account, run noa-async demo."
)


class Interrupted(Exception):
    """A signal stopped the run and clean-up is done; the message says how to resume."""


def ending(error: BaseException, manner: Manner) -> int:
    """Print ``error`` and return its exit code."""
    if isinstance(error, BaseExceptionGroup):
        from noa_async.pipeline import foremost  # noqa: PLC0415 (imports asyncio)

        error = foremost(error)
    if isinstance(error, BrokenPipeError):
        _silence()
        return _NOBODY_READS
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return _USAGE
    message, hint, code = explained(error)
    try:
        if manner.verbose > (0 if code == _OUR_FAULT else 1):
            traceback.print_exception(error)
        _tell(message, hint, code, as_json=manner.json)
    except BrokenPipeError:
        _silence()
    return code


def explained(error: BaseException) -> tuple[str, str, int]:
    """Return the message, the hint and the exit code for an error.

    >>> explained(NoaError("The disk is missing.", hint="Mount it."))
    ('The disk is missing.', 'Mount it.', 1)
    """
    if isinstance(error, NoaError):
        hint = error.hint
        if isinstance(error, CredentialsMissing):
            hint = _NO_CREDENTIALS
        return error.message, hint, error.exit_code
    if isinstance(error, Interrupted | KeyboardInterrupt | click.Abort):
        return "Interrupted.", str(error), INTERRUPTED
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}.", "", _DESTINATION
    kind = type(error).__name__
    return (
        f"Internal error: {kind}: {error}.",
        "Please report it with the command, its output with -v and the version.",
        _OUR_FAULT,
    )


def _usage(error: click.ClickException) -> tuple[str, str, int]:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "noa-async"
    return message, f"See {path} --help.", error.exit_code


def _tell(message: str, hint: str, code: int, *, as_json: bool) -> None:
    if as_json:
        held = {"message": message, "hint": hint, "exit_code": code}
        print(own_record("error", held, datetime.now(UTC)), file=sys.stderr)
        return
    lines = [line for line in (f"noa-async: {message}", hint) if line]
    for line in lines:
        print(shown(" ".join(line.split())), file=sys.stderr)


def _silence() -> None:
    """Redirect closed streams to the null device, so that flushing at exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
