"""Join the parts of an area and reduce the number of its points. Pure, with shapely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noa_async.catalogue.shapes import DECIMALS, Shape, Vertex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_GRID = 10.0**-DECIMALS
_KM_PER_DEGREE = 111.2
_WIDEST = 180.0
_TOLERANCES = tuple(
    step * 10.0**power for power in range(-5, 2) for step in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
)
"""Tolerances in degrees for leaving out points, smallest first: from 1 m to 70 degrees."""
_SPARE = 1.15
"""Factor by which an area is grown beyond what simplification can cut off."""


@dataclass(frozen=True, slots=True)
class Growth:
    """How much an area was enlarged to have fewer points.

    >>> str(Growth(0.2224, 1.24)), str(Growth(3.3, None))
    ('by up to 222 m, 1.2 % more area', 'by up to 3.3 km')
    """

    km: float
    """Greatest distance of the new boundary from the old area, km."""
    percent: float | None
    """Enlargement of the area in percent; None for an area of points."""

    def __str__(self) -> str:
        far = f"{self.km * 1000:.0f} m" if self.km < 1 else f"{self.km:.1f} km"
        if self.percent is None:
            return f"by up to {far}"
        return f"by up to {far}, {self.percent:.{1 if self.percent < 10 else 0}f} % more area"


def joined(shapes: Sequence[Shape]) -> list[Shape]:
    """Return shapes with touching polygons joined and covered shapes left out.

    Shapes that touch no other are returned unchanged.
    """
    polygons = [shape for shape in shapes if shape.kind == "POLYGON"]
    points = list(
        {shape.rings[0][0][:2]: shape for shape in shapes if shape.kind == "POINT"}.values()
    )
    if len(polygons) < 2 and not (polygons and points):
        return [*polygons, *points]
    import shapely  # noqa: PLC0415 (loading it takes 0.1 s, and a single part does not need it)

    geometries = [_polygon(shape) for shape in polygons]
    union = shapely.unary_union(geometries, grid_size=_GRID)
    shapely.prepare(union)
    points = [shape for shape in points if not union.covers(shapely.Point(shape.rings[0][0][:2]))]
    pieces = list(_polygons(union))
    if len(pieces) == len(polygons):
        return [*polygons, *points]
    given = dict(zip((one.bounds for one in geometries), polygons, strict=True))
    made = []
    for piece in pieces:
        same = given.get(piece.bounds)
        if same is not None and piece.equals(_polygon(same)):
            made.append(same)
        elif _is_wide(piece):  # a service may take the shorter way around the Earth
            made += [
                shape
                for shape, geometry in zip(polygons, geometries, strict=True)
                if piece.intersects(geometry.representative_point())
            ]
        else:
            made.append(_shape(piece.normalize().simplify(_GRID), DECIMALS))
    return [*made, *points]


def repaired(shape: Shape) -> list[Shape]:
    """Return a polygon, made valid if rounding its coordinates made it invalid."""
    import shapely  # noqa: PLC0415

    polygon = _polygon(shape)
    if polygon.is_valid:
        return [shape]
    whole = shapely.set_precision(shapely.make_valid(polygon), _GRID)
    return [_shape(piece, DECIMALS) for piece in _polygons(whole)]


def simplified(
    shapes: Sequence[Shape], fits: Callable[[Sequence[Shape]], bool]
) -> tuple[list[Shape], Growth] | None:
    """Return the least enlarged area with so few points that it ``fits``; None if there is none.

    The returned area is verified to contain the given one.
    """
    import shapely  # noqa: PLC0415

    given = shapely.union_all(
        [
            _polygon(shape) if shape.kind == "POLYGON" else shapely.Point(shape.rings[0][0][:2])
            for shape in shapes
        ]
    )
    best: tuple[list[Shape], Growth] | None = None
    low, high = 0, len(_TOLERANCES)
    while low < high:
        middle = (low + high) // 2
        tolerance = _TOLERANCES[middle]
        grown = _grown(given, tolerance)
        made = [_shape(piece, DECIMALS) for piece in grown]
        if made and fits(made):
            best, high = (made, _growth(given, grown, tolerance)), middle
        else:
            low = middle + 1
    return best


def _grown(given: Any, tolerance: float) -> list[Any]:
    """Return polygons with fewer points that contain the given area; empty if they do not contain
    it."""
    import shapely  # noqa: PLC0415

    decimals = _decimals(tolerance)
    # Simplify first, because a buffer around thousands of points takes seconds. The buffer makes up
    # for what both simplifications cut off.
    core = given.simplify(tolerance)
    spare = 2 * tolerance * _SPARE + 10.0**-decimals
    outline = core.buffer(spare, join_style="mitre", mitre_limit=2.0).simplify(tolerance)
    on_earth = outline.intersection(shapely.box(-180, -90, 180, 90))
    pieces = [half for part in _polygons(on_earth) for half in _halves(part)]
    rounded = [shapely.transform(piece, lambda at: at.round(decimals)) for piece in pieces]
    grown = [part for piece in rounded for part in _polygons(shapely.make_valid(piece))]
    return grown if shapely.union_all(grown).covers(given) else []


def _decimals(tolerance: float) -> int:
    """Return the number of decimals that represent coordinates to a twentieth of the tolerance."""
    return max(0, min(DECIMALS, math.ceil(-math.log10(tolerance / 10))))


def _growth(given: Any, pieces: Sequence[Any], tolerance: float) -> Growth:
    import shapely  # noqa: PLC0415

    grown = shapely.union_all(pieces)
    corners = shapely.points(shapely.get_coordinates(grown))
    # The middle of a filled bay is farthest from the old boundary, at most as far as the boundary
    # was moved; corners can be farther away.
    degrees = max(float(shapely.distance(corners, given).max()), (1 + 2 * _SPARE) * tolerance)
    percent = 100 * (grown.area / given.area - 1) if given.area else None
    return Growth(degrees * _KM_PER_DEGREE, percent)


def _is_wide(polygon: Any) -> bool:
    west, _, east, _ = polygon.bounds
    return bool(east - west > _WIDEST)


def _halves(polygon: Any) -> Iterator[Any]:
    """Yield a polygon, or its western and eastern halves if it is wider than 180 degrees."""
    if not _is_wide(polygon):
        yield polygon
        return
    import shapely  # noqa: PLC0415

    for west, east in ((-180, 0), (0, 180)):
        yield from _polygons(polygon.intersection(shapely.box(west, -90, east, 90)))


def _polygon(shape: Shape) -> Any:
    import shapely  # noqa: PLC0415

    rings = [[vertex[:2] for vertex in ring] for ring in shape.rings]
    return shapely.Polygon(rings[0], rings[1:])


def _polygons(geometry: Any) -> Iterator[Any]:
    """Yield the polygons of a geometry of any kind; other parts have no area."""
    if geometry.geom_type == "Polygon":
        if not geometry.is_empty:
            yield geometry
    else:
        for part in getattr(geometry, "geoms", ()):
            yield from _polygons(part)


def _shape(polygon: Any, decimals: int) -> Shape:
    rings = [polygon.exterior, *polygon.interiors]
    return Shape("POLYGON", tuple(tuple(_vertices(ring.coords, decimals)) for ring in rings))


def _vertices(coordinates: Iterable[tuple[float, float]], decimals: int) -> Iterator[Vertex]:
    for lon, lat in coordinates:
        text = f"{_number(lon, decimals)} {_number(lat, decimals)}"
        yield Vertex(lon, lat, text)


def _number(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in {"", "-0"} else text
