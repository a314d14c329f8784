"""Which handler a request goes to, on the mirror itself and on the two store hosts."""

import asyncio
import re
from urllib.parse import unquote

from aiohttp import web

from noa_async.emulator.accounts import logout, token
from noa_async.emulator.answers import LOGIN_PAGE, MAINTENANCE_PATH, maintenance
from noa_async.emulator.downloads import product_bytes, serve
from noa_async.emulator.errors import RefusedError
from noa_async.emulator.mirror import (
    Mirror,
    as_response,
    json_response,
    maintenance_page,
    refusal,
    too_long,
)
from noa_async.emulator.options import check_target
from noa_async.emulator.pages import (
    order_product,
    product_attributes,
    product_count,
    product_entry,
    product_list,
)

_PRODUCT = re.compile(r"/Products\('?([^()'/]+)'?\)(/.*)?")
_STORE = re.compile(r"/store/([^/]+)")
_METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
<edmx:DataServices><Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="OData.CSC">
<EntityType Name="Product"><Key><PropertyRef Name="Id"/></Key>
<Property Name="Id" Type="Edm.Guid" Nullable="false"/><Property Name="Name" Type="Edm.String"/>
</EntityType><EntityContainer Name="Container">
<EntitySet Name="Products" EntityType="OData.CSC.Product"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>
"""


async def mirror_answer(mirror: Mirror, request: web.BaseRequest) -> web.StreamResponse:
    """The mirror's own host: tokens, catalogue, bytes, and the control endpoint."""
    path = unquote(request.raw_path.partition("?")[0])
    if path.startswith("/_emulator/"):
        return _control(mirror, request.method, path)
    is_list = path == f"{mirror.settings.base_path}/Products"
    mirror.stats.requests += not path.endswith("/openid-connect/logout")
    mirror.busy.add(request.protocol)
    if is_list:
        mirror.stats.list_begins()
    loop = asyncio.get_running_loop()
    due = loop.time() + mirror.settings.latency
    try:
        if not is_list:
            await asyncio.sleep(mirror.settings.latency)
        response = await _answered(mirror, request, path)
        if mirror.settings.chunked_errors and response.status >= 300 and not response.prepared:
            response.enable_chunked_encoding()
        if is_list:  # made within the latency: else lists asked for at once would wait in a row
            await asyncio.sleep(max(0.0, due - loop.time()))
        return response
    finally:
        mirror.busy.discard(request.protocol)
        mirror.stats.lists_in_flight -= is_list


async def _answered(mirror: Mirror, request: web.BaseRequest, path: str) -> web.StreamResponse:
    if path == MAINTENANCE_PATH:
        return maintenance_page()
    if mirror.maintenance is not None:
        return as_response(maintenance(mirror.maintenance))
    if mirror.outage:
        return refusal(RefusedError(503, "Service Unavailable"))
    longest = mirror.settings.max_address
    if longest is not None and len(request.raw_path) > longest:
        return too_long(mirror.settings.address_refusal)
    try:
        check_target(request.raw_path)
        return await _routed(mirror, request, path)
    except RefusedError as error:
        return refusal(error)


async def _routed(mirror: Mirror, request: web.BaseRequest, path: str) -> web.StreamResponse:
    base = mirror.settings.base_path
    log_in = f"/auth/realms/{mirror.settings.realm}/protocol/openid-connect"
    if path.startswith(log_in):
        return await _log_in(mirror, request, path.removeprefix(log_in))
    if not path.startswith(base):
        raise RefusedError(404, "Not Found")
    rest = path[len(base) :].rstrip("/")
    one = _PRODUCT.fullmatch(rest)
    if one:
        return await _product(mirror, request, one.group(1).lower(), one.group(2) or "")
    _only(request, "GET")
    if mirror.settings.catalogue_auth:
        mirror.user(request)
    match rest:
        case "/Products":
            return await product_list(mirror, request)
        case "/Products/$count":
            return product_count(mirror, request)
        case "/$metadata":
            return web.Response(text=_METADATA, content_type="application/xml")
        case "":
            sets = [{"name": "Products", "kind": "EntitySet", "url": "Products"}]
            return json_response({"@odata.context": "$metadata", "value": sets})
    raise RefusedError(404, "Not Found")


