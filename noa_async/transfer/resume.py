"""What an answer's head means for the part on disk: pure decisions, no I/O.

What was asked for is the whole product where the part is empty, else ``Range: bytes=<length>-``.

    status  what the head says                                     decision
    ------  -----------------------------------------------------  --------------------------------
    200     a Content-Encoding                                     Refuse, to be tried again
    200     HTML, XML, JSON, plain text or next to nothing, where  Inspect: its text says why
            that is not what is due
    200     a Content-Range that is the range asked for, and a     Append
            Content-Length that fits it and not the whole
    200     any other Content-Range with no Content-Length         Discard
    200     else, the Range ignored or none sent                   Restart
    206     no readable Content-Range, a Content-Encoding          Discard
    206     starts at byte 0                                       Restart
    206     starts elsewhere than the part ends                    Discard
    206     another ETag, Last-Modified or total than the part's   Discard
    206     starts where the part ends                             Append
    416     the total is the part's length, and no other state     Complete
    416     else                                                   Discard
    202     (the product is being brought on line)                 Refuse, to be tried again
    403     (its text tells a quota from a refusal for good)       Inspect
    401     (with a fresh token; may have been revoked again)      Refuse, three more tries
    404     (may be passing right after publication)               Refuse, one more try
    408 425 429 5xx                                                Refuse, to be tried again
            (503 while it serves others of ours: as a quota)
    else                                                           Refuse for good
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.errors import (
    ProductError,
    ProductGone,
    ProductOffline,
    ProductUnavailable,
    QuotaExceeded,
    TransferInterrupted,
)
from noa_async.excerpts import excerpt
from noa_async.headers import retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")
_NO_PRODUCT = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml|problem)", re.IGNORECASE)
_TINY = 1024
"""Bytes: what is shorter, and less than half of what is due, is taken for a message."""
_QUOTA_WORDS = re.compile(
    r"quota|concurrent (?:flow|connection|download)|max(?:imum)? (?:session|number)|"
    r"too many|rate limit|(?:limit|threshold) (?:is |was |has been )?(?:reached|exceeded)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Validator:
    """What tells one state of a product from another."""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def if_range(self) -> str | None:
        """The value for If-Range: a strong ETag in its quotes, else a date, else None.

        >>> Validator('"a"', "Mon").if_range, Validator('W/"a"', "Mon").if_range
        ('"a"', 'Mon')
        >>> Validator("unquoted").if_range
        """
        if self.etag and _STRONG_ETAG.fullmatch(self.etag):
            return self.etag
        return self.last_modified

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
    has_range: bool = False
    start: int | None = None
    total: int | None = None
    retry_after: float | None = None

    @classmethod
    def read(cls, status: int, headers: Mapping[str, str]) -> Head:
        """The head of an answer; fields that cannot be read count as absent."""
        ranged = headers.get("Content-Range")
        start, total = (None, None) if ranged is None else _content_range(ranged)
        length = headers.get("Content-Length", "")
        return cls(
            status=status,
            validator=Validator(headers.get("ETag") or None, headers.get("Last-Modified") or None),
            content_length=int(length) if _LENGTH.fullmatch(length) else None,
            content_type=headers.get("Content-Type", ""),
            encoded=headers.get("Content-Encoding", "identity").strip().lower() != "identity",
            has_range=ranged is not None,
            start=start,
            total=total,
            retry_after=retry_after(headers),
        )


@dataclass(frozen=True, slots=True)
class Append:
    """The body goes on where the part ends; ``total`` is the product's size."""

    total: int | None


