"""Read files that hold an area, and name the command that converts other formats."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from noa_async.errors import QueryError

if TYPE_CHECKING:
    from pathlib import Path

OWN_SUFFIXES = (".wkt", ".geojson", ".json", ".geojsonl", ".geojsons", ".ndjson")
FOREIGN_SUFFIXES = (
    *(".shp", ".dbf", ".shx", ".gpkg", ".kml", ".kmz", ".gml", ".gpx", ".fgb", ".gdb", ".sqlite"),
    *(".tab", ".mif", ".dxf", ".parquet", ".geoparquet", ".topojson", ".zip", ".osm", ".pbf"),
)
"""Suffixes of geometry files that are not WKT or GeoJSON text."""
_LARGEST_FILE = 20_000_000
_FORMS = "Give WKT, a .wkt or .geojson file, a GeoJSON object, or a box W,S,E,N."
_STARTS = (
    (b"PK\x03\x04", "a zip archive"),
    (b"SQLite format 3\x00", "a GeoPackage or SQLite database"),
    (b"\x00\x00\x27\x0a", "a shapefile"),
    (b"fgb\x03", "FlatGeobuf"),
    (b"PAR1", "Parquet"),
    (b"<", "XML, such as KML or GML"),
)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    """Return the stripped text of a file that may hold WKT or GeoJSON.

    UTF-8 and UTF-16 are read, with or without a byte order mark. In any other encoding, letters
    outside ASCII are lost; they occur in names only, not in coordinates.

    Raise QueryError if the file is unreadable, empty, larger than 20 MB or in another format; for
    another format the hint is the command that converts it.
    """
    try:
        in_folder = path.suffix.lower() in FOREIGN_SUFFIXES and path.is_dir()
        if not in_folder and path.stat().st_size > _LARGEST_FILE:
            raise QueryError(
                f"The area file {path} is larger than 20 MB.", hint="Simplify the area."
            )
        content = b"" if in_folder else path.read_bytes()
    except OSError as error:
        raise QueryError(
            f"Cannot read the area file {path}: {error.strerror or error}.", hint=_FORMS
        ) from error
    except (ValueError, RuntimeError) as error:  # a NUL in the name, or ~ of an unknown user
        raise QueryError(f"Cannot read the area file {path!s:.200}: {error}.") from error
    if kind := _foreign_kind(path, content):
        raise QueryError(
            f"The area file {path} is {kind}, which is not supported.",
            hint=f"Convert it: {conversion(path)}",
        )
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    text = content.decode(encoding, errors="replace").strip().strip("\ufeff")
    if not text:
        raise QueryError(f"The area file {path} is empty.", hint=_FORMS)
    return text


def conversion(path: Path) -> str:
    """Return the command that converts a GIS file to GeoJSON in degrees.

    >>> from pathlib import Path
    >>> conversion(Path("my area.shp"))
    "ogr2ogr -f GeoJSON -t_srs EPSG:4326 'my area.geojson' 'my area.shp'"
    """
    source, target = shlex.quote(str(path)), shlex.quote(str(path.with_suffix(".geojson")))
    return f"ogr2ogr -f GeoJSON -t_srs EPSG:4326 {target} {source}"


def _foreign_kind(path: Path, content: bytes) -> str:
    """Return the name of a file's format if it is not supported, else an empty string."""
    suffix = path.suffix.lower()
    for start, kind in _STARTS:
        if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(start):
            return kind
    if suffix in FOREIGN_SUFFIXES:
        return f"a {suffix} file"
    if b"\x00" in content[:1000] and not content.startswith(_UTF_16):
        return "binary"
    return ""
