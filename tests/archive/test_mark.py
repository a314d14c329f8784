from __future__ import annotations

from pathlib import Path

import pytest

from noa_async.archive.mark import (
    Known,
    Mark,
    check_archive,
    new_mark,
    read_mark,
    recall,
    remember,
    state_home,
    write_mark,
)
from noa_async.errors import ArchiveMissing

X, Y = "X", "Y"


@pytest.mark.parametrize(
    ("wanted", "known", "mark", "is_there", "good"),
    [
        (None, None, None, False, True),
        (None, None, X, True, True),
        (None, X, X, True, True),
        (None, X, Y, True, False),
        (None, X, None, True, True),
        (None, X, None, False, False),
        (X, None, X, True, True),
        (X, None, Y, True, False),
        (X, None, None, True, False),
        (X, None, None, False, False),
        (X, X, None, True, True),
        (X, X, None, False, False),
        (X, Y, X, True, True),
        (X, Y, None, True, False),
        (Y, X, Y, True, True),
    ],
)
def test_whether_a_folder_holds_the_right_archive(wanted, known, mark, is_there, good):
    def check() -> None:
        check_archive(
            Path("/srv/a"),
            None if mark is None else Mark(mark, ""),
            None if known is None else Known("/srv/a", known, "2026-12-01"),
            is_there=is_there,
            wanted=wanted,
        )

    if good:
        check()
    else:
        with pytest.raises(ArchiveMissing, match="/srv/a") as raised:
            check()
        assert raised.value.hint


def test_a_mark_is_read_as_it_was_written(tmp_path):
    mark = new_mark()
    write_mark(tmp_path, mark)
    assert read_mark(tmp_path) == mark
    assert new_mark("mine").id == "mine"
    assert new_mark().id != mark.id


@pytest.mark.parametrize("text", ["", "[]", '{"id": 5}', '{"id": "../../etc"}', "\0", '{"id": ""}'])
def test_a_mark_that_is_none(tmp_path, text):
    (tmp_path / "archive.json").write_text(text)
    assert read_mark(tmp_path) is None


def test_what_is_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("NOA_STATE_HOME", str(tmp_path / "state"))
    root, other = tmp_path / "a", tmp_path / "link"
    root.mkdir()
    other.symlink_to(root)
    assert recall(root) is None
    remember(other, Mark(X, ""), ["a.zip", "b.zip"])
    known = recall(root)
    assert known is not None
    assert (known.id, known.files, known.has_files) == (X, ("a.zip", "b.zip"), False)
    (root / "b.zip").touch()
    assert known.has_files
    assert recall(tmp_path) is None
    for file in (tmp_path / "state/archives").iterdir():
        file.write_text("no JSON")
    assert recall(root) is None


def test_a_machine_that_remembers_nothing(tmp_path, monkeypatch):
    """Its state folder cannot be written, or the user has no home."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("NOA_STATE_HOME", str(tmp_path / "file/state"))
    remember(tmp_path, Mark(X, ""), ["a"])
    assert recall(tmp_path) is None

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NOA_STATE_HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    remember(tmp_path, Mark(X, ""), ["a"])
    assert recall(tmp_path) is None


def test_where_it_is_remembered():
    assert state_home({"NOA_STATE_HOME": "/srv/state"}) == Path("/srv/state")
    assert state_home({}).name == "noa-async"


def test_links_in_a_circle_are_no_archive(tmp_path, monkeypatch):
    monkeypatch.setenv("NOA_STATE_HOME", str(tmp_path / "state"))
    root = tmp_path / "circle"
    root.symlink_to(root)
    remember(root, new_mark(), [])
    assert recall(root) is None
