"""How a whole part gets its name."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from noa_async.archive.destination import LocalFolder


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    one = LocalFolder(tmp_path)
    (one.state / "parts").mkdir(parents=True)
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
    facts = folder.publish(part, PurePosixPath("a/b"))
    assert synced == [(target.parent, True)]
    assert target.read_bytes() == b"whole"
    assert (facts.size, part.exists()) == (5, False)


@pytest.mark.parametrize("root", ["/", "/srv/noa", "data"])
def test_a_path_from_the_folder_on(root):
    folder = LocalFolder(Path(root))
    assert folder.relative(folder.place("2026/01/a.zip")) == "2026/01/a.zip"
