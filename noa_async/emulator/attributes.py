"""Attribute clauses: `Attributes/OData.CSC.<Type>Attribute/any(att: name and value)`.

GSS's own client writes the same as `<Type>Attributes/any(d:d/Name eq '..' and d/Value ..)`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from odata_query import ast

from noa_async.emulator.errors import bad_request
from noa_async.emulator.literals import OPERATORS, literal, same_kind
from noa_async.emulator.product import Product

_TYPES: dict[str, type] = {
    "StringAttribute": str,
    "DoubleAttribute": float,
    "IntegerAttribute": int,
    "BooleanAttribute": bool,
    "DateTimeOffsetAttribute": datetime,
}
_SHAPE = "Invalid filter: an attribute clause is any(att:att/Name eq '..' and att/<type>/Value ..)."


def attribute_predicate(node: ast.CollectionLambda) -> Callable[[Product], bool]:
    """The predicate of one attribute clause."""
    match node:
        case ast.CollectionLambda(
            owner=owner,
            operator=ast.Any(),
            lambda_=ast.Lambda(
                identifier=ast.Identifier(name=variable),
                expression=ast.BoolOp(op=ast.And(), left=left, right=right),
            ),
        ):
            kind, value_path = _collection(owner, str(variable))
            return _predicate(kind, str(variable), value_path, left, right)
    raise bad_request(_SHAPE)


def _collection(owner: Any, variable: str) -> tuple[str, Any]:
    """The type of the attributes, and how their values are named in this way of writing."""
    item = ast.Identifier(name=variable)
    match owner:
        case ast.Attribute(owner=ast.Identifier(name="Attributes"), attr=kind) if kind in _TYPES:
            return kind, ast.Attribute(owner=ast.Attribute(owner=item, attr=kind), attr="Value")
        case ast.Identifier(name=name) if name[:-1] in _TYPES and name.endswith("s"):
            return name[:-1], ast.Attribute(owner=item, attr="Value")
    raise bad_request(_SHAPE)


def _predicate(
    kind: str, variable: str, value_path: Any, left: Any, right: Any
) -> Callable[[Product], bool]:
    match left:
        case ast.Compare(
            comparator=ast.Eq(),
            left=ast.Attribute(owner=ast.Identifier(name=owner), attr="Name"),
            right=ast.String(val=name),
        ) if owner == variable:
            pass
        case _:
            raise bad_request(_SHAPE)
    match right:
        case ast.Compare(comparator=comparator, left=path, right=value_node) if path == value_path:
            value = literal(value_node)
        case _:
            raise bad_request(_SHAPE)
    wanted = _TYPES[kind]
    same_kind(wanted, value, type(comparator))
    test = OPERATORS[type(comparator)]

    def matches(product: Product) -> bool:
        found = product.attributes.get(name)
        return type(found) is wanted and bool(test(found, value))

    return matches