@dataclass(frozen=True, slots=True)
class Restart:
    """The body is the product from byte 0: the part's bytes go."""

    total: int | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The part holds all bytes already."""


@dataclass(frozen=True, slots=True)
class Discard:
    """The part cannot be gone on with: drop it and ask again for the whole."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inspect:
    """Not the product: the body's text says what it is (``refusal``)."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """No bytes this time; the error says whether to try again."""

    error: ProductError


Decision = Append | Restart | Complete | Discard | Inspect | Refuse


def range_headers(part: PartState, *, end: int | None = None) -> dict[str, str]:
    """The header fields that ask for what is missing of ``part``, up to but not at ``end``.

    Without a validator fit for If-Range the ETag of a 206 is compared instead.
    """
    headers = {"Accept-Encoding": "identity"}
    if part.length:
        headers["Range"] = f"bytes={part.length}-" + ("" if end is None else f"{end - 1}")
        if part.validator.if_range:
            headers["If-Range"] = part.validator.if_range
    return headers


def decide(
    part: PartState,
    head: Head,
    *,
    size: int | None = None,
    text_is_due: bool = False,
    others_served: bool = False,
) -> Decision:
    """What to do with the answer to ``range_headers(part)``: the table above.

    ``size`` of the product by the catalogue, in bytes; ``text_is_due`` where the product itself is
    HTML, XML, JSON or text; ``others_served`` while other products of ours arrive.
    """
    match head.status:
        case 200:
            return _on_whole(part, head, size or 0, text_is_due)
        case 206:
            return _on_partial(part, head)
        case 416:
            if head.total == part.length > 0 and not _another_state(part, head):
                return Complete()
            return Discard("the service knows no such range of it")
        case 403:
            return Inspect()
        case _:
            return _on_refusal(head, others_served)


def _on_whole(part: PartState, head: Head, size: int, text_is_due: bool) -> Decision:
    if head.encoded:
        return Refuse(TransferInterrupted("The bytes came compressed, though asked for as is."))
    if _is_a_message(head, size, text_is_due):
        return Inspect()
    if not head.has_range:
        return Restart(head.content_length)
    if head.content_length is None:
        return Discard("the answer does not say which bytes it holds")
    asked = part.length > 0 and head.start == part.length
    rest = head.total is not None and head.content_length == head.total - part.length
    if asked and rest and not _another_state(part, head):
        return Append(head.total)
    return Restart(head.content_length)


def _is_a_message(head: Head, size: int, text_is_due: bool) -> bool:
    if _NO_PRODUCT.match(head.content_type) and not text_is_due:
        return True
    length = head.content_length
    return length is not None and not head.has_range and length < min(_TINY, size // 2 + 1)


def _on_partial(part: PartState, head: Head) -> Decision:
    if head.start is None or head.encoded:
        return Discard("the answer does not say which bytes it holds")
    if head.start == 0:
        return Restart(head.total)
    if head.start != part.length:
        return Discard(f"asked from byte {part.length}, answered from byte {head.start}")
    if _another_state(part, head):
        return Discard("the product was replaced meanwhile")
    return Append(head.total)


def _another_state(part: PartState, head: Head) -> bool:
    if None not in {part.total, head.total} and part.total != head.total:
        return True
    return part.validator.contradicts(head.validator)


def _on_refusal(head: Head, others_served: bool) -> Refuse:
    status, wait = head.status, head.retry_after
    if status == 202:
        text = "The product is not on line yet; the service brings it from its long-term store."
        return Refuse(ProductOffline(text, retry_after=wait))
    if status == 429 or (status == 503 and others_served):
        text = f"The service answered {status}: too many requests or downloads at once."
        return Refuse(QuotaExceeded(text, retry_after=wait))
    if status in {408, 425} or status >= 500:
        return Refuse(TransferInterrupted(f"The service answered {status}.", retry_after=wait))
    if status in {404, 410}:
        text = f"The service answered {status}: it has no such product any more."
        return Refuse(ProductGone(text, more_tries=int(status == 404)))
    if status == 401:
        text = "The service answered 401 to a fresh token."
        return Refuse(ProductUnavailable(text, more_tries=3))
    return Refuse(ProductUnavailable(f"The service answered {status}."))


def refusal(head: Head, body: bytes) -> Refuse:
    """What an answer that is no product means, from the first bytes of its text.

    A text about a quota is worth another try; so is a page with status 200, for the product may
    come next time. A 403 with no word of a quota is final.
    """
    text = re.sub(r"<[^>]*>", " ", body.decode(errors="replace"))
    said = excerpt(text).rstrip(".") or head.content_type or "nothing more"
    if _QUOTA_WORDS.search(text):
        return Refuse(QuotaExceeded(f"The service said: {said}.", retry_after=head.retry_after))
    if head.status == 403:
        return Refuse(ProductUnavailable(f"The service answered 403: {said}."))
    message = f"Text came in place of the product: {said}."
    return Refuse(TransferInterrupted(message, retry_after=head.retry_after))


def _content_range(value: str) -> tuple[int | None, int | None]:
    """Start and total of a Content-Range; an end that cannot be makes both unknown."""
    match = _CONTENT_RANGE.fullmatch(value.strip())
    if match is None:
        return None, None
    start = int(match[1]) if match[1] else None
    end = int(match[2]) if match[2] else None
    total = None if match[3] == "*" else int(match[3])
    if start is not None and end is not None:
        behind = end + 1 if total is None else total
        if not start <= end < behind:
            return None, None
    return start, total


def _bare(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')
