"""The ledger on a real disk: what it keeps, what it is brought up from, what breaks it."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async import DestinationError
from noa_async.archive.database import Database, read_database
from noa_async.archive.destination import ledger_of
from noa_async.archive.journal import Followed, Journal, read_followed, read_runs
from noa_async.archive.ledger import LAST_PLACE, Ledger
from noa_async.archive.names import fold
from noa_async.archive.overview import read_overview
from noa_async.archive.record import Record, first_record
from noa_async.archive.rows import COLUMNS, instant, milliseconds, record_of, row_of
from noa_async.archive.schema import MIGRATIONS
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum

from .products import START, product, record

FILE = "ledger.sqlite3"


def listed(number: int, **changes: object) -> Record:
    found = first_record(product(f"id-{number:05d}"), State.LISTED, 1.0)
    return replace(found, query=1, todo=number, **changes)  # type: ignore[arg-type]


def sums(path: Path) -> dict[str, tuple[int, int]]:
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT state, sum(products), sum(bytes) FROM sums GROUP BY 1")
        return {state: (products, size) for state, products, size in rows if products}


texts = st.text(max_size=20)


@given(
    name=st.text(min_size=1, max_size=40),
    size=st.none() | st.integers(1, 2**62),
    footprint=st.none() | texts,
    checksums=st.lists(st.sampled_from([Checksum("md5", "0" * 32), Checksum("blake3", "a" * 64)])),
    error=st.none() | texts,
    state=st.sampled_from(State),
    online=st.booleans(),
)
def test_a_record_comes_back_from_its_row(name, size, footprint, checksums, error, state, online):
    kept = product(
        name=name,
        size=size,
        footprint=footprint,
        checksums=tuple(checksums),
        online=online,
        attributes={"tileId": "34SGH"},
    )
    before = Record(kept, state, path="a/b", size=7, error=error, todo=3, seen=2, updated=1.5)
    after = record_of(row_of(before))
    assert replace(after, product=before.product) == before
    assert after.product.attributes["tileId"] == "34SGH"
    assert replace(after.product, attributes=kept.attributes) == kept


@given(st.datetimes(timezones=st.just(UTC)))
def test_an_instant_comes_back_without_what_is_below_a_millisecond(moment):
    kept = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert instant(milliseconds(moment)) == kept


async def test_what_is_put_is_there_at_once_and_after_the_next_opening(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        ledger.put(listed(1, path="x"))
        assert ledger.get("id-00001") == listed(1, path="x")
        assert ledger.owner("x") == "id-00001"
        assert ledger.get("other") is None
    async with Ledger(tmp_path / FILE) as ledger:
        found = ledger.get("id-00001")
        assert found is not None
        assert (found.state, found.path, found.todo) == (State.LISTED, "x", 1)
        assert found.product.sensing_start == START
        assert ledger.next_place() == 2
    assert sums(tmp_path / FILE) == {"listed": (1, 1000)}


async def test_the_sums_follow_every_change(tmp_path):
    rng = random.Random(4)
    path = tmp_path / FILE
    async with Ledger(path) as ledger:
        for number in range(400):
            ledger.put(listed(rng.randrange(60), path=f"p{number}"))
            key = f"id-{rng.randrange(60):05d}"
            found = ledger.get(key)
            if found is not None:
                state = rng.choice([State.VERIFIED, State.FAILED, State.WAITING])
                ledger.put(replace(found, state=state, size=rng.randrange(9)))
            if number % 7 == 0:
                await ledger.flush()
    with closing(sqlite3.connect(path)) as connection, connection:
        counted = connection.execute(
            "SELECT state, count(*), sum(coalesce(size, catalogue_size)) FROM products GROUP BY 1"
        )
        assert sums(path) == {state: (products, size) for state, products, size in counted}


async def test_the_list_of_what_is_to_be_done_is_in_order_and_by_query(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        for number in (5, 3, 9, 7):
            ledger.put(listed(number))
        ledger.put(replace(listed(1), query=2))
        ledger.put(replace(listed(4), todo=None))
        first = await ledger.todo(1, 0, 2)
        rest = await ledger.todo(1, 5, 9)
    assert [one.todo for one in (*first, *rest)] == [3, 5, 7, 9]


async def test_records_are_read_in_pages(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        for number in range(1203):
            ledger.put(listed(number + 1))
        found = [one.todo async for one in ledger.records("todo % 2 = 0")]
        assert found == list(range(2, 1204, 2))
        assert await ledger.count("todo > 1200") == 3


async def test_the_journal_keeps_queries_and_runs(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        journal = Journal(ledger)
        one, other = await journal.follow("a"), await journal.follow("b")
        assert (one.number, other.number, await journal.others("a")) == (1, 2, 1)
        await journal.keep(replace(one, watermark=START, reconciled=3.5))
        assert await journal.follow("a") == Followed(1, "a", START, 3.5)
        run = await journal.begin("mirror", 1, 10.0)
        await journal.end(replace(run, listed=4, brought=2), "complete", 11.0)
        killed = await journal.begin("mirror", 1, 12.0)
    database = read_database(tmp_path / FILE)
    try:
        assert len(read_followed(database)) == 2
        newest, before = read_runs(database, 5)
        assert (newest.number, newest.finished) == (killed.number, None)
        assert (before.listed, before.brought, before.ending) == (4, 2, "complete")
    finally:
        database.close()


async def test_a_ledger_of_version_1_is_brought_up_to_date(tmp_path):
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        connection.execute(
            "INSERT INTO products VALUES ('k', 'n', 'verified', 'n.zip', 'n.zip', 12, 34, "
            "'md5:ab', 2, NULL, 5.0)"
        )
    with pytest.raises(DestinationError, match="older version"):
        read_database(path)
    async with Ledger(path) as ledger:
        found = ledger.get("k")
        assert found is not None
        assert (found.state, found.path, found.size, found.mtime_ns, found.checksum) == (
            State.VERIFIED, "n.zip", 12, 34, "md5:ab",
        )  # fmt: skip
        assert ledger.owner("n.zip") == "k"
    assert sums(path) == {"verified": (1, 12)}


async def test_a_ledger_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / FILE
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DestinationError, match="newer version"):
        await Ledger(path).open()
    assert [file.name for file in tmp_path.iterdir() if "damaged" in file.name] == []


async def test_no_ledger_is_made_by_looking(tmp_path):
    with pytest.raises(DestinationError, match="holds no archive"):
        read_database(tmp_path / ".noa-async" / FILE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", range(6))
async def test_a_torn_page_is_found_after_a_crash_and_all_other_rows_are_salvaged(tmp_path, torn):
    path = tmp_path / FILE
    async with Ledger(path) as ledger:
        for number in range(800):
            ledger.put(listed(number + 1, path=f"p{number}"))
    pages = path.stat().st_size // 4096
    place = random.Random(torn).randrange(1, pages)
    with path.open("r+b") as file:
        file.seek(place * 4096)
        file.write(os.urandom(4096))
    ledger = await Ledger(path).open(suspect=True)
    try:
        ledger.put(record(State.LISTED))
        await ledger.flush()
        assert 780 < await ledger.count("1") <= 801
    finally:
        await ledger.close()
    assert any("damaged" in file.name for file in tmp_path.iterdir())


async def test_damage_met_on_the_way_is_said_and_mended_by_the_next_opening(tmp_path):
    path = tmp_path / FILE
    async with Ledger(path) as ledger:
        for number in range(800):
            ledger.put(listed(number + 1))
    ledger = await Ledger(path).open()
    try:
        with path.open("r+b") as file:
            half = path.stat().st_size // 8192 * 4096
            file.seek(half)
            file.write(os.urandom(half))
        with pytest.raises(DestinationError, match="set aside and made anew"):
            await ledger.count("name <> ''")
        assert ledger.damaged
    finally:
        await ledger.close()
    async with suspect(path) as again:
        assert 0 < await again.count("1") < 800


async def test_whatever_a_write_in_the_background_meets_is_told(tmp_path):
    ledger = await Ledger(tmp_path / FILE).open()
    ledger.put(listed(1, mtime_ns=2**63))
    flusher = ledger._flusher
    await asyncio.wait({flusher}, timeout=10)
    assert flusher.done()
    assert flusher.exception() is None
    with pytest.raises(DestinationError, match="cannot be used"):
        ledger.put(listed(2))
    with pytest.raises(DestinationError, match="cannot be used"):
        await ledger.close()


async def test_a_path_is_only_its_last_owners(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        for path in ("A.zip", "B.zip"):
            ledger.put(listed(1, path=path))
        assert (ledger.owner("a.zip"), ledger.owner("b.zip")) == (None, "id-00001")
        assert ledger.stored("b.zip") == "B.zip"
        await ledger.flush()
        assert ledger.stored("b.zip") == "B.zip"
        ledger.put(listed(1, path="C.zip"))
        assert (ledger.owner("b.zip"), ledger.owner("c.zip")) == (None, "id-00001")
        await ledger.flush()
        assert (ledger.owner("b.zip"), ledger.owner("c.zip")) == (None, "id-00001")
        assert not ledger._pending_paths


@pytest.mark.parametrize("spoil", [b"", b"no ledger at all, and longer than its head" * 99])
async def test_one_that_is_only_read_is_not_begun_anew(tmp_path, spoil):
    path = tmp_path / FILE
    path.write_bytes(spoil)
    ledger = Ledger(path, anew=False)
    with pytest.raises(DestinationError, match="Run noa-async mirror"):
        await ledger.open()
    assert path.read_bytes() == spoil
    assert ledger.damaged is bool(spoil)
    assert [file.name for file in tmp_path.iterdir() if "damaged" in file.name] == []


async def test_what_was_set_aside_is_told(tmp_path):
    path = tmp_path / FILE
    async with Ledger(path) as ledger:
        assert (ledger.fresh, ledger.set_aside) == (True, None)
    async with Ledger(path) as ledger:
        assert (ledger.fresh, ledger.set_aside) == (False, None)
    path.write_bytes(b"no ledger at all" * 999)
    async with Ledger(path) as ledger:
        aside = ledger.set_aside
    assert aside is not None
    assert aside.read_bytes() == b"no ledger at all" * 999


def first_version(path: Path, count: int) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(f"{MIGRATIONS[0]} PRAGMA user_version = 1;")
        connection.executemany(
            "INSERT INTO products VALUES (?, 'n', 'verified', ?, ?, 12, 34, 'md5:ab', 2, NULL, 5)",
            [(f"id-{number}", f"{number}.zip", f"{number}.zip") for number in range(count)],
        )


@pytest.mark.parametrize("torn", range(6))
async def test_a_damaged_ledger_of_version_1_is_begun_anew_whatever_the_last_run_said(
    tmp_path, torn
):
    path = tmp_path / FILE
    first_version(path, 2000)
    data = bytearray(path.read_bytes())
    draw = random.Random(torn)
    for page in draw.sample(range(1, len(data) // 4096), 2):
        data[page * 4096 : (page + 1) * 4096] = draw.randbytes(4096)
    path.write_bytes(data)
    async with Ledger(path) as ledger:
        assert await ledger.count("1") == 0
        assert ledger.set_aside is not None
        assert not ledger.damaged
    path.unlink()
    path.write_bytes(data)
    ledger = Ledger(path, anew=False)
    with pytest.raises(DestinationError, match="damaged"):
        await ledger.open()
    assert ledger.damaged


async def test_garbage_in_the_schema_is_damage_whatever_the_error_says(tmp_path):
    path = tmp_path / FILE
    async with Ledger(path) as ledger:
        ledger.put(listed(1))
    data = path.read_bytes()
    assert b"CREATE TABLE sums" in data
    path.write_bytes(data.replace(b"CREATE TABLE sums", b"CREATE \xc6\xff\xfeLE sums"))
    async with suspect(path) as ledger:
        assert await ledger.count("1") == 0
    assert any("damaged" in file.name for file in tmp_path.iterdir())


def _no_table(path: Path) -> None:
    with closing(Database(path)) as database:
        database.rows("SELECT * FROM products")


def _read_only(path: Path) -> None:
    with closing(Database(path, manner="mode=ro")) as database:
        database.write([("CREATE TABLE a (b)", [()])])


def _busy(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with closing(Database(path)) as database:
            database.rows("PRAGMA busy_timeout = 0")
            database.write([("CREATE TABLE a (b)", [()])])


def _gone(path: Path) -> None:
    path.unlink()
    Database(path)


@pytest.mark.parametrize(
    ("use", "hint"),
    [
        (_no_table, "Move it away"),
        (_read_only, "Only a user who may read it"),
        (_gone, "Only a user who may read it"),
        (_busy, "Another program holds it"),
    ],
)
def test_only_a_ledger_of_another_making_is_to_be_moved_away(tmp_path, use, hint):
    path = tmp_path / FILE
    sqlite3.connect(path).close()
    path.touch()
    with pytest.raises(DestinationError, match="cannot be used") as raised:
        use(path)
    assert raised.value.hint.startswith(hint)


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """A folder, and its end as one that can be written."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        yield lambda: folder.joinpath(".noa-async").chmod(0o500) or folder
        folder.joinpath(".noa-async").chmod(0o700)
        return
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False).returncode:
        pytest.skip("mount is not allowed here (root may write into any folder)")

    def seal() -> Path:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        return folder

    folder.joinpath(".noa-async").mkdir()
    yield seal
    subprocess.run(["umount", folder], check=True)


