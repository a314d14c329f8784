"""HTTP/1 as bytes: a GET, the head of an answer, and a body that is sent in chunks. Pure.

Strict: what is not well-formed is not interpreted here, but left to an HTTP client.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<netloc>[a-z0-9.:\[\]_-]*[a-z0-9\]])", re.IGNORECASE
)
_TARGET = re.compile(r"/[!-\"$-~]*")
_FIELD_VALUE = re.compile(r"[ -~]*")
_HEAD = re.compile(
    r"HTTP/1\.[01] [1-5][0-9]{2}(?: [\t -~\x80-\xff]*)?"
    r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)*"
)
_HEAD_END = re.compile(rb"\r\n\r\n|\n\r?\n")
_HEAD_BEGINNING = b"HTTP/1."
_LENGTH = re.compile(r"[0-9]{1,18}")
_BODYLESS = frozenset({204, 304})
_SWITCHING = 101


class ResponseHead(NamedTuple):
    """The head of an answer, and how the body behind it is sent."""

    status: int
    headers: CIMultiDict[str]
    length: int | None
    """Bytes of the body; None if the head does not tell."""
    chunked: bool
    """Whether the body is sent in chunks; if not, and the length is None, it ends with the
    connection."""
    reusable: bool
    """Whether the connection may be used for another request after the body."""
    reason: str = ""
    """The phrase behind the status."""

    @property
    def interim(self) -> bool:
        """Whether the answer itself has another head, behind this one."""
        return self.status < 200


class Found(NamedTuple):
    """The end of a head among the bytes of an answer."""

    head: ResponseHead | None
    """None: it is not well-formed."""
    end: int
    """Where the bytes behind the head begin."""


def find_head(answer: bytes | bytearray, begin: int, seen: int, end: int) -> Found | None:
    r"""Return the head that begins at ``begin`` of ``answer``, which has come up to ``end``.

    None if more bytes are needed. Up to ``seen``, an earlier call has looked for the head's end. A
    head with bare line feeds has an end, too: it is complete, though not well-formed.

    >>> find_head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 0, 40).head.length
    2
    >>> find_head(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 0, 0, 37)
    Found(head=None, end=35)
    >>> find_head(b"SSH-2.0", 0, 0, 7)
    Found(head=None, end=7)
    """
    beginning = bytes(answer[begin : min(end, begin + len(_HEAD_BEGINNING))])
    if not _HEAD_BEGINNING.startswith(beginning):
        return Found(None, end)
    found = _HEAD_END.search(answer, max(begin, seen - 3), end)
    if found is None:
        return None
    if found.group() != b"\r\n\r\n":
        return Found(None, found.end())
    return Found(parse_head(str(answer[begin : found.start()], "latin-1")), found.end())


def parse_head(text: str) -> ResponseHead | None:
    r"""Return the head of an answer, given without its empty line; None if not well-formed.

    How the body is sent (RFC 9112, 6.3), and whether the connection can be used again:

    | status   | Transfer-Encoding | Content-Length | body              | connection            |
    |----------|-------------------|----------------|-------------------|-----------------------|
    | 101      | any               | any            | None: no HTTP     |                       |
    | 1xx      | any               | any            | none              | see the next head     |
    | 204, 304 | none              | any            | none              | reusable              |
    | other    | none              | one number, in | so many bytes     | reusable              |
    |          |                   | all its fields |                   |                       |
    | other    | none              | none           | until it ends     | not reusable          |
    | other    | chunked           | none           | chunks (HTTP/1.1) | reusable              |
    | any other combination                         | None              |                       |

    ``Connection: close``, in whichever of its fields, and HTTP/1.0 without ``keep-alive`` make the
    connection not reusable.

    >>> parse_head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"").length
    5
    >>> parse_head("HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked").chunked
    True
    >>> parse_head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked") is None
    True
    """
    if not _HEAD.fullmatch(text):
        return None
    first, *lines = text.split("\r\n")
    parted = [line.partition(":") for line in lines]
    headers = CIMultiDict([(name, value.strip(" \t")) for name, _, value in parted])
    old, status = first[7] == "0", int(first[9:12])
    lengths = headers.getall("Content-Length", [])
    codings = headers.getall("Transfer-Encoding", [])
    chunked = False
    length: int | None = None
    if status == _SWITCHING:
        return None
    if status < 200:
        length = 0
    elif codings:
        chunked = [coding.lower() for coding in codings] == ["chunked"]
        if old or lengths or not chunked or status in _BODYLESS:
            return None
    elif status in _BODYLESS:
        length = 0
    elif lengths:
        different = {value.strip(" \t") for values in lengths for value in values.split(",")}
        if len(different) != 1 or not _LENGTH.fullmatch(only := different.pop()):
            return None
        length = int(only)
    tokens = connection_tokens(headers.getall("Connection", []))
    kept = "close" not in tokens and (not old or "keep-alive" in tokens)
    reusable = kept and (chunked or length is not None)
    return ResponseHead(status, headers, length, chunked, reusable, first[13:])


def connection_tokens(values: list[str]) -> set[str]:
    """Return the options in all ``Connection`` fields of a head.

    >>> sorted(connection_tokens(["Keep-Alive, TE", "close"]))
    ['close', 'keep-alive', 'te']
    """
    return {token.strip(" \t").lower() for value in values for token in value.split(",")}


_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t -~\x80-\xff]*)?\r\n")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n")
_LINE_END = b"\r\n"
_LONGEST_LINE = 4 << 10
_LONGEST_TRAILER = 64 << 10


class _Line(Enum):
    """What the next line of a chunked body has to be."""

    SIZE = "the size of a chunk"
    END = "the end of a chunk"
    TRAILER = "a field behind the last chunk"


class ChunkedDecoder:
    r"""Decode a body that is sent in chunks (RFC 9112, 7.1), however it is cut into pieces.

    Chunk extensions and trailer fields are dropped.

    >>> decoder = ChunkedDecoder()
    >>> decoder.decode(b"3\r\nabc\r\n2;x"), decoder.decode(b"=y\r\nde\r\n0\r\n\r\n"), decoder.ended
    (b'abc', b'de', True)
    """

    def __init__(self) -> None:
        self.ended = False
        """Whether the body is complete."""
        self.malformed = False
        """Whether something else than a chunked body came; nothing more is decoded then."""
        self.surplus = False
        """Whether bytes came behind the end of the body."""
        self._left = 0
        """Bytes of the chunk that are still to come."""
        self._due = _Line.SIZE
        self._line = bytearray()
        """What came of it."""
        self._trailer = 0

    def decode(self, data: bytes) -> bytes:
        """Return the bytes of the body that are in ``data``."""
        view, at, body = memoryview(data), 0, []
        while at < len(data) and not (self.ended or self.malformed):
            if self._left:
                piece = view[at : at + self._left]
                body.append(piece)
                at += len(piece)
                self._left -= len(piece)
            else:
                at = self._read_line(data, at)
        self.surplus = self.surplus or at < len(data)
        return b"".join(body)

    def _read_line(self, data: bytes, at: int) -> int:
        """Take what comes next of a line; return where it ends, or ``data`` does."""
        longest = len(_LINE_END) if self._due is _Line.END else _LONGEST_LINE
        last = at + longest - len(self._line)
        feed = data.find(b"\n", at, last)
        end = min(last, len(data)) if feed < 0 else feed + 1
        self._line += data[at:end]
        if feed >= 0:
            line = bytes(self._line)
            self._line.clear()
            self.malformed = not self._heed(line)
        else:
            self.malformed = len(self._line) == longest
        return end

    def _heed(self, line: bytes) -> bool:
        """Do what a line says; return whether it is what was due."""
        if self._due is _Line.END:
            self._due = _Line.SIZE
            return line == _LINE_END
        if self._due is _Line.SIZE:
            size = _CHUNK_SIZE.fullmatch(line)
            self._left = int(size[1], 16) if size else 0
            self._due = _Line.END if self._left else _Line.TRAILER
            return size is not None
        self._trailer += len(line)
        self.ended = line == _LINE_END
        return self.ended or bool(self._trailer <= _LONGEST_TRAILER and _TRAILER.fullmatch(line))


def request_bytes(url: str, headers: Mapping[str, str]) -> bytes | None:
    """A GET as it is sent; None where an HTTP client is to see to the address."""
    slash = url.find("/", len("https://"))
    rest = _rest(url[:slash], tuple(headers.items())) if slash > 0 else None
    if rest is None or not _TARGET.fullmatch(url, slash):
        return None
    return f"GET {url[slash:]} HTTP/1.1\r\n{rest}".encode("ascii")


@lru_cache(maxsize=64)
def _rest(root: str, headers: tuple[tuple[str, str], ...]) -> str | None:
    """What follows the first line, which many requests share."""
    address = _ADDRESS.fullmatch(root)
    if address is None or not all(_FIELD_VALUE.fullmatch(value) for _, value in headers):
        return None
    default = ":443" if address["scheme"].lower() == "https" else ":80"
    lines = [f"Host: {address['netloc'].removesuffix(default)}", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""])
