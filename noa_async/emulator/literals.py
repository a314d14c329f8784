"""Literals of a filter as Python values, and the comparisons between them."""

import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from odata_query import ast

from noa_async.emulator.errors import bad_request


def _is_in(left: object, right: Any) -> bool:
    return left in right


OPERATORS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: _is_in,
}
_ORDERED = {ast.Lt, ast.LtE, ast.Gt, ast.GtE}


def literal(node: Any) -> Any:
    """The value of a literal, a negated number or a list; instants in UTC."""
    match node:
        case ast.List(val=values):
            return frozenset(literal(value) for value in values)
        case ast.DateTime(val=text):
            return _instant(text)
        case ast.GUID(val=text):
            return str(text).lower()
        case ast.UnaryOp(op=ast.USub(), operand=ast.Integer() | ast.Float() as number):
            return -number.py_val
        case ast.String() | ast.Integer() | ast.Float() | ast.Boolean() | ast.Null():
            return node.py_val
    raise bad_request("Invalid filter: a value was expected.")


def _instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise bad_request(f"Invalid filter: {text} is not an instant.") from error
    if moment.tzinfo is None:
        raise bad_request(f"Invalid filter: the instant {text} has no time zone.")
    return moment.astimezone(UTC)


def same_kind(kind: type, value: object, comparator: type) -> None:
    """A 400 where values of these types cannot be compared."""
    values = value if isinstance(value, frozenset) else {value}
    if (comparator is ast.In) != isinstance(value, frozenset):
        raise bad_request("Invalid filter: in takes a list, nothing else does.")
    for one in values:
        numbers = kind in {int, float} and isinstance(one, int | float)
        same = (numbers and not isinstance(one, bool)) or type(one) is kind
        null = one is None and comparator not in _ORDERED
        if not same and not null:
            raise bad_request(f"Invalid filter: a {kind.__name__} cannot be compared with {one!r}.")
