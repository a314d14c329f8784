"""What is to be done for a product, decided from what is known of it. All of it is pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.record import Record, first_record
from noa_async.archive.states import State
from noa_async.catalogue.times import format_instant
from noa_async.transfer.checksum import strongest

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.archive.destination import FileFacts
    from noa_async.catalogue.product import Product


@dataclass(frozen=True, slots=True)
class Right:
    """The file is here and right; nothing has to be read."""


@dataclass(frozen=True, slots=True)
class Read:
    """The file has to be read and compared with ``expected`` (``algorithm:hex``)."""

    expected: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """It has to be fetched; ``state`` is what the record moves to."""

    state: State


Verdict = Right | Read | Wrong


def wanted_checksum(product: Product) -> str | None:
    """The checksum of the catalogue that decides, as a record has it."""
    checksum = strongest(product.checksums)
    return str(checksum) if checksum else None


def judge(record: Record, product: Product, facts: FileFacts | None) -> Verdict:
    """Whether a product's file, which the ledger knows, is what the catalogue has now.

    | the file          | the record | the catalogue's checksum      | verdict             |
    |-------------------|------------|-------------------------------|---------------------|
    | is not there      |            |                               | Wrong, missing      |
    | as it was         | held       | that of the record            | Right               |
    | as it was         | held       | another by the same algorithm | Wrong, outdated     |
    | as it was         | held       | by another algorithm          | Read                |
    | as it was         | held       | none, modified since          | Wrong, outdated     |
    | as it was         | held       | none, not modified            | Right               |
    | touched, or any   | not held   | there                         | Read, with that     |
    | touched, or any   | not held   | none, that of the record then | Read, with that     |
    | touched, or any   | not held   | none at all                   | Wrong, damaged      |
    """
    if facts is None:
        return Wrong(State.MISSING)
    wanted = wanted_checksum(product)
    if record.held and (facts.size, facts.mtime_ns) == (record.size, record.mtime_ns):
        if wanted is None:
            return Wrong(State.OUTDATED) if _modified(record.product, product) else Right()
        if record.checksum in {str(each) for each in product.checksums}:
            return Right()
        if record.checksum and record.checksum.partition(":")[0] == wanted.partition(":")[0]:
            return Wrong(State.OUTDATED)
    expected = wanted or record.checksum
    return Read(expected) if expected else Wrong(State.DAMAGED)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A listing that meets products: the run, its query, and the rules that hold in it."""

    run: int
    query: int
    now: float
    limit: int
    """Runs that may fail for a product before it is given up."""


def sighted(
    record: Record | None,
    product: Product,
    verdict: Verdict | None,
    sighting: Sighting,
    place: Callable[[], int],
) -> Record:
    """The record of a product that a listing met; ``todo`` says whether it is to be fetched.

    ``verdict`` is that of ``judge``, None where the record has no file. ``place`` gives a new
    place in the list of what is to be done.

    | record                              | verdict | becomes             | to do                 |
    |-------------------------------------|---------|---------------------|-----------------------|
    | none, removed                       |         | listed              | yes                   |
    | held                                | Right   | as it is            | no                    |
    | held                                | Read    | as it is            | yes: a worker reads   |
    | held                                | Wrong   | missing or outdated | yes                   |
    | quarantined, failed too often       |         | as it is            | no                    |
    | the same, the catalogue has changed |         | listed              | yes                   |
    | any other                           |         | as it is            | yes                   |
    """
    if record is None:
        record = first_record(product, State.LISTED, sighting.now)
        return replace(record, query=sighting.query, seen=sighting.run, todo=place())
    known = _with_attributes(product, record)
    changed = _changed(record.product, product)
    todo = record.todo if record.query == sighting.query else None  # each has a list of its own
    record = replace(
        record, product=known, query=sighting.query, seen=sighting.run, gone=None, todo=todo
    )
    if record.held:
        if isinstance(verdict, Right):
            return replace(record, todo=None)
        if isinstance(verdict, Wrong):
            record = record.spoilt(verdict.state, sighting.now)
        return replace(record, todo=record.todo or place())
    given_up = record.state is State.QUARANTINED or record.failures >= sighting.limit
    if given_up and not changed:
        return record
    if given_up or record.state is State.REMOVED:
        return record.moved(State.LISTED, sighting.now, todo=place(), failures=0, failed_at=None)
    return replace(record, todo=record.todo or place())


def _changed(before: Product, after: Product) -> bool:
    """Whether the catalogue has other bytes, or may have, than it had."""
    old, new = wanted_checksum(before), wanted_checksum(after)
    return new != old if new else _modified(before, after)


def _modified(before: Product, after: Product) -> bool:
    """Whether the catalogue says another instant of change; the ledger knows milliseconds."""
    if before.modified is None or after.modified is None:
        return False
    return format_instant(before.modified) != format_instant(after.modified)


def _with_attributes(product: Product, record: Record) -> Product:
    """The product with the attributes known before, where this listing did not ask for them."""
    if product.attributes or not record.product.attributes:
        return product
    return replace(product, attributes=record.product.attributes)
