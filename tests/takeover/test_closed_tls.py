"""A body over TLS whose connection is closed behind it, read by somebody slower than the line."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from noa_async.looping import loop_factory
from noa_async.settings import Settings
from noa_async.takeover import BLOCK
from noa_async.transport import Transport

CONTENT = random.Random(1).randbytes(7 * BLOCK + 260_000)
SERVICE = "https://localhost"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    """A server that sends all it has at once and ends the connection, as with Connection: close."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    head = (
        f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
    )
    left = threading.Event()

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with context.wrap_socket(connection, server_side=True) as client:
            client.recv(65536)
            client.sendall(head + CONTENT)
            socket.socket.shutdown(client, socket.SHUT_WR)
            left.wait(30)

    with socket.create_server(("localhost", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        yield f"https://localhost:{listening.getsockname()[1]}"
        left.set()
        thread.join()


@pytest.mark.parametrize("path", ["fast", "stream"])
def test_a_closed_connection_keeps_nothing_back(origin, tmp_path, monkeypatch, path):
    monkeypatch.setenv("NOA_FASTPATH", "1" if path == "fast" else "0")
    urls = {"catalogue_url": f"{origin}/Products", "token_url": f"{origin}/token"}
    settings = Settings().with_values(urls | {"ca_file": str(tmp_path / "ca.pem")})

    async def read_slowly() -> bytes:
        body = bytearray()
        async with Transport(settings) as client, client.request("GET", f"{origin}/x") as response:
            async for pieces in response.batches(BLOCK):
                await asyncio.sleep(0.15)  # it is the slowness that is tested
                for piece in pieces:
                    body += piece
        return bytes(body)

    with asyncio.Runner(loop_factory=loop_factory(SERVICE)) as runner:
        assert runner.run(read_slowly()) == CONTENT


def test_the_loop_is_asyncios_own_under_tls_alone():
    assert loop_factory(SERVICE) is None
    assert loop_factory("http://localhost") is not None
