"""noa-async alone against nginx: one run as a process, with what the kernel says of it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.programs import Command, spawn

if TYPE_CHECKING:
    from benchmarks.fileserver import FileServer

_PACKAGE = {"PYTHONPATH": str(Path(__file__).parent.parent)}


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run took."""

    seconds: float
    cpu: float
    peak_mib: float
    said: str

    def number_of(self, word: str) -> int:
        """The figure beside a word of the closing table: ``present   50000``."""
        found = re.search(rf"^\s*{word}\s+(\d+)\b", self.said, re.MULTILINE)
        return int(found[1]) if found else 0


def download(server: FileServer, folder: Path, connections: int) -> Ran:
    """Bring all that ``server`` has into ``folder``. Raises RuntimeError where that fails."""
    words = (sys.executable, "-m", "noa_async", "download", "--everything", "--no-progress")
    where = ("--output", str(folder), "--workers", str(connections))
    command = Command((*words, *where), server.environment() | _PACKAGE)
    ended = spawn(command, folder.with_name("home"), seconds=1800)
    if ended.code != 0:
        raise RuntimeError(f"noa-async ended with {ended.code}:\n{ended.said[-2000:]}")
    return Ran(ended.wall, ended.cpu, ended.peak_mib, ended.said)
