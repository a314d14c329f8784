"""Sentinel-3: OLCI, SLSTR and SYNERGY frames, SRAL tracks.

Names: MMM_SS_L_TTTTTT_start_stop_creation_instance_GGG_class.SEN3, where the instance is
duration, cycle, relative orbit and frame (tracks have no frame).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from noa_async.emulator.footprint import Footprint
from noa_async.emulator.missions.draft import CLOCK, Draft
from noa_async.emulator.missions.orbits import Orbiter, Pass, passes

if TYPE_CHECKING:
    from noa_async.emulator.product import AttributeValue

_ORBITERS = (
    Orbiter("S3", "A", 27, 385, datetime(2026, 1, 9, 9, 2, 11, tzinfo=UTC), 93, 51_486, 10.6, 21.4),
    Orbiter(
        "S3", "B", 27, 385, datetime(2026, 1, 9, 8, 22, 39, tzinfo=UTC), 93, 40_093, 10.6, 21.4
    ),
)


@dataclass(frozen=True, slots=True)
class _Type:
    code: str
    instrument: str
    weight: float
    west_km: float
    east_km: float
    frame: bool = True


_TYPES = (
    _Type("OL_1_EFR___", "OLCI", 0.7, -750, 520),
    _Type("OL_2_LFR___", "OLCI", 0.2, -750, 520),
    _Type("OL_2_WFR___", "OLCI", 0.4, -750, 520),
    _Type("SL_1_RBT___", "SLSTR", 0.5, -880, 520),
    _Type("SL_2_LST___", "SLSTR", 0.08, -880, 520),
    _Type("SY_2_SYN___", "SYNERGY", 0.6, -740, 520),
    _Type("SR_2_LAN_LI", "SRAL", 0.04, -6, 6, frame=False),
    _Type("SR_2_LAN_HY", "SRAL", 0.05, -6, 6, frame=False),
)


def drafts(draw: random.Random, start: datetime, end: datetime, turn: int) -> Iterator[Draft]:
    """The mission's products of one period; a later turn is a later baseline collection."""
    for orbiter in _ORBITERS:
        for descending in (True, False):
            for one in passes(orbiter, start, end, descending=descending, longitudes=(6.0, 36.0)):
                for kind in _TYPES:
                    # Optical instruments see the day side only.
                    if descending or not kind.frame:
                        yield _product(draw, one, kind, turn)


def _product(draw: random.Random, one: Pass, kind: _Type, turn: int) -> Draft:
    south, north = (32.5, 43.2) if kind.frame else (24.0, 62.0)
    start, end = sorted((one.when(south), one.when(north)))
    timeliness = draw.choice(("NR", "NT", "NT", "ST" if not kind.frame else "NR"))
    hours = {"NR": 2.5, "ST": 40.0, "NT": 26.0}[timeliness] + turn * 0.2
    made = end + timedelta(hours=hours, seconds=draw.randrange(3600))
    cycle = 130 + one.absolute // 385 % 20
    frame = f"{2340 + one.relative % 4 * 180:04d}" if kind.frame else "____"
    platform = f"S3{one.orbiter.serial}"
    duration = int((end - start).total_seconds())
    name = (
        f"{platform}_{kind.code}_{start.strftime(CLOCK)}_{end.strftime(CLOCK)}"
        f"_{made.strftime(CLOCK)}_{duration:04d}_{cycle:03d}_{one.relative:03d}_{frame}"
        f"_PS{1 + draw.randrange(2)}_O_{timeliness}_{4 + turn:03d}.SEN3.zip"
    )
    footprint = Footprint.ring(one.swath(south, north, kind.west_km, kind.east_km, steps=6))
    attributes: dict[str, AttributeValue] = {
        "platformShortName": "SENTINEL-3",
        "platformSerialIdentifier": one.orbiter.serial,
        "instrumentShortName": kind.instrument,
        "productType": kind.code,
        "processingLevel": kind.code[3],
        "operationalMode": "Earth Observation" if kind.frame else "SAR",
        "orbitDirection": one.direction,
        "orbitNumber": one.absolute,
        "relativeOrbitNumber": one.relative,
        "cycleNumber": cycle,
        "timeliness": timeliness,
        "baselineCollection": f"{4 + turn:03d}",
        "beginningDateTime": start,
        "endingDateTime": end,
        "processingDate": made,
    }
    if kind.instrument == "OLCI":
        attributes["cloudCover"] = round(draw.betavariate(0.8, 0.8) * 100, 3)
    published = made + timedelta(minutes=draw.uniform(5, 30))
    return Draft(name, kind.weight, start, end, published, footprint, attributes)
