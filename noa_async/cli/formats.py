"""Output formats for lists of products. Products are written one by one, not collected."""

from __future__ import annotations

import csv
import json
import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TextIO, TypeVar

from noa_async.catalogue.footprint import geojson_to_wkt
from noa_async.catalogue.times import format_instant
from noa_async.cli.text import bytes_text, number_of, shortened, shown

if TYPE_CHECKING:
    from noa_async.catalogue.product import Product

_COLUMNS = ("id", "name", "size", "sensing_start", "sensing_end", "published", "online",
            "checksum", "footprint")  # fmt: skip
_LEAST_NAME = 24
_STRICT = json.JSONEncoder(allow_nan=False).encode
_COMPUTED = ("=", "+", "-", "@")
"""Characters that start a formula in a spreadsheet. No column holds negative numbers."""


class Sized(Protocol):
    """An object with a size: a product or an archived product."""

    @property
    def size(self) -> int | None: ...


_T = TypeVar("_T", bound=Sized)


class Writer(ABC, Generic[_T]):
    """Write a list of products to a stream.

    Call ``write`` for each product, then ``end``. If a listing fails, ``end`` is not called and
    JSON output is incomplete.
    """

    head = between = tail = ""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.products = 0
        self.bytes = 0

    def begin(self) -> None:
        self.stream.write(self.head)

    def write(self, product: _T) -> None:
        if not self.products:
            self.begin()
        row = self.row(product)
        self.stream.write(self.between + row if self.products else row)
        self.products += 1
        self.bytes += product.size or 0

    def end(self) -> None:
        if not self.products:
            self.begin()
        self.stream.write(self.tail)

    @property
    def closing(self) -> str:
        """A summary: the number of products and their bytes."""
        return f"{number_of(self.products, 'product')}, {bytes_text(self.bytes)}"

    @abstractmethod
    def row(self, product: _T) -> str:
        """Return the text for one product."""


class Features(Writer[_T]):
    """Write a GeoJSON FeatureCollection."""

    head = '{"type": "FeatureCollection", "features": [\n'
    between, tail = ",\n", "\n]}\n"


class Csv(Writer[_T]):
    """Write CSV: a header and a row for each product."""

    def __init__(self, stream: TextIO, columns: Sequence[str]) -> None:
        super().__init__(stream)
        self._rows = csv.writer(stream, lineterminator="\n")
        self._columns = columns

    def begin(self) -> None:
        self._rows.writerow(self._columns)

    @abstractmethod
    def cells(self, product: _T) -> Mapping[str, object]:
        """Return the values by column name."""

    def row(self, product: _T) -> str:
        held = self.cells(product)
        self._rows.writerow([_cell(held[name]) for name in self._columns])
        return ""


class JsonLines(Writer["Product"]):
    """Write the catalogue entries as JSON, one per line."""

    def row(self, product: Product) -> str:
        return as_json(product.entry) + "\n"


class Json(Writer["Product"]):
    """Write the catalogue entries as one JSON list."""

    head, between, tail = "[\n", ",\n", "\n]\n"

    def row(self, product: Product) -> str:
        return as_json(product.entry)


class GeoJson(Features["Product"]):
    """Write GeoJSON features whose properties include the attributes."""

    def row(self, product: Product) -> str:
        return as_json(feature(product))


class Rows(Csv["Product"]):
    """Write CSV; attributes, if requested, are one JSON column."""

    def __init__(self, stream: TextIO, *, attributes: bool) -> None:
        super().__init__(stream, [*_COLUMNS, "attributes"] if attributes else _COLUMNS)

    def cells(self, product: Product) -> dict[str, object]:
        attributes = as_json(product.attributes)
        return facts(product) | {"footprint": product.footprint, "attributes": attributes}


class Table(Writer["Product"]):
    """Write a table; names are shortened to fit ``width`` columns, or not if it is None."""

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


def make_writer(form: str, stream: TextIO, *, attributes: bool) -> Writer[Product]:
    """Return the writer for a ``--format``. Tables fit the terminal's width, but not in a pipe."""
    if form == "table":
        width = shutil.get_terminal_size().columns if stream.isatty() else None
        return Table(stream, width)
    if form == "csv":
        return Rows(stream, attributes=attributes)
    writers: dict[str, Callable[[TextIO], Writer[Product]]]
    writers = {"json": Json, "jsonl": JsonLines, "geojson": GeoJson}
    return writers[form](stream)


def facts(product: Product) -> dict[str, Any]:
    """Return a product as flat values: times as text, and the first checksum."""
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
    """Return a product as a GeoJSON Feature."""
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


def _cell(value: object) -> str:
    """Return a CSV cell, quoted with an apostrophe if a spreadsheet would evaluate it."""
    text = "" if value is None else shown(str(value))
    return f"'{text}" if text.startswith(_COMPUTED) else text


def as_json(value: object) -> str:
    """Return one line of ASCII JSON, which cannot contain terminal control characters."""
    try:
        return _STRICT(value)
    except ValueError:  # NaN and Infinity, which Python parses but JSON does not allow
        return json.dumps(_finite(value))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
