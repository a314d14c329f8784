"""Draw rows in place at the bottom of a terminal, and print lines above them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
"""Synchronized output: the terminal shows what is between at once; others ignore the codes."""
_REST_OF_ROW, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
"""Disable wrapping, so that a row is cut off if the terminal becomes narrower while drawing."""


class Frame:
    """Rows at the bottom of a terminal; each update is a single write.

    Rows are overwritten instead of cleared first, which avoids flicker. Between updates the cursor
    is at the start of the first row: if the terminal becomes narrower and wraps the rows, the
    cursor moves with that row, and everything after it is overwritten or cleared.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: list[str] = []
        self._size = self.size()

    def size(self) -> os.terminal_size:
        """Return the current size of the terminal."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except OSError:
            size = os.terminal_size((0, 0))
        return size if size.columns and size.lines else os.terminal_size((80, 24))

    def draw(self, rows: Sequence[str], size: os.terminal_size) -> None:
        """Replace the rows by ``rows``, formatted for a terminal of ``size``."""
        self._change(rows, size)

    def put_above(self, lines: Sequence[str]) -> None:
        """Print ``lines`` permanently above the rows."""
        size = self.size()
        fits = size == self._size  # if not, the next frame draws the rows for the new size
        self._change(self._rows if fits else [], size, above=lines)

    def clear(self) -> None:
        """Remove the rows."""
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
