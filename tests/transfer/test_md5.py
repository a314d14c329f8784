"""The MD5 that takes several streams at once: always what hashlib says."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.transfer import checksum
from noa_async.transfer.checksum import hasher

from ..real.parts import needed_module

MD5 = needed_module("noa_async.transfer._md5", "built where there is a C compiler").MD5

BYTES = random.Random(1).randbytes(12 << 20)
# Around a block, what is worth to be copied, and a slice.
EDGES = [edge + off for edge in (0, 64, 64 << 10, 128 << 10) for off in (-1, 0, 1, 63)]
lengths = st.one_of(st.integers(0, 300), st.sampled_from(EDGES[1:]), st.integers(0, 1 << 20))


def of(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def hash_in_pieces(pieces: list[int], start: int) -> tuple[str, str]:
    """What ours makes of some bytes, read into one place piece by piece, and what hashlib does."""
    taken, known = MD5(), hashlib.md5()
    room = bytearray(max(pieces, default=0))
    at = start
    for length in pieces:
        piece = memoryview(room)[: len(BYTES[at : at + length])]
        piece[:] = BYTES[at : at + length]
        taken.update(piece)
        known.update(piece)
        piece[:] = bytes(len(piece))  # it is the caller's again
        at += length
    return taken.hexdigest(), known.hexdigest()


def test_it_is_what_is_used() -> None:
    assert type(hasher("md5")) is MD5


@pytest.mark.parametrize("length", [*range(130), *EDGES[1:]])
def test_every_length(length: int) -> None:
    taken = MD5()
    taken.update(BYTES[:length])
    assert taken.hexdigest() == of(BYTES[:length])
    assert taken.hexdigest() == of(BYTES[:length])  # asking ends nothing


@given(st.lists(lengths, max_size=8), st.integers(0, 100))
def test_pieces_of_any_length(pieces: list[int], start: int) -> None:
    ours, known = hash_in_pieces(pieces, start)
    assert ours == known


@given(lengths, lengths)
def test_a_copy_goes_its_own_way(length: int, more: int) -> None:
    taken = MD5()
    taken.update(BYTES[:length])
    copied = taken.copy()
    taken.update(BYTES[:more])
    assert copied.hexdigest() == of(BYTES[:length])
    assert taken.hexdigest() == of(BYTES[:length] + BYTES[:more])


@given(st.lists(st.lists(lengths, min_size=1, max_size=6), min_size=2, max_size=9))
def test_streams_of_several_threads(streams: list[list[int]]) -> None:
    together = threading.Barrier(len(streams))

    def run(pieces: list[int], start: int) -> tuple[str, str]:
        together.wait()
        return hash_in_pieces(pieces, start)

    with ThreadPoolExecutor(len(streams)) as threads:
        found = list(threads.map(run, streams, range(len(streams))))
    assert [ours for ours, _ in found] == [known for _, known in found]


def test_streams_that_wait_for_each_other() -> None:
    """By one thread: each has some that waits, in turns, and they end in another order."""
    taken = [MD5() for _ in range(7)]
    for start in range(0, 2 << 20, 200_001):
        for one in taken:
            one.update(BYTES[start : start + 200_001])
    assert {one.hexdigest() for one in reversed(taken)} == {of(BYTES[: 11 * 200_001])}


@pytest.mark.parametrize("piece", [200_000, 200_001])  # of whole blocks, or not
def test_streams_that_have_no_more_room(piece: int) -> None:
    """Three wait for a fourth, as long as they can; what follows goes where the first was.

    One of them is slow: what it has ends within what the others could be hashed by at once.
    """
    fast, slow, fed = [MD5() for _ in range(2)], MD5(), b""
    for number, start in enumerate(range(0, len(BYTES), piece)):
        some = BYTES[start : start + piece]
        for one in fast:
            one.update(some)
        if number % 20 == 0:
            slow.update(some)
            fed += some
    assert {one.hexdigest() for one in fast} == {of(BYTES)}
    assert slow.hexdigest() == of(fed)


def test_what_is_left_alone_harms_nobody() -> None:
    left, others = MD5(), [MD5() for _ in range(4)]
    left.update(BYTES[:200_000])
    for one in others:
        one.update(BYTES[:300_000])
    del left
    assert {one.hexdigest() for one in others} == {of(BYTES[:300_000])}


def test_an_empty_one_is_copied_by_threads_at_once() -> None:
    def take(_: int) -> set[str]:
        return {hasher("md5").hexdigest() for _ in range(20_000)}

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert set.union(*threads.map(take, range(4))) == {of(b"")}
    finally:
        sys.setswitchinterval(before)


def test_two_threads_cannot_mix_their_bytes() -> None:
    taken, refused = MD5(), 0
    feeding = threading.Thread(target=partial(taken.update, bytes(256 << 20)))
    feeding.start()
    while feeding.is_alive():
        try:
            taken.hexdigest()
        except RuntimeError:
            refused += 1
    assert refused


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # that it has threads
def test_a_forked_child_hashes_too() -> None:
    spec = importlib.util.find_spec("noa_async.transfer._md5")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))  # as another interpreter would
    done = threading.Event()

    def keep_busy() -> None:
        taken, piece = MD5(), BYTES[: 128 << 10]
        while not done.is_set():
            taken.update(piece)

    busy = [threading.Thread(target=keep_busy) for _ in range(5)]
    for thread in busy:
        thread.start()
    try:
        for _ in range(40):
            if (child := os.fork()) == 0:
                taken = MD5()
                taken.update(BYTES[: 128 << 10])
                os._exit(taken.hexdigest() != of(BYTES[: 128 << 10]))
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        for thread in busy:
            thread.join()


def test_bytes_only() -> None:
    with pytest.raises(TypeError):
        MD5().update("text")


def test_without_it_hashlib_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "noa_async.transfer._md5", None)
    taken = checksum._md5()
    taken.update(b"abc")
    assert type(taken) is not MD5
    assert taken.hexdigest() == of(b"abc")
