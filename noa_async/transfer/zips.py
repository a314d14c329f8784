"""Zip archives that no checksum vouches for: whether their own structure and sums hold.

An archive is data from elsewhere. Whatever is wrong with it concerns that product alone, and no
member is inflated beyond the size that the archive declares for it.
"""

from __future__ import annotations

import bz2
import struct
import zipfile
import zlib
from typing import IO, TYPE_CHECKING, Protocol

from noa_async.transfer.checksum import ZIP_START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLOCK = 256 << 10
_LOCAL = struct.Struct("<4s5H3L2H")
_UNREADABLE = 0x1 | 0x40 | 0x2000
"""Flags of a member that is encrypted."""
_MOST_INFLATED = 64 << 20
_MOST_RATIO = 50
"""Members are inflated until they are ``_MOST_INFLATED`` bytes, and so many times the archive's
size; what is beyond is not checked. Sentinel products inflate to two or three times their size."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def broken_zip(path: Path) -> str | None:
    """Return what is wrong with a zip; None if nothing is, it is no zip, or it cannot be told.

    It cannot be told of members that are encrypted, that are compressed by a method that is not
    known here, or that would inflate to far more than the archive. Blocking, and reads all of it:
    for a worker thread.
    """
    with path.open("rb") as file:
        if file.read(4) != ZIP_START:
            return None
        try:
            return _damage(file)
        except Exception as error:  # noqa: BLE001 (a damaged archive makes a reader raise anything)
            return f"a zip that cannot be read ({str(error) or type(error).__name__})"


def _damage(file: IO[bytes]) -> str | None:
    size = file.seek(0, 2)
    try:
        archive = zipfile.ZipFile(file)
    except NotImplementedError:
        return None
    with archive:
        members = archive.infolist()
    if sum(member.compress_size for member in members) > size:
        return "a zip whose members overlap"
    budget = _MOST_INFLATED + _MOST_RATIO * size
    for member in members:
        if member.flag_bits & _UNREADABLE or member.compress_type not in _METHODS:
            continue
        if member.compress_type != zipfile.ZIP_STORED:
            budget -= member.file_size
        if budget < 0:
            return None
        if not _is_right(file, member):
            return f"a zip whose {member.filename!r} is damaged"
    return None


def _is_right(file: IO[bytes], member: zipfile.ZipInfo) -> bool:
    """Whether a member inflates to what the archive declares; raise if it cannot be inflated."""
    inflated, crc = 0, 0
    for piece in _inflated(file, member):
        inflated += len(piece)
        crc = zlib.crc32(piece, crc)
        if inflated > member.file_size:
            return False
    return inflated == member.file_size and crc == member.CRC


def _inflated(file: IO[bytes], member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member, in pieces of bounded size."""
    file.seek(member.header_offset)
    magic, *_, name, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    if magic != ZIP_START:
        raise zipfile.BadZipFile("a member is not where the directory says")
    file.seek(name + extra, 1)
    left, inflater = member.compress_size, _METHODS[member.compress_type]()
    while left:
        data = file.read(min(left, _BLOCK))
        if not data:
            raise EOFError("it ends early")
        left -= len(data)
        if inflater is None:
            yield data
            continue
        while not inflater.eof:
            piece = inflater.decompress(data, _BLOCK)
            yield piece
            data = getattr(inflater, "unconsumed_tail", b"")
            if not data and len(piece) < _BLOCK:
                break  # all that this data holds was given
    if inflater is not None and not inflater.eof:
        raise EOFError("a member ends early")


def _stored() -> None:
    return None


def _deflated() -> _Inflater:
    return zlib.decompressobj(-zlib.MAX_WBITS)


_METHODS = {
    zipfile.ZIP_STORED: _stored,
    zipfile.ZIP_DEFLATED: _deflated,
    zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
}
"""What inflates members, by method. LZMA is none of them: its data say how much memory it takes."""
