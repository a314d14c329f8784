"""Made-up products and records for the archive's tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from noa_async import Product
from noa_async.archive.record import Record
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum

START = datetime(2026, 1, 12, 9, 23, 21, 24000, UTC)
MD5 = "9e107d9d372bb6826bd81d3542a419d6"
NAME = "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE.zip"


def product(key: str = "0a5c8f2e", **changes: Any) -> Product:
    held: dict[str, Any] = {
        "id": key,
        "name": NAME,
        "size": 1000,
        "checksums": (Checksum("md5", MD5),),
        "content_type": "application/zip",
        "published": START,
        "modified": START,
        "sensing_start": START,
        "sensing_end": START,
        "footprint": "POLYGON((22 38,23 38,23 39,22 39,22 38))",
    }
    return Product(**(held | changes))


def record(state: State, **changes: Any) -> Record:
    held: dict[str, Any] = {"product": product(), "state": state}
    if state in {State.VERIFIED, State.UNVERIFIED}:
        held |= {"path": NAME, "size": 1000, "mtime_ns": 5, "checksum": f"md5:{MD5}"}
    return Record(**(held | changes))
