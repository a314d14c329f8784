"""Verbosity and log format of a run; the options may precede or follow the verb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True)
class Manner:
    """Verbosity and log format of a run, set while the arguments are parsed."""

    json: bool = False
    """Whether messages are JSON, one object per line."""
    verbose: int = 0
    """The number of ``-v`` options."""
    quiet: bool = False
    """Whether only errors are printed."""

    @property
    def level(self) -> int:
        """The verbosity: -1 errors only, 0 default, 1 and above more details."""
        return -1 if self.quiet else self.verbose


def _form(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().ensure_object(Manner).json = value == "json"


def _verbose(context: click.Context, _: click.Parameter, value: int) -> None:
    context.find_root().ensure_object(Manner).verbose += value


def _quiet(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(Manner).quiet = True


def with_manner(function: _F) -> _F:
    """Add ``--log-format``, ``-v`` and ``-q`` to a command; they set the run's `Manner`."""
    for option in (
        click.option(
            "-q", "--quiet", is_flag=True, callback=_quiet, expose_value=False,
            help="Print only errors.",
        ),
        click.option(
            "-v", "--verbose", count=True, callback=_verbose, expose_value=False,
            help="Print more messages, and tracebacks of internal errors; -vv prints all.",
        ),
        click.option(
            "--log-format", type=click.Choice(["text", "json"]), callback=_form,
            expose_value=False, help="Print messages as text (default) or as JSON lines.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function
