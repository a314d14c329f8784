"""What every mission's maker hands on: a product before it has its Id and place."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from noa_async.emulator.footprint import Footprint
from noa_async.emulator.product import AttributeValue

CLOCK = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class Draft:
    """A product without Id, size in bytes or place in the catalogue."""

    name: str
    weight: float
    """Size in proportion to the catalogue's mean."""
    start: datetime
    end: datetime
    published: datetime
    footprint: Footprint
    attributes: Mapping[str, AttributeValue]
