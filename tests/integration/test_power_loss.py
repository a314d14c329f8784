"""A run killed, and then what a power cut does to what was not synced: the next run mends it.

What is synced before its name is given (a published file, the layout) stays as it is; parts, notes,
the tail of the ledger and of its log, and the folder's entry of a file that came last do not.
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.night import live_to_the_end
from noa_async import Following, NoaClient, OnRemoved, Query
from noa_async.archive.schema import MIGRATIONS
from noa_async.archive.states import State
from noa_async.emulator import Emulator, EmulatorSettings, make_product

from .conftest import WHO, settings_for
from .test_mirror import records

ALL = Query(everything=True)
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=60)
PAGE = 4096
_CHILDREN = multiprocessing.get_context("forkserver")
_CHILDREN.set_forkserver_preload(["benchmarks.night"])


def md5_of(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def products_in(folder: Path) -> dict[str, str]:
    """The MD5 of each file under a product's name."""
    return {file.name: md5_of(file) for file in folder.iterdir() if file.is_file()}


# What a power cut does. Each gets the state folder and a source of chance.

Damage = Callable[[Path, random.Random], None]


def _some(draw: random.Random, folder: Path, pattern: str) -> Path | None:
    files = sorted(folder.glob(pattern))
    return draw.choice(files) if files else None


def _cut(file: Path | None, draw: random.Random) -> None:
    if file is not None and file.exists():
        os.truncate(file, draw.randint(0, file.stat().st_size))


def _blank(file: Path | None, draw: random.Random, fill: Callable[[int], bytes]) -> None:
    """Replace all behind some point."""
    if file is not None and file.exists():
        data = file.read_bytes()
        point = draw.randint(0, len(data))
        file.write_bytes(data[:point] + fill(len(data) - point))


