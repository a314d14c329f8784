"""HTTP/1 as bytes: a GET, the head of an answer, and a body that is sent in chunks. Pure.

Heads are read leniently, as servers send them: bare line feeds, folded fields, spaces ahead of a
colon, control characters. The framing of the body is not guessed: a head whose lengths or codings
contradict each other is left to an HTTP client.
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
_FIELD_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_FIELD_NAME = re.compile(_NAME)
_HEAD = re.compile(
    r"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t -~\x80-\xff]*)?"
    rf"(?:\r\n{_NAME}:[\t -~\x80-\xff]*)*"
)
_STATUS_LINE = re.compile(r"HTTP/1\.([01])[ \t]+([1-9][0-9]{2})(?![0-9])[ \t]*(.*)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HEAD_END = re.compile(rb"\n\r?\n")
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

    None if more bytes are needed. Up to ``seen``, an earlier call has looked for the head's end.

    >>> find_head(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 0, 40).head.length
    2
    >>> find_head(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 0, 0, 37).end
    35
    >>> find_head(b"SSH-2.0", 0, 0, 7)
    Found(head=None, end=7)
    """
    beginning = bytes(answer[begin : min(end, begin + len(_HEAD_BEGINNING))])
    if not _HEAD_BEGINNING.startswith(beginning.upper()):
        return Found(None, end)
    found = _HEAD_END.search(answer, max(begin, seen - 2), end)
    if found is None:
        return None
    return Found(parse_head(str(answer[begin : found.start()], "latin-1")), found.end())


def parse_head(text: str) -> ResponseHead | None:
    r"""Return the head of an answer, given without its empty line; None if it cannot be read.

    How the body is sent (RFC 9112, 6.3), and whether the connection can be used again:

    | status   | Transfer-Encoding | Content-Length | body              | connection            |
    |----------|-------------------|----------------|-------------------|-----------------------|
    | 101      | any               | any            | None: no HTTP     |                       |
    | 1xx      | any               | any            | none              | see the next head     |
    | 204, 304 | none              | any            | none              | reusable              |
    | 204, 304 | any               | any            | none              | not reusable          |
    | other    | none              | one number, in | so many bytes     | reusable              |
    |          |                   | all its fields |                   |                       |
    | other    | none              | none           | until it ends     | not reusable          |
    | other    | chunked           | none           | chunks            | reusable (HTTP/1.1)   |
    | other    | chunked           | any: is ignored| chunks            | not reusable          |
    | any other combination                         | None              |                       |

    The fields of one name are one list (RFC 9110, 5.3). ``identity`` is no coding, and a repeated
    ``chunked`` is one. ``Connection: close``, in whichever of its fields, and HTTP/1.0 without
    ``keep-alive`` make the connection not reusable.

    >>> parse_head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"").length
    5
    >>> parse_head("HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked").chunked
    True
    >>> parse_head("http/1.0 200\nContent-Length : 5\nETag:\n \"a\"").headers["ETag"]
    '"a"'
    >>> parse_head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6") is None
    True
    """
    if not _HEAD.fullmatch(text):
        text = _mended(text)
        if not _HEAD.fullmatch(text):
            return None
    first, *lines = text.split("\r\n")
    parted = [line.partition(":") for line in lines]
    headers = CIMultiDict([(name, value.strip(" \t")) for name, _, value in parted])
    old, status = first[7] == "0", int(first[9:12])
    lengths = list_members(headers.getall("Content-Length", []))
    codings = list_members(headers.getall("Transfer-Encoding", [])) - {"identity", ""}
    length: int | None = None
    if status == _SWITCHING:
        return None
    if status < 200 or status in _BODYLESS:
        length = 0
    elif codings:
        if codings != {"chunked"}:
            return None
        headers.popall("Content-Length", None)
    elif lengths:
        if len(lengths) != 1 or not _LENGTH.fullmatch(only := lengths.pop()):
            return None
        length = int(only)
        headers["Content-Length"] = only
    chunked = length is None and bool(codings)
    tokens = list_members(headers.getall("Connection", []))
    kept = "close" not in tokens and (not old or "keep-alive" in tokens)
    doubtful = bool(codings) and (old or bool(lengths) or not chunked)
    reusable = kept and (chunked or length is not None) and not doubtful
    return ResponseHead(status, headers, length, chunked, reusable, first[13:])


def _mended(text: str) -> str:
    """Return a head in the form that RFC 9112 asks of servers, as far as its meaning is clear.

    Lines that are no field are dropped: neither a name nor a value can be told.
    """
    first, *lines = text.replace("\r\n", "\n").split("\n")
    status = _STATUS_LINE.fullmatch(_CONTROL.sub(" ", first))
    if status is None:
        return text
    fields: list[str] = []
    for line in lines:
        name, colon, value = _CONTROL.sub(" ", line).partition(":")
        if line.startswith((" ", "\t")):
            if fields:  # obs-fold (RFC 9112, 5.2)
                fields[-1] += " " + (name + colon + value).strip(" \t")
        elif colon and _FIELD_NAME.fullmatch(name := name.rstrip(" \t")):
            fields.append(f"{name}:{value}")
    return "\r\n".join([f"HTTP/1.{status[1]} {status[2]} {status[3]}", *fields])


def list_members(values: list[str]) -> set[str]:
    """Return the members of a list that is given in one field or several, in lower case.

    >>> sorted(list_members(["Keep-Alive, TE", "close"]))
    ['close', 'keep-alive', 'te']
    """
    return {member.strip(" \t").lower() for value in values for member in value.split(",")}


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
    return f"GET {url[slash:]} HTTP/1.1\r\n{rest}".encode("latin-1")


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
