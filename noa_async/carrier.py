"""A connection of ours as a transport of asyncio's, for an HTTP client that reads on from it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from noa_async.body import BUSY

if TYPE_CHECKING:
    import socket

_READ = 256 << 10


class Carrier(asyncio.Transport):
    """Gives what comes by a connection that does not block to a protocol; it sends nothing."""

    def __init__(self, connected: socket.socket, protocol: asyncio.Protocol) -> None:
        """It is the connection's owner from now on, and begins with ``resume_reading``."""
        super().__init__()
        self._socket = connected
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._reading = self._closed = False

    def is_closing(self) -> bool:
        return self._closed

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def resume_reading(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._read)
            self._loop.call_soon(self._read)  # what TLS holds is not seen by the loop

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _read(self) -> None:
        while self._reading:
            try:
                piece = self._socket.recv(_READ)
            except BUSY:
                return
            except OSError as error:
                self._end(error)
            else:
                if piece:
                    self._protocol.data_received(piece)
                else:
                    self._protocol.eof_received()
                    self._end(None)

    def _end(self, error: OSError | None) -> None:
        if not self._closed:
            self.pause_reading()
            self._closed = True
            self._socket.close()
            self._loop.call_soon(self._protocol.connection_lost, error)
