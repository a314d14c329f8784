"""Parse the area of a query from WKT, GeoJSON, a box or a file."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noa_async.catalogue.area_files import FOREIGN_SUFFIXES, OWN_SUFFIXES, read_text
from noa_async.catalogue.area_geometry import Growth, joined, repaired, simplified
from noa_async.catalogue.geojson import read_geojson
from noa_async.catalogue.rings import check_range, check_shape
from noa_async.catalogue.shapes import WKT_EXAMPLE, Shape, Vertex
from noa_async.catalogue.wkt import WktReader
from noa_async.errors import QueryError
from noa_async.excerpts import represent

_SRID = re.compile(r"(?:SRID\s*=|EPSG\s*:)\s*(\d+)\s*;\s*", re.IGNORECASE)
_LITERAL = re.compile(
    r"(?:.*area\s*=\s*)?geo(?:graphy|metry)\s*'([^']*)'\)?", re.IGNORECASE | re.DOTALL
)
_WKT = re.compile(r"[A-Za-z]+\s*(?:\(|EMPTY|Z\b|M\b|ZM\b)", re.IGNORECASE)
_NUMBERS = re.compile(r"[-+.\deE\s]+(?:,[-+.\deE\s]*)+")
_SPACE_AFTER_COMMA = re.compile(r"(?<=,)\s+")
_FORMS = "Give WKT, a .wkt or .geojson file, a GeoJSON object, or a box W,S,E,N."


@dataclass(frozen=True, slots=True)
class Area:
    """An area of one or more parts; a product matches if its footprint intersects one of them.

    Coordinates are in degrees, WGS 84, longitude first.

    >>> Area.read("22,38,23,39").parts
    ('POLYGON((22 38, 23 38, 23 39, 22 39, 22 38))',)
    """

    parts: tuple[str, ...]
    """The WKT of each part, a ``POLYGON`` or ``POINT``."""
    growth: Growth | None = field(default=None, compare=False, repr=False)
    """How much the area was enlarged to simplify it; None if it was not."""

    @classmethod
    def read(cls, roi: "Roi", *, folder: Path | None = None) -> "Area":
        """Parse and validate an area.

        ``roi`` is one of: WKT; GeoJSON (text or object); the path of a ``.wkt`` or ``.geojson``
        file (relative to ``folder``); a box ``"W,S,E,N"`` or ``(W, S, E, N)``; an object with
        ``__geo_interface__``; a list of WKT texts. Valid WKT of one part is returned unchanged,
        except that coordinates with more than 7 decimals (1 cm) are rounded. Multi-part areas are
        split, and touching parts are joined; heights are dropped; a box with W greater than E
        crosses the antimeridian.

        Raise QueryError, which names the wrong point.
        """
        if isinstance(roi, Area):
            return roi
        return cls(_finished(_read(roi, folder)))

    @property
    def filter(self) -> str:
        """The condition in OData; several parts are joined with ``or``, in parentheses."""
        each = [f"OData.CSC.Intersects(area=geography'SRID=4326;{part}')" for part in self.parts]
        return each[0] if len(each) == 1 else f"({' or '.join(each)})"

    @property
    def points(self) -> int:
        """The number of points in all parts."""
        return sum(part.count(",") + 1 for part in self.parts)

    def compact(self) -> "Area":
        """Return the same area without spaces after commas.

        >>> Area.read("22,38,23,39").compact().parts
        ('POLYGON((22 38,23 38,23 39,22 39,22 38))',)
        """
        return Area(tuple(_SPACE_AFTER_COMMA.sub("", part) for part in self.parts), self.growth)

    def simplified(self, fits: "Callable[[Area], bool]") -> "Area | None":
        """Return the smallest enlargement of the area that has so few points that it ``fits``.

        The result contains this area; its ``growth`` says how much larger it is. None if nothing
        fits.
        """
        found = simplified(
            [shape for part in self.parts for shape in WktReader(part).read()],
            lambda shapes: fits(_compact(shapes)),
        )
        return None if found is None else Area(_compact(found[0]).parts, found[1])


def _compact(shapes: Sequence[Shape]) -> Area:
    return Area(tuple(shape.wkt for shape in shapes)).compact()


Roi = Area | str | Path | Mapping[str, Any] | Sequence[float] | Sequence[str]
"""The types that an area can be given as; see `Area.read`."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of an area, as parsed."""

    shape: Shape
    text: str | None = None
    """The original WKT, if the part was given as two-dimensional WKT."""

    @property
    def wkt(self) -> str:
        return self.text or self.shape.wkt


