"""The catalogue over HTTP: lists, single entries, counts, orders."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from noa_async.emulator.answers import fault_answer
from noa_async.emulator.content import Content
from noa_async.emulator.errors import RefusedError
from noa_async.emulator.faults import Fault, FaultKind
from noa_async.emulator.mirror import Mirror, as_response, json_response, unauthorised
from noa_async.emulator.options import Options
from noa_async.emulator.product import Product, attribute, make_entry

_THREAD_BYTES = 1_000_000


async def product_list(mirror: Mirror, request: web.BaseRequest) -> web.StreamResponse:
    """One page of products."""
    query = _query(request)
    options = Options.read(query, mirror.settings)
    page = options.skip // max(1, options.top)
    attempt = mirror.attempt(f"page?{query}")
    mirror.stats.pages += 1
    faults = {one.kind: one for one in mirror.faults.for_page(page, attempt)}
    mirror.stats.faults += len(faults)
    for fault in faults.values():
        if fault.kind is FaultKind.PAGE_SLOW:
            await asyncio.sleep(fault.seconds)
        if fault.kind is FaultKind.PAGE_REVOKED_TOKEN:
            mirror.issuer.revoke()
            mirror.stats.unauthorised += 1
            raise unauthorised(mirror.settings.realm, given=True)
        answer = fault_answer(fault, trusted="", foreign="")
        if answer is not None:
            return as_response(answer)
    response = json_response(await _page(mirror, options, faults))
    if FaultKind.PAGE_CUT in faults:
        body = response.body
        assert isinstance(body, bytes)
        response.body = body[: faults[FaultKind.PAGE_CUT].offset(len(body))]
    return response


async def _page(mirror: Mirror, options: Options, faults: dict[FaultKind, Fault]) -> dict[str, Any]:
    found = mirror.catalogue.select(
        options.filter, options.orderby, names=mirror.settings.name_filter
    )
    if FaultKind.PAGE_SHRUNK in faults:
        found = found[: faults[FaultKind.PAGE_SHRUNK].offset(len(found))]
    shown = _window(mirror, found, options)
    if FaultKind.PAGE_REPEATED in faults:
        shown = [*found[max(0, options.skip - 5) : options.skip], *shown]
    if FaultKind.PAGE_MISSING in faults:
        shown = shown[: len(shown) * 3 // 4]
    data: dict[str, Any] = {"@odata.context": "$metadata#Products"}
    if options.count and mirror.settings.counts:
        data["@odata.count"] = len(found)
    data["value"] = await entries(mirror, shown, attributes=options.attributes)
    after = options.skip + options.top
    limit = None if mirror.settings.refused_links else mirror.settings.max_skip
    past = limit is not None and after > limit
    if options.top and after < len(found) and not past and FaultKind.PAGE_NO_LINK not in faults:
        data["@odata.nextLink"] = _next_link(mirror, options, faults)
    return data


def _window(mirror: Mirror, found: Sequence[Product], options: Options) -> list[Product]:
    if not options.orderby and mirror.settings.undefined_order and found:
        # Each page turns the list by another amount: some come twice, some never.
        turn = options.skip * 7919 % len(found)
        found = [*found[turn:], *found[:turn]]
    return list(found[options.skip : options.skip + options.top])


def _next_link(mirror: Mirror, options: Options, faults: dict[FaultKind, Fault]) -> str:
    plus = mirror.settings.plus_links or FaultKind.PAGE_PLUS_LINK in faults
    query, base = options.next_query(plus=plus), mirror.settings.base_path
    if FaultKind.PAGE_FOREIGN_LINK in faults:
        return f"{mirror.foreign_url}{base}/Products?{query}"
    if mirror.settings.relative_links:
        return f"Products?{query}"
    return f"{mirror.base_url}{base}/Products?{query}"


async def entries(
    mirror: Mirror, products: Sequence[Product], *, attributes: bool
) -> list[dict[str, Any]]:
    """The entries of some products, with their checksums."""
    algorithms = mirror.settings.checksums
    contents = [mirror.catalogue.content(product.id) for product in products]
    if sum(product.size for product in products) > _THREAD_BYTES:
        sums = await asyncio.to_thread(_checksums, contents, algorithms)
    else:
        sums = _checksums(contents, algorithms)
    return [
        make_entry(product, values, online=mirror.available(product.id), attributes=attributes)
        for product, values in zip(products, sums, strict=True)
    ]


def _checksums(
    contents: Sequence[Content], algorithms: Sequence[str]
) -> list[list[dict[str, str]]]:
    return [
        [{"Value": content.checksum(name), "Algorithm": name} for name in algorithms]
        for content in contents
    ]


async def product_entry(mirror: Mirror, request: web.BaseRequest, product_id: str) -> web.Response:
    """One entry by its Id."""
    mirror.stats.entries += 1
    faults = mirror.faults.for_page(0, mirror.attempt(f"entry {product_id}"))
    if any(fault.kind is FaultKind.PAGE_ENTRY_MISSING for fault in faults):
        mirror.stats.faults += 1
        raise RefusedError(404, f"No product has the Id {product_id}.")
    options = Options.read(_query(request), mirror.settings)
    product = _product(mirror, product_id)
    (entry,) = await entries(mirror, [product], attributes=options.attributes)
    return json_response({"@odata.context": "$metadata#Products/$entity", **entry})


def product_attributes(mirror: Mirror, product_id: str) -> web.Response:
    """The attributes of one product."""
    product = _product(mirror, product_id)
    return json_response({"value": [attribute(*pair) for pair in product.attributes.items()]})


def product_count(mirror: Mirror, request: web.BaseRequest) -> web.Response:
    """How many products match, as plain text."""
    options = Options.read(_query(request), mirror.settings)
    found = mirror.catalogue.select(options.filter, (), names=mirror.settings.name_filter)
    return web.Response(text=str(len(found)))


def order_product(mirror: Mirror, product_id: str) -> web.Response:
    """Order an offline product; the order's state as of now."""
    _product(mirror, product_id)
    done = mirror.available(product_id)
    if not done:
        under_way = product_id in mirror.retrievals
        mirror.retrieve(product_id)
        status = "in_progress" if under_way else "queued"
    order = {
        "@odata.context": "$metadata#Orders/$entity",
        "Id": str(uuid.uuid5(uuid.NAMESPACE_OID, product_id)),
        "Status": "completed" if done else status,
        "Notification": None,
    }
    return json_response(order, 201)


def _product(mirror: Mirror, product_id: str) -> Product:
    try:
        return mirror.catalogue.get(product_id)
    except KeyError:
        raise RefusedError(404, f"No product has the Id {product_id}.") from None


def _query(request: web.BaseRequest) -> str:
    return request.raw_path.partition("?")[2]
