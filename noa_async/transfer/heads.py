"""What an answer means, by its head, and by the start of its body if the head is not enough."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from noa_async.answers import Meaning, Sender, classify, looks_like_text
from noa_async.origins import host_of, same_origin
from noa_async.transfer.checksum import strongest
from noa_async.transfer.refusals import Origin, is_message, product_error
from noa_async.transfer.resume import WHOLE, Due, Head, Inspect, Refuse, decide

if TYPE_CHECKING:
    from noa_async.catalogue.product import Product
    from noa_async.errors import ProductError
    from noa_async.response import Response
    from noa_async.transfer.resume import Decision, PartState

MESSAGE_BYTES = 4096
"""The first bytes of a body, by which a message is told from a product."""
_REASONS = frozenset(
    {Meaning.QUOTA, Meaning.LOGIN, Meaning.MAINTENANCE, Meaning.EXPIRED, Meaning.OFFLINE}
)
_TEXT_SUFFIXES = (".xml", ".json", ".txt", ".csv", ".html", ".eof", ".kml", ".gml", ".geojson")


def due_of(product: Product, *, conditional: bool = True) -> Due:
    """What is known of a product before it is asked for."""
    kind, name = product.content_type or "", product.name.lower()
    return Due(
        size=product.size,
        is_text=kind.startswith(("text/", "application/xml", "application/json"))
        or name.endswith(_TEXT_SUFFIXES),
        is_html=kind.startswith("text/html") or name.endswith(".html"),
        checked=strongest(product.checksums) is not None,
        conditional=conditional,
    )


async def read_head(
    response: Response, url: str, part: PartState, due: Due, *, others_served: bool = False
) -> tuple[Head, Decision]:
    """The head of the answer to ``range_headers(part)``, and the decision; it is never Inspect.

    ``url``: what was asked; the answer may be from behind a redirect. What is read of the body to
    decide stays to be read: ``Response.peek``.
    """
    head = Head.read(response.status, response.headers)
    decision = decide(part, head, due)
    if not isinstance(decision, Inspect):
        return head, decision
    start = await response.peek(MESSAGE_BYTES)
    sender = Sender.SERVICE if same_origin(response.url, url) else Sender.STORE
    refusal = classify(
        response.status,
        response.headers,
        start,
        sender=sender,
        url=response.url,
        had_token=response.had_token,
        reason=response.reason,
        json_due=not due.is_text,
    )
    origin = Origin(host_of(response.url), sender, response.had_token, others_served)
    if decision.then is None:
        return head, Refuse(product_error(refusal, origin), refusal.meaning)
    if head.status in WHOLE and not head.encoded:
        message = is_message(head, refusal, start, due)
    else:
        message = refusal.meaning in _REASONS and looks_like_text(start)
    if message:
        return head, Refuse(product_error(refusal, origin), refusal.meaning)
    return head, decision.then


def message_error(start: bytes, due: Due) -> ProductError | None:
    """Return what the bytes of a product mean that begin with ``start``, if they are a message.

    For bytes that came with the product's length and under its type, but are not the product.
    """
    refusal = classify(200, {}, start, json_due=not due.is_text)
    if is_message(Head(200), refusal, start, replace(due, checked=False)):
        return product_error(refusal, Origin())
    return None
