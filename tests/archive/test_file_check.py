from __future__ import annotations

import os
import resource
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.ledgers import make_ledger
from noa_async.archive.archive import Archive
from noa_async.archive.destination import FileFacts
from noa_async.archive.file_check import FileCheck, check_files, looked_at, mass_missing
from noa_async.archive.states import State
from noa_async.errors import FilesMissing
from noa_async.threads import Threads

from .products import record

AS_IT_WAS, OTHER = FileFacts(1000, 5), FileFacts(1000, 6)
HELD = record(State.VERIFIED)
HOOKED = record(State.UNVERIFIED, hooked=3.0)
WRONG = record(State.DAMAGED, path="x", size=1000, mtime_ns=5, todo=2)


@pytest.mark.parametrize(
    ("known", "facts", "consumes", "state", "todo"),
    [
        (HELD, AS_IT_WAS, False, State.VERIFIED, None),
        (HELD, OTHER, False, State.VERIFIED, 9),
        (HELD, None, False, State.MISSING, 9),
        (HELD, None, True, State.MISSING, 9),
        (HOOKED, None, True, State.CONSUMED, None),
        (HOOKED, None, False, State.MISSING, 9),
        (HOOKED, OTHER, True, State.UNVERIFIED, 9),
        (WRONG, None, False, State.DAMAGED, 2),
        (WRONG, OTHER, False, State.DAMAGED, 2),
        (record(State.VERIFIED, todo=4), None, False, State.MISSING, 4),
    ],
)
def test_what_becomes_of_a_product_whose_file_was_looked_at(known, facts, consumes, state, todo):
    after = looked_at(known, facts, 50.0, lambda: 9, consumes=consumes)
    assert (after.state, after.todo) == (state, todo)
    assert (after == known) is (state is known.state and todo == known.todo)
    assert after.path == (None if state is State.CONSUMED else known.path)


@pytest.mark.parametrize(
    ("files", "lost", "lost_in", "here", "told"),
    [
        (1000, 0, {}, {}, ""),
        (20, 10, {}, {}, ""),
        (20, 11, {}, {}, "11 of 20 files"),
        (1000, 200, {}, {}, ""),
        (1000, 201, {}, {}, "201 of 1000 files"),
        (1000, 12, {"2026": 12}, {"2026": 900}, ""),
        (1000, 12, {"2026": 12, "2026/01": 12}, {"2026": 900, "2026/01": 12}, "All 12 files"),
        (1000, 10, {"2026/01": 10}, {"2026/01": 10}, ""),
    ],
)
def test_how_much_may_be_missing(files, lost, lost_in, here, told):
    check = FileCheck(files=files, lost=lost, lost_in=Counter(lost_in), here=Counter(here))
    assert mass_missing(check).startswith(told)
    assert bool(mass_missing(check)) is bool(told)


def make_files(folder: Path) -> list[Path]:
    """The files that the ledger in a folder knows of, with their sizes and times, and no bytes."""
    made = []
    with closing(sqlite3.connect(folder / ".noa-async/ledger.sqlite3")) as database:
        question = "SELECT path, size, mtime_ns FROM products WHERE path IS NOT NULL"
        for path, size, at in database.execute(question):
            file = folder / path
            with file.open("wb") as opened:
                opened.truncate(size)
            os.utime(file, ns=(at, at))
            made.append(file)
    return made


async def checked(folder: Path, **options: bool) -> FileCheck:
    with Threads(2) as pool:
        async with Archive(folder, None, pool) as archive:
            return await check_files(archive, **options)


async def test_what_a_check_counts(tmp_path: Path):
    """More than a page of the ledger, and more findings than are kept."""
    make_ledger(tmp_path, 11_000)
    made = make_files(tmp_path)
    found = await checked(tmp_path)
    assert (found.files, found.wrong, found.lost, found.example) == (len(made), 0, 0, None)
    made[5].unlink()
    os.utime(made[7], ns=(1, 1))
    made[8000].write_bytes(b"")
    found = await checked(tmp_path)
    assert (found.missing, found.changed, found.lost) == (1, 2, 2)
    assert found.example == made[5].name
    for file in made[:10_500]:
        file.unlink(missing_ok=True)
    with pytest.raises(FilesMissing, match="10499 of 10944 files"):
        await checked(tmp_path)
    found = await checked(tmp_path, accept_missing=True)
    assert found.missing == 10_499  # one is noted as missing already
    assert (await checked(tmp_path)).wrong == 0


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_million_files_take_seconds_and_little_memory(tmp_path: Path):
    make_ledger(tmp_path, 1_000_000)
    files = len(make_files(tmp_path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    found = await checked(tmp_path)
    assert time.perf_counter() - began < 15
    assert (found.files, found.wrong) == (files, 0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
