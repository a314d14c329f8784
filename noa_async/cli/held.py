"""What an archive holds of a product, as other programs are told of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from noa_async.archive.layout import facets
from noa_async.catalogue.times import format_instant

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shapely.geometry.base import BaseGeometry

    from noa_async.archive.record import Record
    from noa_async.archive.targets import StoreUrl

COLUMNS = (
    "id", "name", "path", "url", "size", "checksum", "verified", "state", "sensing_start",
    "sensing_end", "published", "platform", "product_type", "level", "tile", "orbit", "footprint",
)  # fmt: skip
_SHAPES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"}
)


@dataclass(frozen=True, slots=True)
class Held:
    """A product that is here and right."""

    record: Record
    path: str
    """Of its file, from the archive's folder or address."""
    url: str
    """Where its file is: ``file://`` or the store's address."""
    href: str
    """The same, from the file that names it on where the two lie together."""

    @property
    def size(self) -> int | None:
        """Of its file."""
        return self.record.size

    @property
    def verified(self) -> datetime | None:
        """When its bytes were last found right."""
        return moment(self.record.verified) if self.record.verified is not None else None

    def facts(self) -> dict[str, Any]:
        """All of it as flat values, by ``COLUMNS``; None where unknown."""
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
        }

    def shape(self) -> tuple[BaseGeometry, tuple[float, ...]] | None:
        """Its footprint in two dimensions, and the box around it (W, S, E, N).

        None where that is nothing that can be drawn.
        """
        import numpy as np  # noqa: PLC0415 (slow to import)
        import shapely  # noqa: PLC0415

        with np.errstate(all="ignore"):  # a number may be too large for any
            shape = shapely.from_wkt(self.record.product.footprint, on_invalid="ignore")
        if shape is None or shape.geom_type not in _SHAPES or shape.is_empty:
            return None
        west, south, east, north = bounds = shape.bounds
        on_earth = -180 <= west <= east <= 180 and -90 <= south <= north <= 90
        return (shapely.force_2d(shape), bounds) if on_earth else None

    def drawn(self) -> tuple[Mapping[str, Any] | None, list[float] | None]:
        """The shape as a GeoJSON geometry, and the box."""
        found = self.shape()
        return (None, None) if found is None else (found[0].__geo_interface__, list(found[1]))


class Addresses:
    """Where the products of one archive are."""

    def __init__(self, target: Path | StoreUrl, file: Path | None) -> None:
        """``file``: the one in which they are named; None where it has no place."""
        self._store = None if isinstance(target, Path) else str(target)
        self._root = target.resolve() if isinstance(target, Path) else Path()
        self._from = None
        self.own: str | None = None
        """Where ``file`` is, from the archive on; None where that is elsewhere."""
        if file is not None and self._store is None:
            home = file.parent
            if home.is_relative_to(self._root):
                self.own = str(file.relative_to(self._root))
            if self._root.is_relative_to(home) or home.is_relative_to(self._root):
                self._from = os.path.relpath(self._root, home)

    def held(self, record: Record) -> Held:
        """A record of what is here."""
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
    """Seconds since 1970 as an instant."""
    return datetime.fromtimestamp(seconds, UTC)
