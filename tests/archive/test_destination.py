"""How a whole part gets its name: never before its bytes are on stable storage."""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath

import pytest

from noa_async.archive.destination import LocalFolder
from noa_async.errors import DestinationError


@pytest.fixture
def folder(tmp_path: Path) -> LocalFolder:
    one = LocalFolder(tmp_path)
    (one.state / "parts").mkdir(parents=True)
    return one


def test_bytes_are_synced_then_named_then_the_name_is_synced(folder, monkeypatch):
    part = folder.part("1")
    part.write_bytes(b"whole")
    target = folder.place("a/b")
    real, synced = os.fsync, []

    def fsync(descriptor: int) -> None:
        synced.append((Path(f"/proc/self/fd/{descriptor}").readlink(), target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    facts = folder.publish(part, PurePosixPath("a/b"))
    assert synced == [(part, False), (target.parent, True)]
    assert target.read_bytes() == b"whole"
    assert (facts.size, part.exists()) == (5, False)


def test_bytes_that_cannot_be_synced_get_no_name(folder, monkeypatch):
    part = folder.part("1")
    part.write_bytes(b"whole")

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DestinationError):
        folder.publish(part, PurePosixPath("a"))
    assert part.exists()
    assert not folder.place("a").exists()
