"""Parse areas written as GeoJSON."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from noa_async.catalogue.shapes import Shape, Vertex, no_area, point
from noa_async.errors import QueryError
from noa_async.excerpts import represent

_WGS84 = re.compile(r"\b4326\b|CRS:?84")
_DEEPEST = 8  # nesting of collections; a hostile file may have thousands of levels
_MEMBERS = {"FeatureCollection": "features", "GeometryCollection": "geometries"}


def read_geojson(value: object, depth: int = 0) -> Iterator[Shape]:
    """Yield the parts of a GeoJSON geometry, Feature or FeatureCollection.

    Raise `QueryError` if the value is not GeoJSON, or its coordinates are not WGS 84.

    >>> [shape.wkt for shape in read_geojson({"type": "Point", "coordinates": [23.7, 38, 150]})]
    ['POINT(23.7 38)']
    """
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        raise QueryError(f"The area is not GeoJSON: {represent(value)} in place of an object.")
    _check_crs(value.get("crs"))
    kind = value.get("type")
    if not isinstance(kind, str):
        raise QueryError(f"The area is not GeoJSON: {represent(value)} has no type.")
    if kind in _MEMBERS:
        for member in _list(value.get(_MEMBERS[kind]), _MEMBERS[kind]):
            yield from read_geojson(member, depth + 1)
    elif kind == "Feature":
        if value.get("geometry") is not None:
            yield from read_geojson(value["geometry"], depth + 1)
    elif kind in _READERS:
        yield from _READERS[kind](value.get("coordinates"))
    else:
        raise no_area(kind)


def _rings(value: object) -> Shape:
    return Shape("POLYGON", tuple(_positions(ring) for ring in _list(value, "rings")))


def _positions(value: object) -> tuple[Vertex, ...]:
    return tuple(_position(pair, n) for n, pair in enumerate(_list(value, "points"), start=1))


def _position(value: object, number: int) -> Vertex:
    pair = value[:2] if isinstance(value, list | tuple) else ()
    if len(pair) != 2 or not all(map(_is_number, pair)):
        raise QueryError(
            f"Point {number} of the area is {represent(value)}, not a longitude and a latitude.",
            hint="Such as [22.5, 38.1].",
        )
    lon, lat = map(_number_text, pair)
    return Vertex(float(lon), float(lat), f"{lon} {lat}")


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number, including those of numpy."""
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) != math.inf


def _number_text(number: Real) -> str:
    try:
        return format(Decimal(str(number)), "f")
    except ValueError:  # more digits than Python converts
        return "inf"


def _list(value: object, what: str) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple) or not value:
        met = represent(value)
        raise QueryError(f"The area is not GeoJSON: {met} in place of a list of {what}.")
    return value


def _check_crs(crs: object) -> None:
    """Raise QueryError for other coordinates than WGS 84; files may still have the old crs
    member."""
    held = crs.get("properties") if isinstance(crs, Mapping) else None
    name = held.get("name", held.get("code")) if isinstance(held, Mapping) else crs
    if name is not None and not (
        isinstance(name, str | int) and _WGS84.search(represent(name, 200))
    ):
        raise QueryError(
            f"The area's coordinates are not WGS 84: its crs is {represent(name)}.",
            hint="Convert it to EPSG:4326, for instance with ogr2ogr -t_srs EPSG:4326.",
        )


_READERS: Mapping[str, Callable[[object], Iterable[Shape]]] = {
    "Point": lambda value: [point(_position(value, 1))],
    "MultiPoint": lambda value: map(point, _positions(value)),
    "Polygon": lambda value: [_rings(value)],
    "MultiPolygon": lambda value: map(_rings, _list(value, "polygons")),
}
