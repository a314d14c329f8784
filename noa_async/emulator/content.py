"""A product's bytes: a real zip (or a plain netCDF-like file) that is never stored."""

import hashlib
import importlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from noa_async.emulator.layout import files_of, manifest
from noa_async.emulator.noise import Noise
from noa_async.emulator.product import Product

CHUNK = 512 * 1024
_HDF5 = b"\x89HDF\r\n\x1a\n"
_LOCAL, _CENTRAL, _END = 30, 46, 22
_DOS_TIME, _DOS_DATE = 0, (46 << 9) | (1 << 5) | 1  # 2026-01-01 00:00
_HASHLIB = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-256": "sha256",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
}


def fitting_size(name: str, wanted: int) -> int:
    """The nearest size to `wanted` that a product of this name can have."""
    if name.endswith(".nc"):
        return max(wanted, len(_HDF5))
    files = files_of(name)
    fixed = _END + sum(_LOCAL + _CENTRAL + 2 * len(path) for path, _ in files)
    # Room for a revision's longer number keeps the size when a product is replaced.
    return max(wanted, fixed + len(manifest(name, 0)) + 8 * len(files))


@dataclass(frozen=True, slots=True)
class _Segment:
    start: int
    stop: int
    data: bytes | Noise


class Content:
    """The bytes of one product in one revision, readable at any offset."""

    def __init__(
        self, product: Product, seed: int, checksums: dict[str, str] | None = None
    ) -> None:
        """`checksums` keeps what was computed beyond the life of this object."""
        self._product = product
        self._seed = seed
        self._checksums = {} if checksums is None else checksums

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self._product.size

    @property
    def md5(self) -> str:
        """The MD5 in lower-case hex."""
        return self.checksum("MD5")

    def prepare(self) -> None:
        """Do the part of the work that reads all bytes once: the CRCs of a zip."""
        _ = self._segments

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """`length` bytes from `offset`; fewer at the end, all where None."""
        stop = self.size if length is None else offset + length
        return b"".join(self.pieces(offset, stop))

    def pieces(self, start: int, stop: int, step: int = CHUNK) -> Iterator[bytes | memoryview]:
        """The bytes from `start` to before `stop`, at most `step` at a time."""
        for segment in self._segments:
            low, high = max(start, segment.start), min(stop, segment.stop)
            if low >= high:
                continue
            inner = low - segment.start, high - segment.start
            if isinstance(segment.data, Noise):
                yield from segment.data.pieces(*inner, step)
            else:
                yield segment.data[inner[0] : inner[1]]

    def checksum(self, algorithm: str) -> str:
        """The checksum in lower-case hex; computed once."""
        if algorithm not in self._checksums:
            if algorithm == "BLAKE3":
                digest = importlib.import_module("blake3").blake3()
            else:
                digest = hashlib.new(_HASHLIB[algorithm], usedforsecurity=False)
            for piece in self.pieces(0, self.size):
                digest.update(piece)
            self._checksums[algorithm] = digest.hexdigest()
        return self._checksums[algorithm]

    @cached_property
    def _segments(self) -> tuple[_Segment, ...]:
        blobs = self._plain() if self._product.raw else self._zip()
        segments, place = [], 0
        for data in blobs:
            size = data.length if isinstance(data, Noise) else len(data)
            segments.append(_Segment(place, place + size, data))
            place += size
        return tuple(segments)

    def _noise(self, key: str, length: int) -> Noise:
        product = self._product
        return Noise(self._seed, f"{product.id}/{product.revision}/{key}", length)

    def _plain(self) -> Iterator[bytes | Noise]:
        yield _HDF5
        yield self._noise("", self.size - len(_HDF5))

    def _zip(self) -> Iterator[bytes | Noise]:
        files = files_of(self._product.name)
        text = manifest(self._product.name, self._product.revision)
        spare = self.size - _END - sum(_LOCAL + _CENTRAL + 2 * len(path) for path, _ in files)
        lengths = _shares(spare - len(text), [weight for _, weight in files])
        directory, place = b"", 0
        for (path, weight), length in zip(files, lengths, strict=True):
            data = self._noise(path, length) if weight else text
            size = length if weight else len(text)
            crc = data.crc32() if isinstance(data, Noise) else zlib.crc32(data)
            if self._product.broken_zip and weight:
                crc ^= 0xFFFF
            local, central = _headers(path.encode(), crc, size, place)
            directory += central
            place += len(local) + size
            yield local
            yield data
        yield directory + struct.pack(
            "<4s4H2LH", b"PK\5\6", 0, 0, len(files), len(files), len(directory), place, 0
        )


def _shares(total: int, weights: list[int]) -> list[int]:
    """`total` bytes shared out by weight; the last takes what rounding leaves."""
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    shares[-1] += total - sum(shares)
    return shares


def _headers(name: bytes, crc: int, size: int, place: int) -> tuple[bytes, bytes]:
    common = struct.pack("<5H3L2H", 20, 0, 0, _DOS_TIME, _DOS_DATE, crc, size, size, len(name), 0)
    local = b"PK\3\4" + common + name
    central = b"PK\1\2" + struct.pack("<H", 20) + common
    return local, central + struct.pack("<3H2L", 0, 0, 0, 0o100644 << 16, place) + name
