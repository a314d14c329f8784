"""Cut footprints at the antimeridian and compute their bounding boxes, following RFC 7946."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shapely.geometry.base import BaseGeometry

_NEAR = 1e-6


def box_around(shape: BaseGeometry) -> tuple[float, float, float, float]:
    """Return the bounding box of a shape as (west, south, east, north).

    If parts of the shape touch the antimeridian from both sides with a gap elsewhere, the box
    crosses the antimeridian: west is greater than east, and the box excludes the widest gap.

    >>> from shapely import from_wkt
    >>> box_around(from_wkt("MULTIPOINT((180 1), (-180 2), (-175 3), (170 1))"))
    (170.0, 1.0, -175.0, 3.0)
    """
    west, south, east, north = shape.bounds
    if west > -180 + _NEAR or east < 180 - _NEAR:
        return west, south, east, north
    spans: list[list[float]] = []
    for left, right in sorted((part.bounds[0], part.bounds[2]) for part in _parts(shape)):
        if spans and left <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], right)
        else:
            spans.append([left, right])
    gaps = [(after[0] - before[1], before[1], after[0]) for before, after in pairwise(spans)]
    if not gaps:
        return west, south, east, north
    _, end, start = max(gaps)
    return start, south, end, north


def cut_at_antimeridian(shape: BaseGeometry) -> BaseGeometry:
    """Return a polygon that crosses the antimeridian as two parts, cut there.

    Some catalogues do not cut such footprints, so that they seem to span nearly the whole Earth.
    Return any other shape unchanged.
    """
    import shapely  # noqa: PLC0415 (slow to import)

    if shape.geom_type != "Polygon" or not _jumps(shape):
        return shape
    turned = shapely.transform(shape, _eastwards)
    if not turned.is_valid:  # it encloses a pole, or crosses itself
        return shape
    east = shapely.intersection(turned, shapely.box(0, -90, 180, 90))
    west = shapely.intersection(turned, shapely.box(180, -90, 360, 90))
    west = shapely.transform(west, lambda at: at - (360.0, 0.0))
    cut = shapely.MultiPolygon([part for side in (east, west) for part in _polygons(side)])
    return cut if cut.is_valid and not cut.is_empty else shape


def _jumps(polygon: Any) -> bool:
    """Return whether an edge spans more than 180 degrees, other than along the map's border."""
    ends = [lon for lon, *_ in polygon.exterior.coords]
    return any(
        abs(one - other) > 180 and min(abs(one), abs(other)) < 180 - _NEAR
        for one, other in pairwise(ends)
    )


def _eastwards(coordinates: Any) -> Any:
    """Return coordinates with longitudes in the range 0 to 360."""
    turned = coordinates.copy()
    turned[turned[:, 0] < 0, 0] += 360
    return turned


def _parts(shape: Any) -> Iterator[Any]:
    yield from getattr(shape, "geoms", (shape,))


def _polygons(shape: Any) -> Iterator[Any]:
    return (part for part in _parts(shape) if part.geom_type == "Polygon" and not part.is_empty)
