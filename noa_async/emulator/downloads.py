"""`Products(<Id>)/$value`: who may have the bytes, and how they get them."""

import asyncio
import hashlib
import re
from dataclasses import replace
from email.utils import format_datetime

from aiohttp import web

from noa_async.emulator.answers import fault_answer, quota_refusal
from noa_async.emulator.deliveries import Delivery, afflicted
from noa_async.emulator.errors import RefusedError
from noa_async.emulator.faults import Fault, FaultKind
from noa_async.emulator.mirror import Mirror, as_response, to_login_page, unauthorised
from noa_async.emulator.product import Product
from noa_async.emulator.ranges import Span, asked_span, validator_holds
from noa_async.emulator.sending import Sender, hang_up

_THREAD_BYTES = 8_000_000
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


async def product_bytes(
    mirror: Mirror, request: web.BaseRequest, product_id: str
) -> web.StreamResponse:
    """The answer to GET and HEAD of a product's bytes."""
    user = mirror.user(request)
    if request.method == "HEAD" and not mirror.settings.head_allowed:
        return web.Response(status=405, headers={"Allow": "GET"})
    try:
        product = mirror.catalogue.get(product_id)
    except KeyError:
        raise RefusedError(404, "Not Found") from None
    if _is_busy(mirror, user):
        mirror.stats.quota_refusals += 1
        refused = as_response(quota_refusal(mirror.settings, user))
        mirror.stats.delivered(product_id, _asked(request), refused.status, 0)
        return refused
    mirror.slots[user] += 1
    try:
        with mirror.stats.download():
            return await _attempt(mirror, request, product)
    finally:
        _free_slot(mirror, user)


def _is_busy(mirror: Mirror, user: str) -> bool:
    """Whether the user may have no other product now."""
    now = asyncio.get_running_loop().time()
    if mirror.busy_until is None:
        mirror.busy_until = now + mirror.settings.busy_for
    quota = mirror.settings.quota
    return now < mirror.busy_until or (quota is not None and mirror.slots[user] >= quota)


def _free_slot(mirror: Mirror, user: str) -> None:
    def free() -> None:
        mirror.slots[user] -= 1

    if mirror.settings.slot_linger:
        asyncio.get_running_loop().call_later(mirror.settings.slot_linger, free)
    else:
        free()


async def _attempt(
    mirror: Mirror, request: web.BaseRequest, product: Product
) -> web.StreamResponse:
    attempt = mirror.attempt(product.id) if request.method == "GET" else 0
    faults = mirror.faults.for_product(product.id, product.index, attempt)
    mirror.stats.faults += len(faults)
    try:
        instead = await _instead(mirror, request, product, faults)
        if instead is None and not mirror.available(product.id):
            mirror.retrieve(product.id)
            after = mirror.settings.retry_after
            instead = web.Response(status=202, headers={"Retry-After": after} if after else None)
    except RefusedError as error:
        mirror.stats.delivered(product.id, _asked(request), error.status, 0)
        raise
    if instead is not None:
        mirror.stats.delivered(product.id, _asked(request), instead.status, 0)
        return instead
    return await serve(mirror, request, product.id, faults)


async def _instead(
    mirror: Mirror, request: web.BaseRequest, product: Product, faults: tuple[Fault, ...]
) -> web.Response | None:
    """What the faults put in the place of the bytes; their effects on the mirror happen here."""
    for fault in faults:
        match fault.kind:
            case FaultKind.REPLACED:
                mirror.catalogue.replace(product.id)
            case FaultKind.REVOKED_TOKEN:
                mirror.issuer.revoke()
                mirror.stats.unauthorised += 1
                raise unauthorised(mirror.settings.realm, given=True)
            case FaultKind.LABEL_LOGIN if fault.status is not None and 300 <= fault.status < 400:
                raise to_login_page(mirror.settings.realm, fault.status)
            case FaultKind.CONNECTION_REFUSED:
                mirror.refuse(fault.seconds)
                await hang_up(request, reset=True)
                return web.Response(status=503)
        answer = fault_answer(
            fault,
            trusted=f"{mirror.trusted_url}/store/{product.id}",
            foreign=f"{mirror.foreign_url}/store/{product.id}",
        )
        if answer is not None:
            return as_response(answer)
    return None


async def serve(
    mirror: Mirror, request: web.BaseRequest, product_id: str, faults: tuple[Fault, ...] = ()
) -> web.StreamResponse:
    """The bytes themselves, as the request's range and the faults have them."""
    content = mirror.catalogue.content(product_id)
    product = mirror.catalogue.get(product_id)
    if product.size > _THREAD_BYTES:
        await asyncio.to_thread(content.prepare)
    if mirror.settings.etag == "unquoted":
        await asyncio.to_thread(content.checksum, "MD5")
    delivery = plan_delivery(mirror, request, product)
    for fault in faults:
        delivery = afflicted(delivery, fault)
    if delivery.status == 416:
        mirror.stats.delivered(product_id, _asked(request), 416, 0)
        return web.Response(status=416, headers=delivery.headers)
    sent = 0

    def count(length: int) -> None:
        nonlocal sent
        sent += length
        mirror.stats.bytes_sent += length

    rates = [rate for rate in (mirror.settings.rate, delivery.rate) if rate is not None]
    try:
        return await Sender(delivery, content, min(rates, default=None), count).send(request)
    finally:
        if request.method == "GET":
            mirror.stats.delivered(product_id, _asked(request), delivery.status, sent)


def plan_delivery(mirror: Mirror, request: web.BaseRequest, product: Product) -> Delivery:
    """The answer to this request where nothing goes wrong."""
    headers = _headers(mirror, product)
    etag, modified = headers.get("ETag"), headers["Last-Modified"]
    size = product.size
    whole = Span(0, size, size)
    span = asked_span(request.headers.get("Range"), size) if request.method == "GET" else None
    limit = mirror.settings.range_limit
    if span is None or (limit is not None and span.start >= limit):
        return Delivery(200, whole, headers, size)
    if not validator_holds(request.headers.get("If-Range"), etag, modified):
        if not mirror.settings.if_range_from_zero:
            return Delivery(200, whole, headers, size)
        span = whole
    if span.start >= span.stop:
        return Delivery(416, span, {"Content-Range": f"bytes */{size}"}, 0)
    ranged = {**headers, "Content-Range": span.content_range}
    return replace(Delivery(206, span, ranged, span.stop - span.start), ranged=True)


def _headers(mirror: Mirror, product: Product) -> dict[str, str]:
    name = _CONTROL.sub("_", product.name).replace("\\", "\\\\").replace('"', '\\"')
    headers = {
        "Content-Type": product.content_type,
        "Content-Disposition": f'attachment; filename="{name}"',
        "Accept-Ranges": "bytes",
        "Last-Modified": format_datetime(product.modified, usegmt=True),
    }
    match mirror.settings.etag:
        case "quoted":
            seed = f"{product.id}/{product.revision}".encode()
            headers["ETag"] = f'"{hashlib.blake2b(seed, digest_size=16).hexdigest()}"'
        case "unquoted":
            headers["ETag"] = mirror.catalogue.content(product.id).md5
    return headers


def _asked(request: web.BaseRequest) -> int:
    span = asked_span(request.headers.get("Range"), 2**63)
    return span.start if span else 0
