"""How a run talks: how much, and in which form. Asked for before or after the verb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True)
class Manner:
    """How a run talks; filled while the arguments are read, then left as it is."""

    json: bool = False
    """Messages are JSON, one object a line."""
    verbose: int = 0
    """How often ``-v`` was given."""
    quiet: bool = False
    """Nothing but errors."""

    @property
    def level(self) -> int:
        """-1 nothing but errors, 0 as usual, 1 and more with details."""
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
    """Give a command ``--log-format``, ``-v`` and ``-q``; they fill the run's `Manner`."""
    for option in (
        click.option(
            "-q", "--quiet", is_flag=True, callback=_quiet, expose_value=False,
            help="Nothing but errors.",
        ),
        click.option(
            "-v", "--verbose", count=True, callback=_verbose, expose_value=False,
            help="More messages; tracebacks.",
        ),
        click.option(
            "--log-format", type=click.Choice(["text", "json"]), callback=_form,
            expose_value=False, help="Messages as text, or one JSON object a line.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function
