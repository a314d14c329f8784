"""Products that last: whole orbits, some across midnight, and orbit files of a day and more.

What is sensed in one go, as the scenes over the Mediterranean, seldom crosses the end of a day;
these are for queries that ask for one.
"""
# ruff: noqa: S311 (a seed that repeats is the point)

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from noa_async.emulator.content import fitting_size
from noa_async.emulator.footprint import Footprint
from noa_async.emulator.missions.draft import CLOCK
from noa_async.emulator.product import AttributeValue, Product

_ORBIT = timedelta(minutes=101)
_FIRST_ABSOLUTE = 42_500
_DAY = timedelta(days=1)
_ORBIT_FILE = timedelta(hours=26)
_SIZE = 20_000
_GLOBE = Footprint.wkt("POLYGON((-180 -90, 180 -90, 180 90, -180 90, -180 -90))")


def make_long_products(seed: int, start: datetime, end: datetime) -> list[Product]:
    """The long products that begin between `start` and `end`."""
    draw = random.Random(f"long/{seed}")
    return [*_orbits(draw, start, end), *_orbit_files(draw, start, end)]


def _orbits(draw: random.Random, start: datetime, end: datetime) -> Iterator[Product]:
    """Sentinel-5P's orbits from pole to pole and back, one after the other."""
    moment, absolute = start, _FIRST_ABSOLUTE
    while moment < end:
        until = moment + _ORBIT
        made = until + timedelta(hours=15)
        name = (
            f"S5P_OFFL_L2__NO2____{moment.strftime(CLOCK)}_{until.strftime(CLOCK)}"
            f"_{absolute:05d}_03_020800_{made.strftime(CLOCK)}.nc"
        )
        attributes: dict[str, AttributeValue] = {
            "platformShortName": "SENTINEL-5P",
            "platformSerialIdentifier": "P",
            "instrumentShortName": "TROPOMI",
            "productType": "L2__NO2___",
            "processingMode": "OFFL",
            "processingLevel": "L2",
            "orbitNumber": absolute,
            "beginningDateTime": moment,
            "endingDateTime": until,
        }
        yield _product(draw, name, moment, until, made, attributes, _GLOBE)
        moment, absolute = until, absolute + 1


def _orbit_files(draw: random.Random, start: datetime, end: datetime) -> Iterator[Product]:
    """Sentinel-1's precise orbit files: an hour on either side of a day, three weeks later."""
    moment = start - timedelta(hours=1)
    while moment < end:
        until = moment + _ORBIT_FILE
        made = until + timedelta(days=20)
        name = (
            f"S1A_OPER_AUX_POEORB_OPOD_{made.strftime(CLOCK)}_V{moment.strftime(CLOCK)}"
            f"_{until.strftime(CLOCK)}.EOF.zip"
        )
        attributes: dict[str, AttributeValue] = {
            "platformShortName": "SENTINEL-1",
            "platformSerialIdentifier": "A",
            "productType": "AUX_POEORB",
            "beginningDateTime": moment,
            "endingDateTime": until,
        }
        yield _product(draw, name, moment, until, made, attributes, None)
        moment += _DAY


def _product(
    draw: random.Random,
    name: str,
    start: datetime,
    end: datetime,
    published: datetime,
    attributes: dict[str, AttributeValue],
    footprint: Footprint | None,
) -> Product:
    return Product(
        id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        name=name,
        size=fitting_size(name, _SIZE),
        start=start,
        end=end,
        published=published,
        modified=published,
        footprint=footprint,
        attributes=attributes,
    )
