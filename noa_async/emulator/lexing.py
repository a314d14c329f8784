"""From the text of a `$filter` to a syntax tree.

odata-query reads most of the OData grammar. Two things differ here: a list of one value,
`in ('A')`, is a list (it takes that for a value in parentheses), and a namespace other than
this interface's own is refused rather than dropped.
"""

from collections.abc import Iterator
from copy import copy
from typing import Any

from odata_query import ast
from odata_query.exceptions import ODataException
from odata_query.grammar import ODataLexer, ODataParser

from noa_async.emulator.errors import bad_request

MAX_LENGTH = 200_000
NAMESPACE = ("OData", "CSC")


def parse_filter(text: str) -> Any:
    """The syntax tree; a 400 for what is not OData."""
    if len(text) > MAX_LENGTH:
        raise bad_request("The filter is too long.")
    try:
        tree = ODataParser().parse(_prepared(list(ODataLexer().tokenize(text))))
    except ODataException as error:
        raise bad_request(f"Invalid filter: {error}") from error
    if tree is None:
        raise bad_request("Invalid filter: it is empty.")
    return tree


def _prepared(tokens: list[Any]) -> Iterator[Any]:
    """The tokens with a comma after the only value of a list."""
    ends = {_lone_end(tokens, at + 1) for at, token in enumerate(tokens) if token.type == "IN"}
    for at, token in enumerate(tokens):
        if token.type == "ODATA_IDENTIFIER":
            _check_namespace(token.value)
        if at in ends:
            comma = copy(token)
            comma.type = comma.value = ","
            yield comma
        yield token


def _lone_end(tokens: list[Any], start: int) -> int | None:
    """Where the list that opens at `start` ends, if it holds one value."""
    depth = 0
    for at in range(start, len(tokens)):
        kind = tokens[at].type
        depth += (kind == "(") - (kind == ")")
        if depth == 1 and kind == ",":
            return None
        if depth == 0:
            return at if kind == ")" else None
    return None


def _check_namespace(name: ast.Identifier) -> None:
    if name.namespace not in {(), NAMESPACE}:
        raise bad_request(f"Invalid filter: {dotted(name)} is not known.")


def dotted(name: ast.Identifier) -> str:
    """An identifier with its namespace."""
    return ".".join([*name.namespace, name.name])
