"""Sentinel-2: MSI tiles. All tiles of a datatake share its sensing time.

Names: MMM_MSIXXX_datatake_Nxxyy_ROOO_Txxxxx_discriminator.SAFE.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from shapely.geometry import Polygon

from noa_async.emulator.footprint import Footprint
from noa_async.emulator.missions.draft import CLOCK, Draft
from noa_async.emulator.missions.orbits import Orbiter, Pass, passes
from noa_async.emulator.missions.tiles import tiles

if TYPE_CHECKING:
    from noa_async.emulator.product import AttributeValue

_HOURS = (10.98, 22.0)
_ORBITERS = (
    Orbiter("S2", "A", 10, 143, datetime(2026, 1, 12, 9, 23, 21, 24_000, UTC), 93, 55_001, *_HOURS),
    Orbiter("S2", "B", 10, 143, datetime(2026, 1, 17, 9, 23, 9, 24_000, UTC), 93, 46_193, *_HOURS),
    Orbiter("S2", "C", 10, 143, datetime(2026, 1, 14, 9, 23, 31, 24_000, UTC), 93, 7_024, *_HOURS),
)
_HALF_SWATH_KM = 145.0
_LEAST_SHARE = 0.08


def drafts(draw: random.Random, start: datetime, end: datetime, turn: int) -> Iterator[Draft]:
    """The mission's products of one period; a later turn is a later processing baseline."""
    for orbiter in _ORBITERS:
        for one in passes(orbiter, start, end, descending=True, longitudes=(13.0, 30.0)):
            sensed = one.moment.replace(microsecond=one.moment.microsecond // 1000 * 1000)
            clear_share = draw.uniform(0.45, 0.85)
            for tile, footprint, share in _seen(round(one.longitude, 3)):
                clear = draw.random() < clear_share
                cloud = 20 * draw.random() ** 2 if clear else 20 + 80 * draw.random() ** 0.7
                for level in ("L2A", "L1C"):
                    # The mirror keeps the surface reflectance of all, the rest of some.
                    if level == "L2A" or draw.random() < 0.25:
                        where = (tile, footprint, share)
                        yield _product(draw, one, level, sensed, where, cloud, turn)


@lru_cache(maxsize=256)
def _seen(longitude: float) -> tuple[tuple[str, Footprint, float], ...]:
    """The tiles that a track at this longitude sees: name, seen part, its share of the tile."""
    track = Pass(_ORBITERS[0], True, _ORBITERS[0].anchor, longitude, 0, 0)
    swath = Polygon(track.swath(33.0, 44.0, -_HALF_SWATH_KM, _HALF_SWATH_KM, steps=4))
    found = []
    for tile in tiles():
        part = tile.outline.intersection(swath)
        share = part.area / tile.outline.area
        if share >= _LEAST_SHARE:
            corners = list(part.exterior.coords)[:-1]
            found.append((tile.name, Footprint.ring(corners), share))
    return tuple(found)


def _product(
    draw: random.Random,
    one: Pass,
    level: str,
    sensed: datetime,
    where: tuple[str, Footprint, float],
    cloud: float,
    turn: int,
) -> Draft:
    tile, footprint, share = where
    made = sensed + timedelta(hours=3.2 if level == "L2A" else 1.5, seconds=draw.randrange(5400))
    made += timedelta(minutes=7 * turn)
    platform = f"S2{one.orbiter.serial}"
    name = (
        f"{platform}_MSI{level}_{sensed.strftime(CLOCK)}_N{511 + turn:04d}_R{one.relative:03d}"
        f"_T{tile}_{made.strftime(CLOCK)}.SAFE.zip"
    )
    attributes: dict[str, AttributeValue] = {
        "platformShortName": "SENTINEL-2",
        "platformSerialIdentifier": one.orbiter.serial,
        "instrumentShortName": "MSI",
        "productType": f"S2MSI{level[1:]}",
        "processingLevel": f"S2MSI{level[1:]}",
        "operationalMode": "INS-NOBS",
        "orbitDirection": "DESCENDING",
        "orbitNumber": one.absolute,
        "relativeOrbitNumber": one.relative,
        "tileId": tile,
        "cloudCover": round(cloud, 6),
        "processorVersion": f"{511 + turn:05d}"[1:3] + f".{(511 + turn) % 100:02d}",
        "beginningDateTime": sensed,
        "endingDateTime": sensed,
        "processingDate": made,
    }
    weight = (1.1 if level == "L2A" else 0.8) * (0.25 + 0.75 * share)
    published = made + timedelta(minutes=draw.uniform(12, 40))
    return Draft(name, weight, sensed, sensed, published, footprint, attributes)
