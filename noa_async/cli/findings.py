"""Print what ``verify`` finds to standard output, with a progress bar on standard error."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Self

from noa_async.cli.formats import as_json
from noa_async.cli.text import shown

if TYPE_CHECKING:
    from pathlib import Path

    from tqdm import tqdm

    from noa_async.archive.verify import Finding

VERSION = 1


class Findings:
    """Print each product that is not right as a line: ``damaged  path: why``.

    Call ``begin``, ``add`` for each finding, ``pause`` after the last, then ``end``. Leaving the
    context removes the bar.
    """

    def __init__(self, folder: Path | str, *, bar: bool) -> None:
        self.folder = folder
        self._with_bar = bar and sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def begin(self, size: int) -> None:
        """Show a progress bar for ``size`` bytes."""
        if self._with_bar:
            from tqdm import tqdm  # noqa: PLC0415 (for terminals)

            tqdm.monitor_interval = 0  # no thread
            self._bar = tqdm(
                total=size, unit="B", unit_scale=True, file=sys.stderr, leave=False,
                desc="verify",
            )  # fmt: skip

    def add(self, finding: Finding) -> None:
        """Print a finding and advance the bar."""
        if self._bar is not None:
            self._bar.update(finding.read)
        if finding.condition not in {"right", "accepted"}:
            self._tell(finding)

    def pause(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def end(self, held: dict[str, object]) -> None:
        """Print the totals; text output has none on standard output."""

    def _tell(self, finding: Finding) -> None:
        why = f": {finding.why}" if finding.why else ""
        self._write(shown(f"{finding.condition}  {finding.path}{why}"))

    def _write(self, line: str) -> None:
        if self._bar is None:
            print(line)
        else:
            self._bar.write(line, file=sys.stdout)


class JsonFindings(Findings):
    """Print one JSON object. If verification is interrupted, the output is incomplete JSON."""

    _between = "\n"

    def begin(self, size: int) -> None:
        super().begin(size)
        head = {"version": VERSION, "folder": str(self.folder)}
        print(json.dumps(head)[:-1] + ', "findings": [', end="")

    def end(self, held: dict[str, object]) -> None:
        print("\n], " + json.dumps(held)[1:])

    def _tell(self, finding: Finding) -> None:
        held = {
            "condition": str(finding.condition),
            "path": _as_text(finding.path),
            "why": finding.why,
            "id": finding.product_id,
            "name": finding.name,
        }
        print(self._between + as_json(held), end="")
        self._between = ",\n"


def _as_text(path: str) -> str:
    r"""Return a path as text, with bytes that are not UTF-8 escaped as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