async def _log_in(mirror: Mirror, request: web.BaseRequest, path: str) -> web.StreamResponse:
    if path == "/auth":
        return web.Response(text=LOGIN_PAGE, content_type="text/html")
    if path not in {"/token", "/logout"}:
        raise RefusedError(404, "Not Found")
    _only(request, "POST")
    return await (token if path == "/token" else logout)(mirror, request)


async def _product(
    mirror: Mirror, request: web.BaseRequest, product_id: str, rest: str
) -> web.StreamResponse:
    if rest == "/$value":
        _only(request, "GET", "HEAD")
        if mirror.settings.download_host:
            raise RefusedError(302, "Found", {"Location": mirror.trusted_url + request.raw_path})
        return await product_bytes(mirror, request, product_id)
    if rest == "/OData.CSC.Order":
        _only(request, "POST")
        mirror.user(request)
        mirror.stats.orders += 1
        if not mirror.settings.orders:
            raise RefusedError(404, "Not Found")
        return order_product(mirror, product_id)
    _only(request, "GET")
    if mirror.settings.catalogue_auth:
        mirror.user(request)
    if rest == "/Attributes":
        return product_attributes(mirror, product_id)
    if rest:
        raise RefusedError(404, "Not Found")
    return await product_entry(mirror, request, product_id)


def _only(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise RefusedError(405, "Method Not Allowed", {"Allow": ", ".join(methods)})


def _control(mirror: Mirror, method: str, path: str) -> web.Response:
    match method, path:
        case "GET", "/_emulator/stats":
            return json_response(mirror.stats.as_dict())
        case "POST", "/_emulator/reset":
            mirror.stats.reset()
        case "POST", "/_emulator/revoke":
            mirror.issuer.revoke()
        case "POST", "/_emulator/outage/on" | "/_emulator/outage/off":
            mirror.outage = path.endswith("on")
        case _:
            return web.Response(status=404)
    return web.Response(status=204)


async def store_answer(
    mirror: Mirror, request: web.BaseRequest, *, trusted: bool
) -> web.StreamResponse:
    """A store host: the foreign one refuses tokens, the trusted one needs one."""
    try:
        if trusted and request.raw_path.startswith(f"{mirror.settings.base_path}/"):
            return await _downloaded(mirror, request)
        return await _stored(mirror, request, trusted=trusted)
    except RefusedError as error:
        return refusal(error)


async def _downloaded(mirror: Mirror, request: web.BaseRequest) -> web.StreamResponse:
    """The service's own download host: the same address, by another name."""
    path = unquote(request.raw_path.partition("?")[0])
    one = _PRODUCT.fullmatch(path.removeprefix(mirror.settings.base_path))
    if mirror.outage:
        raise RefusedError(503, "Service Unavailable")
    if not mirror.settings.download_host or one is None or one.group(2) != "/$value":
        raise RefusedError(404, "Not Found")
    _only(request, "GET", "HEAD")
    return await product_bytes(mirror, request, one.group(1).lower())


async def _stored(mirror: Mirror, request: web.BaseRequest, *, trusted: bool) -> web.StreamResponse:
    if trusted:
        mirror.user(request)
    elif "Authorization" in request.headers:
        mirror.stats.leaked_tokens += 1
        raise RefusedError(400, "Only one auth mechanism allowed")
    one = _STORE.fullmatch(request.raw_path.partition("?")[0])
    if one is None or not mirror.catalogue.has(one.group(1)):
        raise RefusedError(404, "Not Found")
    _only(request, "GET", "HEAD")
    return await serve(mirror, request, one.group(1))
