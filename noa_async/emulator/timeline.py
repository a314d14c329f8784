"""Products sorted by a time, so that a filter that bounds it looks at few of them.

What a filter matches does not depend on it: the predicate still decides on each product.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from odata_query import ast

from noa_async.emulator.filters import PROPERTIES, joined, path_of, sides
from noa_async.emulator.literals import literal
from noa_async.emulator.product import Product

TIMES = ("ContentDate/Start", "PublicationDate")
"""What products are kept sorted by."""

_BISECTS: dict[type, tuple[bool, Callable[[Sequence[datetime], datetime], int]]] = {
    ast.GtE: (True, bisect_left),
    ast.Gt: (True, bisect_right),
    ast.Lt: (False, bisect_left),
    ast.LtE: (False, bisect_right),
}
"""Whether a comparator bounds from below, and where in a sorted list it does."""

Bound = tuple[type, datetime]


def time_bounds(tree: Any) -> dict[str, list[Bound]]:
    """What the conditions that must all hold say of each of `TIMES`; the filter is a valid one."""
    found: dict[str, list[Bound]] = {}
    for node in joined(tree, ast.And):
        if not isinstance(node, ast.Compare):
            continue
        left, right, comparator = sides(node)
        if comparator in _BISECTS and path_of(left) in TIMES:
            found.setdefault(path_of(left), []).append((comparator, literal(right)))
    return found


class Timeline:
    """The products by one of `TIMES`, those of one instant by Id."""

    def __init__(self, name: str, products: Iterable[Product]) -> None:
        get = PROPERTIES[name][1]
        self._products = sorted(products, key=lambda one: (get(one), one.id))
        self._times = [get(one) for one in self._products]

    def within(self, bounds: Iterable[Bound]) -> tuple[int, int]:
        """The first place within all bounds, and the one after the last."""
        start, end = 0, len(self._times)
        for comparator, value in bounds:
            below, bisect = _BISECTS[comparator]
            place = bisect(self._times, value)
            start, end = (max(start, place), end) if below else (start, min(end, place))
        return start, max(start, end)

    def part(self, places: tuple[int, int]) -> list[Product]:
        """The products between two places, in order."""
        return self._products[slice(*places)]
