"""A listening socket that can be shut for a while and opened again on the same port."""

import asyncio
import socket
import ssl
from collections.abc import Callable

_BACKLOG = 512


class Door:
    """One host and port with a protocol behind it."""

    def __init__(
        self,
        factory: Callable[[], asyncio.Protocol],
        host: str,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._factory = factory
        self._host = host
        self._port = port
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None

    @property
    def url(self) -> str:
        """Scheme, host and port, once it was open."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def open(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        listener, self._held = self._held or self._bound(), None
        self._server = await asyncio.get_running_loop().create_server(
            self._factory, sock=listener, ssl=self._tls, backlog=_BACKLOG, start_serving=False
        )
        try:
            await self._server.start_serving()
        except OSError:
            self.close()
            raise

    def shut(self) -> None:
        """Refuse new connections until it is opened again; open ones live on.

        The port stays its own, as nothing but a listening socket is connected to: another process
        that was given it would answer in its place.
        """
        self._leave()
        self._held = self._bound()

    def close(self) -> None:
        """Refuse new connections; open ones live on."""
        self._leave()
        if self._held is not None:
            self._held.close()
            self._held = None

    def _leave(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _bound(self) -> socket.socket:
        held = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET)
        try:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if held.family == socket.AF_INET6:
                held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            held.bind((self._host, self._port))
        except OSError:
            held.close()
            raise
        self._port = held.getsockname()[1]
        return held
