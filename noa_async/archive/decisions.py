"""What is to be done for a product, decided from what is known of it. All of it is pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from noa_async.archive.record import Glance, Record, first_record
from noa_async.archive.states import HELD, State
from noa_async.catalogue.times import format_instant
from noa_async.errors import ProductError
from noa_async.transfer.checksum import strongest

if TYPE_CHECKING:
    from collections.abc import Callable

    from noa_async.archive.destination import FileFacts
    from noa_async.catalogue.product import Product
    from noa_async.errors import NoaError


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


def is_as_left(glance: Glance, product: Product, facts: FileFacts | None) -> bool:
    """Whether ``judge`` would say Right because the record's checksum is the catalogue's."""
    return (
        facts is not None
        and glance.state in HELD
        and facts.mtime_ns == glance.mtime_ns
        and facts.size == glance.size
        and glance.checksum in [str(each) for each in product.checksums]
    )


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
    | none, removed, failed or not        |         | listed              | yes                   |
    | held                                | Right   | as it is            | no: but for its hook  |
    | held                                | Read    | as it is            | yes: a worker reads   |
    | held                                | Wrong   | missing or outdated | yes                   |
    | consumed                            |         | as it is            | no                    |
    | quarantined, failed too often       |         | as it is            | no                    |
    | wrong, which somebody has accepted  |         | as it is            | no                    |
    | these three, changed by now         |         | listed              | yes                   |
    | any other                           |         | as it is            | yes                   |
    """
    if record is None:
        record = first_record(product, State.LISTED, sighting.now)
        return replace(record, query=sighting.query, seen=sighting.run, todo=place())
    known = _with_attributes(product, record)
    changed = is_changed(record.product, product)
    todo = record.todo if record.query == sighting.query else None  # each has a list of its own
    record = replace(
        record,
        product=known,
        query=sighting.query,
        seen=sighting.run,
        gone=None,
        absences=0,
        todo=todo,
    )
    if record.held:
        if isinstance(verdict, Right):
            return record if record.hook_due is not None else replace(record, todo=None)
        if isinstance(verdict, Wrong):
            record = record.spoilt(verdict.state, sighting.now)
        return replace(record, todo=record.todo or place())
    given_up = (
        record.state in {State.QUARANTINED, State.CONSUMED}
        or record.failures >= sighting.limit
        or record.accepted is not None
    )
    back = record.state is State.REMOVED
    if given_up and not changed and not back:
        return record
    if given_up or back:
        return record.listed_anew(sighting.now, todo=place())
    return replace(record, todo=record.todo or place())


def is_superseded(before: Product, right: Record, known: Product) -> bool:
    """Whether bytes that were just found right are those of an older product than the ledger's.

    ``before`` is what the ledger had when the work on it began, ``known`` what it has by now.
    ``right`` is the record of the file, with the product whose bytes it has: the one that was
    asked for, or as the catalogue told it when it was asked again.

    | the ledger's product              | its checksum         | superseded |
    |-----------------------------------|----------------------|------------|
    | is what it was                    |                      | no         |
    | modified before that of the bytes |                      | no         |
    | a listing has changed it          | that of the bytes    | no         |
    | the same                          | another              | yes        |
    | the same                          | none, modified since | yes        |
    """
    ours = right.product
    if not is_changed(before, known):
        return False
    if ours.modified and known.modified and known.modified < ours.modified:
        return False
    if known.checksums:
        return right.checksum not in {str(each) for each in known.checksums}
    return _modified(ours, known)


def counts(error: NoaError, *, others_came: bool) -> bool:
    """Whether a failure counts towards those after which a product is given up.

    An outage of what keeps the bytes fails every product alike: it is no fault of theirs.

    | the error                              | others arrived meanwhile | counts |
    |----------------------------------------|--------------------------|--------|
    | the product's, and final               |                          | yes    |
    | any other: it passes, or is of service | yes                      | yes    |
    | the same                               | no                       | no     |
    """
    return others_came or (isinstance(error, ProductError) and not error.retryable)


def is_changed(before: Product, after: Product) -> bool:
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
