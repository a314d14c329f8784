"""What befalls an archive between two nights: lost ledgers, missing disks, hands that mean well."""

from __future__ import annotations

import random
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

_TORN_PAGES = 3
_MOST_FILES = 3
FAILING = 3
"""Of so many hooks one fails in a night of failing hooks."""


def strike(folder: Path, mishap: str | None, seed: int, known: Iterable[str]) -> list[str]:
    """Let a mishap happen; the paths of the files that have to be fetched again for it.

    ``known``: the paths of products that the service has still.
    """
    draw = random.Random(seed)
    state = folder / ".noa-async"
    if mishap is None or not (state / "ledger.sqlite3").exists():
        return []
    if "ledger" in mishap:
        _strike_ledger(state, mishap, draw)
        return []
    some = sorted(path for path in known if (folder / path).exists())
    chosen = [folder / path for path in draw.sample(some, min(len(some), _MOST_FILES))]
    if mishap == "files removed":
        for file in chosen:
            file.unlink()
    elif mishap == "files damaged":
        for file in chosen:
            file.write_bytes(file.read_bytes()[: draw.randrange(0, 4000)])
    elif mishap == "files moved":
        place = folder / f"by-hand-{seed % 5}"
        place.mkdir(exist_ok=True)
        for file in chosen:
            file.rename(place / file.name)
    spoilt = mishap in {"files removed", "files damaged"}
    return [str(file.relative_to(folder)) for file in chosen] if spoilt else []


def _strike_ledger(state: Path, mishap: str, draw: random.Random) -> None:
    if mishap == "torn ledger":
        _tear(state / "ledger.sqlite3", draw)
        (state / "lock").write_text("1\n")  # a power cut, so the last run did not end in order
        return
    for file in state.glob("ledger.sqlite3*"):
        file.unlink()
    if mishap == "ledger and copies lost":
        shutil.rmtree(state / "copies", ignore_errors=True)


def _tear(ledger: Path, draw: random.Random) -> None:
    data = bytearray(ledger.read_bytes())
    pages = range(1, len(data) // 4096)
    for page in draw.sample(pages, min(len(pages), _TORN_PAGES)):
        data[page * 4096 : (page + 1) * 4096] = draw.randbytes(4096)
    ledger.write_bytes(data)


@contextmanager
def unmounted(folder: Path, mishap: str | None) -> Generator[bool]:
    """Take the disk away for as long as this is open, if that is the mishap; whether it is."""
    if mishap != "disk not mounted" or not (folder / ".noa-async").exists():
        yield False
        return
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)
    folder.mkdir()
    try:
        yield True
    finally:
        shutil.rmtree(folder)
        away.rename(folder)
