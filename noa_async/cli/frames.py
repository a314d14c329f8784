"""tqdm's bars, drawn when they are told to, and the terminal they are drawn on."""

from __future__ import annotations

import os
from typing import Any, TextIO

from tqdm import tqdm


class Bar(tqdm):  # type: ignore[type-arg] # it counts nothing by itself
    """A bar that shows what it is given, when it is told to."""

    monitor_interval = 0  # no thread: we draw often enough

    def __init__(self, frame: Frame, place: int) -> None:
        self.figures = ""
        super().__init__(
            file=frame,
            position=place,
            leave=False,
            bar_format="{desc}{percentage:3.0f}%|{bar}| {figures}",
            total=1,
            delay=1e-9,  # nothing is drawn before the first frame
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        return {**super().format_dict, "figures": self.figures}

    def put(self, have: int, total: int, name: str, figures: str) -> None:
        """Show these."""
        self.n, self.total = min(have, total) if total else 0, total or 1
        self.figures = figures
        self.desc = f"{name} " if name else ""
        self.refresh()

    def hide(self) -> None:
        """Show nothing."""
        self.display("")


class Frame:
    """A terminal that gets its text in one write for each ``show``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._text: list[str] = []
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        self._text.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing: ``show`` is what writes."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def size(self) -> os.terminal_size:
        """Columns and lines as they are now."""
        size = os.get_terminal_size(self._stream.fileno())
        return size if size.columns and size.lines else os.terminal_size((80, 24))

    def show(self) -> None:
        text, self._text = "".join(self._text), []
        if text:
            self._stream.write(text)
            self._stream.flush()
