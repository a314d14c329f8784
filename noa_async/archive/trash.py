"""Manage the trash: files deleted because the service no longer has their products.

They are kept in ``.noa-async/trash/DAY/PATH`` for some days. A file that a user moves back to its
path belongs to its product again, and is kept.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from noa_async.archive.decisions import wanted_checksum
from noa_async.archive.reading import has_checksum
from noa_async.archive.states import State
from noa_async.archive.targets import STATE_FOLDER
from noa_async.disk import blamed_on
from noa_async.errors import DestinationError, FileInaccessible
from noa_async.tasks import in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.archive.archive import Archive
    from noa_async.archive.record import Record

TRASH = "trash"
_DAY = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\d+)?", re.ASCII)
"""As ``throw_away`` names folders."""
IN_TRASH = f"trash IS NOT NULL AND state = '{State.REMOVED}'"
"""The records of files in the trash, as SQL."""


def path_in_trash(trash: str) -> str:
    """Return the path of ``Record.trash`` relative to the output folder."""
    return f"{STATE_FOLDER}/{TRASH}/{trash}"


def path_before(trash: str) -> str:
    """Return the original path of a file in the trash.

    >>> path_before("2026-12-01/2026/01/S2A.zip")
    '2026/01/S2A.zip'
    """
    return trash.partition("/")[2]


async def throw_away(archive: Archive, record: Record) -> str | None:
    """Move a product's file to the trash. Return its path there; None if there is no such file.

    The path is stored in the ledger before the file is moved, so that it is known after a kill.
    """
    assert record.path is not None
    day = datetime.fromtimestamp(archive.clock(), UTC).date().isoformat()
    name, number = day, 1
    while archive.folder.facts(path_in_trash(f"{name}/{record.path}")) is not None:
        number += 1
        name = f"{day}.{number}"
    trash = f"{name}/{record.path}"
    archive.ledger.put(replace(record, todo=None, trash=trash))
    await archive.ledger.flush()
    if archive.folder.facts(record.path) is None:
        return None
    await archive.in_thread(archive.folder.move, record.path, path_in_trash(trash))
    return trash


async def empty_trash(archive: Archive, keep: timedelta) -> int:
    """Delete files that were in the trash for longer than ``keep``. Return how many.

    A day in the future, from a clock that was wrong, is changed to today.
    """
    if archive.folder.root is None:
        return 0
    today = datetime.fromtimestamp(archive.clock(), UTC).date()
    folder = archive.folder.state / TRASH
    deleted = 0
    for name, day in await in_thread(_days, folder):
        if day > today:
            if await in_thread(_renamed, folder / name, folder / today.isoformat()):
                await _change(archive, name, today.isoformat())
        elif today - day > keep:
            deleted += await in_thread(_deleted, folder / name)
            await _change(archive, name, None)
    return deleted


def _days(folder: Path) -> list[tuple[str, date]]:
    """Return the folders of the trash with their days."""
    found = []
    with blamed_on(folder), suppress(FileNotFoundError, NotADirectoryError):
        for one in folder.iterdir():
            day = _DAY.fullmatch(one.name)
            if day is None or one.is_symlink() or not one.is_dir():
                continue  # not made by this program
            with suppress(ValueError):
                found.append((one.name, date.fromisoformat(day[1])))
    return sorted(found)


def _renamed(folder: Path, to: Path) -> bool:
    """Rename a day's folder. Return False if the new name exists."""
    if to.exists():
        return False
    with blamed_on(folder):
        folder.rename(to)
    return True


def _deleted(folder: Path) -> int:
    """Delete a day's folder. Return how many files were in it."""
    files = sum(1 for one in folder.rglob("*") if not one.is_dir())
    with blamed_on(folder):
        shutil.rmtree(folder)
    return files


async def _change(archive: Archive, day: str, to: str | None) -> None:
    """Store that a day's folder was renamed or deleted."""
    within = f"trash IS NOT NULL AND trash >= '{day}/' AND trash < '{day}0'"  # 0 sorts after /
    async for record in archive.ledger.records(within):
        trash = None if to is None else f"{to}/{path_before(record.trash or '')}"
        archive.ledger.put(replace(record, trash=trash))
    await archive.ledger.flush()


async def take_back(archive: Archive) -> int:
    """Give files that a user moved back out of the trash to their products. Return how many.

    They are kept although the service no longer has the products, because the user wants them.
    """
    taken = 0
    async for record in archive.ledger.records(IN_TRASH):
        async with archive.only_one(record.id):
            now = archive.ledger.get(record.id)
            if now is not None and now.trash is not None and now.state is State.REMOVED:
                taken += await _taken_back(archive, now)
    return taken


async def _taken_back(archive: Archive, record: Record) -> bool:
    assert record.trash is not None
    path = path_before(record.trash)
    with suppress(DestinationError, FileInaccessible):
        facts = archive.folder.facts(path)
        if facts is None or not archive.places.is_free(path, record.id):
            return False
        if archive.folder.facts(path_in_trash(record.trash)) is not None:
            return False  # a copy: unclear which one is meant
        checksum = record.checksum
        if checksum is None or facts.size != record.size:
            return False
        as_it_was = facts.mtime_ns == record.mtime_ns
        if not as_it_was and not await has_checksum(archive.folder, path, checksum, archive.pool):
            return False
        now = archive.clock()
        state = State.VERIFIED if wanted_checksum(record.product) else State.UNVERIFIED
        back = record.found_right(state, path, facts, checksum, now)
        archive.put_file(
            replace(back, verified=record.verified if as_it_was else now, accepted=now)
        )
        return True
    return False
