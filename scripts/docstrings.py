"""Docstrings are plain text: what is laid out in them, the documentation keeps so."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import griffe


def laid_out(text: str) -> str:
    """A docstring as Markdown: doctests, and what is drawn, become blocks."""
    return "\n\n".join(_paragraph(each) for each in re.split(r"\n\s*\n", text))


def _paragraph(text: str) -> str:
    parts = []
    for kind, lines in groupby(text.splitlines(), _kind_from(text)):
        body = "\n".join(lines)
        parts.append(f"```{kind}\n{body}\n```" if kind else body)
    return "\n\n".join(parts)


def _kind_from(text: str) -> Any:
    """For each line of a paragraph, in turn, the language of its block; empty for prose."""
    drawn = "── " in text
    doctest = False

    def kind(line: str) -> str:
        nonlocal doctest
        doctest = doctest or line.startswith(">>> ")
        return "text" if drawn else "pycon" if doctest else ""

    return kind


class LaidOut(griffe.Extension):
    """For mkdocstrings: every docstring laid out."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each object that was read."""
        if obj.docstring is not None:
            obj.docstring.value = laid_out(obj.docstring.value)
