"""The program at a terminal, with somebody who answers what it asks."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Sequence

from .conftest import Program


async def converse(
    program: Program, arguments: Sequence[str], answers: Sequence[str]
) -> tuple[int, str]:
    """Give an answer to each question (what ends in ": "); the exit code, and what stood there."""
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "noa_async", *arguments),
        cwd=program.folder,
        env=program.environ,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=_make_it_the_terminal,
    )
    os.close(follower)
    shown, answered = b"", 0
    waiting = list(answers)
    while piece := await asyncio.to_thread(_read, leader):
        shown += piece
        if waiting and shown.endswith(b": ") and len(shown) > answered:
            answered = len(shown)
            os.write(leader, waiting.pop(0).encode() + b"\n")
    os.close(leader)
    code = await process.wait()
    assert not waiting, shown
    return code, shown.decode()


def _make_it_the_terminal() -> None:
    """Passwords are asked for at the controlling terminal, not at standard input."""
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 1 << 16)
    except OSError:  # the other side is closed
        return b""
