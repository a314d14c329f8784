"""Checksums: the strongest that can be taken, and taking it."""

from __future__ import annotations

import hashlib
import os
import random

import pytest

from noa_async.catalogue.product import Checksum
from noa_async.transfer.checksum import OWN, feed_file, hasher, strongest

# Of the three bytes "abc", as their standards print them.
ABC = {
    "md5": "900150983cd24fb0d6963f7d28e17f72",
    "sha1": "a9993e364706816aba3e25717850c26c9cd0d89d",
    "sha224": "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
    "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "sha3-256": "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
    "blake2s": "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982",
    "blake3": "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
}
LENGTHS = {
    "sha384": 96,
    "sha512": 128,
    "sha3-224": 56,
    "sha3-384": 96,
    "sha3-512": 128,
    "blake2b": 128,
}
ORDER = [
    *("blake3", "sha3-512", "sha512", "blake2b", "sha3-384", "sha384", "sha3-256", "sha256"),
    *("blake2s", "sha3-224", "sha224", "sha1", "md5"),
]


def of(algorithm: str) -> Checksum:
    return Checksum(algorithm, "00" * 16)


@pytest.mark.parametrize("algorithm", ABC)
def test_hashes_are_those_of_the_standards(algorithm):
    taken = hasher(algorithm)
    taken.update(b"a")
    taken.update(memoryview(b"bc"))
    assert taken.hexdigest() == ABC[algorithm]


@pytest.mark.parametrize("algorithm", LENGTHS)
def test_the_others_have_their_lengths(algorithm):
    assert len(hasher(algorithm).hexdigest()) == LENGTHS[algorithm]


@pytest.mark.parametrize("algorithm", [*ABC, *LENGTHS])
def test_what_the_catalogue_calls_it_can_be_taken(algorithm):
    read = Checksum.read(algorithm.upper(), hasher(algorithm).hexdigest().upper())
    assert read == Checksum(algorithm, hasher(algorithm).hexdigest())
    assert strongest([read]) == read


def test_a_copy_goes_its_own_way():
    first = hasher("md5")
    first.update(b"a")
    second = first.copy()
    first.update(b"bc")
    assert first.hexdigest() == ABC["md5"]
    assert second.hexdigest() == hashlib.md5(b"a").hexdigest()


def test_an_unknown_algorithm_is_a_key_error():
    with pytest.raises(KeyError):
        hasher("crc32")


def test_the_strongest_is_taken_whatever_the_order():
    sums = [of(algorithm) for algorithm in ORDER]
    draw = random.Random(7)
    while sums:
        mixed = draw.sample(sums, len(sums))
        assert strongest(mixed) == sums[0]
        del sums[0]


def test_what_cannot_be_taken_is_passed_over():
    assert strongest([of("crc32"), of("md5"), of("whirlpool")]) == of("md5")
    assert strongest([of("crc32")]) is None
    assert strongest([]) is None


def test_of_two_of_a_kind_the_servers_first_is_taken():
    first, second = Checksum("md5", "00" * 16), Checksum("md5", "11" * 16)
    assert strongest([first, second]) == first


def test_our_own_is_one_we_can_take():
    assert strongest([of(OWN)]) == of(OWN)


@pytest.fixture
def descriptor(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 10_000)
    opened = os.open(path, os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("length", [0, 1, 1 << 20, (1 << 20) + 1, 2_560_000])
def test_a_file_is_fed_from_its_start_to_the_length(descriptor, length):
    os.lseek(descriptor, 777, os.SEEK_SET)
    taken = hasher("sha256")
    assert feed_file(descriptor, taken, length) == length
    expected = hashlib.sha256((bytes(range(256)) * 10_000)[:length])
    assert taken.hexdigest() == expected.hexdigest()


def test_a_shorter_file_says_how_much_there_was(descriptor):
    assert feed_file(descriptor, hasher("md5"), 10_000_000) == 2_560_000
