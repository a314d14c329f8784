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

    @property
    def url(self) -> str:
        """Scheme, host and port, once it was open."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def open(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=_BACKLOG)
        self._port = listener.getsockname()[1]
        self._server = await asyncio.get_running_loop().create_server(
            self._factory, sock=listener, ssl=self._tls, backlog=_BACKLOG
        )

    def close(self) -> None:
        """Refuse new connections; open ones live on."""
        if self._server is not None:
            self._server.close()
            self._server = None
