"""What many tests share: a plain environment, and small servers on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from ssl import SSLContext

import pytest
from aiohttp import web
from hypothesis import settings

settings.register_profile("unhurried", deadline=None)  # machines are busy; no time is promised
settings.register_profile("few", deadline=None, max_examples=20)
settings.load_profile("unhurried")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's background job begins
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests press Ctrl-C

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[str]]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch, tmp_path):
    """No credentials, no proxies and no settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.upper().startswith(("NOA_", "ESA_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.fixture(autouse=True)
def own_state_home(plain_environment, tmp_path):
    """What a run remembers of archives is a test's own, also where it undoes its patches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOA_STATE_HOME", str(tmp_path.with_name(f"{tmp_path.name}-state")))
        yield


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts HTTP servers: ``await serve(handler)`` gives an address without a slash at its end."""
    async with AsyncExitStack() as stack:

        async def start(handler: Handler, tls: SSLContext | None = None) -> str:
            runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await site.start()
            port = runner.addresses[0][1]
            return f"{'https' if tls else 'http'}://127.0.0.1:{port}"

        yield start


@pytest.fixture
async def serve_raw() -> AsyncIterator[Serve]:
    """Starts servers that write bytes of their own, to break the rules of HTTP."""
    async with AsyncExitStack() as stack:

        async def start(handler: RawHandler) -> str:
            tasks: set[asyncio.Task[None]] = set()

            async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                try:
                    await reader.readuntil(b"\r\n\r\n")
                    await handler(reader, writer)
                finally:
                    writer.close()

            def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                tasks.add(asyncio.create_task(handle(reader, writer)))

            server = await asyncio.start_server(accept, "127.0.0.1", 0)

            async def stop() -> None:
                server.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

            stack.push_async_callback(stop)
            return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        yield start
