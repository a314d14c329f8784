"""What a message in place of a product means: an error, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.answers import Meaning, Sender, is_html, looks_like_text
from noa_async.errors import (
    ProductError,
    ProductGone,
    ProductOffline,
    ProductUnavailable,
    QuotaExceeded,
    TransferInterrupted,
)

if TYPE_CHECKING:
    from noa_async.answers import Refusal
    from noa_async.transfer.resume import Due, Head

_PASSING_WAIT = 1.0


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an answer comes from, and in which circumstances."""

    host: str = "the service"
    sender: Sender = Sender.SERVICE
    had_token: bool = True
    """Whether the token went to where the answer is from."""
    others_served: bool = False
    """Whether other products are being downloaded at the moment."""


def is_message(head: Head, refusal: Refusal, start: bytes, due: Due) -> bool:
    """Return whether a body with a status of success is a message, not the product.

    ``start``: its first bytes.

    | first bytes | due  | length is the   | they say                           | message |
    |             |      | catalogue's     |                                    |         |
    |-------------|------|-----------------|------------------------------------|---------|
    | binary      | -    | -               | -                                  | no      |
    | text        | text | -               | a log-in page, or an HTML page and | yes     |
    |             |      |                 | HTML is not due                    |         |
    | text        | text | yes             | all else                           | no      |
    | text        | text | no              | a reason, or an error in JSON      | yes     |
    | text        | text | no              | all else, but not nothing          | no      |
    | text        | else | yes; a checksum | neither HTML, nor a reason, nor an | no      |
    |             |      |                 | error in JSON                      |         |
    | text        | else | all else        | -                                  | yes     |
    """
    if not looks_like_text(start):
        return False
    exact = due.size is not None and head.content_length == due.size
    page = is_html(start.decode(errors="replace")) and not (due.is_text and due.is_html)
    speaks = refusal.meaning is not Meaning.TEMPORARY or refusal.said_in_json
    if due.is_text:
        if refusal.meaning is Meaning.LOGIN or page:
            return True
        return not exact and (speaks or not start)
    return page or speaks or not (exact and due.checked and start)


def product_error(refusal: Refusal, origin: Origin) -> ProductError:
    """Return the error for an answer that is no product.

    | meaning                     | error                                                     |
    |-----------------------------|-----------------------------------------------------------|
    | QUOTA; 503 while others are | QuotaExceeded: retried, with fewer at once                |
    | downloaded                  |                                                           |
    | OFFLINE                     | ProductOffline: waited for                                |
    | MAINTENANCE, TEMPORARY,     | TransferInterrupted: retried from the service's address   |
    | EXPIRED, PROXY              |                                                           |
    | LOGIN                       | ProductUnavailable, after more tries: three of a 401, one |
    |                             | of a log-in page                                          |
    | ABSENT                      | ProductGone, after one more try of a 404                  |
    | PERMANENT, of a host that   | ProductUnavailable, after two more tries from the         |
    | the service redirected to   | service's address                                         |
    | PERMANENT                   | ProductUnavailable                                        |
    """
    kind = _KINDS[refusal.meaning]
    if _is_quota(refusal, origin):
        kind = QuotaExceeded
    return kind(
        _sentence(refusal, origin),
        hint=_hint(refusal, origin),
        more_tries=_more_tries(refusal, origin),
        retry_after=refusal.retry_after or _wait(refusal, origin),
    )


_KINDS: dict[Meaning, type[ProductError]] = {
    Meaning.QUOTA: QuotaExceeded,
    Meaning.OFFLINE: ProductOffline,
    Meaning.MAINTENANCE: TransferInterrupted,
    Meaning.TEMPORARY: TransferInterrupted,
    Meaning.EXPIRED: TransferInterrupted,
    Meaning.PROXY: TransferInterrupted,
    Meaning.LOGIN: ProductUnavailable,
    Meaning.ABSENT: ProductGone,
    Meaning.PERMANENT: ProductUnavailable,
}
_SENTENCES = {
    Meaning.OFFLINE: "The product is not on line yet; the service brings it from its long-term "
    "store.",
    Meaning.MAINTENANCE: "{who} is down for maintenance: it answered {status}{said}.",
    Meaning.EXPIRED: "The link to the product has expired: {who} answered {status}{said}.",
    Meaning.PROXY: "A proxy on the way answered {status}{said}.",
    Meaning.ABSENT: "{who} answered {status}: it has no such product any more.",
}


def _is_quota(refusal: Refusal, origin: Origin) -> bool:
    if refusal.meaning in {Meaning.TEMPORARY, Meaning.MAINTENANCE}:
        # nginx calls itself "temporarily unavailable" for one connection too many.
        return refusal.status == 503 and origin.others_served
    return refusal.meaning is Meaning.QUOTA


def _sentence(refusal: Refusal, origin: Origin) -> str:
    status, meaning = refusal.status, refusal.meaning
    who = "The service" if origin.sender is Sender.SERVICE else origin.host
    said = f": {refusal.said}" if refusal.said else ""
    if _is_quota(refusal, origin):
        if said and status not in {429, 503}:
            return f"{who} said{said}."
        return f"{who} answered {status}, too many requests or downloads at once{said}."
    if meaning is Meaning.LOGIN:
        page = f"{who} showed its log-in page in place of the product, to a fresh token too."
        return f"{who} answered 401 to a fresh token{said}." if status == 401 else page
    if meaning in {Meaning.TEMPORARY, Meaning.MAINTENANCE} and status < 300:
        return f"Text came in place of the product{said or ': nothing more is said'}."
    if meaning is Meaning.PERMANENT and status == 401 and not origin.had_token:
        return f"The service redirects to {who}, which wants the token and is no trusted host."
    sentence = _SENTENCES.get(meaning, "{who} answered {status}{said}.")
    return sentence.format(who=who, status=status, said=said)


def _hint(refusal: Refusal, origin: Origin) -> str:
    if refusal.meaning is Meaning.PROXY:
        return "Check the proxy that the environment names."
    if refusal.meaning is Meaning.LOGIN and refusal.status != 401:
        return "Check that this account may download products; log in there with a browser once."
    if refusal.meaning is Meaning.PERMANENT and refusal.status == 401 and not origin.had_token:
        return f"If it is the service's own: --trusted-host {origin.host} (NOA_TRUSTED_HOSTS)."
    return ""


def _more_tries(refusal: Refusal, origin: Origin) -> int:
    match refusal.meaning:
        case Meaning.LOGIN:
            return 3 if refusal.status == 401 else 1
        case Meaning.ABSENT:
            return int(refusal.status == 404)
        case Meaning.PERMANENT if origin.sender is Sender.STORE and refusal.status != 401:
            return 2
    return 0


def _wait(refusal: Refusal, origin: Origin) -> float | None:
    """Seconds until one of these tries, if not the usual time."""
    is_page = refusal.meaning is Meaning.LOGIN and refusal.status != 401
    elsewhere = refusal.meaning is Meaning.PERMANENT and origin.sender is Sender.STORE
    return _PASSING_WAIT if is_page or elsewhere else None
