"""A terminal that the real program runs on, and what stood on it after each of its writes."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import termios
from codecs import getincrementaldecoder
from collections.abc import Callable
from dataclasses import dataclass, field

import pyte

from noa_async.cli.frames import END

from .conftest import Program


@dataclass
class Terminal:
    """Columns and rows, as `pyte` keeps them."""

    columns: int
    rows: int = 24
    written: str = ""
    """All that was written, as it came."""
    frames: list[list[str]] = field(default_factory=list)
    """The screen after each frame, every row as wide as the screen."""

    def __post_init__(self) -> None:
        self._screen = pyte.Screen(self.columns, self.rows)
        self._stream = pyte.Stream(self._screen)
        self._kept = ""
        self._decoder = getincrementaldecoder("utf-8")("surrogateescape")  # pieces end anywhere
        self._leader, self._follower = pty.openpty()
        self._measure()

    def _measure(self) -> None:
        size = struct.pack("HHHH", self.rows, self.columns, 0, 0)
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, size)  # the kernel sends SIGWINCH

    def resize(self, columns: int) -> None:
        """Make it as wide."""
        self.columns = columns
        self._screen.resize(self.rows, columns)
        self._measure()

    async def run(
        self, noa: Program, *arguments: str, each: Callable[[], object] = lambda: None
    ) -> int:
        """Run the program on it to its end, the exit code; ``each`` is called after each frame."""
        noa.environ |= {"TERM": "xterm"}
        noa.environ.pop("COLUMNS", None)
        process = await noa.start(*arguments, stdout=self._follower, stderr=self._follower)
        os.close(self._follower)
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def read() -> None:
            try:
                piece = os.read(self._leader, 1 << 16)
            except OSError:  # the other side is closed
                piece = b""
            if not piece:
                loop.remove_reader(self._leader)
                ended.set()
                return
            self._take(piece, each)

        loop.add_reader(self._leader, read)
        try:
            async with asyncio.timeout(60):
                await ended.wait()
                return await process.wait()
        finally:
            os.close(self._leader)
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _take(self, piece: bytes, each: Callable[[], object]) -> None:
        self._kept += self._decoder.decode(piece)
        *frames, self._kept = self._kept.split(END)
        for frame in frames:
            self._show(frame + END)
            self.frames.append(list(self._screen.display))
            each()

    def _show(self, text: str) -> None:
        self.written += text
        self._stream.feed(text)

    def whole(self) -> str:
        """All that was written."""
        self._show(self._kept)
        self._kept = ""
        return self.written

    def end(self) -> list[str]:
        """What stands on it at last, without the rows that are empty."""
        self.whole()
        return [row.rstrip() for row in self._screen.display if row.strip()]
