"""Read the products that an archive holds from its ledger."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from noa_async.archive.database import read_database
from noa_async.archive.destination import ledger_there
from noa_async.archive.ledger import records_of
from noa_async.archive.states import HELD

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from noa_async.archive.database import Database
    from noa_async.archive.record import Record
    from noa_async.archive.targets import StoreUrl

_HERE = f"state IN ({', '.join(repr(str(state)) for state in sorted(HELD))})"

_YEAR_10000 = 253_402_300_800


@contextmanager
def read_holdings(root: Path | StoreUrl) -> Generator[Iterator[Record]]:
    """Iterate over the records of files that are present and right, each once. Blocks; takes no
    lock.

    A run may continue meanwhile. Records are read in pages, and no transaction is open between two
    pages; a record is as of its page.

    Raise DestinationError if there is no archive, or it is unreadable.
    """
    database = read_database(ledger_there(root))
    try:
        yield _records(database)
    finally:
        database.close()


def _records(database: Database) -> Iterator[Record]:
    for record in records_of(database, _HERE):
        if not _sound(record):
            raise database.broken("it contains a product without a file")
        yield record


def _sound(record: Record) -> bool:
    """Return whether a record's values have the expected types."""
    times = (record.updated, record.updated if record.verified is None else record.verified)
    return (
        isinstance(record.path, str)
        and isinstance(record.size, int)
        and isinstance(record.checksum, str | None)
        and all(isinstance(time, float) and 0 <= time < _YEAR_10000 for time in times)
    )
