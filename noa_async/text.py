"""What a server wrote, made fit to be shown in one line of a terminal or a log."""

from __future__ import annotations


def shown(text: str, most: int = 200) -> str:
    """The text in one line, without control characters, at most ``most`` characters long.

    >>> shown("Too\\nmany \\x1b[31msessions")
    'Too many [31msessions'
    """
    line = " ".join(text[: 8 * most].split())
    return "".join(sign for sign in line if sign.isprintable())[:most].strip()
