"""Outputs as documentation shows them: what differs from run to run does not count."""

from __future__ import annotations

import re

_VARIES = (
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "INSTANT"),
    (re.compile(r"\d\d:\d\d:\d\d UTC"), "INSTANT"),
    (re.compile(r"(\d+ min )?\d+(\.\d+)? s\b"), "SECONDS"),
    (re.compile(r"\d+(\.\d+)? [kMG]?B/s"), "RATE"),
    (re.compile(r"process \d+"), "process N"),
    (re.compile(r" +"), " "),
)
_ANY = "..."


def normal(line: str) -> str:
    """A line without what varies.

    >>> normal("66 products  in 0.2 s, 159 MB/s")
    '66 products in SECONDS, RATE'
    """
    for pattern, name in _VARIES:
        line = pattern.sub(name, line)
    return line.rstrip()


def same(shown: list[str], written: list[str]) -> bool:
    """Whether ``written`` is what is shown; ``...`` stands for any lines, or for any of a line.

    >>> same(["a", "...", "d 1.0 s"], ["a", "b", "c", "d 2.0 s"]), same(["a"], ["a", "b"])
    (True, False)
    >>> same(["a ... z"], ["a b z"]), same(["a ... z"], ["a", "z"])
    (True, False)
    """
    parts = [".*" if line == _ANY else f"{_pattern(normal(line))}\n" for line in shown]
    text = "".join(f"{normal(line)}\n" for line in written)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _pattern(line: str) -> str:
    return "[^\n]*".join(map(re.escape, line.split(_ANY)))
