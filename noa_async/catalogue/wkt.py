"""Parse areas written as WKT."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from noa_async.catalogue.shapes import WKT_EXAMPLE, Shape, Vertex, no_area, point
from noa_async.errors import QueryError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:E[-+]?\d+)?)(?=[\s(),]|$)"
    r"|(?P<word>[A-Z]+)|(?P<sign>[(),]))",
    re.IGNORECASE | re.ASCII,
)
_HEIGHTS = {"Z", "M", "ZM"}
_GLUED = re.compile(r"(POINT|POLYGON|MULTI[A-Z]+|GEOMETRYCOLLECTION)(?:ZM|Z|M)")
_DEEPEST = 8  # nesting of collections
_T = TypeVar("_T")


class WktReader:
    """Parser of one WKT text. Raises `QueryError` at the first syntax error.

    >>> [shape.wkt for shape in WktReader("multipoint z ((1 2 3), (4 5 6))").read()]
    ['POINT(1 2)', 'POINT(4 5)']
    """

    def __init__(self, text: str) -> None:
        self.plain = True
        """Whether the text is a single two-dimensional part, which can be sent unchanged."""
        self._tokens = list(_tokens(text))
        self._at = 0

    def read(self) -> list[Shape]:
        """Parse the whole text into its parts."""
        shapes = self._geometry(0)
        if self._at < len(self._tokens):
            raise _not_wkt(f"there is text after its end: {self._peek()!r:.40}")
        self.plain = self.plain and len(shapes) == 1
        return shapes

    def _geometry(self, depth: int) -> list[Shape]:
        kind = self._take().upper()
        glued = _GLUED.fullmatch(kind)  # POLYGONZ
        if glued or self._peek().upper() in _HEIGHTS:
            kind = glued[1] if glued else kind
            self.plain = False
        if self._peek().upper() in _HEIGHTS:
            self._take()
        if self._peek().upper() == "EMPTY":
            raise QueryError(f"The area is an empty {kind}.", hint=WKT_EXAMPLE)
        if kind == "POINT":
            vertices = self._ring()
            if len(vertices) > 1:
                raise _not_wkt(f"a POINT with {len(vertices)} points")
            return [point(vertices[0])]
        if kind == "POLYGON":
            return [self._polygon()]
        self.plain = False
        if kind == "MULTIPOLYGON":
            return self._group(lambda _: self._polygon())
        if kind == "MULTIPOINT":
            return [point(vertex) for vertex in self._ring()]
        if kind == "GEOMETRYCOLLECTION" and depth < _DEEPEST:
            parts = self._group(lambda _: self._geometry(depth + 1))
            return [shape for part in parts for shape in part]
        raise no_area(kind)

    def _polygon(self) -> Shape:
        return Shape("POLYGON", tuple(self._group(lambda _: self._ring())))

    def _ring(self) -> tuple[Vertex, ...]:
        return tuple(self._group(self._vertex))

    def _vertex(self, number: int) -> Vertex:
        wrapped = self._peek() == "("  # MULTIPOINT((1 2), (3 4))
        numbers = self._group(lambda _: self._numbers())[0] if wrapped else self._numbers()
        if not 2 <= len(numbers) <= 4:
            raise _not_wkt(
                f"point {number} is ({' '.join(numbers)}), not a longitude and a latitude"
            )
        self.plain = self.plain and len(numbers) == 2 and not wrapped
        return _vertex(numbers[0], numbers[1], number)

    def _numbers(self) -> list[str]:
        numbers = []
        while self._peek() not in {"(", ")", ",", ""}:
            numbers.append(self._take())
        return numbers

    def _group(self, item: Callable[[int], _T]) -> list[_T]:
        self._expect("(")
        items = [item(1)]
        while self._peek() == ",":
            self._take()
            items.append(item(len(items) + 1))
        self._expect(")")
        return items

    def _expect(self, sign: str) -> None:
        met = self._take()
        if met != sign:
            before = " ".join(self._tokens[max(0, self._at - 5) : self._at - 1])
            raise _not_wkt(f"expected {sign!r} after {before!r}, found {met or 'its end'!r:.40}")

    def _take(self) -> str:
        self._at += 1
        return self._tokens[self._at - 1] if self._at <= len(self._tokens) else ""

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""


def _tokens(text: str) -> Iterator[str]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            raise _not_wkt(f"cannot parse {text[at : at + 20].strip()!r} at character {at + 1}")
        yield found[0].strip()
        at = found.end()


def _not_wkt(why: str) -> QueryError:
    return QueryError(f"The area is not valid WKT: {why}.", hint=WKT_EXAMPLE)


def _vertex(lon: str, lat: str, number: int) -> Vertex:
    try:
        return Vertex(float(lon), float(lat), f"{lon} {lat}")
    except ValueError:
        raise _not_wkt(f"point {number} is ({lon} {lat}), which are not two numbers") from None
