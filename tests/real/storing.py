"""What tests of stores do again and again: bring products, run the program, stand between."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from yarl import URL

from noa_async import Credentials, NoaClient, Query
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.events import Status
from tests.integration.conftest import settings_for

from .stores import StoreServer

WHO = Credentials("demo", "demo", source="test")
ALL = Query(everything=True)
Look = Callable[[web.BaseRequest], web.Response | Awaitable[web.Response | None] | None]


def client(mirror: Emulator, tmp_path: Path) -> NoaClient:
    return NoaClient(settings_for(mirror, scratch=str(tmp_path / "scratch")), WHO)


async def bring(mirror: Emulator, tmp_path: Path, url: str, **how: str) -> list[Status]:
    async with client(mirror, tmp_path) as noa:
        return [one.status async for one in noa.download_all(noa.search(ALL), url, **how)]


def few(products: int, size: int = 3000) -> EmulatorSettings:
    return EmulatorSettings(products=products, mean_bytes=size)


def right(mirror: Emulator, held: dict[str, bytes]) -> bool:
    sums = sorted(mirror.content(product.id).md5 for product in mirror.catalogue.products)
    return sorted(hashlib.md5(held[key]).hexdigest() for key in held) == sums


async def started(
    mirror: Emulator,
    tmp_path: Path,
    url: str,
    words: tuple[str, ...] = ("download", "--everything", "--output"),
    **environ: str,
) -> asyncio.subprocess.Process:
    """``noa-async``, a process of its own."""
    who = {"NOA_USERNAME": "demo", "NOA_PASSWORD": "demo"}
    where = {"NOA_CATALOGUE_URL": mirror.catalogue_url, "NOA_TOKEN_URL": mirror.token_url}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "noa_async", *words, url,
        "--scratch", str(tmp_path / "scratch"), "--no-progress",
        env=os.environ | who | where | environ,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def said(process: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Its exit code, and all that it said."""
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, (out + err).decode()


def refusal(status: int, code: str) -> web.Response:
    """As S3 says no."""
    text = f"<Error><Code>{code}</Code><Message>No.</Message></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


def between(
    store: StoreServer,
    look: Look,
    tls: ssl.SSLContext | None = None,
    spoil: Callable[[bytes], bytes] = bytes,
) -> AbstractAsyncContextManager[str]:
    """An address that leads to the store, but for what ``look`` answers itself.

    ``spoil``: what becomes of the bytes of a request on their way.
    """
    return _forwarding(store.endpoint, look, tls, spoil)


def forward_proxy() -> AbstractAsyncContextManager[str]:
    """The address of a forward proxy for HTTP."""
    return _forwarding("", lambda _: None)  # a client names the whole address to a proxy


@asynccontextmanager
async def _forwarding(
    endpoint: str,
    look: Look,
    tls: ssl.SSLContext | None = None,
    spoil: Callable[[bytes], bytes] = bytes,
) -> AsyncIterator[str]:

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        body = spoil(await request.content.read())
        own = look(request)
        own = await own if inspect.isawaitable(own) else own
        if own is not None:
            return own
        headers = {k: v for k, v in request.headers.items() if k.lower() != "transfer-encoding"}
        async with session.request(
            request.method, URL(f"{endpoint}{request.raw_path}", encoded=True),
            headers=headers, data=io.BytesIO(body) if body else None, allow_redirects=False,
            skip_auto_headers=["Content-Type"],  # Azure has it signed
        ) as got:  # fmt: skip
            dropped = {"transfer-encoding", "content-encoding"}
            kept = {k: v for k, v in got.headers.items() if k.lower() not in dropped}
            return web.Response(status=got.status, headers=kept, body=await got.read())

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
