"""The foot of a terminal: rows that are drawn over in their place, and lines that go above them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
"""What stands between is to be shown at once; a terminal that does not know them heeds neither."""
_REST_OF_ROW, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
"""A row that is on its way while the terminal is made narrower is cut there, and breaks none."""


class Frame:
    """Rows at the foot of a terminal; each change of them is one write.

    Nothing is wiped before it is written anew, so nothing flickers. Between two changes the cursor
    stands at the beginning of the first row: there it stays with its row where a terminal that is
    made narrower breaks the rows, and all that is behind it is written over or wiped.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: list[str] = []
        self._size = self.size()

    def size(self) -> os.terminal_size:
        """Columns and lines as they are now."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except OSError:
            size = os.terminal_size((0, 0))
        return size if size.columns and size.lines else os.terminal_size((80, 24))

    def draw(self, rows: Sequence[str], size: os.terminal_size) -> None:
        """Show ``rows``, made for a terminal of ``size``, in place of those before."""
        self._change(rows, size)

    def put_above(self, lines: Sequence[str]) -> None:
        """Write ``lines`` where they stay; the rows move down for them."""
        size = self.size()
        fits = size == self._size  # else they come with the next frame, made for the new size
        self._change(self._rows if fits else [], size, above=lines)

    def clear(self) -> None:
        """Take the rows away."""
        if self._rows:
            self._change([], self.size())

    def _change(
        self, rows: Sequence[str], size: os.terminal_size, above: Sequence[str] = ()
    ) -> None:
        pieces = [BEGIN, *(f"{line}{_REST_OF_ROW}\n" for line in above)]
        pieces += [_NO_WRAP, f"{_REST_OF_ROW}\n".join(rows), _REST_OF_SCREEN, _WRAP]
        pieces += [f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else "", "\r", END]
        self._rows, self._size = list(rows), size
        self._stream.write("".join(pieces))
        self._stream.flush()
