"""The area of a query: WKT, GeoJSON, a box or a file becomes what the catalogue intersects."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noa_async.catalogue.geojson import read_geojson
from noa_async.catalogue.odata import quote_odata
from noa_async.catalogue.rings import check_range, check_shape
from noa_async.catalogue.shapes import WKT_EXAMPLE, Shape, Vertex
from noa_async.catalogue.wkt import WktReader
from noa_async.errors import QueryError

LONGEST_AREA = 6000
"""Bytes of an area within the URL: servers take about 8 KB in all, the rest of a query needs 2."""
_LARGEST_FILE = 20_000_000
_SUFFIXES = (".wkt", ".geojson", ".json")
_SRID = re.compile(r"SRID\s*=\s*(\d+)\s*;\s*", re.IGNORECASE)
_WKT = re.compile(r"[A-Za-z]+\s*(?:\(|EMPTY|Z\b|M\b|ZM\b)", re.IGNORECASE)
_NUMBERS = re.compile(r"[-+.\deE\s]+(?:,[-+.\deE\s]*)+")
_FORMS = "Give WKT, a .wkt or .geojson file, a GeoJSON object, or a box W,S,E,N."


@dataclass(frozen=True, slots=True)
class Area:
    """Parts of which a footprint must intersect one. Degrees, WGS 84, longitude first.

    >>> Area.read("22,38,23,39").parts
    ('POLYGON((22 38, 23 38, 23 39, 22 39, 22 38))',)
    """

    parts: tuple[str, ...]
    """WKT of each, ``POLYGON`` or ``POINT``."""

    @classmethod
    def read(cls, roi: "Roi", *, folder: Path | None = None) -> "Area":
        """Read an area, and check it.

        ``roi`` is WKT, GeoJSON (text or object), a ``.wkt`` or ``.geojson`` file's path (taken
        from ``folder``), a box ``"W,S,E,N"`` or ``(W, S, E, N)``, an object with
        ``__geo_interface__``, or several WKT texts. Multi-part areas are split; heights dropped;
        a box with W greater than E crosses the antimeridian. Raises `QueryError` naming the point
        that is wrong.
        """
        if isinstance(roi, Area):
            return roi
        area = cls(_read(roi, folder))
        _check_length(area)
        return area

    @property
    def filter(self) -> str:
        """The condition as OData; several parts are joined with ``or``, in parentheses."""
        each = [f"OData.CSC.Intersects(area=geography'SRID=4326;{part}')" for part in self.parts]
        return each[0] if len(each) == 1 else f"({' or '.join(each)})"


Roi = Area | str | Path | Mapping[str, Any] | Sequence[float] | Sequence[str]
"""What a user may give as an area; see `Area.read`."""


def parse_area(roi: Roi, *, folder: Path | None = None) -> tuple[str, ...]:
    """Read an area into the WKT of its parts; see `Area.read`.

    Valid WKT of one part comes back exactly as it was given.

    >>> parse_area("SRID=4326;Point(23.7 38)")
    ('Point(23.7 38)',)
    """
    return Area.read(roi, folder=folder).parts


def _read(roi: object, folder: Path | None) -> tuple[str, ...]:
    roi = getattr(roi, "__geo_interface__", roi)
    if isinstance(roi, Mapping):
        return _checked(list(read_geojson(roi)))
    if isinstance(roi, Path):
        return _read_file(roi, folder)
    if isinstance(roi, str):
        return _read_text(roi.strip(), folder)
    if isinstance(roi, list | tuple) and roi:
        if all(isinstance(part, str) and _WKT.match(part.strip()) for part in roi):
            return tuple(wkt for part in roi for wkt in _read_wkt(part.strip()))
        return _checked(_box(roi))
    raise QueryError(f"The area is {roi!r:.80}.", hint=_FORMS)


def _read_text(text: str, folder: Path | None) -> tuple[str, ...]:
    if not text:
        raise QueryError("The area is empty.", hint=_FORMS)
    if text.lower().endswith(_SUFFIXES):
        return _read_file(Path(text), folder)
    if text[0] in "{[":
        return _read_json(text)
    if _SRID.match(text) or _WKT.match(text):
        return _read_wkt(text)
    if _NUMBERS.fullmatch(text):
        return _checked(_box(text.split(",")))
    if _exists(text, folder):
        return _read_file(Path(text), folder)
    raise QueryError(f"The area {text!r:.80} is none that can be read.", hint=_FORMS)


def _exists(text: str, folder: Path | None) -> bool:
    try:
        return ((folder or Path()) / text).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


def _read_file(path: Path, folder: Path | None) -> tuple[str, ...]:
    try:
        path = (folder or Path()) / os.path.expanduser(path)  # noqa: PTH111 (~ may be nobody)
        if path.stat().st_size > _LARGEST_FILE:
            raise QueryError(f"The area's file {path} has over 20 MB.", hint="Simplify the area.")
        text = path.read_text("utf-8-sig").strip()
    except OSError as error:
        raise QueryError(
            f"Cannot read the area's file {path}: {error.strerror or error}.", hint=_FORMS
        ) from error
    except (ValueError, RuntimeError) as error:  # not UTF-8; a NUL in the name; ~nobody
        raise QueryError(f"Cannot read the area's file {path!s:.200}: {error}.") from error
    if not text:
        raise QueryError(f"The area's file {path} is empty.", hint=_FORMS)
    try:
        return _read_json(text) if text[0] in "{[" else _read_wkt(text)
    except QueryError as error:
        raise QueryError(f"{path}: {error.message}", hint=error.hint) from error


def _read_json(text: str) -> tuple[str, ...]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"The area is not JSON: {error!s:.120}.", hint=_FORMS) from error
    return _read(value, None)


def _read_wkt(text: str) -> tuple[str, ...]:
    srid = _SRID.match(text)
    if srid:
        if int(srid[1]) != 4326:
            raise QueryError(
                f"The area's coordinates are in SRID {srid[1]}; the catalogue takes 4326, WGS 84.",
                hint="Write it again in degrees, longitude first.",
            )
        text = text[srid.end() :]
    reader = WktReader(text)
    checked = _checked(reader.read())
    # A line end is the only thing changed: raw control characters do not belong in a URL.
    return (re.sub(r"\s", " ", text),) if reader.plain else checked


def _checked(shapes: Sequence[Shape]) -> tuple[str, ...]:
    if not shapes:
        raise QueryError("The area has no polygon and no point.", hint=WKT_EXAMPLE)
    for number, shape in enumerate(shapes, start=1):
        check_shape(shape, f"of part {number}" if len(shapes) > 1 else "")
    return tuple(shape.wkt for shape in shapes)


def _box(values: Sequence[object]) -> list[Shape]:
    texts = [str(value).strip() for value in values]  # a bool's is no float's
    try:
        west, south, east, north = map(float, texts)
    except ValueError:
        raise QueryError(
            f"The box {', '.join(texts):.80} is not four numbers.",
            hint="Such as 14.7,37.6,22.2,41.5.",
        ) from None
    w, s, e, n = texts
    check_range([Vertex(west, south, f"{w} {s}"), Vertex(east, north, f"{e} {n}")], "of the box")
    if south >= north:
        raise QueryError(
            f"The box's south, {s}, is not below its north, {n}.", hint="Write the box as W,S,E,N."
        )
    if west == east or (west > east and east + 360 - west > 180):
        raise QueryError(
            f"The box's west, {w}, is not left of its east, {e}.",
            hint="Write the box as W,S,E,N; over the antimeridian it may be 180 degrees wide.",
        )
    spans = [(w, e)] if west < east else [(w, "180"), ("-180", e)]
    return [_box_shape(a, s, b, n) for a, b in spans if float(a) < float(b)]


def _box_shape(w: str, s: str, e: str, n: str) -> Shape:
    corners = [(w, s), (e, s), (e, n), (w, n), (w, s)]
    ring = tuple(Vertex(float(lon), float(lat), f"{lon} {lat}") for lon, lat in corners)
    return Shape("POLYGON", (ring,))


def _check_length(area: Area) -> None:
    length = len(quote_odata(area.filter))
    if length > LONGEST_AREA:
        points = sum(part.count(",") + 1 for part in area.parts)
        fits = max(4, points * LONGEST_AREA // length)
        raise QueryError(
            f"The area has {points} points, {length:,} bytes in a request; "
            f"servers take {LONGEST_AREA:,}.",
            hint=f"Simplify it to some {fits} points, for instance with shapely: "
            "area.simplify(0.01).",
        )
