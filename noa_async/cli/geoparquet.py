"""Write the products of an archive as GeoParquet, with the columns of stac-geoparquet.

It uses pyarrow directly: stac-geoparquet rejects products without a footprint, and infers the
columns of each batch, which may then be incompatible.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from noa_async.cli.stac import item

if TYPE_CHECKING:
    from noa_async.cli.held import Held

_AT_ONCE = 5000
"""Rows per row group, about 20 MB in memory."""
_INSTANT = pa.timestamp("ms", tz="UTC")
_TIMES = ("datetime", "start_datetime", "end_datetime", "published", "noa:verified")
_TEXTS = (
    "title", "constellation", "platform", "product:type", "processing:level", "grid:code",
    "sat:orbit_state", "sar:instrument_mode", "sar:frequency_band", "sar:product_type", "noa:state",
)  # fmt: skip
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ASSET = pa.struct(
    [
        *((name, pa.string()) for name in ("href", "type", "title")),
        ("roles", pa.list_(pa.string())),
        ("file:size", pa.int64()),
        ("file:checksum", pa.string()),
        ("file:local_path", pa.string()),
    ]
)
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {
        "geometry": {
            "encoding": "WKB",
            "geometry_types": [],  # any
            "covering": {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}},
        }
    },
}
"""GeoParquet metadata; without a CRS, coordinates are degrees with longitude first."""
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("type", "stac_version", "id")),
        ("stac_extensions", pa.list_(pa.string())),
        ("geometry", pa.binary()),
        ("bbox", pa.struct([(corner, pa.float64()) for corner in _CORNERS])),
        *((name, _INSTANT) for name in _TIMES),
        *((name, pa.string()) for name in _TEXTS),
        ("sat:relative_orbit", pa.int64()),
        ("eo:cloud_cover", pa.float64()),
        ("sar:polarizations", pa.list_(pa.string())),
        ("links", pa.list_(pa.struct([("href", pa.string()), ("rel", pa.string())]))),
        ("assets", pa.struct([("data", _ASSET)])),
    ],
    metadata={"geo": json.dumps(_GEO), "stac-geoparquet": json.dumps({"version": "1.0.0"})},
)


class _File(pq.ParquetWriter):  # type: ignore[misc] # of a module that mypy does not follow
    def __del__(self) -> None:
        """Do not complete an unfinished file, whose stream is already closed."""


class GeoParquet:
    """Write a list of products to a binary stream, like ``formats.Writer`` to a text stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self.products = 0
        self._rows: list[dict[str, Any]] = []
        self._file = _File(stream, SCHEMA, compression="zstd")

    def write(self, held: Held) -> None:
        self._rows.append(_row(held))
        self.products += 1
        if len(self._rows) == _AT_ONCE:
            self._flush()

    def end(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        self._file.write_batch(pa.RecordBatch.from_pylist(self._rows, SCHEMA))
        self._rows.clear()


def _row(held: Held) -> dict[str, Any]:
    wkb = bbox = None
    if (found := held.shape()) is not None:
        wkb = shapely.to_wkb(found[0], flavor="iso")
        # Readers filter by it; a box with west greater than east would never match.
        bbox = dict(zip(_CORNERS, found[0].bounds, strict=True))
    row = item(held, wkb, bbox)
    told: dict[str, Any] = row.pop("properties")
    times = {name: datetime.fromisoformat(told[name]) for name in _TIMES if name in told}
    return row | told | times