def parse_area(roi: Roi, *, folder: Path | None = None) -> tuple[str, ...]:
    """Return the WKT of the parts of an area; see `Area.read`.

    Valid WKT of one part is returned unchanged.

    >>> parse_area("SRID=4326;Point(23.7 38)")
    ('Point(23.7 38)',)
    """
    return Area.read(roi, folder=folder).parts


def _read(roi: object, folder: Path | None) -> list[_Part]:
    _check_crs(roi)
    roi = getattr(roi, "__geo_interface__", roi)
    if hasattr(roi, "tolist"):  # a numpy array, such as the bounds of a GeoDataFrame
        roi = roi.tolist()
    if isinstance(roi, Mapping):
        return _checked(list(read_geojson(roi)))
    if isinstance(roi, Path):
        return _read_file(roi, folder)
    if isinstance(roi, str):
        return _read_text(roi.strip().lstrip("\ufeff"), folder)
    if isinstance(roi, list | tuple) and roi:
        if all(isinstance(part, str) and _WKT.match(part.strip()) for part in roi):
            return [part for text in roi for part in _read_wkt(text.strip())]
        return _checked(_box(roi))
    raise QueryError(f"The area is {represent(roi)}, which is not supported.", hint=_FORMS)


def _check_crs(roi: object) -> None:
    """Raise QueryError for an object that declares other coordinates than WGS 84."""
    to_epsg = getattr(getattr(roi, "crs", None), "to_epsg", None)
    code = to_epsg() if callable(to_epsg) else None
    if code not in (None, 4326):
        raise QueryError(
            f"The area's coordinates are in EPSG:{code}; the catalogue needs 4326, WGS 84.",
            hint="Convert it first: area.to_crs(4326).",
        )


def _read_text(text: str, folder: Path | None) -> list[_Part]:
    if not text:
        raise QueryError("The area is empty.", hint=_FORMS)
    if text.lower().endswith((*OWN_SUFFIXES, *FOREIGN_SUFFIXES)):
        return _read_file(Path(text), folder)
    if text[0] in "{[":
        return _read_json(text)
    if literal := _LITERAL.fullmatch(text):
        return _read_wkt(literal[1].strip())
    if _SRID.match(text) or _WKT.match(text):
        return _read_wkt(text)
    if _NUMBERS.fullmatch(text):
        return _checked(_box(text.split(",")))
    if _exists(text, folder):
        return _read_file(Path(text), folder)
    raise QueryError(f"Cannot parse the area {text!r:.80}.", hint=_FORMS)


def _exists(text: str, folder: Path | None) -> bool:
    try:
        return ((folder or Path()) / text).exists()
    except (OSError, ValueError):  # too long for a name, or contains a NUL
        return False


def _read_file(path: Path, folder: Path | None) -> list[_Part]:
    path = (folder or Path()) / os.path.expanduser(path)  # noqa: PTH111 (~ may be nobody)
    text = read_text(path)
    try:
        if text[0] in "{[":
            return _read_json(text)
        literal = _LITERAL.fullmatch(text)
        return _read_wkt(literal[1].strip() if literal else text)
    except QueryError as error:
        raise QueryError(f"{path}: {error.message}", hint=error.hint) from error


