"""What the head of an answer means for the part file: pure decisions, no I/O.

The request asks for the whole product if the part is empty, else for ``Range: bytes=<length>-``.
Labels decide little: if the catalogue has a checksum, that judges the bytes. Without one, bytes of
two answers are joined only if both have the same strong ETag (RFC 9110, 15.3.7.3).

    status  what the head says                                     decision
    ------  -----------------------------------------------------  ------------------------------
    200     a content coding, such as gzip                         Inspect, then Refuse: retried
    200     HTML, XML, JSON or text, and that is not due; a        Inspect, then as below
            length that is neither the catalogue's nor the
            part's; no length
    200     the Content-Range that was asked for, of the same      Append
            state, and a Content-Length that fits it
    200     any other Content-Range with no Content-Length         Discard
    200     from byte 0, a length that is neither the catalogue's  Refuse: retried
            nor the part's, and there is a part
    200     from byte 0, the part's length, but another state,     Contradict
            and the request had an If-Range
    200     all else                                               Restart
    206     a content coding                                       Inspect, then Discard
    206     no readable Content-Range, but the Content-Length      Append
            that is missing
    206     no readable Content-Range                              Inspect, then Discard
    206     starts at byte 0                                       Restart
    206     starts elsewhere than the part ends                    Discard
    206     a total that is neither the catalogue's nor the        Discard
            part's; another state
    206     starts where the part ends                             Append
    416     the total, or the part's, is the part's length; no     Complete
            other state
    416     all else                                               Inspect, then Discard
    else                                                           Inspect, then Refuse

A 203 is as a 200. "State" is that of the product. With a checksum, another ETag or Last-Modified is
no other state: some services have one for each of their nodes. ``Inspect``: the start of the body
is read, and ``refusals`` says what it means; if it is no message, the decision behind it holds.
``Contradict``: ask again without If-Range, unless the catalogue's entry has changed. ``Discard``
drops the part at the second such answer in a row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.answers import Meaning
from noa_async.decoding import codings
from noa_async.errors import SizeMismatch, TransferInterrupted
from noa_async.headers import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.errors import ProductError

_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_CONTENT_RANGE = re.compile(
    r"(?:bytes)?\s*[:=]?\s*(?:(\d{1,18})\s*-\s*(\d{1,18})|\*)(?:\s*/\s*(\d{1,18}|\*))?",
    re.IGNORECASE | re.ASCII,
)
_LENGTH = re.compile(r"[0-9]{1,18}")
_TEXT_TYPE = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml|problem)", re.IGNORECASE)
_CODINGS = frozenset(
    (
        *("gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "bzip2", "x-bzip2"),
        *("xz", "lzma", "dcb", "dcz", "exi", "pack200-gzip"),
    )
)
"""Content codings that change bytes. Whatever else stands in that field is no coding: the bytes are
taken as they come, and the checksum decides."""
WHOLE = frozenset({200, 203})


@dataclass(frozen=True, slots=True)
class Validator:
    """What tells one state of a product from another."""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def is_strong(self) -> bool:
        """Whether bytes of two answers that have it are of one state (RFC 9110, 8.8.1)."""
        return bool(self.etag and _STRONG_ETAG.fullmatch(self.etag))

    @property
    def if_range(self) -> str | None:
        """The value for If-Range: a strong ETag in its quotes, else a date, else None.

        >>> Validator('"a"', "Mon").if_range, Validator('W/"a"', "Mon").if_range
        ('"a"', 'Mon')
        >>> Validator("unquoted").if_range
        """
        return self.etag if self.is_strong else self.last_modified

    def contradicts(self, other: Validator) -> bool:
        """Whether both name a state, and not the same one."""
        if self.etag and other.etag:
            return _bare(self.etag) != _bare(other.etag)
        if self.last_modified and other.last_modified:
            return self.last_modified != other.last_modified
        return False


@dataclass(frozen=True, slots=True)
class PartState:
    """The bytes that are there: how many, of which state of the product, of how many."""

    length: int = 0
    validator: Validator = Validator()
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """What matters of an answer's status and header fields; sizes in bytes, waits in seconds."""

    status: int
    validator: Validator = Validator()
    content_length: int | None = None
    content_type: str = ""
    encoded: bool = False
    """Whether the body is in a content coding that changes bytes."""
    has_range: bool = False
    start: int | None = None
    stop: int | None = None
    """The place behind the last byte of the range."""
    total: int | None = None
    retry_after: float | None = None

    @classmethod
    def read(cls, status: int, headers: Mapping[str, str]) -> Head:
        """The head of an answer; fields that cannot be read count as absent."""
        ranged = headers.get("Content-Range")
        start, stop, total = (None, None, None) if ranged is None else _content_range(ranged)
        length = headers.get("Content-Length", "")
        return cls(
            status=status,
            validator=Validator(headers.get("ETag") or None, headers.get("Last-Modified") or None),
            content_length=int(length) if _LENGTH.fullmatch(length) else None,
            content_type=headers.get("Content-Type", ""),
            encoded=not _CODINGS.isdisjoint(_all_codings(headers)),
            has_range=ranged is not None,
            start=start,
            stop=stop,
            total=total,
            retry_after=retry_after(headers),
        )

    @property
    def is_text(self) -> bool:
        """Whether it calls the body HTML, XML, JSON or text."""
        return _TEXT_TYPE.match(self.content_type) is not None


