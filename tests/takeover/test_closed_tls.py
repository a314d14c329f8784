"""A body over TLS whose connection is closed behind it, read by somebody slower than the line."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trustme

from noa_async.looping import loop_factory
from noa_async.settings import Settings
from noa_async.transport import Transport
from tests.takeover.origin import BLOCK, AsIs, Kept, poured

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


class Slow(Kept):
    """The slowness is what is tested."""

    def append(self, pieces: Sequence[bytes | memoryview]) -> None:
        time.sleep(0.1)
        super().append(pieces)


@pytest.mark.parametrize("path", ["wire", "stream"])
def test_a_closed_connection_keeps_nothing_back(origin, tmp_path, path):
    urls = {"catalogue_url": f"{origin}/Products", "token_url": f"{origin}/token"}
    settings = Settings().with_values(urls | {"ca_file": str(tmp_path / "ca.pem")})

    async def read_slowly() -> bytes:
        async with Transport(settings) as client:
            asking = AsIs(client) if path == "wire" else client
            async with asking.request("GET", f"{origin}/x") as response:
                return (await poured(response, into=Slow()))[0]

    with asyncio.Runner(loop_factory=loop_factory(SERVICE)) as runner:
        assert runner.run(read_slowly()) == CONTENT


def test_the_loop_is_asyncios_own_under_tls_alone():
    assert loop_factory(SERVICE) is None
    assert loop_factory("http://localhost") is not None
