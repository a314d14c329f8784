"""Format numbers and names for people. All functions are pure."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from noa_async.values import bytes_text as bytes_text  # noqa: PLC0414 (for the command line)

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNSHOWN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})


def shown(text: str) -> str:
    """Return a server's text safe for a terminal: control characters are replaced by ``?``.

    >>> shown("S2A\\x1b[2J\\nX.SAFE")
    'S2A?[2J?X.SAFE'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("?" if unicodedata.category(sign) in _UNSHOWN else sign for sign in text)


def shortened(text: str, width: int) -> str:
    """Shorten a text in its middle, because both ends of a product name identify it.

    >>> shortened("S2A_MSIL2A_20260112T092321_T34SGH", 16)
    'S2A_MSI..T34SGH'
    >>> shortened("S2A", 16), shortened("S2A_MSIL2A", 3)
    ('S2A', 'S2A')
    """
    if len(text) <= width:
        return text
    if width < 8:
        return text[: max(0, width)]
    tail = (width - 2) // 2
    head = width - 2 - tail
    return f"{text[:head].rstrip('_')}..{text[-tail:].lstrip('_')}"


def rate_text(rate: float) -> str:
    """Format a rate in bytes per second.

    >>> rate_text(25_400_000)
    '25.4 MB/s'
    """
    return f"{bytes_text(rate)}/s"


def seconds_text(seconds: float) -> str:
    """Format a duration in seconds.

    >>> seconds_text(0.25), seconds_text(12.34), seconds_text(245), seconds_text(7380)
    ('0.2 s', '12.3 s', '4 min 05 s', '2 h 03 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def number_of(count: int, thing: str, things: str = "") -> str:
    """Format a count with its noun in the singular or plural.

    >>> number_of(1, "product"), number_of(12, "product"), number_of(2, "retry", "retries")
    ('1 product', '12 products', '2 retries')
    """
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def table(rows: Sequence[tuple[str, ...]], indent: str = "  ") -> list[str]:
    """Format rows as aligned lines: the first column left-aligned, the others right-aligned.

    >>> table([("present", "2"), ("failed", "12")])
    ['  present   2', '  failed   12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
