"""Points and polygons that keep the original text of their coordinates."""

from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from noa_async.errors import QueryError

DECIMALS = 7
"""Decimals of the coordinates that are sent, in degrees; the seventh is 1 cm on the ground."""
SAME_PLACE = 5e-8
"""Degrees: coordinates that differ by less may be equal after rounding."""
_SHOWN = 60
_STEP = Decimal(1).scaleb(-DECIMALS)
WKT_EXAMPLE = "Such as POLYGON((22 38, 23 38, 23 39, 22 38)): longitude first, in degrees."


class Vertex(NamedTuple):
    """A point in degrees, with the original text of its coordinates."""

    lon: float
    lat: float
    text: str

    def __str__(self) -> str:
        return f"({self.text if len(self.text) <= _SHOWN else f'{self.text[:_SHOWN]}...'})"

    def rounded(self) -> "Vertex":
        """Return the vertex rounded to 7 decimals; the same object if it has no more."""
        text = " ".join(map(short_number, self.text.split()))
        if text == self.text:
            return self
        lon, lat = text.split()
        return Vertex(float(lon), float(lat), text)


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon's rings, the outer one first; or a point, as one ring of one vertex."""

    kind: str
    """``POLYGON`` or ``POINT``."""
    rings: tuple[tuple[Vertex, ...], ...]

    @property
    def wkt(self) -> str:
        """The shape as two-dimensional WKT."""
        rings = [", ".join(vertex.text for vertex in ring) for ring in self.rings]
        return f"POINT({rings[0]})" if self.kind == "POINT" else f"POLYGON(({'), ('.join(rings)}))"

    def rounded(self) -> "Shape":
        """Return the shape rounded to 7 decimals; the same object if it has no more.

        Consecutive points that become equal are merged, and rings stay closed.
        """
        rings = tuple(tuple(vertex.rounded() for vertex in ring) for ring in self.rings)
        unchanged = all(
            one is other
            for ring, before in zip(rings, self.rings, strict=True)
            for one, other in zip(ring, before, strict=True)
        )
        if unchanged:
            return self
        if self.kind == "POLYGON":
            rings = tuple((*ring[:-1], ring[0]) for ring in rings)
        return Shape(
            self.kind,
            tuple(
                tuple(next(same) for _, same in groupby(ring, lambda v: v[:2])) for ring in rings
            ),
        )


def short_number(text: str) -> str:
    """Return a number rounded to 7 decimals; unchanged if it has no more.

    >>> short_number("22.123456789012345"), short_number("22.50"), short_number("-1E-9")
    ('22.1234568', '22.50', '0')
    """
    number = Decimal(text)
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= -DECIMALS:
        return text
    short = format(number.quantize(_STEP), "f").rstrip("0").rstrip(".")
    return "0" if short in {"", "-0"} else short


def point(vertex: Vertex) -> Shape:
    """Return a shape of one point."""
    return Shape("POINT", ((vertex,),))


def no_area(kind: object) -> QueryError:
    """Return the error for a kind of geometry that the catalogue does not support."""
    hint = "Use polygons, points or a box W,S,E,N."
    if "LINE" in str(kind).upper():
        hint = "Draw a polygon around it, for instance with shapely: line.buffer(0.1)."
    return QueryError(
        f"The area is a {kind!s:.40}, which the catalogue cannot search with.", hint=hint
    )
