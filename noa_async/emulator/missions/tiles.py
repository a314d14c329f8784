"""The MGRS tiles of Sentinel-2 over Greece and its seas, with their real names and places."""

import math
from dataclasses import dataclass
from functools import lru_cache

from shapely.geometry import Polygon

_COLUMNS = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_TILE_M = 109_800
_AXIS, _ECCENTRICITY2, _SCALE = 6_378_137.0, 0.00669437999014, 0.9996


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: its name without the leading T, and its outline."""

    name: str
    outline: Polygon


def utm_to_degrees(zone: int, easting: float, northing: float) -> tuple[float, float]:
    """Longitude and latitude of a UTM point of the northern hemisphere (Snyder's series)."""
    e2 = _ECCENTRICITY2
    root = math.sqrt(1 - e2)
    e1 = (1 - root) / (1 + root)
    mu = northing / _SCALE / (_AXIS * (1 - e2 / 4 - 3 * e2**2 / 64 - 5 * e2**3 / 256))
    foot = (
        mu
        + (3 * e1 / 2 - 27 * e1**3 / 32) * math.sin(2 * mu)
        + (21 * e1**2 / 16 - 55 * e1**4 / 32) * math.sin(4 * mu)
        + (151 * e1**3 / 96) * math.sin(6 * mu)
    )
    ep2 = e2 / (1 - e2)
    c, t = ep2 * math.cos(foot) ** 2, math.tan(foot) ** 2
    bend = 1 - e2 * math.sin(foot) ** 2
    radius = _AXIS * (1 - e2) / bend**1.5
    n = _AXIS / math.sqrt(bend)
    d = (easting - 500_000) / (n * _SCALE)
    latitude = foot - n * math.tan(foot) / radius * (
        d**2 / 2 - (5 + 3 * t + 10 * c - 4 * c**2 - 9 * ep2) * d**4 / 24
    )
    longitude = (d - (1 + 2 * t + c) * d**3 / 6) / math.cos(foot)
    return 6 * zone - 183 + math.degrees(longitude), math.degrees(latitude)


@lru_cache(maxsize=1)
def tiles() -> tuple[Tile, ...]:
    """Every tile whose centre lies over Greece, southern Italy and the seas between them."""
    found = []
    for zone in (33, 34, 35):
        for column in range(1, 9):
            for row in range(38, 47):
                longitude, latitude = utm_to_degrees(
                    zone, column * 100_000 + _TILE_M / 2, row * 100_000 + _TILE_M / 2
                )
                inside = abs(longitude - (6 * zone - 183)) <= 3.1
                if inside and 15.5 <= longitude <= 27.5 and 34.8 <= latitude <= 41.8:
                    found.append(_tile(zone, column, row, latitude))
    return tuple(found)


def _tile(zone: int, column: int, row: int, latitude: float) -> Tile:
    band = "T" if latitude >= 40 else "S"
    letters = _COLUMNS[(zone - 1) % 3][column - 1]
    letters += _ROWS[(row + (0 if zone % 2 else 5)) % 20]
    west, north = column * 100_000, (row + 1) * 100_000
    corners = [
        (west, north),
        (west + _TILE_M, north),
        (west + _TILE_M, north - _TILE_M),
        (west, north - _TILE_M),
    ]
    return Tile(f"{zone}{band}{letters}", Polygon([utm_to_degrees(zone, x, y) for x, y in corners]))
