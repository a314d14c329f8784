from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.archive.database import open_database
from noa_async.archive.ledger import read_through, records_of
from noa_async.archive.manifest import Manifest, records_in
from noa_async.archive.recovery import (
    copy_of,
    has_sources,
    keep_copy,
    merged,
    open_recovered,
    plausible,
)
from noa_async.archive.rows import COLUMNS, row_of, upserts
from noa_async.archive.states import State

from .products import product, record

FILE = "ledger.sqlite3"
HELD = record(State.VERIFIED, updated=5.0)


@pytest.mark.parametrize(
    ("known", "found", "doubt", "holds"),
    [
        (None, HELD, False, HELD),
        (None, HELD, True, replace(HELD, mtime_ns=None)),
        (None, record(State.FAILED), True, record(State.FAILED)),
        (HELD, HELD, False, None),
        (HELD, replace(HELD, updated=4.0, size=7), False, None),
        (
            HELD,
            replace(HELD, updated=6.0, looked=6.0),
            True,
            replace(HELD, updated=6.0, looked=6.0),
        ),
        (HELD, replace(HELD, updated=6.0, size=7), False, replace(HELD, updated=6.0, size=7)),
        (
            HELD,
            replace(HELD, updated=6.0, size=7),
            True,
            replace(HELD, updated=6.0, size=7, mtime_ns=None),
        ),
    ],
)
def test_which_of_two_records_holds(known, found, doubt, holds):
    assert merged(known, found, doubt=doubt) == holds


def as_columns(**changes):
    return dict(zip(COLUMNS, row_of(HELD), strict=True)) | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "verifief"},
        {"path": "another"},
        {"path": b"bytes"},
        {"size": "many"},
        {"checksum": "md5:no hex"},
        {"checksum": 5},
        {"updated": -1.0},
        {"updated": 1e300},
        {"updated": None},
        {"id": 5},
        {"name": ""},
        {"path": None, "path_key": None},
        {"published": "x"},
    ],
)
def test_rows_that_cannot_be_what_was_written(changes):
    good = plausible(as_columns())
    assert good is not None
    assert row_of(good) == row_of(HELD)
    assert plausible(as_columns(**changes)) is None


def filled(path, records):
    with closing(open_database(path)) as database:
        database.write(upserts(iter([row_of(one) for one in records])))


def many(number):
    return [
        record(State.VERIFIED, product=product(f"id-{n:05}", name=f"n{n}"), path=f"n{n}.zip",
               updated=5.0, query=1)
        for n in range(number)
    ]  # fmt: skip


def read(path):
    with closing(open_database(path)) as database:
        return {one.id: one for one in records_of(database, "1")}


def recovered(path):
    with closing(open_recovered(path, suspect=True, anew=True, read=read_through)) as database:
        return database.recovered


def test_a_manifest_is_enough(tmp_path):
    records = many(50)
    filled(tmp_path / FILE, records)
    manifest = Manifest(tmp_path)
    with closing(open_database(tmp_path / FILE)) as database:
        columns = "number, filter, service, listed"
        insert = f"INSERT INTO queries ({columns}) VALUES (1, 'f', 's', 50)"
        database.write([(insert, [()])])
        manifest.rewrite(database, "X", "{name}")
    late = replace(records[3], updated=9.0, size=7)
    manifest.note(late)
    manifest.note(replace(records[4].removed(9.0), updated=9.0))
    manifest.forget(records[5].id)
    manifest.flush()
    (tmp_path / FILE).unlink()
    assert has_sources(tmp_path / FILE)
    assert recovered(tmp_path / FILE) == 49
    found = read(tmp_path / FILE)
    assert found[late.id] == replace(late, seen=0)
    assert found[records[4].id].state is State.REMOVED
    assert records[5].id not in found
    with closing(open_database(tmp_path / FILE)) as database:
        question = "SELECT filter, service, listed, watermark FROM queries"
        assert database.rows(question) == [("f", "s", 50, None)]


def test_two_products_never_get_one_path(tmp_path):
    """The newer has it; of the older one the next listing tells."""
    manifest = Manifest(tmp_path)
    one, two, three = many(3)
    manifest.note(replace(one, path="same.zip", updated=5.0))
    manifest.note(replace(two, path="SAME.zip", updated=6.0))
    manifest.note(three)
    manifest.flush()
    assert recovered(tmp_path / FILE) == 2
    assert read(tmp_path / FILE).keys() == {two.id, three.id}


@given(
    st.lists(
        st.builds(
            record,
            st.sampled_from([State.VERIFIED, State.UNVERIFIED, State.DAMAGED, State.CONSUMED]),
            product=st.builds(
                product,
                st.uuids().map(str),
                name=st.text(min_size=1, max_size=40),
                size=st.none() | st.integers(0, 2**50),
            ),
            path=st.text(min_size=1, max_size=40),
            updated=st.floats(0, 1e10),
            hooked=st.none() | st.floats(0, 1e10),
        ),
        max_size=6,
        unique_by=lambda one: one.id,
    )
)
def test_whatever_is_written_into_a_manifest_is_read_back(tmp_path_factory, records):
    manifest = Manifest(tmp_path_factory.mktemp("manifest"))
    for one in records:
        manifest.note(one)
    manifest.flush()
    again = {one.id: one for one in records_in(manifest.read()) if not isinstance(one, str)}
    for one in records:
        found = again[one.id]
        assert row_of(found) == row_of(replace(one, attempts=0))


def test_half_a_line_spoils_no_other(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.note(many(1)[0])
    manifest.flush()
    with manifest.path.open("ab") as file:
        file.write(b'{"id": "id-000')  # a kill
    again = Manifest(tmp_path)
    again.note(many(2)[1])
    again.flush()
    assert len(list(records_in(again.read()))) == 2


def test_copies_grow_older(tmp_path):
    path = tmp_path / FILE
    filled(path, many(3))
    ages = []
    for hours in (0, 1, 30, 30):
        for number in range(1, 4):
            copy = copy_of(tmp_path, number)
            if copy.exists():
                at = copy.stat().st_mtime - hours * 3600
                os.utime(copy, (at, at))
        with closing(open_database(path)) as database:
            assert keep_copy(database, 0)
        copies = [copy_of(tmp_path, number) for number in range(1, 4)]
        ages.append([copy.exists() for copy in copies])
    assert ages == [[True, False, False], [True, True, False], [True, True, True], [True] * 3]
    with closing(sqlite3.connect(copy_of(tmp_path, 1))) as database:
        assert database.execute("SELECT count(*) FROM products").fetchone() == (3,)


def test_no_copy_is_made_that_leaves_no_room_or_of_what_is_damaged(tmp_path):
    path = tmp_path / FILE
    filled(path, many(400))
    with closing(open_database(path)) as database:
        assert not keep_copy(database, 1 << 60)
        assert keep_copy(database, 0)
    good = copy_of(tmp_path, 1).read_bytes()
    data = bytearray(path.read_bytes())
    data[4096 * 5 : 4096 * 9] = bytes(4096 * 4)
    path.write_bytes(data)
    with closing(open_database(path)) as database, pytest.raises(Exception, match="damaged"):
        keep_copy(database, 0)
    assert copy_of(tmp_path, 1).read_bytes() == good