async def test_an_archive_that_cannot_be_written_is_read(tmp_path, sealed):
    folder = tmp_path / "disk"
    folder.joinpath(".noa-async").mkdir(exist_ok=True)
    async with Ledger(ledger_of(folder)) as ledger:
        ledger.put(listed(1))
    sealed()
    assert [one.products for one in read_overview(folder).states] == [1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_an_archive_of_another_user_is_not_called_none(tmp_path):
    async with Ledger(tmp_path / FILE):
        pass
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(DestinationError, match="Permission denied") as raised:
            read_database(tmp_path / FILE)
    finally:
        os.seteuid(0)
    assert "read it" in raised.value.hint


def test_a_checksum_that_is_none_is_left_out():
    row = list(row_of(record(State.LISTED)))
    place = COLUMNS.index("checksums")
    row[place] = f"sha1;00 {row[place]} x"
    assert record_of(row).product == record_of(row_of(record(State.LISTED))).product


@pytest.mark.parametrize(
    "garbled",
    [
        "published = 'x' || published",
        "sensing_start = 9e17",
        "modified = 1 << 62",
        "name = CAST(x'c6ff41' AS TEXT)",
        "checksums = x'00'",
    ],
)
async def test_garbage_within_a_row_is_damage_and_the_next_opening_sets_it_aside(tmp_path, garbled):
    path = tmp_path / FILE
    async with Ledger(path) as ledger:
        for number in range(700):
            ledger.put(listed(number + 1))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE products SET {garbled} WHERE id = 'id-00600'")
    ledger = await Ledger(path).open()
    try:
        assert ledger.get("id-00599") is not None
        for reading in (ledger.todo(1, 590, 20), anext(ledger.records("todo > 590"))):
            with pytest.raises(DestinationError, match="damaged"):
                await reading
        with pytest.raises(DestinationError, match="damaged"):
            ledger.get("id-00600")
        assert ledger.damaged
    finally:
        await ledger.close()
    async with suspect(path) as again:
        assert again.set_aside is not None
        assert await again.count("1") == again.recovered == 699
        assert again.get("id-00600") is None


async def test_the_last_place_is_read_from_an_index(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        plan = await ledger.ask(lambda database: database.rows(f"EXPLAIN QUERY PLAN {LAST_PLACE}"))
    assert "USING COVERING INDEX products_todo" in plan[0][-1]


@asynccontextmanager
async def suspect(path):
    ledger = await Ledger(path).open(suspect=True)
    try:
        yield ledger
    finally:
        await ledger.close()


def at(number: int, path: str | None) -> Record:
    """A product that lies at ``path``."""
    return record(State.VERIFIED, product=product(f"id-{number:05d}"), path=path)


moves = st.lists(
    st.tuples(
        st.sampled_from(["put", "flush", "look", "look at paths", "many"]),
        st.integers(0, 3),
        st.sampled_from(["a.zip", "A.zip", "b.zip", "c.zip"]),
    ),
    max_size=25,
)


@given(moves=moves)
def test_what_is_at_hand_is_what_was_put_last(tmp_path_factory, moves):
    """Whatever was looked up in between, the ledger answers as one with no memory would."""

    async def play() -> None:
        folder = tmp_path_factory.mktemp("ledger")
        held: dict[str, Record] = {}
        async with Ledger(folder / FILE) as ledger:
            for what, number, path in moves:
                key, path_key = f"id-{number:05d}", fold(path)
                owner = next((one.id for one in held.values() if one.path_key == path_key), None)
                match what:
                    case "put" if owner in {None, key}:
                        held[key] = at(number, path)
                        ledger.put(held[key])
                    case "flush":
                        await ledger.flush()
                    case "look":
                        ledger.look_up([key, "another"], whole=number % 2 == 0)
                    case "look at paths":
                        ledger.look_up_paths([path_key, "another"])
                    case "many":
                        ledger.look_up(f"other-{each}" for each in range(1001))
                        ledger.look_up_paths(f"other-{each}" for each in range(1001))
                glance = ledger.glance(key)
                found = ledger.get(key)
                assert (found and found.path) == (held[key].path if key in held else None)
                assert glance == (found and found.glance)
                for one in ("a.zip", "b.zip", "c.zip"):
                    owner = next((r.id for r in held.values() if r.path_key == fold(one)), None)
                    assert ledger.owner(fold(one)) == owner

    asyncio.run(play())


async def test_two_products_may_exchange_their_paths(tmp_path):
    async with Ledger(tmp_path / FILE) as ledger:
        ledger.put(at(0, "a.zip"))
        ledger.put(at(1, "b.zip"))
        await ledger.flush()
        for number, path in ((1, "c.zip"), (0, "b.zip"), (1, "a.zip")):
            ledger.put(at(number, path))
        await ledger.flush()
        assert [ledger.get(f"id-{number:05d}").path for number in (0, 1)] == ["b.zip", "a.zip"]


@pytest.mark.parametrize("whole", [True, False])
async def test_looking_up_many_asks_once(tmp_path, monkeypatch, whole):
    async with Ledger(tmp_path / FILE) as ledger:
        for number in range(50):
            ledger.put(at(number, f"{number}.zip"))
        await ledger.flush()
        asked = []
        rows = Database.rows
        monkeypatch.setattr(
            Database, "rows", lambda self, *ask: asked.append(ask[0]) or rows(self, *ask)
        )
        ledger.look_up((f"id-{number:05d}" for number in range(100)), whole=whole)
        ledger.look_up_paths(f"free-{number}.zip" for number in range(100))
        for number in range(100):
            found = (ledger.get if whole else ledger.glance)(f"id-{number:05d}")
            assert (found is not None) == (number < 50)
            assert ledger.owner(f"free-{number}.zip") is None
        assert len(asked) == 2
        ledger.get("id-00099")  # that there is none is known from a glance
        assert len(asked) == 2
        ledger.get("id-00000")
        assert len(asked) == (2 if whole else 3)


async def test_names_last_before_the_ledger_tells_of_them(tmp_path):
    told: list[int] = []

    def before_write() -> None:
        with closing(sqlite3.connect(tmp_path / FILE)) as beside:
            [(count,)] = beside.execute("SELECT count(*) FROM products")
        told.append(count)

    async with Ledger(tmp_path / FILE, before_write=before_write) as ledger:
        ledger.put(at(1, "one.zip"))
        await ledger.flush()
        ledger.put(at(2, "two.zip"))
    assert told == [0, 1]