def _read_json(text: str) -> list[_Part]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        features = _read_lines(text)
        if features is None:
            raise QueryError(f"The area is not JSON: {error!s:.120}.", hint=_FORMS) from error
        value = {"type": "FeatureCollection", "features": features}
    return _read(value, None)


def _read_lines(text: str) -> list[Any] | None:
    """Return the objects of newline-delimited GeoJSON; None if the text is not that."""
    try:
        values = [
            json.loads(line) for line in text.replace("\x1e", "").splitlines() if line.strip()
        ]
    except (ValueError, RecursionError):
        return None
    return values if all(isinstance(value, dict) for value in values) else None


def _read_wkt(text: str) -> list[_Part]:
    srid = _SRID.match(text)
    if srid:
        if srid[1].lstrip("0") != "4326":
            raise QueryError(
                f"The area's coordinates are in SRID {srid[1]:.20}; the catalogue needs 4326, "
                "WGS 84.",
                hint="Convert it to degrees, longitude first.",
            )
        text = text[srid.end() :]
    reader = WktReader(text)
    checked = _checked(reader.read())
    # Only whitespace is replaced: raw control characters must not occur in a URL.
    return [_Part(checked[0].shape, re.sub(r"\s", " ", text))] if reader.plain else checked


def _checked(shapes: Sequence[Shape]) -> list[_Part]:
    if not shapes:
        raise QueryError("The area has no polygon and no point.", hint=WKT_EXAMPLE)
    for number, shape in enumerate(shapes, start=1):
        check_shape(shape, f"of part {number}" if len(shapes) > 1 else "")
    return [_Part(shape) for shape in shapes]


def _finished(parts: Sequence[_Part]) -> tuple[str, ...]:
    """Return the WKT to send: coordinates rounded, touching parts joined."""
    finished: dict[Shape, str] = {}
    for part in parts:
        short = part.shape.rounded()
        if short is part.shape:
            finished[short] = part.wkt
        else:
            shapes = repaired(short) if short.kind == "POLYGON" else [short]
            finished |= {shape: shape.wkt for shape in shapes}
    if not finished:
        raise QueryError("The area is smaller than 1 cm.", hint=WKT_EXAMPLE)
    return tuple(finished.get(shape, shape.wkt) for shape in joined(list(finished)))


def _box(values: Sequence[object]) -> list[Shape]:
    try:
        texts = [str(value).strip() for value in values]  # float() takes a bool, but not its text
        west, south, east, north = map(float, texts)
    except ValueError:
        raise QueryError(
            f"The box {_box_words(values)} does not have four numbers.",
            hint="Write the box as W,S,E,N, such as 14.7,37.6,22.2,41.5.",
        ) from None
    w, s, e, n = texts
    check_range([Vertex(west, south, f"{w} {s}"), Vertex(east, north, f"{e} {n}")], "of the box")
    if south >= north:
        raise QueryError(
            f"The box's south, {s}, is not less than its north, {n}.",
            hint="Write the box as W,S,E,N.",
        )
    if west == east or (west > east and east + 360 - west > 180):
        raise QueryError(
            f"The box's west, {w}, is not less than its east, {e}.",
            hint="Write the box as W,S,E,N; across the antimeridian at most 180 degrees wide.",
        )
    spans = [(w, e)] if west < east else [(w, "180"), ("-180", e)]
    return [_box_shape(a, s, b, n) for a, b in spans if float(a) < float(b)]


def _box_shape(w: str, s: str, e: str, n: str) -> Shape:
    corners = [(w, s), (e, s), (e, n), (w, n), (w, s)]
    ring = tuple(Vertex(float(lon), float(lat), f"{lon} {lat}") for lon, lat in corners)
    return Shape("POLYGON", (ring,))


def _box_words(values: Sequence[object]) -> str:
    texts = (value.strip() if isinstance(value, str) else represent(value) for value in values)
    return f"{', '.join(texts):.80}"
