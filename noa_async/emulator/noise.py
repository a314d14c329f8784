"""Pseudo-random bytes that cost nothing to store and can be read at any offset.

One block, made from the seed, is repeated. Its length is prime, so that no two offsets which
are a power of two apart show the same bytes, and each file begins at a phase of its own:
bytes of another file, or of another place in the same one, are wrong bytes.
"""
# ruff: noqa: S311 (a seed that repeats is the point)

import hashlib
import random
import zlib
from collections.abc import Iterator
from functools import lru_cache

PERIOD = 1_048_583


@lru_cache(maxsize=4)
def _tile(seed: int) -> bytes:
    block = random.Random(seed).randbytes(PERIOD)
    return block + block


class Noise:
    """A stretch of noise: `length` bytes, chosen by the seed and a key."""

    __slots__ = ("_phase", "_view", "length")

    def __init__(self, seed: int, key: str, length: int) -> None:
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        self._phase = int.from_bytes(digest, "big") % PERIOD
        self._view = memoryview(_tile(seed))
        self.length = length

    def pieces(self, start: int, stop: int, step: int) -> Iterator[memoryview]:
        """The bytes from `start` to before `stop`, at most `step` at a time, never copied."""
        step = min(step, PERIOD)
        while start < stop:
            size = min(step, stop - start)
            begin = (self._phase + start) % PERIOD
            yield self._view[begin : begin + size]
            start += size

    def crc32(self) -> int:
        """The CRC-32 of all of it."""
        crc = 0
        for piece in self.pieces(0, self.length, PERIOD):
            crc = zlib.crc32(piece, crc)
        return crc