@dataclass(frozen=True, slots=True)
class Append:
    """The body continues the part; ``total`` is the product's size, ``stop`` the range's end."""

    total: int | None
    stop: int | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """The body is the product from byte 0: the part's bytes go."""

    total: int | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The part holds all bytes already."""


@dataclass(frozen=True, slots=True)
class Contradict:
    """The service has another validator than the part: ask again without If-Range."""


@dataclass(frozen=True, slots=True)
class Discard:
    """The download cannot be resumed: drop the part and ask for the whole product again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """No bytes this time; the error says whether to try again."""

    error: ProductError
    meaning: Meaning = Meaning.TEMPORARY


@dataclass(frozen=True, slots=True)
class Inspect:
    """The body may be a message. If it is none, ``then`` holds; None: it can only be one."""

    then: Append | Restart | Contradict | Discard | Refuse | None = None


Decision = Append | Restart | Complete | Contradict | Discard | Inspect | Refuse


def range_headers(
    part: PartState, *, end: int | None = None, conditional: bool = True
) -> dict[str, str]:
    """The header fields that ask for what is missing of ``part``, up to but not at ``end``.

    ``conditional``: with If-Range, if the part has a validator that is fit for it.
    """
    headers = {"Accept-Encoding": "identity"}
    if part.length:
        headers["Range"] = f"bytes={part.length}-" + ("" if end is None else f"{end - 1}")
        if conditional and part.validator.if_range:
            headers["If-Range"] = part.validator.if_range
    return headers


@dataclass(frozen=True, slots=True)
class Due:
    """What is known of the product that was asked for, and how it was asked for."""

    size: int | None = None
    """Bytes, by the catalogue."""
    is_text: bool = False
    """Whether the product itself is HTML, XML, JSON or text."""
    is_html: bool = False
    """Whether it is HTML."""
    checked: bool = True
    """Whether the catalogue has a checksum that its bytes can be compared with."""
    conditional: bool = True
    """Whether a range is asked for with If-Range."""


def decide(part: PartState, head: Head, due: Due = Due()) -> Decision:
    """What to do with the answer to ``range_headers(part)``: the table above."""
    if head.status in WHOLE:
        return _on_whole(part, head, due)
    if head.status == 206:
        return _on_partial(part, head, due)
    if head.status == 416:
        total = part.total if head.total is None else head.total
        other = not due.checked and part.validator.contradicts(head.validator)
        if total == part.length > 0 and not other:
            return Complete()
        return Inspect(Discard("the service knows no such range of it"))
    return Inspect()


