"""Footprints: a geometry in longitude and latitude, and the two forms an entry gives it in."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import shapely
from shapely.geometry import Polygon, mapping
from shapely.geometry.base import BaseGeometry

Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Footprint:
    """What a product covers. Products of one tile and track share one."""

    geometry: BaseGeometry

    @classmethod
    def ring(cls, corners: Sequence[Point]) -> Self:
        """A polygon from its corners (longitude, latitude), not closed."""
        return cls(Polygon([(round(lon, 6), round(lat, 6)) for lon, lat in corners]))

    @classmethod
    def wkt(cls, text: str) -> Self:
        """From WKT."""
        return cls(shapely.from_wkt(text))

    @cached_property
    def literal(self) -> str:
        """The entry's `Footprint`."""
        text = shapely.to_wkt(self.geometry, rounding_precision=6)
        kind, _, rest = text.partition(" ")
        return f"geography'SRID=4326;{kind.capitalize()}{rest.replace(', ', ',')}'"

    @cached_property
    def geojson(self) -> dict[str, Any]:
        """The entry's `GeoFootprint`."""
        return dict(mapping(self.geometry))
