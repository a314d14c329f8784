"""The forms in which products are listed. Each is written as it goes; no list is held."""

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
"""What a formula begins with. No column holds a number below 0."""


class Sized(Protocol):
    """What is listed: a product, or what an archive holds of one."""

    @property
    def size(self) -> int | None: ...


_T = TypeVar("_T", bound=Sized)


class Writer(ABC, Generic[_T]):
    """Lists products on a stream.

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
        """How much that was."""
        return f"{number_of(self.products, 'product')}, {bytes_text(self.bytes)}"

    @abstractmethod
    def row(self, product: _T) -> str:
        """What is written of one."""


class Features(Writer[_T]):
    """A FeatureCollection."""

    head = '{"type": "FeatureCollection", "features": [\n'
    between, tail = ",\n", "\n]}\n"


class Csv(Writer[_T]):
    """A header and a row for each product."""

    def __init__(self, stream: TextIO, columns: Sequence[str]) -> None:
        super().__init__(stream)
        self._rows = csv.writer(stream, lineterminator="\n")
        self._columns = columns

    def begin(self) -> None:
        self._rows.writerow(self._columns)

    @abstractmethod
    def cells(self, product: _T) -> Mapping[str, object]:
        """By the columns' names."""

    def row(self, product: _T) -> str:
        held = self.cells(product)
        self._rows.writerow([_cell(held[name]) for name in self._columns])
        return ""


class JsonLines(Writer["Product"]):
    """The entries themselves, one a line."""

    def row(self, product: Product) -> str:
        return as_json(product.entry) + "\n"


class Json(Writer["Product"]):
    """One list of the entries."""

    head, between, tail = "[\n", ",\n", "\n]\n"

    def row(self, product: Product) -> str:
        return as_json(product.entry)


class GeoJson(Features["Product"]):
    """Attributes stand among the properties."""

    def row(self, product: Product) -> str:
        return as_json(feature(product))


class Rows(Csv["Product"]):
    """Attributes, where asked for, as one JSON column."""

    def __init__(self, stream: TextIO, *, attributes: bool) -> None:
        super().__init__(stream, [*_COLUMNS, "attributes"] if attributes else _COLUMNS)

    def cells(self, product: Product) -> dict[str, object]:
        attributes = as_json(product.attributes)
        return facts(product) | {"footprint": product.footprint, "attributes": attributes}


class Table(Writer["Product"]):
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


def make_writer(form: str, stream: TextIO, *, attributes: bool) -> Writer[Product]:
    """The writer for a ``--format``; a table fits the terminal, and is whole in a pipe."""
    if form == "table":
        width = shutil.get_terminal_size().columns if stream.isatty() else None
        return Table(stream, width)
    if form == "csv":
        return Rows(stream, attributes=attributes)
    writers: dict[str, Callable[[TextIO], Writer[Product]]]
    writers = {"json": Json, "jsonl": JsonLines, "geojson": GeoJson}
    return writers[form](stream)


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


def _cell(value: object) -> str:
    """One cell; text that a spreadsheet would compute, for a server may send such, stays text."""
    text = "" if value is None else shown(str(value))
    return f"'{text}" if text.startswith(_COMPUTED) else text


def as_json(value: object) -> str:
    """One line of JSON, in ASCII, so that nothing in it can act on a terminal."""
    try:
        return _STRICT(value)
    except ValueError:  # Python reads NaN and Infinity; JSON has neither
        return json.dumps(_finite(value))


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
