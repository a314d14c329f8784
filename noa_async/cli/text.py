"""Format numbers and names for people. All functions are pure."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNSHOWN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


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


def bytes_text(count: float) -> str:
    """Format a number of bytes in decimal units with three digits.

    >>> bytes_text(983), bytes_text(4563402752), bytes_text(99_960_000), bytes_text(999_999)
    ('983 B', '4.56 GB', '100 MB', '1.00 MB')
    """
    size = float(count)
    for unit in _UNITS:
        if round(size, 2 if size < 10 else 1 if size < 99.95 else 0) < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"


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
