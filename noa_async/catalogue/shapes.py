"""Points and polygons with their numbers as they were written."""

from dataclasses import dataclass
from typing import NamedTuple

from noa_async.errors import QueryError

WKT_EXAMPLE = "Such as POLYGON((22 38, 23 38, 23 39, 22 38)): longitude first, in degrees."


class Vertex(NamedTuple):
    """One point in degrees, with its two numbers as they were written."""

    lon: float
    lat: float
    text: str

    def __str__(self) -> str:
        return f"({self.text})"


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon's rings, the shell first; or a point, as one ring of one vertex."""

    kind: str
    """``POLYGON`` or ``POINT``."""
    rings: tuple[tuple[Vertex, ...], ...]

    @property
    def wkt(self) -> str:
        """As WKT in two dimensions."""
        rings = [", ".join(vertex.text for vertex in ring) for ring in self.rings]
        return f"POINT({rings[0]})" if self.kind == "POINT" else f"POLYGON(({'), ('.join(rings)}))"


def point(vertex: Vertex) -> Shape:
    """Make a point's shape."""
    return Shape("POINT", ((vertex,),))


def no_area(kind: object) -> QueryError:
    """Make the error for a kind of geometry that the catalogue does not take."""
    hint = "Give a polygon, a point, several of them, or a box W,S,E,N."
    if "LINE" in str(kind).upper():
        hint = "Draw a polygon around it, for instance with shapely: line.buffer(0.1)."
    return QueryError(
        f"The area is a {kind!s:.40}, which the catalogue cannot search by.", hint=hint
    )
