"""What an archive holds as GeoParquet, with the columns of stac-geoparquet.

Written by pyarrow itself: stac-geoparquet takes no product without a footprint, and finds the
columns anew in each batch, which may then not fit together.
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
"""Rows of a group: some 20 MB while they gather."""
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
            "geometry_types": [],  # whatever comes
            "covering": {"bbox": {corner: ["bbox", corner] for corner in _CORNERS}},
        }
    },
}
"""A geometry whose coordinate system is not named has degrees, longitude first."""
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
        """One that breaks off is not made whole, nor is its stream open any more."""


class GeoParquet:
    """Lists products on a stream of bytes, as ``formats.Writer`` does on one of text."""

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
        # By it readers leave rows out: one with its west above its east would seem to be nowhere.
        bbox = dict(zip(_CORNERS, found[0].bounds, strict=True))
    row = item(held, wkb, bbox)
    told: dict[str, Any] = row.pop("properties")
    times = {name: datetime.fromisoformat(told[name]) for name in _TIMES if name in told}
    return row | told | times
