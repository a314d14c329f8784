"""Decide what to do for a product. Pure."""

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
    """The file is present and right, without reading it."""


@dataclass(frozen=True, slots=True)
class Read:
    """The file must be read and compared with ``expected`` (``algorithm:hex``)."""

    expected: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """The product must be downloaded; ``state`` is the record's new state."""

    state: State


Verdict = Right | Read | Wrong


def wanted_checksum(product: Product) -> str | None:
    """Return the catalogue's strongest checksum, in the form that records have."""
    checksum = strongest(product.checksums)
    return str(checksum) if checksum else None


def judge(record: Record, product: Product, facts: FileFacts | None) -> Verdict:
    """Return whether a product's file, which the ledger knows, is the catalogue's current version.

    | the file           | the record | the catalogue's checksum       | verdict            |
    |--------------------|------------|--------------------------------|--------------------|
    | is missing         |            |                                | Wrong, missing     |
    | unchanged          | held       | the record's                   | Right              |
    | unchanged          | held       | another, of the same algorithm | Wrong, outdated    |
    | unchanged          | held       | of another algorithm           | Read               |
    | unchanged          | held       | none, modified since           | Wrong, outdated    |
    | unchanged          | held       | none, not modified             | Right              |
    | changed time/size, | not held   | present                        | Read, with that    |
    | or any             |            |                                |                    |
    | the same           | not held   | none; the record has one       | Read, with that    |
    | the same           | not held   | none, neither has the record   | Wrong, damaged     |
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
    """Return whether ``judge`` would return Right because the record's checksum is the
    catalogue's."""
    return (
        facts is not None
        and glance.state in HELD
        and facts.mtime_ns == glance.mtime_ns
        and facts.size == glance.size
        and glance.checksum in [str(each) for each in product.checksums]
    )


@dataclass(frozen=True, slots=True)
class Sighting:
    """The listing that found a product: its run, its query, the current time and the retry
    limit."""

    run: int
    query: int
    now: float
    limit: int
    """Number of failed runs after which a product is given up."""


def sighted(
    record: Record | None,
    product: Product,
    verdict: Verdict | None,
    sighting: Sighting,
    place: Callable[[], int],
) -> Record:
    """Return the record of a product found by a listing; its ``todo`` says whether it is queued.

    ``verdict``: the result of ``judge``; None if the record has no file. ``place`` returns a new
    position in the queue.

    | record                              | verdict | becomes             | queued               |
    |-------------------------------------|---------|---------------------|----------------------|
    | none, or removed                    |         | listed              | yes                  |
    | held                                | Right   | unchanged           | only if its hook is  |
    |                                     |         |                     | due                  |
    | held                                | Read    | unchanged           | yes: a worker reads  |
    | held                                | Wrong   | missing or outdated | yes                  |
    | consumed                            |         | unchanged           | no                   |
    | quarantined, failed too often       |         | unchanged           | no                   |
    | wrong, but accepted by a user       |         | unchanged           | no                   |
    | these three, changed since          |         | listed              | yes                  |
    | any other                           |         | unchanged           | yes                  |
    """
    if record is None:
        record = first_record(product, State.LISTED, sighting.now)
        return replace(record, query=sighting.query, seen=sighting.run, todo=place())
    known = _with_attributes(product, record)
    changed = is_changed(record.product, product)
    todo = record.todo if record.query == sighting.query else None  # each query has its own queue
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
    """Return whether bytes just found right belong to an older version of the product than the
    ledger's.

    ``before`` is the ledger's product when the work began, ``known`` its product now. ``right`` is
    the record of the file, with the product whose bytes it has: the one requested, or as the
    catalogue described it when asked again.

    | the ledger's product                  | its checksum         | superseded |
    |---------------------------------------|----------------------|------------|
    | is unchanged                          |                      | no         |
    | was modified before that of the bytes |                      | no         |
    | was changed by a listing              | that of the bytes    | no         |
    | the same                              | another              | yes        |
    | the same                              | none, modified since | yes        |
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
    """Return whether a failure counts towards giving up a product.

    An outage of the data store fails every product, so it must not count against each.

    | the error                               | others were downloaded meanwhile | counts |
    |-----------------------------------------|----------------------------------|--------|
    | the product's, and permanent            |                                  | yes    |
    | any other: temporary, or of the service | yes                              | yes    |
    | the same                                | no                               | no     |
    """
    return others_came or (isinstance(error, ProductError) and not error.retryable)


def is_changed(before: Product, after: Product) -> bool:
    """Return whether the product's bytes in the catalogue have changed, or may have."""
    old, new = wanted_checksum(before), wanted_checksum(after)
    return new != old if new else _modified(before, after)


def _modified(before: Product, after: Product) -> bool:
    """Return whether the modification time differs; the ledger stores milliseconds."""
    if before.modified is None or after.modified is None:
        return False
    return format_instant(before.modified) != format_instant(after.modified)


def _with_attributes(product: Product, record: Record) -> Product:
    """Return the product with the attributes known before, if this listing has none."""
    if product.attributes or not record.product.attributes:
        return product
    return replace(product, attributes=record.product.attributes)