def _on_whole(part: PartState, head: Head, due: Due) -> Decision:
    if head.encoded:
        text = "The bytes came compressed, though they were requested as they are."
        return Inspect(Refuse(TransferInterrupted(text)))
    then = _of_whole(part, head, due)
    fits = isinstance(then, Append) or _fits(part, head.content_length, due)
    if (head.is_text and not due.is_text) or not fits:
        return Inspect(then)
    return then


def _of_whole(
    part: PartState, head: Head, due: Due
) -> Append | Restart | Contradict | Discard | Refuse:
    length = head.content_length
    if head.has_range:
        if length is None:
            return Discard("the answer does not say which bytes it has")
        asked = part.length > 0 and head.start == part.length and head.stop is not None
        fits = head.stop == part.length + length and _fits(part, head.total, due)
        if asked and fits and _same_state(part, head, due):
            return Append(head.total, head.stop)
    if not part.length:
        return Restart(length)
    if due.size is not None and length is not None and not _fits(part, length, due):
        return Refuse(size_mismatch(length, due.size))
    other = part.validator.contradicts(head.validator)
    if other and length is not None and length == part.total and due.checked and due.conditional:
        return Contradict()
    return Restart(length)


def _fits(part: PartState, length: int | None, due: Due) -> bool:
    """Whether a length is the catalogue's or the part's, if either is known."""
    known = {due.size, part.total if part.length else None} - {None}
    return length is not None and length in known


def _on_partial(part: PartState, head: Head, due: Due) -> Decision:
    if head.encoded:
        return Inspect(Discard("the answer is compressed"))
    if head.start is None:
        return _on_unnamed_range(part, head, due)
    if head.start == 0:
        return Restart(head.total)
    if head.start != part.length:
        return Discard(f"asked from byte {part.length}, answered from byte {head.start}")
    if not _same_state(part, head, due):
        return Discard("the product may have been replaced meanwhile")
    return Append(head.total, head.stop)


def _on_unnamed_range(part: PartState, head: Head, due: Due) -> Decision:
    total = part.total if part.total is not None else due.size
    missing = -1 if total is None else total - part.length
    if part.length > 0 and missing == head.content_length and due.checked and not head.is_text:
        return Append(total)
    return Inspect(Discard("the answer does not say which bytes it has"))


def _same_state(part: PartState, head: Head, due: Due) -> bool:
    """Whether an answer is of the state that the part is of, as far as that decides."""
    if head.total is not None and part.total is not None and not _fits(part, head.total, due):
        return False
    if due.checked:
        return True
    return part.validator.is_strong and part.validator.etag == head.validator.etag


def size_mismatch(found: int, expected: int) -> SizeMismatch:
    """The error of a length that is not the catalogue's; both in bytes."""
    return SizeMismatch(
        f"The service has {found:,} bytes of it; the catalogue says {expected:,}.",
        hint="Nothing was published. The catalogue and the store disagree: tell the service's "
        "people if it stays so.",
    )


def _all_codings(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The codings of all Content-Encoding fields."""
    getall = getattr(headers, "getall", None)
    values = getall("Content-Encoding", []) if getall else [headers.get("Content-Encoding", "")]
    return tuple(name for value in values for name in codings({"Content-Encoding": value}))


def _content_range(value: str) -> tuple[int | None, int | None, int | None]:
    """Start, stop and total of a Content-Range; all unknown if it cannot be.

    The unit and the total may be missing, and the last byte be given as the place behind it: all
    are met.

    >>> _content_range("bytes=3-4/5"), _content_range("3-5/5"), _content_range("bytes */5")
    ((3, 5, 5), (3, 5, 5), (None, None, 5))
    """
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        return None, None, None
    total = None if match[3] in {None, "*"} else int(match[3])
    if match[1] is None:
        return None, None, total
    start, stop = int(match[1]), int(match[2]) + 1
    if total is not None:
        stop = total if stop == total + 1 else stop
    if not start < stop or (total is not None and stop > total):
        return None, None, None
    return start, stop, total


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
