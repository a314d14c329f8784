"""Sentinel-1: slices of IW swaths and stripmap scenes.

Names: MMM_BB_TTTR_LFPP_start_stop_orbit_datatake_unique.SAFE.
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

_ORBITERS = (
    Orbiter(
        "S1", "A", 12, 175, datetime(2026, 1, 10, 4, 31, 40, tzinfo=UTC), 7, 62_729, 6.13, 17.87
    ),
    Orbiter(
        "S1", "C", 12, 175, datetime(2026, 1, 16, 4, 31, 12, tzinfo=UTC), 7, 5_852, 6.13, 17.87
    ),
)
_CHANNELS = {"SDV": "VV,VH", "SSV": "VV", "SSH": "HH", "SDH": "HH,HV"}
_WIDE = (("IW_GRDH_1", 1.0), ("IW_SLC__1", 4.0), ("IW_OCN__2", 0.03), ("IW_RAW__0", 1.5))
_STRIP = (("GRDM_1", 0.15), ("OCN__2", 0.02))
_SLICE = 1.49  # degrees of latitude in 25 s


def drafts(draw: random.Random, start: datetime, end: datetime, turn: int) -> Iterator[Draft]:
    """The mission's products of one period; a later turn is a later reprocessing."""
    for orbiter in _ORBITERS:
        for descending in (True, False):
            for one in passes(orbiter, start, end, descending=descending, longitudes=(14.5, 28.0)):
                yield from _datatake(draw, one, turn)


def _datatake(draw: random.Random, one: Pass, turn: int) -> Iterator[Draft]:
    take = draw.randrange(0x10000, 0xFFFFF)
    strip = draw.random() < 0.3
    beam = draw.choice(("S2", "S6", "S2", "S4")) if strip else "IW"
    polarisation = draw.choice(("SSV", "SDV", "SSH", "SDH")) if strip else "SDV"
    half = 40.0 if strip else 125.0
    types = tuple((f"{beam}_{kind}", weight) for kind, weight in _STRIP) if strip else _WIDE
    south = 34.0 + (one.relative % 7) * 0.2
    for place in range(5):
        low = south + place * _SLICE
        footprint = Footprint.ring(one.swath(low, low + _SLICE * 1.02, -half, half))
        for kind, weight in types:
            if kind == "IW_RAW__0" and draw.random() < 0.7:
                continue
            yield _product(
                draw, one, (kind, polarisation, take, place, turn), low, weight, footprint
            )


def _product(
    draw: random.Random,
    one: Pass,
    what: tuple[str, str, int, int, int],
    low: float,
    weight: float,
    footprint: Footprint,
) -> Draft:
    kind, polarisation, take, place, turn = what
    edges = sorted((one.when(low), one.when(low + _SLICE)))
    start, end = edges[0], edges[1]
    platform = f"S1{one.orbiter.serial}"
    name = (
        f"{platform}_{kind}{polarisation}_{start.strftime(CLOCK)}_{end.strftime(CLOCK)}"
        f"_{one.absolute:06d}_{take:06X}_{draw.randrange(0x10000):04X}.SAFE"
    )
    fast = draw.random() < 0.7
    attributes: dict[str, AttributeValue] = {
        "platformShortName": "SENTINEL-1",
        "platformSerialIdentifier": one.orbiter.serial,
        "instrumentShortName": "SAR",
        "productType": f"{kind}S",
        "operationalMode": "IW" if kind.startswith("IW") else "SM",
        "swathIdentifier": kind[:2],
        "polarisationChannels": _CHANNELS[polarisation],
        "processingLevel": f"LEVEL{kind[-1]}",
        "orbitDirection": one.direction,
        "orbitNumber": one.absolute,
        "relativeOrbitNumber": one.relative,
        "datatakeID": take,
        "sliceNumber": place + 1,
        "totalSlices": 5,
        "timeliness": ("NRT-3h" if fast else "Fast-24h") if not turn else "Off-line",
        "productClass": "S",
        "beginningDateTime": start,
        "endingDateTime": end,
    }
    delay = timedelta(hours=2 if fast else 7, minutes=draw.uniform(0, 60) + 11 * turn)
    # Small ocean products stand without .zip, as some sites list them.
    ending = "" if "OCN" in kind else ".zip"
    return Draft(name + ending, weight, start, end, end + delay, footprint, attributes)
