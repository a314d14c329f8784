"""A part of which nothing is on this disk: what it sends on, and what it does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from noa_async.transfer.passing import NotPassed, PassedPart
from noa_async.transfer.resume import Validator

ZIP, PLAIN = b"PK\x03\x04 and the rest", b"\x89HDF and the rest"


class Way:
    """A passage that keeps what it is given."""

    def __init__(self, *, is_zip: bool) -> None:
        self.is_zip = is_zip
        self.sent = b""

    def begin(self) -> None:
        self.sent = b""

    def write(self, piece: bytes | memoryview) -> None:
        self.sent += piece

    def drop(self) -> None:
        raise AssertionError  # whoever gave it does that


def part(folder: Path, way: Way) -> PassedPart:
    one = PassedPart(folder / "one.part", "md5", way)
    one.restart(Validator(), None, "md5:0")
    return one


@pytest.mark.parametrize("data", [ZIP, PLAIN])
def test_it_sends_on_and_hashes_what_comes(tmp_path: Path, data: bytes) -> None:
    way = Way(is_zip=data == ZIP)
    one = part(tmp_path, way)
    one.append([data[:6], memoryview(data)[6:9]])
    one.append([data[9:]])
    assert (way.sent, one.state.length, one.is_zip) == (data, len(data), way.is_zip)
    expected = hashlib.md5(data).hexdigest()
    assert one.hand_over(expected, lambda: "published", stable=False) == "published"
    assert list(tmp_path.iterdir()) == []


def test_it_begins_anew(tmp_path: Path) -> None:
    way = Way(is_zip=True)
    one = part(tmp_path, way)
    one.append([ZIP[:7]])
    one.restart(Validator(), len(ZIP), "md5:0")
    one.append([ZIP])
    assert (way.sent, one.digest()) == (ZIP, hashlib.md5(ZIP).hexdigest())
    assert (one.state.length, one.state.total) == (len(ZIP), len(ZIP))


@pytest.mark.parametrize("data", [ZIP, PLAIN])
def test_what_is_another_kind_is_not_sent(tmp_path: Path, data: bytes) -> None:
    way = Way(is_zip=data != ZIP)
    with pytest.raises(NotPassed):
        part(tmp_path, way).append([data])
    assert way.sent == b""
