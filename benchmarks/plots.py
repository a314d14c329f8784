"""Bars, drawn as SVG: no library is needed for that."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROW, _LABEL, _WIDTH, _BAR, _TEXT = 28, 160, 760, 440, 13
_SVG = "http://www.w3.org/2000/svg"
_OURS, _THEIRS = "#1f6f8b", "#b8c4cc"


def bars(title: str, foot: str, rows: Sequence[tuple[str, float, str]], ours: str) -> str:
    """A row of label, length and note for each; the bars of ``ours`` stand out."""
    longest = max((value for _, value, _ in rows), default=1.0) or 1.0
    height = 52 + _ROW * len(rows) + 24
    font = f'font-family="sans-serif" font-size="{_TEXT}"'
    lines = [
        f'<svg xmlns="{_SVG}" viewBox="0 0 {_WIDTH} {height}" {font}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="26" font-size="16">{escape(title)}</text>',
    ]
    for number, (label, value, note) in enumerate(rows):
        top = 44 + _ROW * number
        length = round(_BAR * value / longest, 1)
        fill = _OURS if label == ours else _THEIRS
        lines += [
            f'<text x="{_LABEL - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{length}" height="20" fill="{fill}"/>',
            f'<text x="{_LABEL + length + 6}" y="{top + 15}">{escape(note)}</text>',
        ]
    lines += [f'<text x="12" y="{height - 10}" font-size="11">{escape(foot)}</text>', "</svg>"]
    return "\n".join(lines) + "\n"
