"""Write OData as the catalogue needs it: literals, attribute clauses, URL encoding."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal
from urllib.parse import quote

from noa_async.errors import QueryError
from noa_async.excerpts import represent

# GSS answers 500 to a raw quote, and 400 to a raw space or non-ASCII byte; these characters are
# safe.
_VALUE_SAFE = "(),=:;/"
_KEY_SAFE = "$@"


def literal(text: str) -> str:
    """Return an OData string: in single quotes, with each single quote doubled.

    >>> literal("O'Neil")
    "'O''Neil'"
    """
    return "'" + text.replace("'", "''") + "'"


def string_clause(attribute: str, value: str | Sequence[str]) -> str:
    """Return the comparison of a string attribute: ``eq`` for one value, ``in`` for a list.

    >>> string_clause("orbitDirection", ["ASCENDING"])[-23:]
    "Value in ('ASCENDING'))"
    """
    if isinstance(value, str):
        return _clause("String", attribute, f"eq {literal(value)}")
    return _clause("String", attribute, f"in ({', '.join(map(literal, value))})")


Operator = Literal["eq", "ne", "gt", "ge", "lt", "le"]


def number_clause(attribute: str, operator: Operator, value: float) -> str:
    """Return the comparison of a number attribute.

    >>> number_clause("cloudCover", "le", 20)[-12:]
    'Value le 20)'
    """
    text = str(value + 0)  # -0.0 becomes 0.0
    return _clause("Double", attribute, f"{operator} {Decimal(text):f}")


def _clause(kind: str, attribute: str, comparison: str) -> str:
    path = f"OData.CSC.{kind}Attribute"
    named = f"att:att/Name eq {literal(attribute)}"
    return f"Attributes/{path}/any({named} and att/{path}/Value {comparison})"


def quote_odata(text: str) -> str:
    """Percent-encode text for the query part of a URL; a space becomes ``%20``, never ``+``.

    Raise `QueryError` if the text has an unpaired surrogate, which UTF-8 cannot encode.

    >>> quote_odata("Name eq 'é'")
    'Name%20eq%20%27%C3%A9%27'
    """
    return _quote(text, _VALUE_SAFE)


def encode_query(params: Mapping[str, str]) -> str:
    """Return the query part of a URL, without ``?``.

    >>> encode_query({"$top": "50", "$orderby": "ContentDate/Start asc"})
    '$top=50&$orderby=ContentDate/Start%20asc'
    """
    return "&".join(f"{_quote(key, _KEY_SAFE)}={quote_odata(text)}" for key, text in params.items())


def check_text(text: str, what: str) -> str:
    """Return the text. Raise `QueryError` if it is blank or has characters that cannot be sent."""
    if not text.strip():
        raise QueryError(f"{what} is empty.", hint="Leave it out, or give it a value.")
    for at, sign in enumerate(text, start=1):
        if ord(sign) < 32 or 127 <= ord(sign) < 160 or 0xD800 <= ord(sign) < 0xE000:
            raise QueryError(
                f"{what} has a character that cannot be sent: {sign!a}, at position {at}.",
                hint="Type it again; the character may come from copied text.",
            )
    return text


def check_filters(raw: object) -> tuple[str, ...]:
    """Return the user's own filters, one or several, as a tuple.

    Raise `QueryError` for a filter with an unmatched quote or parenthesis.

    >>> check_filters("contains(Name,'S2A')")
    ("contains(Name,'S2A')",)
    """
    texts = [raw] if isinstance(raw, str) else raw
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise QueryError(f"filter is {represent(raw)}, not a string or a list of strings.")
    return tuple(_check_filter(text) for text in texts)


def _check_filter(text: str) -> str:
    outside = text.split("'")[::2]
    if text.count("'") % 2:
        raise QueryError(
            f"The filter {text!r} has an unmatched quote.", hint="Within a value, write ''."
        )
    depth = 0
    for sign in re.findall(r"[()]", "".join(outside)):
        depth += 1 if sign == "(" else -1
        if depth < 0:
            break
    if depth:
        raise QueryError(f"The filter {text!r} has an unmatched parenthesis.")
    if text.lstrip().startswith("$filter"):
        raise QueryError(
            f"The filter {text!r:.80} starts with $filter=.", hint="Leave out $filter=."
        )
    # A long filter may span several lines; a line break within a literal is rejected.
    lines = outside[0] if len(outside) == 1 else None
    return check_text(" ".join(lines.split()) if lines else text.strip(), "filter")


def _quote(text: str, safe: str) -> str:
    try:
        return quote(text, safe=safe)
    except UnicodeEncodeError as error:
        raise QueryError(f"Cannot encode this text as UTF-8: {text[:80]!a}.") from error
