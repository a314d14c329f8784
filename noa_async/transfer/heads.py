"""The head of an answer read, and what it means; its text where the head alone does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.errors import ProductUnavailable
from noa_async.origins import host_of
from noa_async.transfer.resume import Head, Inspect, Refuse, decide, refusal

if TYPE_CHECKING:
    from noa_async.catalogue.product import Product
    from noa_async.response import Response
    from noa_async.transfer.resume import Decision, PartState

_REFUSAL_BYTES = 4096


def is_text(product: Product) -> bool:
    """Whether a product itself is text, by the catalogue."""
    kind = product.content_type or ""
    return kind.startswith(("text/", "application/xml", "application/json"))


async def read_head(
    response: Response,
    part: PartState,
    *,
    size: int | None = None,
    text_is_due: bool = False,
    others_served: bool = False,
) -> tuple[Head, Decision]:
    """The head of the answer to ``range_headers(part)``, and the decision; it is never Inspect.

    The rest is as for ``decide``.
    """
    head = Head.read(response.status, response.headers)
    if head.status == 401 and not response.had_token:
        return head, _not_trusted(host_of(response.url))
    decision = decide(part, head, size=size, text_is_due=text_is_due, others_served=others_served)
    if isinstance(decision, Inspect):
        decision = refusal(head, await response.peek(_REFUSAL_BYTES))
    return head, decision


def _not_trusted(host: str) -> Refuse:
    """A redirect led to a host that wants the token, and that nobody named."""
    return Refuse(
        ProductUnavailable(
            f"The service sends us to {host}, which wants the token and is no trusted host.",
            hint=f"Where it is the service's own: --trusted-host {host} (NOA_TRUSTED_HOSTS).",
        )
    )
