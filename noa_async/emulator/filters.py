"""`$filter` compiled to a predicate over products.

| clause | example |
|---|---|
| properties | `ContentDate/Start ge 2026-01-11T00:00:00.000Z`, `Online eq true`, `Id in (...)` |
| attributes | `Attributes/OData.CSC.StringAttribute/any(att:att/Name eq '..' and ...)` |
| area | `OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((...))')` |
| logic | `and`, `or`, `not`, parentheses |
| texts | `contains`, `startswith`, `endswith`, where the site takes them |
"""

import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any

from odata_query import ast

from noa_async.emulator.areas import Area
from noa_async.emulator.attributes import attribute_predicate
from noa_async.emulator.errors import bad_request
from noa_async.emulator.lexing import NAMESPACE, dotted, parse_filter
from noa_async.emulator.literals import OPERATORS, literal, same_kind
from noa_async.emulator.product import Product

Predicate = Callable[[Product], bool]

_MIRRORED = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
}
_TEXT_FUNCTIONS: dict[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}

PROPERTIES: dict[str, tuple[type, Callable[[Product], Any]]] = {
    "Id": (str, operator.attrgetter("id")),
    "Name": (str, operator.attrgetter("name")),
    "ContentType": (str, operator.attrgetter("content_type")),
    "ContentLength": (int, operator.attrgetter("size")),
    "Online": (bool, operator.attrgetter("online")),
    "ContentDate/Start": (datetime, operator.attrgetter("start")),
    "ContentDate/End": (datetime, operator.attrgetter("end")),
    "PublicationDate": (datetime, operator.attrgetter("published")),
    "ModificationDate": (datetime, operator.attrgetter("modified")),
}
"""What can be filtered and ordered by: its type, and where a product has it."""


def compile_filter(text: str, *, names: bool = False) -> Predicate:
    """The predicate of a `$filter`; a 400 for what the mirror would refuse.

    `names` lets filters on Name through, which NOA refuses.
    """
    return compile_tree(parse_filter(text), names=names)


def compile_tree(tree: Any, *, names: bool = False) -> Predicate:
    """The predicate of a syntax tree; a 400 as `compile_filter`."""
    return _Compiler(names=names).build(tree)


class _Compiler:
    def __init__(self, *, names: bool) -> None:
        self._names = names

    def build(self, node: Any) -> Predicate:
        match node:
            case ast.BoolOp(op=op):
                return self._joined(node, type(op))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.build(operand)
                return lambda product: not inner(product)
            case ast.Compare():
                return self._comparison(node)
            case ast.CollectionLambda():
                return attribute_predicate(node)
            case ast.Call(func=ast.Identifier(name="Intersects", namespace=namespace)):
                if namespace != NAMESPACE:
                    raise bad_request("Invalid filter: Intersects is OData.CSC.Intersects.")
                return self._area(node)
            case ast.Call():
                return self._text(node)
        raise bad_request(f"Invalid filter: {type(node).__name__} is not a condition.")

    def _joined(self, node: Any, op: type) -> Predicate:
        parts = [self.build(one) for one in joined(node, op)]
        if op is ast.And:
            return lambda product: all(part(product) for part in parts)
        return lambda product: any(part(product) for part in parts)

    def _comparison(self, node: ast.Compare) -> Predicate:
        left, right, comparator = sides(node)
        kind, get = self._property(left)
        value = literal(right)
        same_kind(kind, value, comparator)
        test = OPERATORS[comparator]
        return lambda product: bool(test(get(product), value))

    def _property(self, node: Any) -> tuple[type, Callable[[Product], Any]]:
        path = path_of(node)
        if path == "Name" and not self._names:
            raise bad_request("Invalid filter: Name cannot be filtered.")
        if path not in PROPERTIES:
            raise bad_request(f"Invalid filter: the property {path} does not exist.")
        return PROPERTIES[path]

    def _area(self, node: ast.Call) -> Predicate:
        match node.args:
            case [ast.NamedParam(name=ast.Identifier(name="area"), param=ast.Geography(val=text))]:
                return Area(text).touches
        raise bad_request("Invalid filter: Intersects takes area=geography'...'.")

    def _text(self, node: ast.Call) -> Predicate:
        name = dotted(node.func)
        if name not in _TEXT_FUNCTIONS:
            raise bad_request(f"Invalid filter: the function {name} is not known.")
        kind, get = self._property(node.args[0])
        value = literal(node.args[1])
        if kind is not str or not isinstance(value, str):
            raise bad_request(f"Invalid filter: {name} takes texts.")
        test = _TEXT_FUNCTIONS[name]
        return lambda product: test(get(product), value)


def joined(node: Any, op: type) -> list[Any]:
    """The conditions that a chain of `op` (`ast.And`, `ast.Or`) joins; of another node itself."""
    # A chain of a thousand conditions is a thousand levels deep: walked, not recursed.
    parts, waiting = [], [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.BoolOp) and isinstance(one.op, op):
            waiting += [one.right, one.left]
        else:
            parts.append(one)
    return parts


def sides(node: ast.Compare) -> tuple[Any, Any, type]:
    """A comparison with the property on the left: property, value, comparator."""
    left, right, comparator = node.left, node.right, type(node.comparator)
    if isinstance(right, ast.Identifier | ast.Attribute) and comparator in _MIRRORED:
        return right, left, _MIRRORED[comparator]
    return left, right, comparator


def path_of(node: Any) -> str:
    match node:
        case ast.Identifier():
            return dotted(node)
        case ast.Attribute(owner=owner, attr=attr):
            return f"{path_of(owner)}/{attr}"
    raise bad_request("Invalid filter: a property and a value are compared.")
