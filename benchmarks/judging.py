"""What a run left on disk, judged by the emulator's own bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.tools import Errand
    from noa_async.emulator import Emulator


class File(StrEnum):
    """What lies under a product's name."""

    WHOLE = "whole"
    MISSING = "missing"
    PART = "part"
    """The product's bytes, but not all of them."""
    WRONG = "wrong"


class Outcome(StrEnum):
    """How a run ended, by its worst file and by what it said."""

    WHOLE = "whole"
    WHOLE_SAID_FAILED = "whole, said it failed"
    MISSING_SAID = "missing, said so"
    MISSING_SILENT = "missing, silent"
    WRONG_SAID = "wrong bytes under the product's name, said so"
    WRONG_SILENT = "WRONG BYTES, SILENT"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Cell:
    """One tool under one fault."""

    outcome: Outcome
    exit: int | None
    files: tuple[File, ...]
    sent: float
    """Bytes of products that the emulator sent, as a share of what was needed."""
    leaked: int
    """Requests with a token to the host that must not get one."""
    struck: int
    """Faults that the emulator dealt out."""


def judge(files: Sequence[File], code: int | None) -> Outcome:
    """The outcome of a run that left ``files`` and ended with ``code`` (None: hung).

    The first line that fits:

        code   files                     outcome
        ----   -----------------------   -----------------
        None   any                       HUNG
        0      one is wrong or a part    WRONG_SILENT
        else   one is wrong or a part    WRONG_SAID
        0      one is missing            MISSING_SILENT
        else   one is missing            MISSING_SAID
        0      all whole                 WHOLE
        else   all whole                 WHOLE_SAID_FAILED
    """
    if code is None:
        return Outcome.HUNG
    if {File.WRONG, File.PART} & set(files):
        return Outcome.WRONG_SAID if code else Outcome.WRONG_SILENT
    if File.MISSING in files:
        return Outcome.MISSING_SAID if code else Outcome.MISSING_SILENT
    return Outcome.WHOLE_SAID_FAILED if code else Outcome.WHOLE


def measure(errand: Errand, code: int | None) -> Cell:
    """Read every file of a run that ended, and ask the emulator what it saw."""
    mirror = errand.mirror
    files = tuple(
        _file(errand, errand.folder / wanted.name, wanted.product_id) for wanted in errand.wanted
    )
    ids = tuple(wanted.product_id for wanted in errand.wanted)
    needed, sent, leaked, struck = mirror.ask(partial(_seen, ids))
    return Cell(judge(files, code), code, files, sent / needed, leaked, struck)


def _file(errand: Errand, path: Path, product_id: str) -> File:
    if not path.exists():
        return File.MISSING
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    length = path.stat().st_size
    size, right = errand.mirror.ask(partial(_md5, product_id, length))
    if found != right or length == 0:
        return File.WRONG
    return File.WHOLE if length == size else File.PART


def _md5(product_id: str, length: int, mirror: Emulator) -> tuple[int, str]:
    """The product's size, and the MD5 of its first ``length`` bytes, as it is now."""
    content = mirror.content(product_id)
    return content.size, hashlib.md5(content.read(0, length)).hexdigest()


def _seen(ids: Sequence[str], mirror: Emulator) -> tuple[int, int, int, int]:
    stats = mirror.stats
    needed = sum(mirror.content(each).size for each in ids)
    return needed, stats.bytes_sent, stats.leaked_tokens, stats.faults
