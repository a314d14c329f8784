"""Validate polygons, and name the point that is wrong."""

import math
import re
from collections.abc import Iterator, Sequence

from noa_async.catalogue.shapes import SAME_PLACE, Shape, Vertex
from noa_async.errors import QueryError

_REASON = re.compile(r"(.*)\[(\S+) (\S+)\]")
_SWAP = "Write longitude first, then latitude."


def check_shape(shape: Shape, part: str = "") -> None:
    """Raise `QueryError` for a point out of range, or a ring that is open, too short or
    self-crossing.

    ``part`` names the shape in the error if there are several, such as ``"of part 2"``. Points are
    numbered from 1 within their ring.
    """
    for number, ring in enumerate(shape.rings, start=1):
        where = " ".join(filter(None, [f"of ring {number}" if len(shape.rings) > 1 else "", part]))
        check_range(ring, where)
        if shape.kind == "POLYGON":
            _check_closed(ring, where)
    if shape.kind == "POLYGON" and not _plainly_simple(shape.rings):
        _check_simple(shape, part)


def check_range(ring: Sequence[Vertex], where: str = "") -> None:
    """Raise `QueryError` for the first point outside the valid range of longitude and latitude."""
    for number, vertex in enumerate(ring, start=1):
        if abs(vertex.lon) - 180 <= SAME_PLACE and abs(vertex.lat) - 90 <= SAME_PLACE:
            continue
        name = _name(number, vertex, where)
        if not (math.isfinite(vertex.lon) and math.isfinite(vertex.lat)):
            raise QueryError(f"{name} has a value that is not a finite number.", hint=_SWAP)
        if abs(vertex.lon) <= 90 and abs(vertex.lat) <= 180:
            raise QueryError(
                f"{name} has a latitude of {vertex.lat:g}, beyond 90 degrees: "
                "latitude and longitude may be swapped.",
                hint=_SWAP,
            )
        wrong = "longitude" if abs(vertex.lon) > 180 else "latitude"
        limit = 180 if wrong == "longitude" else 90
        raise QueryError(
            f"{name} is out of range: its {wrong} is beyond {limit} degrees.",
            hint="Coordinates are degrees: longitude, -180 to 180, then latitude, -90 to 90. "
            "Convert projected coordinates with ogr2ogr -t_srs EPSG:4326.",
        )


def _check_closed(ring: Sequence[Vertex], where: str) -> None:
    first, last = ring[0], ring[-1]
    if len(ring) >= 3 and not _same_place(first, last):
        raise QueryError(
            f"The ring {where} ".rstrip()
            + f" is not closed: its last point, {len(ring)} {last}, is not its first, {first}.",
            hint=f"Add {first.text} at its end.",
        )
    if len(ring) < 4:
        raise QueryError(
            f"The ring {where} ".rstrip() + f" has {len(ring)} points, the last {last}: "
            "a polygon needs 4 or more, the last equal to the first.",
            hint="For a single place use POINT(lon lat).",
        )


def _same_place(one: Vertex, other: Vertex) -> bool:
    return abs(one.lon - other.lon) <= SAME_PLACE and abs(one.lat - other.lat) <= SAME_PLACE


def _plainly_simple(rings: Sequence[Sequence[Vertex]]) -> bool:
    """Return whether it is one convex triangle or quadrangle, which needs no check with shapely."""
    ring = rings[0]
    if len(rings) > 1 or len(ring) > 5:
        return False
    turns = [
        _turn(ring[i - 1], ring[i], ring[i % (len(ring) - 1) + 1]) for i in range(1, len(ring))
    ]
    return all(turn > 1e-12 for turn in turns) or all(turn < -1e-12 for turn in turns)


def _turn(a: Vertex, b: Vertex, c: Vertex) -> float:
    return (b.lon - a.lon) * (c.lat - b.lat) - (b.lat - a.lat) * (c.lon - b.lon)


def _check_simple(shape: Shape, part: str) -> None:
    import shapely  # noqa: PLC0415 (loading it takes 0.1 s, and boxes do not need it)

    rings = [[vertex[:2] for vertex in ring] for ring in shape.rings]
    polygon = shapely.Polygon(rings[0], rings[1:])  # closes the ring
    reason = str(shapely.is_valid_reason(polygon))
    if reason == "Valid Geometry":
        return
    name = f"The polygon {part}".rstrip()
    shell = shape.rings[0]
    if polygon.convex_hull.area == 0:
        raise QueryError(f"{name} has no area: its points from {shell[0]} on lie on one line.")
    found = _REASON.fullmatch(reason)
    if found is None:
        raise QueryError(f"{name} is not a valid polygon: {reason}.")
    why, place = found[1], (float(found[2]), float(found[3]))
    if "elf-intersection" in why:
        raise QueryError(
            f"{name} crosses or touches itself at ({place[0]:.10g} {place[1]:.10g}): "
            f"{_meeting_sides(shape.rings, place)}.",
            hint="List the points in order along the boundary.",
        )
    raise QueryError(
        f"{name} is not a valid polygon: {why.lower()}, near {_nearest_point(shape.rings, place)}.",
        hint="Holes must be inside the outer ring and apart; several areas are a MULTIPOLYGON.",
    )


def _nearest_point(rings: Sequence[Sequence[Vertex]], place: tuple[float, float]) -> str:
    points = [(r, i, vertex) for r, ring in enumerate(rings) for i, vertex in enumerate(ring)]
    r, i, vertex = min(points, key=lambda point: math.dist(point[2][:2], place))
    return f"point {i + 1} {vertex} of ring {r + 1}"


def _meeting_sides(rings: Sequence[Sequence[Vertex]], place: tuple[float, float]) -> str:
    """Name the two sides nearest to a place, except neighbouring sides."""
    sides = sorted(_sides(rings), key=lambda side: _distance(place, side[2], side[3]))
    ring, number = sides[0][:2]
    around = len(rings[ring]) - 1
    apart = [
        s for s in sides[1:] if s[0] != ring or (s[1] - number) % around not in {1, around - 1}
    ]
    return " meets ".join(_side_name(side, len(rings)) for side in [sides[0], *apart[:1]])


def _sides(rings: Sequence[Sequence[Vertex]]) -> Iterator[tuple[int, int, Vertex, Vertex]]:
    for number, ring in enumerate(rings):
        for i in range(len(ring) - 1):
            yield number, i, ring[i], ring[i + 1]


def _side_name(side: tuple[int, int, Vertex, Vertex], rings: int) -> str:
    ring, i, start, end = side
    where = f" of ring {ring + 1}" if rings > 1 else ""
    return f"the side from point {i + 1} {start} to point {i + 2} {end}{where}"


def _distance(place: tuple[float, float], a: Vertex, b: Vertex) -> float:
    dx, dy = b.lon - a.lon, b.lat - a.lat
    length = dx * dx + dy * dy
    along = ((place[0] - a.lon) * dx + (place[1] - a.lat) * dy) / length if length else 0.0
    along = min(1.0, max(0.0, along))
    return math.hypot(a.lon + along * dx - place[0], a.lat + along * dy - place[1])


def _name(number: int, vertex: Vertex, where: str) -> str:
    return f"Point {number} {vertex} {where}".rstrip()
