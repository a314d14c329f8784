"""Attribute clauses: `Attributes/OData.CSC.<Type>Attribute/any(att: name and value)`."""

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
            owner=ast.Attribute(owner=ast.Identifier(name="Attributes"), attr=kind),
            operator=ast.Any(),
            lambda_=ast.Lambda(
                identifier=ast.Identifier(name=variable),
                expression=ast.BoolOp(op=ast.And(), left=left, right=right),
            ),
        ) if kind in _TYPES:
            return _predicate(kind, str(variable), left, right)
    raise bad_request(_SHAPE)


def _predicate(kind: str, variable: str, left: Any, right: Any) -> Callable[[Product], bool]:
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
        case ast.Compare(
            comparator=comparator,
            left=ast.Attribute(
                owner=ast.Attribute(owner=ast.Identifier(name=owner), attr=inner), attr="Value"
            ),
            right=value_node,
        ) if owner == variable and inner == kind:
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
