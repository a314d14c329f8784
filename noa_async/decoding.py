"""Content codings of answers that are read whole, such as pages of the catalogue and tokens.

A compressed body of a few kB can inflate to gigabytes. Here it is decoded in pieces, and no
further than what is read. aiohttp decodes whatever comes, and its older versions without a bound.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCEPTED = "gzip, deflate"
"""The codings that are asked for: those that can be decoded here."""
_NONE = frozenset({"", "identity", "none", "binary", "utf-8", "aws-chunked", "chunked"})
"""What servers name as a coding although it is none."""
_ZLIB = frozenset({"gzip", "x-gzip", "deflate"})
_PIECE = 256 << 10
_MOST_MEMBERS = 1000
"""Each costs a copy of what follows it."""


class UnknownCoding(ValueError):
    """A body in a coding that was not asked for; the text is its name."""


class Malformed(ValueError):
    """A body that is not what its coding says."""


def codings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the codings of a body, in the order in which they were applied.

    >>> codings({"Content-Encoding": "aws-chunked, GZIP"}), codings({"Content-Encoding": "none"})
    (('gzip',), ())
    """
    names = re.split(r"[\s,]+", headers.get("Content-Encoding", "").lower())
    return tuple(name for name in names if name not in _NONE)


class Decoder:
    """Decodes a body piece by piece.

    >>> packed = zlib.compress(b"a" * 1_000_000)
    >>> [len(piece) for piece in Decoder(("deflate",)).decode(packed)]
    [262144, 262144, 262144, 213568]
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        """Raise UnknownCoding for anything but one of ``ACCEPTED``, or none."""
        if len(names) > 1 or not _ZLIB.issuperset(names):
            raise UnknownCoding(", ".join(names))
        self._coded = bool(names)
        self._inflate: zlib._Decompress | None = None
        self._start = b""
        self._members = 0

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield what the next bytes of the body mean, in pieces of bounded size.

        Raise Malformed if they cannot be decoded. A body that is not compressed, although its
        header says so, is taken as it is.
        """
        if self._coded and self._inflate is None:
            self._start += data
            if len(self._start) < 2:
                return
            data, self._start = self._start, b""
            self._inflate = _inflater(data)
            self._coded = self._inflate is not None
        while data and self._inflate is not None:
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise Malformed(str(error)) from None
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail
            if self._inflate.eof and (data := self._inflate.unused_data.lstrip(b"\0")):
                self._members += 1  # gzip allows several
                self._inflate = _inflater(data)
                if self._inflate is None or self._members > _MOST_MEMBERS:
                    raise Malformed("something else follows its end")
        if data:
            yield data

    def finish(self) -> bytes:
        """Return what is left at the body's end. Raise Malformed if it ended early."""
        if self._inflate is not None and not self._inflate.eof:
            raise Malformed("it ends early")
        return self._start


def _inflater(start: bytes) -> zlib._Decompress | None:
    """What inflates a body that starts so; None if it is not compressed.

    "deflate" means zlib's form, but some servers send it without zlib's header. JSON and HTML start
    with neither.
    """
    if start[:2] == b"\x1f\x8b":
        return zlib.decompressobj(31)
    if start[0] & 0x0F == 8 and len(start) > 1 and (start[0] << 8 | start[1]) % 31 == 0:
        return zlib.decompressobj(15)
    if start.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in {b"{", b"[", b"<", b'"', b""}:
        return None
    return zlib.decompressobj(-15)
