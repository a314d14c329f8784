"""Ledgers of made-up products, as large as they are wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from noa_async.archive.database import open_database
from noa_async.archive.destination import ledger_of
from noa_async.archive.record import Record
from noa_async.archive.rows import COLUMNS, milliseconds, row_of
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum, Product

if TYPE_CHECKING:
    from pathlib import Path

FILTER = "Collection/Name eq 'SENTINEL-2' and ContentDate/Start ge 2017-01-01T00:00:00.000Z"
_BEGIN = datetime(2017, 1, 1, tzinfo=UTC)
_DAYS = 3300
_TROUBLED = 200
"""One product of so many is not here."""
_TROUBLES = (
    (State.FAILED, "ServiceRefused", "The service refused: 403 Forbidden."),
    (State.WAITING, "ProductOffline", "The product is brought on line first."),
    (State.QUARANTINED, "ChecksumMismatch", "The bytes are not what the catalogue says."),
    (State.DAMAGED, None, "Its file is damaged."),
)
_PLACES = ", ".join("?" for _ in COLUMNS)
_INSERT = f"INSERT INTO products ({', '.join(COLUMNS)}) VALUES ({_PLACES})"


def made_product(number: int, count: int) -> Product:
    """The ``number``-th of ``count`` products, by sensing time."""
    start = _BEGIN + timedelta(seconds=number * _DAYS * 86400 // max(1, count))
    when, tile = start.strftime("%Y%m%dT%H%M%S"), f"{30 + number % 9}S{'CDEFGHJK'[number % 8]}H"
    level = "L2A" if number % 3 else "L1C"
    name = f"S2{'AB'[number % 2]}_MSI{level}_{when}_N0511_R{number % 143:03}_T{tile}_{when}.SAFE"
    west, south = 14 + number % 80 / 10, 34 + number % 70 / 10
    east, north = west + 1.2, south + 1
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    corners = ", ".join(f"{lon:.6f} {lat:.6f}" for lon, lat in ring)
    return Product(
        f"{number:08x}-6b1d-4c55-9f0e-5b0f3a2d7c11",
        name,
        500_000_000 + number % 1_000_003,
        (Checksum("md5", f"{number:032x}"),),
        "application/octet-stream",
        published=start + timedelta(hours=5),
        modified=start + timedelta(hours=6),
        sensing_start=start,
        sensing_end=start + timedelta(seconds=10),
        footprint=f"POLYGON(({corners}))",
        attributes={"platformShortName": "SENTINEL-2", "productType": f"S2MSI{level[1:]}"},
    )


def made_record(number: int, count: int, now: float) -> Record:
    """A product that is here and verified; one of some is not, for one of several reasons."""
    product = made_product(number, count)
    known: dict[str, Any] = {"query": 1, "seen": 1, "updated": now}
    if number % _TROUBLED == 0:
        state, reason, error = _TROUBLES[number // _TROUBLED % len(_TROUBLES)]
        todo = None if state is State.QUARANTINED else number + 1
        return Record(product, state, error=error, reason=reason, todo=todo, **known)
    return Record(
        product,
        State.VERIFIED,
        path=f"{product.name}.{number:x}.zip",
        size=product.size,
        mtime_ns=int(now) * 10**9,
        checksum=str(product.checksums[0]),
        verified=now,
        attempts=1,
        **known,
    )


def make_ledger(folder: Path, count: int) -> Path:
    """An archive in ``folder`` whose ledger holds so many products, a followed query and a run.

    Their files are not there. The ledger's path.
    """
    path = ledger_of(folder)
    path.parent.mkdir(parents=True)
    (path.parent / "layout").write_text("{name}\n")
    now = datetime.now(UTC).timestamp()
    database = open_database(path)
    database.script("PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;")
    rows = (row_of(made_record(number, count, now)) for number in range(count))
    mark = milliseconds(_BEGIN + timedelta(days=_DAYS + 1))
    database.write(
        [
            (_INSERT, rows),
            (
                "INSERT INTO queries (number, filter, watermark, reconciled) VALUES (1, ?, ?, ?)",
                [(FILTER, mark, now)],
            ),
            (
                "INSERT INTO runs VALUES (1, 'mirror', 1, ?, ?, 'complete', ?, ?, 0, 0, 0)",
                [(now - 60, now, count, count)],
            ),
        ]
    )
    database.close()
    return path
