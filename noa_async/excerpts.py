"""What a server wrote, made fit to be shown in one line of a terminal or a log."""

from __future__ import annotations

import re
import reprlib

_SECRET = re.compile(r"(?i:bearer)\s+\S+|\beyJ[\w-]+\.[\w-]+\.[\w-]*")
"""A token, as services are known to repeat it in an error."""


def excerpt(text: str, most: int = 200, *, hidden: str = "") -> str:
    """The text in one line, without control characters and tokens, at most ``most`` long.

    ``hidden`` is a secret that must not be in it either.

    >>> excerpt("Too\\nmany \\x1b[31msessions")
    'Too many [31msessions'
    """
    if hidden:
        text = text.replace(hidden, "***")
    line = _SECRET.sub("***", " ".join(text[: 8 * most].split()))
    return "".join(sign for sign in line if sign.isprintable())[:most].strip()


def represent(value: object, most: int = 80) -> str:
    """Return the start of a value's ``repr``, also of a number that Python does not write out.

    >>> represent("x" * 100, 10), represent(10**5000)
    ("'xxxxxxxxx", 'a number of more than 4,300 digits')
    """
    try:
        return repr(value)[:most]
    except ValueError:
        return "a number of more than 4,300 digits"
    except RecursionError:
        return reprlib.repr(value)[:most]
