"""Convert records to rows of the ledger and back. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from noa_async.archive.layout import ATTRIBUTES, facets
from noa_async.archive.record import Record
from noa_async.archive.states import State
from noa_async.catalogue.product import Checksum, Product

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from noa_async.archive.database import Statement

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

_CATALOGUE = (
    "id", "name", "catalogue_size", "checksums", "content_type", "online", "published", "modified",
    "sensing_start", "sensing_end", "footprint", "attributes",
)  # fmt: skip
KEPT_ATTRIBUTES = (
    "cloudCover", "orbitDirection", "polarisationChannels", "operationalMode",
)  # fmt: skip
"""Attributes of the catalogue that are stored unchanged, for ``noa-async export``."""
_FACETS = tuple(ATTRIBUTES)
_OWN = (
    "state", "path", "size", "mtime_ns", "checksum", "verified", "looked", "attempts",
    "failures", "failed_at", "error", "reason", "todo", "query", "seen", "gone", "absences",
    "trash", "hook_due", "hooked", "accepted", "updated",
)  # fmt: skip
COLUMNS = (*_CATALOGUE, *_FACETS, *_OWN, "path_key")
NAMES = ", ".join(COLUMNS)
"""The columns, as SQL."""
_CHANGES = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")
_ROW = f"({', '.join('?' for _ in COLUMNS)})"
_ROWS = 24
"""Records written per statement, because each statement releases the GIL and waits for it again.
Old versions of SQLite allow 999 values per statement."""
_STATES = frozenset(State)


def row_of(record: Record) -> tuple[Any, ...]:
    """Return the values of ``COLUMNS``; unpaired surrogates, which SQLite cannot store, are
    replaced."""
    product = record.product
    known = facets(product)
    row = (
        product.id,
        product.name,
        product.size,
        " ".join(map(str, product.checksums)),
        product.content_type,
        product.online,
        milliseconds(product.published),
        milliseconds(product.modified),
        milliseconds(product.sensing_start),
        milliseconds(product.sensing_end),
        product.footprint,
        _kept(product),
        *(known[name] for name in _FACETS),
        record.state.value,
        record.path,
        record.size,
        record.mtime_ns,
        record.checksum,
        record.verified,
        record.looked,
        record.attempts,
        record.failures,
        record.failed_at,
        record.error,
        record.reason,
        record.todo,
        record.query,
        record.seen,
        record.gone,
        record.absences,
        record.trash,
        record.hook_due,
        record.hooked,
        record.accepted,
        record.updated,
        record.path_key,
    )
    return tuple([_storable(value) if type(value) is str else value for value in row])


def record_of(row: Sequence[Any]) -> Record:
    """Return the record of a row. A state that this version does not know is read as failed.

    Raise TypeError, ValueError, OverflowError or AttributeError for a row that ``row_of`` did not
    write.
    """
    catalogue = row[: len(_CATALOGUE)]
    held = row[len(_CATALOGUE) : len(_CATALOGUE) + len(_FACETS)]
    state, *own = row[len(_CATALOGUE) + len(_FACETS) : -1]
    known = State(state) if state in _STATES else State.FAILED
    return Record(_product(catalogue, held), known, *own)


def _product(catalogue: Sequence[Any], held: Sequence[Any]) -> Product:
    key, name, size, checksums, kind, online, published, modified, start, end, where = catalogue[
        :-1
    ]
    attributes: dict[str, Any] = json.loads(catalogue[-1]) if catalogue[-1] else {}
    attributes |= {
        ATTRIBUTES[field]: text for field, text in zip(_FACETS, held, strict=True) if text
    }
    return Product(
        key,
        name,
        size,
        tuple(Checksum(*text.split(":", 1)) for text in checksums.split() if ":" in text),
        kind,
        bool(online),
        instant(published),
        instant(modified),
        instant(start),
        instant(end),
        footprint=where,
        attributes=attributes,
    )


def _kept(product: Product) -> str:
    """Return the attributes to store, as JSON; empty if there are none."""
    attributes = product.attributes
    kept = {name: attributes[name] for name in KEPT_ATTRIBUTES if name in attributes}
    return json.dumps(kept) if kept else ""


def upserts(rows: Iterator[tuple[Any, ...]]) -> Iterator[Statement]:
    """Yield the statements that insert ``rows``, replacing those with the same Ids."""
    while some := list(islice(rows, _ROWS)):
        values = ", ".join([_ROW] * len(some))
        sql = (
            f"INSERT INTO products ({NAMES}) VALUES {values} "  # noqa: S608 (made of constants)
            f"ON CONFLICT (id) DO UPDATE SET {_CHANGES}"
        )
        yield sql, [tuple(chain.from_iterable(some))]


def instant(milliseconds: int | None) -> datetime | None:
    """Return the UTC instant this many milliseconds after the start of 1970."""
    return None if milliseconds is None else _EPOCH + milliseconds * _MILLISECOND


def milliseconds(moment: datetime | None) -> int | None:
    """Return the whole milliseconds from the start of 1970 to an instant."""
    if moment is None:
        return None
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
