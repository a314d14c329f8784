"""Parse JSON as services send it: a value that cannot be parsed does not lose the rest of a
page."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_NUMBER = 40
_BRACKET_COMMA_OR_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)


def decode(body: bytes) -> str:
    """Return the text of a body; bytes that are not UTF-8 become replacement characters."""
    try:
        return body.decode(json.detect_encoding(body))
    except UnicodeDecodeError:
        return body.decode("utf-8-sig", errors="replace")


def parse(text: str) -> Any:
    """Return the value of a JSON text; NaN, infinities and absurdly long numbers become None.

    Control characters within strings are accepted. Raise ValueError if the text is not JSON, and
    RecursionError if it is nested too deeply.

    >>> parse('{"size": NaN, "name": "a\\tb"}')
    {'size': None, 'name': 'a\\tb'}
    """
    try:
        return json.loads(text, strict=False, parse_constant=_none)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer with more digits than Python converts
        return json.loads(text, strict=False, parse_constant=_none, parse_int=_integer)


def _none(_: str) -> None:
    """Return None for NaN and the infinities, which are not JSON."""


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else None


def split_list(text: str, key: str) -> tuple[str, list[str]] | None:
    """Return an object without the items of its list ``key``, and the text of each item.

    Only brackets are matched, so an item that is not valid JSON can be separated from the others.
    Return None if the object has no such list or its brackets do not match. Takes time linear in
    the length of the text, whatever its nesting.

    >>> split_list('{"a": 1, "value": [{"b": [1, 2]}, oops, null], "c": 2}', "value")
    ('{"a": 1, "value": [], "c": 2}', ['{"b": [1, 2]}', 'oops', 'null'])
    >>> split_list('{"value": [{"a": 1}, {"b"', "value") is None
    True
    """
    key_due, is_list, cuts = False, False, list[int]()
    try:
        for sign, start, end, depth in _signs(text):
            if depth == 1 and sign in "{,":
                key_due, is_list = True, False
            elif depth == 1 and sign[0] == '"':
                is_list = key_due and sign == f'"{key}"' and not cuts
                key_due = False
            elif is_list and depth == 2 and sign in "[,]":
                cuts += [start, end]
    except ValueError:
        return None
    if len(cuts) < 4:
        return None
    items = [text[cuts[at] : cuts[at + 1]].strip() for at in range(1, len(cuts) - 1, 2)]
    return text[: cuts[1]] + text[cuts[-2] :], [] if items == [""] else items


def _signs(text: str) -> Iterator[tuple[str, int, int, int]]:
    """Yield the brackets, commas and strings of a text: each with its start, end and nesting depth.

    A bracket has the depth of what it encloses. Raise ValueError if brackets do not match or the
    text is not a single object.
    """
    closing: list[str] = []
    for found in _BRACKET_COMMA_OR_STRING.finditer(text):
        sign = found[0]
        if sign in "[{":
            closing.append("]" if sign == "[" else "}")
        yield sign, found.start(), found.end(), len(closing)
        if sign in "]}" and (not closing or closing.pop() != sign):
            raise ValueError(sign)
    if closing or not text.lstrip().startswith("{"):
        raise ValueError(text[:1])
