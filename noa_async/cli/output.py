"""The type of ``--output`` and ``DIR``: a folder, or the URL of an object store."""

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
    AnyParam = click.ParamType  # generic only in click 8.4 and later


class Output(AnyParam):
    """A folder or a store URL. URLs stay text, because a Path would drop a slash."""

    name = "output"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """Return a Path, or the text of a valid store URL."""
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
        """Complete paths."""
        return click.Path().shell_complete(ctx, param, incomplete)


def meant(output: Path | str, scratch: str | None) -> Path | StoreUrl:
    """Return the target of an output; ``scratch`` defaults to NOA_SCRATCH."""
    return target_of(output, scratch or os.environ.get("NOA_SCRATCH") or None)
