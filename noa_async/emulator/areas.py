"""The area of an Intersects clause: read, checked, and compared with footprints."""

from typing import TYPE_CHECKING

import shapely
from shapely.validation import explain_validity

from noa_async.emulator.errors import bad_request
from noa_async.emulator.product import Product

if TYPE_CHECKING:
    from noa_async.emulator.footprint import Footprint

_PREFIX = "SRID=4326;"
_KINDS = {"Polygon", "Point"}


class Area:
    """An area that products are asked to touch."""

    def __init__(self, text: str) -> None:
        if not text.upper().startswith(_PREFIX):
            raise bad_request("Invalid geometry: it does not begin with SRID=4326;")
        try:
            geometry = shapely.from_wkt(text[len(_PREFIX) :])
        except shapely.errors.ShapelyError as error:
            raise bad_request(f"Invalid geometry: {error}") from error
        if geometry.geom_type not in _KINDS or geometry.is_empty:
            raise bad_request(f"Invalid geometry: {geometry.geom_type} is not supported.")
        if not geometry.is_valid:
            raise bad_request(f"Invalid geometry: {explain_validity(geometry)}")
        west, south, east, north = geometry.bounds
        if west < -180 or east > 180 or south < -90 or north > 90:
            raise bad_request("Invalid geometry: coordinates out of range.")
        shapely.prepare(geometry)
        self._geometry = geometry
        self._known: dict[Footprint, bool] = {}

    def touches(self, product: Product) -> bool:
        """Whether the product's footprint meets the area."""
        footprint = product.footprint
        if footprint is None:
            return False
        # Products of one tile and track share their footprint: each is compared once.
        known = self._known.get(footprint)
        if known is None:
            known = bool(self._geometry.intersects(footprint.geometry))
            self._known[footprint] = known
        return known
