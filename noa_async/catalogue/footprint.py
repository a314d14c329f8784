"""Convert footprints as servers write them to plain WKT, without a geometry library."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

_PREFIX = re.compile(r"(?:geo(?:graphy|metry)\s*)?'?\s*(?:SRID\s*=\s*(\d+)\s*;\s*)?", re.IGNORECASE)
_WKT = re.compile(r"[A-Z]+\s*(?:(?:Z|M|ZM)\s*)?\([-+.,()\sE\d]*+", re.IGNORECASE)
_WGS84 = "4326"


def read_footprint(value: object) -> str | None:
    """Parse a ``Footprint`` or ``GeoFootprint``. Return ``None`` if it is neither.

    Accepts ``geography'SRID=4326;Polygon((...))'`` in any letter case, bare WKT, or a GeoJSON
    object. Returns WKT in upper case, longitude before latitude, in degrees (WGS 84).

    >>> read_footprint("geography'SRID=4326;Polygon((22 38,23 38,23 39,22 38))'")
    'POLYGON((22 38,23 38,23 39,22 38))'
    """
    if isinstance(value, str):
        return _read_text(value)
    if value is not None and isinstance(value, Mapping):  # isinstance is slow for None
        try:
            return geojson_to_wkt(value)
        except (TypeError, ValueError, LookupError):
            return None
    return None


def _read_text(value: str) -> str | None:
    """Return the WKT in a text, in time linear in its length."""
    text = value.strip()
    prefix = _PREFIX.match(text)
    srid = prefix[1] if prefix else None
    wkt = text[prefix.end() if prefix else 0 :].removesuffix("'").rstrip()
    if srid not in (None, _WGS84) or not wkt.endswith(")") or not _WKT.fullmatch(wkt):
        return None
    return wkt.upper()


def geojson_to_wkt(geometry: Mapping[str, Any]) -> str:
    """Return a GeoJSON geometry (or a Feature's geometry) as two-dimensional WKT, numbers
    unchanged.

    Raise ``TypeError``, ``ValueError`` or ``LookupError`` if it is not one.

    >>> geojson_to_wkt({"type": "Point", "coordinates": [23.7, 38]})
    'POINT(23.7 38)'
    """
    kind = geometry["type"]
    if kind == "Feature":
        geometry = geometry["geometry"]
        kind = geometry["type"]
    if kind == "GeometryCollection":
        # One level only: RFC 7946 advises against nesting, and a server must not control the
        # recursion.
        parts = [_simple(part) for part in geometry["geometries"]]
        if not parts:
            raise ValueError("empty")
        return f"GEOMETRYCOLLECTION({','.join(parts)})"
    return _simple(geometry)


def _simple(geometry: Mapping[str, Any]) -> str:
    kind = geometry["type"]
    write = _WRITERS[kind]
    text = write(geometry["coordinates"])
    return f"{kind.upper()}({text})" if kind == "Point" else f"{kind.upper()}{text}"


def _position(pair: list[Any]) -> str:
    lon, lat = pair[0], pair[1]
    for number in (lon, lat):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError("not a number")
        if not math.isfinite(number):
            raise ValueError("not finite")
    return f"{lon} {lat}"


def _list_of(write: Callable[[Any], str]) -> Callable[[Any], str]:
    def write_list(items: Any) -> str:
        if not isinstance(items, list | tuple) or not items:
            raise TypeError("not a list of coordinates")
        return f"({','.join([write(item) for item in items])})"

    return write_list


_positions = _list_of(_position)
_rings = _list_of(_positions)
_WRITERS: dict[str, Callable[[Any], str]] = {
    "Point": _position,
    "MultiPoint": _positions,
    "LineString": _positions,
    "MultiLineString": _rings,
    "Polygon": _rings,
    "MultiPolygon": _list_of(_rings),
}
