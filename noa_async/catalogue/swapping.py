"""Swap longitude and latitude of an area, to suggest what the user may have meant."""

from __future__ import annotations

from noa_async.catalogue.geometry import Area
from noa_async.catalogue.rings import check_range
from noa_async.catalogue.shapes import Shape, Vertex
from noa_async.catalogue.wkt import WktReader
from noa_async.errors import QueryError


def swapped(area: Area) -> Area | None:
    """Return the area with its two coordinates swapped; None if the result is out of range.

    >>> swapped(Area.read("POINT(38 22)")), swapped(Area.read("POINT(120 22)"))
    (Area(parts=('POINT(22 38)',)), None)
    """
    shapes = [shape for part in area.parts for shape in WktReader(part).read()]
    turned = [_turned(shape) for shape in shapes]
    try:
        for shape in turned:
            for ring in shape.rings:
                check_range(ring)
    except QueryError:
        return None
    return Area(tuple(shape.wkt for shape in turned))


def _turned(shape: Shape) -> Shape:
    return Shape(shape.kind, tuple(tuple(map(_exchanged, ring)) for ring in shape.rings))


def _exchanged(vertex: Vertex) -> Vertex:
    lon, lat = vertex.text.split()
    return Vertex(vertex.lat, vertex.lon, f"{lat} {lon}")
