"""What a check has found wrong, read back from the ledger to be fetched again."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from noa_async.archive.database import read_database
from noa_async.archive.destination import ledger_there
from noa_async.archive.ledger import numbered
from noa_async.archive.schema import TROUBLED
from noa_async.tasks import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from noa_async.archive.record import Record
    from noa_async.archive.targets import StoreUrl
    from noa_async.catalogue.product import Product

_WRONG = """(state IN ('damaged', 'missing')
    OR path IS NOT NULL AND state IN ('listed', 'waiting', 'failed'))"""
ANY_WRONG = f"SELECT 1 FROM products WHERE {TROUBLED} AND {_WRONG} LIMIT 1"  # noqa: S608


def has_wrong(root: Path | StoreUrl) -> bool:
    """Whether there is any of ``wrong_products``. Blocks."""
    with closing(read_database(ledger_there(root))) as database:
        return database.row(ANY_WRONG) is not None


async def wrong_products(root: Path | StoreUrl) -> AsyncGenerator[Product]:
    """The products of which a file was here and is not right, as the ledger knows.

    It is read by pages: what is mended meanwhile may or may not be met.
    Raises DestinationError where there is no archive.
    """
    last = 0
    while page := await in_thread(_page, root, last):
        for number, record in page:
            last = number
            yield record.product


def _page(root: Path | StoreUrl, after: int) -> list[tuple[int, Record]]:
    """A page of them; the ledger is opened and closed by the thread that reads it."""
    with closing(read_database(ledger_there(root))) as database:
        return numbered(database, _WRONG, after)
