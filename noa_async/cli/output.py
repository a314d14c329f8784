"""What ``--output`` and ``DIR`` name: a folder, or an address in an object store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noa_async.archive.targets import is_store, target_of
from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from noa_async.archive.targets import StoreUrl

    AnyParam = click.ParamType[Any]
else:
    AnyParam = click.ParamType  # what it gives, only click 8.4 and later let it say


class Output(AnyParam):
    """A folder, completed as one is; an address stays text, for a Path would lose a slash."""

    name = "output"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """A Path, or the text of an address that can be one."""
        if isinstance(value, Path):
            return value
        try:
            target = target_of(value)
        except SettingsError as error:
            self.fail(str(error), param, ctx)
        return value if is_store(value) else target  # type: ignore[return-value]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """As a path is."""
        return click.Path().shell_complete(ctx, param, incomplete)


def meant(output: Path | str, scratch: str | None) -> Path | StoreUrl:
    """The output itself; ``scratch`` is NOA_SCRATCH's where it is None."""
    return target_of(output, scratch or os.environ.get("NOA_SCRATCH") or None)
