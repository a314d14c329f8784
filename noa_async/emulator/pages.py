"""The catalogue over HTTP: lists, single entries, counts, orders."""

import asyncio
import itertools
import random
import uuid
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from noa_async.emulator.answers import fault_answer
from noa_async.emulator.content import Content
from noa_async.emulator.errors import RefusedError
from noa_async.emulator.faults import Fault, FaultKind
from noa_async.emulator.filters import PROPERTIES
from noa_async.emulator.mirror import (
    Mirror,
    as_response,
    bomb,
    json_response,
    to_login_page,
    unauthorised,
)
from noa_async.emulator.options import Options
from noa_async.emulator.product import Product, attribute, make_entry

_THREAD_BYTES = 1_000_000
_BAD_ENTRY = b'"an entry that cannot be read goes here"'


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
        answer = await _instead(mirror, request, query, fault)
        if answer is not None:
            return answer
    response = json_response(await _page(mirror, options, faults))
    if FaultKind.PAGE_LONG_HEADER in faults:
        response.headers["X-Trace"] = "x" * int(faults[FaultKind.PAGE_LONG_HEADER].at)
    if FaultKind.PAGE_BAD_ENTRY in faults:
        bad = faults[FaultKind.PAGE_BAD_ENTRY].text or "null"
        assert isinstance(response.body, bytes)
        response.body = response.body.replace(_BAD_ENTRY, bad.encode(), 1)
    if FaultKind.PAGE_CUT in faults:
        body = response.body
        assert isinstance(body, bytes)
        response.body = body[: faults[FaultKind.PAGE_CUT].offset(len(body))]
    return response


async def _instead(
    mirror: Mirror, request: web.BaseRequest, query: str, fault: Fault
) -> web.StreamResponse | None:
    """Return what a fault puts in place of a page; None if the page comes nevertheless."""
    if fault.kind is FaultKind.PAGE_SLOW:
        await asyncio.sleep(fault.seconds)
    if fault.kind is FaultKind.PAGE_REVOKED_TOKEN:
        mirror.issuer.revoke()
        mirror.stats.unauthorised += 1
        raise unauthorised(mirror.settings.realm, given=True)
    if fault.kind is FaultKind.PAGE_LOGIN and fault.status is not None:
        raise to_login_page(mirror.settings.realm, fault.status)
    if fault.kind is FaultKind.PAGE_REDIRECT and "redirected=" not in query:
        target = f"{request.raw_path}&redirected=1"
        raise RefusedError(fault.status or 307, "Moved", {"Location": target})
    if fault.kind is FaultKind.PAGE_BOMB:
        return bomb()
    answer = fault_answer(fault, trusted="", foreign="")
    return None if answer is None else as_response(answer)


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
    if bad := faults.get(FaultKind.PAGE_BAD_ENTRY):
        # Where this stands, `product_list` puts in text of any kind.
        middle = shown[len(shown) // 2].id if shown else ""
        data["value"] = [
            _BAD_ENTRY.decode().strip('"') if entry["Id"] == (bad.product or middle) else entry
            for entry in data["value"]
        ]
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
    if mirror.settings.shuffled_ties:
        found = _shuffled(found, options, mirror.stats.pages)
    return list(found[options.skip : options.skip + options.top])


def _shuffled(found: Sequence[Product], options: Options, seed: int) -> list[Product]:
    """The products with those that the order does not tell apart in an order drawn from `seed`."""
    draw = random.Random(seed)  # noqa: S311 (a seed that repeats is the point)

    def key(product: Product) -> list[Any]:
        return [PROPERTIES[name][1](product) for name, _ in options.orderby]

    shuffled: list[Product] = []
    for _, group in itertools.groupby(found, key):
        tied = list(group)
        shuffled += draw.sample(tied, len(tied))
    return shuffled


def _next_link(mirror: Mirror, options: Options, faults: dict[FaultKind, Fault]) -> str:
    plus = mirror.settings.plus_links or FaultKind.PAGE_PLUS_LINK in faults
    query, base = options.next_query(plus=plus), mirror.settings.base_path
    if FaultKind.PAGE_FOREIGN_LINK in faults:
        return f"{mirror.foreign_url}{base}/Products?{query}"
    if FaultKind.PAGE_STRAY_LINK in faults:
        return f"{mirror.foreign_url}/elsewhere/Products?{query}"
    if FaultKind.PAGE_CIRCLE in faults:
        query = options.own_query(plus=plus)
    if mirror.settings.link_base is not None:
        return f"{mirror.settings.link_base}/Products?{query}"
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
