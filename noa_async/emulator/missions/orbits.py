"""Sun-synchronous passes over the Mediterranean, and the swaths they see.

At a given latitude such a satellite always passes at the same local solar time, so the
longitude of a pass follows from its UTC time; stepping by the orbital period then gives the
missions' own repeat cycles, track spacing and relative orbit numbers.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from noa_async.emulator.footprint import Point

LATITUDE = 38.0
"""Where a pass is timed and placed: the latitude of Athens."""
_DEGREES_PER_SECOND = 0.0595
_SLOPE = 0.29  # degrees of longitude per degree of latitude along the track
_TILT = math.radians(13.0)
_ASCENDING_LEAD = timedelta(minutes=28.4)  # from the ascending to the descending 38 N


@dataclass(frozen=True, slots=True)
class Orbiter:
    """One satellite, anchored at one descending pass."""

    mission: str
    serial: str
    cycle_days: int
    cycle_orbits: int
    anchor: datetime
    """When it passed 38 N descending, on relative orbit `relative`."""
    relative: int
    absolute: int
    descending_hour: float
    """Local solar time at 38 N, descending."""
    ascending_hour: float


@dataclass(frozen=True, slots=True)
class Pass:
    """One crossing of 38 N."""

    orbiter: Orbiter
    descending: bool
    moment: datetime
    longitude: float
    absolute: int
    relative: int

    @property
    def direction(self) -> str:
        """The value of `orbitDirection`."""
        return "DESCENDING" if self.descending else "ASCENDING"

    def when(self, latitude: float) -> datetime:
        """When the satellite is at this latitude."""
        ahead = (LATITUDE - latitude) / _DEGREES_PER_SECOND
        return self.moment + timedelta(seconds=ahead if self.descending else -ahead)

    def corner(self, latitude: float, across_km: float) -> Point:
        """The point `across_km` east of the track (west where negative)."""
        sign = 1.0 if self.descending else -1.0
        north = latitude - sign * across_km * math.sin(_TILT) / 111.2
        track = self.longitude + sign * _SLOPE * (latitude - LATITUDE)
        return track + across_km * math.cos(_TILT) / (111.3 * math.cos(math.radians(latitude))), (
            north
        )

    def swath(
        self, south: float, north: float, west_km: float, east_km: float, steps: int = 1
    ) -> list[Point]:
        """The corners of what is seen between two latitudes, `steps` segments a side."""
        rows = [south + (north - south) * step / steps for step in range(steps + 1)]
        east = [self.corner(row, east_km) for row in rows]
        west = [self.corner(row, west_km) for row in reversed(rows)]
        return east + west


def passes(
    orbiter: Orbiter,
    start: datetime,
    end: datetime,
    *,
    descending: bool,
    longitudes: tuple[float, float],
) -> Iterator[Pass]:
    """The passes between two instants that cross 38 N between two longitudes."""
    period = timedelta(days=orbiter.cycle_days) / orbiter.cycle_orbits
    anchor = orbiter.anchor if descending else orbiter.anchor - _ASCENDING_LEAD
    hour = orbiter.descending_hour if descending else orbiter.ascending_hour
    for step in range(math.ceil((start - anchor) / period), math.ceil((end - anchor) / period)):
        moment = anchor + step * period
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        longitude = 15.0 * (hour - (moment - midnight).total_seconds() / 3600.0)
        longitude = (longitude + 180.0) % 360.0 - 180.0
        if longitudes[0] <= longitude <= longitudes[1]:
            yield Pass(
                orbiter=orbiter,
                descending=descending,
                moment=moment,
                longitude=longitude,
                absolute=orbiter.absolute + step,
                relative=(orbiter.relative - 1 + step) % orbiter.cycle_orbits + 1,
            )
