"""Checksums: which to trust, and how to take it."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from noa_async.catalogue.product import Checksum

OWN = "blake3"
"""What we record of a product for which the catalogue has no usable checksum: it is the fastest."""

ZIP_START = b"PK\x03\x04"
_BLOCK = 256 << 10
"""Bytes read at a time: a core's own cache holds them until they are hashed."""


class Hasher(Protocol):
    """A hash that takes bytes as they come."""

    def update(self, data: bytes | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Self: ...


def _blake3() -> Hasher:
    import blake3  # noqa: PLC0415 (a compiled module: loaded where it is used)

    return blake3.blake3()


def _md5() -> Hasher:
    try:
        from noa_async.transfer._md5 import MD5  # noqa: PLC0415 (not there on every machine)
    except ImportError:
        return _from_hashlib("md5")()
    return MD5()


def _from_hashlib(name: str) -> Callable[[], Hasher]:
    return lambda: hashlib.new(name, usedforsecurity=False)


_HASHERS: dict[str, Callable[[], Hasher]] = {
    "blake3": _blake3,
    "sha3-512": _from_hashlib("sha3_512"),
    "sha512": _from_hashlib("sha512"),
    "blake2b": _from_hashlib("blake2b"),
    "sha3-384": _from_hashlib("sha3_384"),
    "sha384": _from_hashlib("sha384"),
    "sha3-256": _from_hashlib("sha3_256"),
    "sha256": _from_hashlib("sha256"),
    "blake2s": _from_hashlib("blake2s"),
    "sha3-224": _from_hashlib("sha3_224"),
    "sha224": _from_hashlib("sha224"),
    "sha1": _from_hashlib("sha1"),
    "md5": _md5,
}
"""Strongest first; BLAKE3 leads, being no weaker than SHA-256 in use and by far the fastest."""
_RANK = {name: rank for rank, name in enumerate(_HASHERS)}


def strongest(checksums: Iterable[Checksum]) -> Checksum | None:
    """The strongest checksum that can be taken here; None where there is none."""
    usable = [checksum for checksum in checksums if checksum.algorithm in _HASHERS]
    if len(usable) == 1:
        return usable[0]
    return min(usable, key=lambda checksum: _RANK[checksum.algorithm], default=None)


def hasher(algorithm: str) -> Hasher:
    """An empty hash; ``algorithm`` as in ``Checksum.algorithm``. KeyError where it is unknown."""
    return _empty(algorithm).copy()


@cache
def _empty(algorithm: str) -> Hasher:
    return _HASHERS[algorithm]()  # asked of OpenSSL by name: that takes longer than a copy


def feed_file(
    descriptor: int, into: Hasher, length: int, *, stopped: Callable[[], bool] = lambda: False
) -> int:
    """Read up to ``length`` bytes of a file from its start into a hash; how many there were.

    Blocking: for a worker thread. It gives up early once ``stopped`` says so.
    """
    done = 0
    block = memoryview(bytearray(min(_BLOCK, length)))  # one for all: new ones cost page faults
    while done < length and not stopped():
        got = os.preadv(descriptor, [block[: length - done]], done)
        if not got:
            break
        into.update(block[:got])
        done += got
    return done
