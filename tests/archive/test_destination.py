"""How a whole part gets its name."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from noa_async.archive.folder import LocalFolder
from noa_async.transfer.sink import note_of


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    one = LocalFolder(tmp_path)
    for name in ("parts", "quarantine"):
        (one.state / name).mkdir(parents=True)
    return one


def test_the_name_is_synced_behind_the_bytes(folder, monkeypatch):
    part = folder.part("1")
    part.write_bytes(b"whole")
    target = folder.place("a/b")
    real, synced = os.fsync, []

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    facts, _ = folder.publish(part, PurePosixPath("a/b"))
    assert synced == []
    folder.sync()
    assert set(synced) == {(target.parent, True), (folder.root, True)}
    assert target.read_bytes() == b"whole"
    assert (facts.size, part.exists()) == (5, False)


@pytest.mark.parametrize("root", ["/", "/srv/noa", "data"])
def test_a_path_from_the_folder_on(root):
    folder = LocalFolder(Path(root))
    assert folder.place("2026/01/a.zip") == Path(root, "2026/01/a.zip")


def test_what_lies_in_a_newcomers_way_is_put_aside(folder):
    folder.place("a.zip").write_bytes(b"foreign")
    part = folder.part("1")
    part.write_bytes(b"whole")
    _, aside = folder.publish(part, PurePosixPath("a.zip"), "1")
    assert Path(aside).read_bytes() == b"foreign"
    assert folder.place("a.zip").read_bytes() == b"whole"
    part.write_bytes(b"newer")
    assert folder.publish(part, PurePosixPath("a.zip"))[1] is None
    assert folder.place("a.zip").read_bytes() == b"newer"


def test_parts_of_earlier_runs_are_known_and_notes_without_one_go(tmp_path):
    first = LocalFolder(tmp_path).open()
    assert (first.begin("1"), first.begin("1")) == (False, True)
    first.part("2").write_bytes(b"some")
    note_of(first.part("2")).touch()
    note_of(first.part("3")).touch()
    first.close()
    later = LocalFolder(tmp_path).open()
    assert (later.begin("2"), later.begin("3")) == (True, False)
    assert [each.exists() for each in map(note_of, map(later.part, "23"))] == [True, False]
    later.close()


def test_a_name_in_a_folder_that_is_gone_by_now_needs_no_sync(folder):
    part = folder.part("1")
    part.write_bytes(b"whole")
    folder.publish(part, PurePosixPath("2026/01/a.zip"))
    folder.remove("2026/01/a.zip")
    folder.sync()


def test_room_is_asked_once_a_second_and_what_came_since_is_taken_off(folder, monkeypatch):
    rooms = iter([1000, 500])
    now = [10.0]
    monkeypatch.setattr(folder, "room", lambda: next(rooms))
    monkeypatch.setattr("noa_async.archive.scratch.time.monotonic", lambda: now[0])
    assert [folder.room_lately(300), folder.room_lately(300), folder.room_lately(10)] == [
        1000,
        700,
        690,
    ]
    now[0] += 1.5
    assert folder.room_lately(300) == 500
