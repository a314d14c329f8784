"""Format an OData filter for reading: one condition per line, groups indented. Pure functions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(r"'(?:[^']|'')*'?|[()]|[^\s'()]+|\s+")
_JOINS = frozenset({"and", "or", "not"})
_INDENT = "  "


def outline(text: str) -> list[str]:
    """Split a ``$filter`` into lines; joined, they are the same filter.

    >>> print("\\n".join(outline("(A ge 1 and B in ('x', 'y')) or any(att:att/Name eq '(')")))
    (
      A ge 1
      and B in ('x', 'y')
    )
    or any(att:att/Name eq '(')
    """
    lines: list[str] = []
    line, depth, inner = "", 0, 0
    for piece in _pieces(text):
        if inner or not _starts_line(piece, line):
            line += piece if piece.strip() else " "
            inner += (piece == "(") - (piece == ")")
            continue
        group = piece == "(" and _opens_group(line)
        if piece == "(" and not group:
            line += piece
            inner = 1
            continue
        if piece in {"and", "or"} or piece == ")":
            lines.append(_INDENT * depth + line.strip())
            line = ""
        if piece == ")":
            depth = max(0, depth - 1)
            line = ")"
        elif group:
            lines.append(_INDENT * depth + f"{line.strip()} (".strip())
            depth, line = depth + 1, ""
        else:
            line = piece
    lines.append(_INDENT * depth + line.strip())
    return [line for line in lines if line.strip()]


def _pieces(text: str) -> Iterator[str]:
    return (found[0] for found in _TOKEN.finditer(text))


def _starts_line(piece: str, line: str) -> bool:
    return piece in {"(", ")"} or (piece in {"and", "or"} and line[-1:] in {" ", ")"})


def _opens_group(line: str) -> bool:
    """Return whether a parenthesis after ``line`` groups conditions, not values or arguments."""
    words = line.split()
    return not words or (words[-1] in _JOINS and line[-1:] == " ")
