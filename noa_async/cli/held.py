"""A product in an archive, with the values that are exported to other programs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from noa_async.archive.layout import facets
from noa_async.catalogue.times import format_instant
from noa_async.cli.antimeridian import box_around, cut_at_antimeridian

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry

    from noa_async.archive.record import Record
    from noa_async.archive.targets import StoreUrl
    from noa_async.catalogue.product import Product

COLUMNS = (
    "id", "name", "path", "url", "size", "checksum", "verified", "state", "sensing_start",
    "sensing_end", "published", "platform", "product_type", "level", "tile", "orbit",
    "cloud_cover", "orbit_direction", "polarisation", "mode", "footprint",
)  # fmt: skip
_SHAPES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
)


@dataclass(frozen=True, slots=True)
class Held:
    """A product that is present in an archive."""

    record: Record
    path: str
    """Path of its file, relative to the archive."""
    url: str
    """URL of its file: ``file://`` or that of the object store."""
    href: str
    """The URL for links: relative to the exported file if both are in the same folder tree."""

    @property
    def size(self) -> int | None:
        """Size of its file in bytes."""
        return self.record.size

    @property
    def verified(self) -> datetime | None:
        """When its content was last verified."""
        return moment(self.record.verified) if self.record.verified is not None else None

    def facts(self) -> dict[str, Any]:
        """Return all values, keyed by ``COLUMNS``; None if unknown."""
        record, product = self.record, self.record.product
        times = {
            "verified": self.verified,
            "sensing_start": product.sensing_start,
            "sensing_end": product.sensing_end,
            "published": product.published,
        }
        return {
            "id": product.id,
            "name": product.name,
            "path": self.path,
            "url": self.url,
            "size": record.size,
            "checksum": record.checksum,
            "state": str(record.state),
            "footprint": product.footprint,
            **{name: format_instant(at) if at else None for name, at in times.items()},
            **{name: text or None for name, text in facets(product).items()},
            **sensed(product),
        }

    def shape(self) -> tuple[BaseGeometry, tuple[float, ...]] | None:
        """Return its footprint in two dimensions and its bounding box (W, S, E, N).

        A footprint over the antimeridian is cut there, and west is greater than east in its box
        (RFC 7946, 3.1.9 and 5.2). Return None if the footprint is no valid geometry.
        """
        import numpy as np  # noqa: PLC0415 (slow to import)
        import shapely  # noqa: PLC0415

        with np.errstate(all="ignore"):  # a number may overflow
            shape = shapely.from_wkt(self.record.product.footprint, on_invalid="ignore")
        if shape is None or shape.geom_type not in _SHAPES or shape.is_empty:
            return None
        west, south, east, north = shape.bounds
        if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
            return None
        shape = cut_at_antimeridian(shapely.force_2d(shape))
        return shape, box_around(shape)

    def drawn(self) -> tuple[Mapping[str, Any] | None, list[float] | None]:
        """Return the shape as a GeoJSON geometry, and its bounding box."""
        found = self.shape()
        return (None, None) if found is None else (found[0].__geo_interface__, list(found[1]))


_SENTINEL_1 = re.compile(r"S1[A-D]_(IW|EW|WV|S[1-6]|RF)_[A-Z]{3}[A-Z_]_[0-9][A-Z](SH|SV|DH|DV)_")
_CHANNELS = {"SH": "HH", "SV": "VV", "DH": "HH,HV", "DV": "VV,VH"}
_CHANNEL = re.compile(r"[HV]{2}")


def sensed(product: Product) -> dict[str, Any]:
    """Return how a product was sensed, from its attributes or its name; None if unknown.

    >>> from noa_async.catalogue.product import Product
    >>> sensed(Product("1", "S1A_S3_GRDH_1SDV_20260111T042011.SAFE"))
    {'cloud_cover': None, 'orbit_direction': None, 'polarisation': 'VV,VH', 'mode': 'SM'}
    """
    get = product.attributes.get
    name = _SENTINEL_1.match(product.name)
    cloud = get("cloudCover")
    if isinstance(cloud, bool) or not isinstance(cloud, int | float) or not 0 <= cloud <= 100:
        cloud = None
    channels = _CHANNEL.findall(str(get("polarisationChannels") or ""))
    mode = name and (name[1] if name[1] in {"IW", "EW", "WV"} else "SM")
    return {
        "cloud_cover": cloud,
        "orbit_direction": _text(get("orbitDirection")),
        "polarisation": ",".join(channels) or (_CHANNELS[name[2]] if name else None),
        "mode": _text(get("operationalMode")) or mode,
    }


def _text(value: object) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


class Addresses:
    """Paths and URLs of the products of an archive."""

    def __init__(self, target: Path | StoreUrl, file: Path | None) -> None:
        """``file`` is the exported file; None for standard output."""
        self._store = None if isinstance(target, Path) else str(target)
        self._root = target.resolve() if isinstance(target, Path) else Path()
        self._from = None
        self.own: str | None = None
        """Path of ``file`` relative to the archive; None if it is outside."""
        if file is not None and self._store is None:
            home = file.parent
            if home.is_relative_to(self._root):
                self.own = str(file.relative_to(self._root))
            if self._root.is_relative_to(home) or home.is_relative_to(self._root):
                self._from = os.path.relpath(self._root, home)

    def held(self, record: Record) -> Held:
        """Return the archived product of a ledger record that has a path."""
        assert record.path is not None
        path = record.path
        if self._store is not None:
            url = f"{self._store}/{path}"
            return Held(record, path, url, url)
        url = (self._root / path).as_uri()
        return Held(record, path, url, url if self._from is None else self._relative(path))

    def _relative(self, path: str) -> str:
        whole = os.path.normpath(f"{self._from}/{path}")
        return quote(whole if whole.startswith("../") else f"./{whole}")


def moment(seconds: float) -> datetime:
    """Convert seconds since 1970 to a UTC datetime."""
    return datetime.fromtimestamp(seconds, UTC)
