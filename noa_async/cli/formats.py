"""The forms in which products are listed. Each is written as it goes; no list is held."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from noa_async.catalogue.footprint import geojson_to_wkt
from noa_async.catalogue.times import format_instant
from noa_async.cli.text import bytes_text, number_of, shortened, shown

if TYPE_CHECKING:
    from noa_async.catalogue.product import Product

_COLUMNS = ("id", "name", "size", "sensing_start", "sensing_end", "published", "online",
            "checksum", "footprint")  # fmt: skip
_LEAST_NAME = 24


class Writer:
    """Lists products on a stream; this one as the entries themselves, one a line (jsonl).

    ``write`` for each product, then ``end``: where a listing breaks off, ``end`` is not called,
    and what was written is not whole JSON.
    """

    head = between = tail = ""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.products = 0
        self.bytes = 0

    def begin(self) -> None:
        self.stream.write(self.head)

    def write(self, product: Product) -> None:
        if self.products:
            self.stream.write(self.between)
        else:
            self.begin()
        self.stream.write(self.row(product))
        self.products += 1
        self.bytes += product.size or 0

    def end(self) -> None:
        if not self.products:
            self.begin()
        self.stream.write(self.tail)

    @property
    def closing(self) -> str:
        """How much that was."""
        return f"{number_of(self.products, 'product')}, {bytes_text(self.bytes)}"

    def row(self, product: Product) -> str:
        return as_json(product.entry) + "\n"


class Json(Writer):
    """One list of the entries."""

    head, between, tail = "[\n", ",\n", "\n]\n"

    def row(self, product: Product) -> str:
        return as_json(product.entry)


class GeoJson(Writer):
    """A FeatureCollection; attributes stand among the properties."""

    head = '{"type": "FeatureCollection", "features": [\n'
    between, tail = ",\n", "\n]}\n"

    def row(self, product: Product) -> str:
        return as_json(feature(product))


class Csv(Writer):
    """A header and a row for each product; attributes, where asked for, as one JSON column."""

    def __init__(self, stream: TextIO, *, attributes: bool) -> None:
        super().__init__(stream)
        self._rows = csv.writer(stream, lineterminator="\n")
        self._attributes = attributes

    def begin(self) -> None:
        self._rows.writerow([*_COLUMNS, "attributes"] if self._attributes else _COLUMNS)

    def row(self, product: Product) -> str:
        held = facts(product) | {"footprint": product.footprint}
        cells = ["" if held[name] is None else shown(str(held[name])) for name in _COLUMNS]
        if self._attributes:
            cells.append(as_json(product.attributes))
        self._rows.writerow(cells)
        return ""


class Table(Writer):
    """Columns; names are shortened to ``width``, or written whole where it is None."""

    def __init__(self, stream: TextIO, width: int | None) -> None:
        super().__init__(stream)
        self._id = width is None or width >= 150
        fixed = len(self._columns("", "", "-" * 36, ""))
        self._name_width = None if width is None else max(_LEAST_NAME, width - fixed)

    def begin(self) -> None:
        self.stream.write(self._columns("SENSED (UTC)", "SIZE", "ID", "NAME") + "\n")

    def row(self, product: Product) -> str:
        start = product.sensing_start
        sensed = format_instant(start)[:19].replace("T", " ") if start else "unknown"
        size = bytes_text(product.size) if product.size else "unknown"
        name = shown(product.name) + ("" if product.online else " (offline)")
        if self._name_width is not None:
            name = shortened(name, self._name_width)
        return self._columns(sensed, size, product.id, name) + "\n"

    def _columns(self, sensed: str, size: str, product_id: str, name: str) -> str:
        middle = f"{product_id:36}  " if self._id else ""
        return f"{sensed:19}  {size:>8}  {middle}{name}"


def make_writer(form: str, stream: TextIO, *, attributes: bool) -> Writer:
    """The writer for a ``--format``; a table fits the terminal, and is whole in a pipe."""
    if form == "table":
        width = shutil.get_terminal_size().columns if stream.isatty() else None
        return Table(stream, width)
    if form == "csv":
        return Csv(stream, attributes=attributes)
    return {"json": Json, "jsonl": Writer, "geojson": GeoJson}[form](stream)


def facts(product: Product) -> dict[str, Any]:
    """A product as flat values: instants as text, the first checksum."""
    times = ("sensing_start", "sensing_end", "published")
    moments = {name: getattr(product, name) for name in times}
    return {
        "id": product.id,
        "name": product.name,
        "size": product.size,
        **{name: format_instant(at) if at else None for name, at in moments.items()},
        "online": product.online,
        "checksum": str(product.checksums[0]) if product.checksums else None,
    }


def feature(product: Product) -> dict[str, Any]:
    """A product as a GeoJSON Feature."""
    properties = {**product.attributes, **facts(product)}
    del properties["id"]
    geometry = _geometry(product)
    return {"type": "Feature", "id": product.id, "geometry": geometry, "properties": properties}


def _geometry(product: Product) -> Mapping[str, Any] | None:
    given = product.entry.get("GeoFootprint")
    if isinstance(given, Mapping) and given.get("type") != "Feature":
        try:
            geojson_to_wkt(given)
        except (TypeError, ValueError, LookupError):
            pass
        else:
            return given
    return None if product.footprint is None else _from_wkt(product.footprint)


def _from_wkt(footprint: str) -> dict[str, Any] | None:
    import shapely  # noqa: PLC0415 (slow to import, seldom needed)

    try:
        geometry: dict[str, Any] = json.loads(shapely.to_geojson(shapely.from_wkt(footprint)))
    except shapely.errors.ShapelyError:
        return None
    return geometry


def as_json(value: object) -> str:
    """One line of JSON, in ASCII, so that nothing in it can act on a terminal."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:  # Python reads NaN and Infinity; JSON has neither
        return json.dumps(_finite(value))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
