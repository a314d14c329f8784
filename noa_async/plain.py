"""A request for bytes as it is sent, and the head of a plain answer to it. Pure.

An answer is plain where its body is sent as it is, in a length that its head gives. Of anything
else, and of all that is out of the ordinary, nothing is made here: an HTTP client is to see to it.
"""

from __future__ import annotations

import re
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
    r"HTTP/1\.1 [2-5][0-9]{2}(?: [\t -~\x80-\xff]*)?"
    r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*)*"
)
_LENGTH = re.compile(r"[0-9]{1,18}")
_BODYLESS = frozenset({204, 304})


class PlainHead(NamedTuple):
    """The head of an answer whose body is sent as it is, in known length (bytes)."""

    status: int
    headers: CIMultiDict[str]
    length: int
    lasts: bool
    """Whether the connection may be asked again."""


def plain_head(text: str) -> PlainHead | None:
    r"""The head of an answer, without the empty line; None where an HTTP client is to read it.

    >>> plain_head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"a\"").length
    5
    >>> plain_head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked") is None
    True
    """
    if not _HEAD.fullmatch(text):
        return None
    first, *lines = text.split("\r\n")
    parted = [line.partition(":") for line in lines]
    headers = CIMultiDict([(name, value.strip(" \t")) for name, _, value in parted])
    lengths = headers.getall("Content-Length", [])
    status = int(first[9:12])
    if "Transfer-Encoding" in headers or len(lengths) != 1 or status in _BODYLESS:
        return None
    if not _LENGTH.fullmatch(lengths[0]):
        return None
    lasts = headers.get("Connection", "keep-alive").lower() == "keep-alive"
    return PlainHead(status, headers, int(lengths[0]), lasts)


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