def _spoil_page(file: Path, draw: random.Random, *, torn: bool, last: bool = True) -> None:
    """Garbage in a page: all of it, or the sectors behind the first ones."""
    if not file.exists() or file.stat().st_size < PAGE:
        return
    data = bytearray(file.read_bytes())
    start = len(data) - PAGE if last else draw.randrange(len(data) // PAGE) * PAGE
    end = start + PAGE
    if torn:
        start += 512 * draw.randint(1, 7)
    data[start:end] = draw.randbytes(end - start)
    file.write_bytes(data)


def part_cut(state: Path, draw: random.Random) -> None:
    _cut(_some(draw, state, "parts/*.part"), draw)


def part_zeroed(state: Path, draw: random.Random) -> None:
    _blank(_some(draw, state, "parts/*.part"), draw, bytes)


def note_lost(state: Path, draw: random.Random) -> None:
    for note in state.glob("parts/*.json"):
        note.unlink()


def note_halved(state: Path, draw: random.Random) -> None:
    _cut(_some(draw, state, "parts/*.json"), draw)


def note_zeroed(state: Path, draw: random.Random) -> None:
    _blank(_some(draw, state, "parts/*.json"), draw, bytes)


def part_lost(state: Path, draw: random.Random) -> None:
    if part := _some(draw, state, "parts/*.part"):
        part.unlink()


def log_cut(state: Path, draw: random.Random) -> None:
    _cut(state / "ledger.sqlite3-wal", draw)


def log_zeroed(state: Path, draw: random.Random) -> None:
    _blank(state / "ledger.sqlite3-wal", draw, bytes)


def log_spoilt(state: Path, draw: random.Random) -> None:
    _spoil_page(state / "ledger.sqlite3-wal", draw, torn=draw.random() < 0.5, last=False)


def log_lost(state: Path, draw: random.Random) -> None:
    for name in ("ledger.sqlite3-wal", "ledger.sqlite3-shm"):
        (state / name).unlink(missing_ok=True)


def index_lost(state: Path, draw: random.Random) -> None:
    (state / "ledger.sqlite3-shm").unlink(missing_ok=True)


def index_spoilt(state: Path, draw: random.Random) -> None:
    _blank(state / "ledger.sqlite3-shm", draw, draw.randbytes)


def ledger_torn(state: Path, draw: random.Random) -> None:
    _spoil_page(state / "ledger.sqlite3", draw, torn=True)


def ledger_spoilt(state: Path, draw: random.Random) -> None:
    _spoil_page(state / "ledger.sqlite3", draw, torn=draw.random() < 0.5, last=False)


def ledger_cut(state: Path, draw: random.Random) -> None:
    _cut(state / "ledger.sqlite3", draw)


def name_lost(state: Path, draw: random.Random) -> None:
    """A file whose rename the disk did not have yet is a part again, or nothing at all."""
    known = _known_paths(state)
    fresh = sorted(
        file for file in state.parent.iterdir() if file.is_file() and file.name not in known
    )
    if fresh:
        file = draw.choice(fresh)
        if draw.random() < 0.5:
            file.unlink()
        else:
            file.replace(state / "parts" / f"{_ids[file.name]}.part")


DAMAGES: tuple[Damage, ...] = (
    *(part_cut, part_zeroed, part_lost, note_lost, note_halved, note_zeroed),
    *(log_cut, log_zeroed, log_spoilt, log_lost, index_lost, index_spoilt),
    *(ledger_torn, ledger_spoilt, ledger_cut),
)
_ids: dict[str, str] = {}
"""The Id of each product, by name."""


def _known_paths(state: Path) -> set[str]:
    """What a copy of the ledger, as the kill left it, knows to be here."""
    copy = state.parent.with_name(f"{state.parent.name}.ledger")
    copy.mkdir()
    for file in state.glob("ledger.sqlite3*"):
        shutil.copy(file, copy)
    try:
        with closing(sqlite3.connect(copy / "ledger.sqlite3")) as database:
            rows = database.execute("SELECT path FROM products WHERE state = 'verified'").fetchall()
    finally:
        shutil.rmtree(copy)
    return {path for (path,) in rows}


class Year:
    """An archive of yesterday, and a catalogue that has moved on since."""

    def __init__(self, mirror: Emulator, folder: Path) -> None:
        self.mirror = mirror
        self.yesterday = folder / "yesterday"
        self.removed: set[str] = set()
        """The checksums of products that are gone."""
        self.replaced: set[str] = set()
        """The checksums of bytes that are not the catalogue's any more."""

    async def prepare(self) -> None:
        draw = random.Random(7)
        for number in range(24):
            self._publish(f"old{number}", draw.randint(5_000, 50_000), number)
        await self.run(self.yesterday)
        old = self.mirror.catalogue.products
        for product in old[3:6]:
            self.replaced.add(self.mirror.content(product.id).md5)
            self.mirror.catalogue.replace(product.id, size=draw.randint(5_000, 50_000))
        for product in old[10:12]:
            self.removed.add(self.mirror.content(product.id).md5)
            self.mirror.catalogue.remove(product.id)
        for number in range(20):
            size = draw.randint(1_100_000, 1_900_000) if number % 4 == 0 else 30_000
            self._publish(f"new{number}", size, 24 + number)
        for product in self.mirror.catalogue.products:
            _ids[product.name] = product.id
            self.mirror.content(product.id).prepare()

    def _publish(self, name: str, size: int, day: int) -> None:
        at = START + timedelta(days=day)
        product = make_product(f"{name}.SAFE.zip", size, start=at, published=at)
        self.mirror.catalogue.add(product)

    def wanted(self) -> dict[str, str]:
        """Name and MD5 of all that the catalogue has."""
        return {
            product.name: self.mirror.content(product.id).md5
            for product in self.mirror.catalogue.products
        }

    async def run(self, folder: Path) -> None:
        """One run, and nothing is absent after it."""
        following = Following(
            on_removed=OnRemoved.DELETE, max_delete=0.2, gone_listings=1, gone_for=timedelta(0)
        )
        settings = settings_for(self.mirror, following=following)
        async with NoaClient(settings, WHO, clock=NOW.timestamp) as noa:
            assert (await noa.mirror(ALL, folder, reconcile=True)).absent == 0

    async def kill(self, folder: Path, draw: random.Random) -> None:
        """One run in a process of its own, killed at some moment."""
        environ = {
            "NOA_CATALOGUE_URL": self.mirror.catalogue_url,
            "NOA_TOKEN_URL": self.mirror.token_url,
        }
        stats = self.mirror.stats
        stats.reset()
        options = (str(folder), NOW.timestamp(), "delete", 0.2, True, environ)
        process = _CHILDREN.Process(target=live_to_the_end, args=options)
        process.start()
        enough = draw.uniform(0, 1) * 9_000_000
        while process.is_alive() and stats.bytes_sent < enough:
            await asyncio.sleep(0.002)
        if draw.random() < 0.3:
            await asyncio.sleep(draw.uniform(0, 0.3))
        process.kill()
        await asyncio.to_thread(process.join)
        process.close()
        while stats.downloads_in_flight:
            await asyncio.sleep(0.002)


async def cut_and_mend(year: Year, folder: Path, seed: int, damages: tuple[Damage, ...]) -> None:
    draw = random.Random(seed)
    shutil.copytree(year.yesterday, folder)
    await year.kill(folder, draw)
    state = folder / ".noa-async"
    if not (state / "lock").read_bytes():  # it had not begun, or ended: the ledger is synced
        damages = tuple(one for one in damages if not one.__name__.startswith("ledger"))
    if draw.random() < 0.5:
        name_lost(state, draw)
    chosen = draw.sample(damages, k=min(len(damages), draw.randint(1, 3)))
    for damage in chosen:
        damage(state, draw)
    wanted, before = year.wanted(), products_in(folder)
    assert set(before.values()) <= set(wanted.values()) | year.removed | year.replaced

    year.mirror.stats.reset()
    await year.run(folder)

    what = (seed, [damage.__name__ for damage in chosen])
    lost = list(state.glob("ledger.sqlite3*.damaged-*"))  # only then may it know less
    after = products_in(folder)
    assert {name: after.get(name) for name in wanted} == wanted, what
    stray = {after[name] for name in after.keys() - wanted.keys()}
    assert stray <= (year.removed if lost else set()), what
    aside = {md5_of(file) for file in (state / "quarantine").iterdir()}
    assert aside <= (year.replaced if lost else set()), what
    assert not list((state / "parts").iterdir()), what
    held = {one.path for one in records(folder).values() if one.state is State.VERIFIED}
    assert held == set(wanted), what
    right = {_ids[name] for name, md5 in before.items() if wanted.get(name) == md5}
    assert not right & year.mirror.stats.downloads.keys(), what
    assert (state / "lock").read_bytes() == b"", what
    shutil.rmtree(folder)


async def in_a_year(tmp_path: Path, seeds: range, damages: tuple[Damage, ...] = DAMAGES) -> None:
    settings = EmulatorSettings(products=0, rate=16_000_000)
    async with Emulator(settings) as mirror:
        year = Year(mirror, tmp_path)
        await year.prepare()
        for seed in seeds:
            await cut_and_mend(year, tmp_path / f"cut{seed}", seed, damages)


async def test_twenty_power_cuts(tmp_path: Path) -> None:
    await in_a_year(tmp_path, range(20))


def _of_version_1(state: Path) -> None:
    """What the program's first version knew of the same archive, its last run ended in order."""
    ledger = state / "ledger.sqlite3"
    columns = "id, name, state, path, path_key, size, mtime_ns, checksum, attempts, error, updated"
    with closing(sqlite3.connect(ledger)) as database:
        rows = database.execute(f"SELECT {columns} FROM products").fetchall()
    for file in state.glob("ledger.sqlite3*"):
        file.unlink()
    with closing(sqlite3.connect(ledger)) as database, database:
        database.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        database.executemany(f"INSERT INTO products VALUES ({'?, ' * 10}?)", rows)
    assert (state / "lock").read_bytes() == b""


async def test_damage_to_a_ledger_of_version_1_is_mended_though_no_run_was_killed(
    tmp_path: Path,
) -> None:
    async with Emulator(EmulatorSettings(products=0)) as mirror:
        year = Year(mirror, tmp_path)
        await year.prepare()
        for seed in range(8):
            draw, folder = random.Random(seed), tmp_path / f"old{seed}"
            shutil.copytree(year.yesterday, folder)
            state = folder / ".noa-async"
            _of_version_1(state)
            _spoil_page(state / "ledger.sqlite3", draw, torn=seed % 2 == 0, last=False)
            wanted, before = year.wanted(), products_in(folder)
            year.mirror.stats.reset()
            await year.run(folder)
            after = products_in(folder)
            assert {name: after.get(name) for name in wanted} == wanted, seed
            right = {_ids[name] for name, md5 in before.items() if wanted.get(name) == md5}
            assert len(right) == 19
            assert not right & year.mirror.stats.downloads.keys(), seed


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_thousand_power_cuts(tmp_path: Path) -> None:
    await in_a_year(tmp_path, range(1000, 2000))
