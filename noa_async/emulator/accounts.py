"""The token endpoint."""

import asyncio
import base64
from urllib.parse import parse_qsl

from aiohttp import web

from noa_async.emulator.answers import fault_answer
from noa_async.emulator.faults import FaultKind
from noa_async.emulator.mirror import Mirror, as_response, bomb, json_response
from noa_async.emulator.tokens import GrantRefusedError


async def token(mirror: Mirror, request: web.BaseRequest) -> web.StreamResponse:
    """The answer to a token request: a form in, JSON out."""
    mirror.stats.token_begins()
    try:
        body = await request.text()
        await asyncio.sleep(mirror.settings.token_delay)
        faults = mirror.faults.for_token(mirror.attempt("token"))
        mirror.stats.faults += len(faults)
        for fault in faults:
            if fault.kind is FaultKind.TOKEN_SLOW:
                await asyncio.sleep(fault.seconds)
            if fault.kind is FaultKind.TOKEN_TRICKLE:
                return await _trickle(request, fault.rate)
            if fault.kind is FaultKind.TOKEN_BOMB:
                return bomb()
            answer = fault_answer(fault, trusted="", foreign="")
            if answer is not None:
                return as_response(answer)
        return _granted(mirror, request, body)
    finally:
        mirror.stats.tokens_in_flight -= 1


async def logout(mirror: Mirror, request: web.BaseRequest) -> web.Response:
    """End the session of a refresh token, as Keycloak does."""
    form = dict(parse_qsl(await request.text()))
    try:
        mirror.issuer.log_out(form)
    except GrantRefusedError as error:
        return json_response(error.body, error.status)
    return web.Response(status=204)


async def _trickle(request: web.BaseRequest, rate: float) -> web.StreamResponse:
    """A token answer that begins, goes on a byte at a time, and has no end."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"access_token": "')
    while True:
        await response.write(b"x")
        await asyncio.sleep(1 / rate)


def _granted(mirror: Mirror, request: web.BaseRequest, body: str) -> web.Response:
    if request.content_type != "application/x-www-form-urlencoded":
        return json_response({"error": "HTTP 415 Unsupported Media Type"}, 415)
    try:
        form = _basic_client(request.headers.get("Authorization", "")) | dict(parse_qsl(body))
        response = json_response(mirror.issuer.answer(form))
    except GrantRefusedError as error:
        return json_response(error.body, error.status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _basic_client(authorization: str) -> dict[str, str]:
    """The client id of a Basic header, which Keycloak takes as well as the form's."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, _ = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return {}
    return {"client_id": client_id}
