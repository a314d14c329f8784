"""Convert archived products to STAC Items (https://stacspec.org), each a plain dict."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from noa_async.archive.layout import facets
from noa_async.catalogue.product import Checksum
from noa_async.catalogue.times import format_instant
from noa_async.cli.held import moment, sensed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from noa_async.cli.held import Held

VERSION = "1.0.0"
_EXTENSIONS = {
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "published": "https://stac-extensions.github.io/timestamps/v1.1.0/schema.json",
    "product": "https://stac-extensions.github.io/product/v1.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "grid": "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "sat": "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "eo": "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "sar": "https://stac-extensions.github.io/sar/v1.0.0/schema.json",
}
"""Extension schemas by the prefix of their fields."""
_MULTIHASH = {
    "md5": 0xD5, "sha1": 0x11,
    "sha224": 0x1013, "sha256": 0x12, "sha384": 0x20, "sha512": 0x13,
    "sha3-224": 0x17, "sha3-256": 0x16, "sha3-384": 0x15, "sha3-512": 0x14,
    "blake2b": 0xB240, "blake2s": 0xB260, "blake3": 0x1E,
}  # fmt: skip
"""Codes of https://github.com/multiformats/multicodec."""
_TYPES = {".zip": "application/zip", ".nc": "application/netcdf", ".tar": "application/x-tar"}
_UNTOLD = "application/octet-stream"
_LOCAL_PATH = re.compile(r"[^\r\n\t\\:'\"/]+(/[^\r\n\t\\:'\"/]+)*")
"""The pattern of ``file:local_path`` in the file extension."""
_SATELLITE = re.compile(r"S(?:(?P<number>[1-6])(?P<letter>[A-D])|5P)_")
_MISSION = re.compile(r"sentinel-\d[a-z]?")
_ORBIT = re.compile(r"0*([1-9][0-9]{0,5})")
_RADAR_TYPE = re.compile(r"_(RAW|SLC|GRD|OCN)")
_MGRS = re.compile(r"[0-9]{1,2}[A-Z]{3}")


def item(held: Held, geometry: object, bbox: object) -> dict[str, Any]:
    """Return a product as a STAC Item; ``bbox`` is None if there is no geometry."""
    properties, asset = _properties(held), _asset(held)
    prefixes = {name.partition(":")[0] for name in (*properties, *asset)}
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [url for prefix, url in _EXTENSIONS.items() if prefix in prefixes],
        "id": held.record.id,
        "geometry": geometry,
        **({} if bbox is None else {"bbox": bbox}),
        "properties": properties,
        "links": [],
        "assets": {"data": asset},
    }


def _properties(held: Held) -> dict[str, Any]:
    product = held.record.product
    known = facets(product)
    tile, verified = known["tile"], held.verified
    orbit = _ORBIT.fullmatch(known["orbit"])
    told = {
        "title": product.name,
        "published": format_instant(product.published) if product.published else None,
        **_satellite(product.name, known["platform"]),
        "product:type": known["product_type"],
        "processing:level": known["level"],
        "grid:code": f"MGRS-{tile}" if _MGRS.fullmatch(tile) else None,
        "sat:relative_orbit": int(orbit[1]) if orbit else None,
        **_sensed(held, known),
        "noa:state": str(held.record.state),
        "noa:verified": format_instant(verified) if verified else None,
    }
    return _times(held) | {name: value for name, value in told.items() if value not in (None, "")}


def _sensed(held: Held, known: Mapping[str, str]) -> dict[str, Any]:
    """Return how a product was sensed, in the fields of the extensions eo, sat and sar.

    The sar fields are set all together or not at all, because the extension requires each.
    """
    told = sensed(held.record.product)
    state = (told["orbit_direction"] or "").lower()
    kind = _RADAR_TYPE.search(known["product_type"])
    fields = {
        "eo:cloud_cover": told["cloud_cover"],
        "sat:orbit_state": state if state in {"ascending", "descending"} else None,
    }
    if known["platform"] == "SENTINEL-1" and told["mode"] and told["polarisation"] and kind:
        fields |= {
            "sar:instrument_mode": told["mode"],
            "sar:frequency_band": "C",
            "sar:polarizations": told["polarisation"].split(","),
            "sar:product_type": kind[1],
        }
    return fields


def _times(held: Held) -> dict[str, str]:
    """Return the times of an Item, which requires one: the sensing time or the next best."""
    record, product = held.record, held.record.product
    start, end = product.sensing_start, product.sensing_end
    best = start or end or product.published or held.verified or moment(record.updated)
    times = {"datetime": format_instant(best)}
    if start is not None and end is not None and start <= end:
        times |= {"start_datetime": format_instant(start), "end_datetime": format_instant(end)}
    return times


def _satellite(name: str, platform: str) -> dict[str, str]:
    """Return ``platform`` and ``constellation`` as STAC catalogues of Sentinel products use them.

    >>> _satellite("S2A_MSIL2A_20260112T092321.SAFE", "SENTINEL-2")
    {'constellation': 'sentinel-2', 'platform': 'sentinel-2a'}
    """
    mission = platform.lower()
    if not _MISSION.fullmatch(mission):
        return {"platform": mission}
    found = _SATELLITE.match(name)
    letter = found["letter"] if found and f"sentinel-{found['number']}" == mission else None
    return {"constellation": mission, "platform": mission + (letter or "").lower()}


def _asset(held: Held) -> dict[str, Any]:
    ending = held.path[held.path.rfind(".") :].lower() if "." in held.path else ""
    kind = _TYPES.get(ending) or held.record.product.content_type or _UNTOLD
    asset = {
        "href": held.href,
        "type": kind,
        "title": held.record.product.name,
        "roles": ["data"],
        "file:size": held.size,
        "file:checksum": multihash(held.record.checksum),
        "file:local_path": held.path if _LOCAL_PATH.fullmatch(held.path) else None,
    }
    return {name: value for name, value in asset.items() if value is not None}


def multihash(checksum: str | None) -> str | None:
    """Convert ``algorithm:hex`` to a hexadecimal multihash; None if the algorithm has no code.

    >>> multihash("md5:" + "ab" * 16)
    'd50110abababababababababababababababab'
    >>> multihash("crc32:0a5c8f2e")
    """
    algorithm, _, digest = (checksum or "").partition(":")
    read, code = Checksum.read(algorithm, digest), _MULTIHASH.get(algorithm)
    if read is None or code is None:
        return None
    return bytes([*_varint(code), *_varint(len(read.value) // 2)]).hex() + read.value


def _varint(number: int) -> Iterator[int]:
    """Encode an unsigned varint: seven bits per byte, lowest first; bit 8 marks continuation."""
    while number > 127:
        yield number & 127 | 128
        number >>= 7
    yield number
