"""Sentinel-5P: TROPOMI orbits and near-real-time granules, as plain netCDF.

Names: S5P_mode_type_start_stop_orbit_collection_processor_creation.nc.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from noa_async.emulator.footprint import Footprint
from noa_async.emulator.missions.draft import CLOCK, Draft
from noa_async.emulator.missions.orbits import Orbiter, Pass, passes

if TYPE_CHECKING:
    from noa_async.emulator.product import AttributeValue

# Its day side ascends: 13:30 at the equator, a little earlier at 38 N.
_ORBITER = Orbiter(
    "S5P", "P", 16, 227, datetime(2026, 1, 9, 0, 11, 5, tzinfo=UTC), 60, 42_622, 1.9, 13.1
)
_TYPES = (
    ("L2__AER_AI", 0.05),
    ("L2__CO____", 0.25),
    ("L2__O3_TCL", 0.02),
    ("L2__NO2___", 0.4),
    ("L2__CH4___", 0.06),
    ("L2__SO2___", 0.5),
    ("L2__CLOUD_", 0.3),
    ("L1B_RA_BD3", 1.6),
)
_MODES = (("NRTI", 2.2), ("OFFL", 16.0), ("RPRO", 60.0))


def drafts(draw: random.Random, start: datetime, end: datetime, turn: int) -> Iterator[Draft]:
    """The mission's products of one period; a later turn is a later processor version."""
    for one in passes(_ORBITER, start, end, descending=False, longitudes=(0.0, 45.0)):
        for code, weight in _TYPES:
            for mode, hours in _MODES:
                # Reprocessing comes in campaigns: of some orbits, not of all.
                if mode != "RPRO" or draw.random() < 0.2:
                    yield _product(draw, one, code, weight, mode, hours, turn)


def _product(
    draw: random.Random,
    one: Pass,
    code: str,
    weight: float,
    mode: str,
    hours: float,
    turn: int,
) -> Draft:
    near = mode == "NRTI"
    south, north = (30.0, 48.0) if near else (-20.0, 68.0)
    start, end = one.when(south), one.when(north)
    made = end + timedelta(hours=hours + turn * 0.2, seconds=draw.randrange(3600))
    name = (
        f"S5P_{mode}_{code}_{start.strftime(CLOCK)}_{end.strftime(CLOCK)}_{one.absolute:05d}"
        f"_03_0208{turn:02d}_{made.strftime(CLOCK)}.nc"
    )
    attributes: dict[str, AttributeValue] = {
        "platformShortName": "SENTINEL-5P",
        "platformSerialIdentifier": "P",
        "instrumentShortName": "TROPOMI",
        "productType": code,
        "processingMode": mode,
        "processingLevel": "L1b" if code.startswith("L1B") else "L2",
        "orbitDirection": one.direction,
        "orbitNumber": one.absolute,
        "relativeOrbitNumber": one.relative,
        "timeliness": {"NRTI": "NRT-3h", "OFFL": "Off-line", "RPRO": "Reprocessing"}[mode],
        "baselineCollection": "03",
        "processorVersion": f"02.08.{turn:02d}",
        "beginningDateTime": start,
        "endingDateTime": end,
        "processingDate": made,
    }
    footprint = Footprint.ring(one.swath(south, north, -1300, 1300, steps=4))
    published = made + timedelta(minutes=draw.uniform(5, 30))
    return Draft(
        name, weight * (0.06 if near else 1.0), start, end, published, footprint, attributes
    )
