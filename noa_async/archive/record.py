"""A product's record in the ledger, and its transitions. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from noa_async.archive.names import fold
from noa_async.archive.states import HELD, State, check_move

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from noa_async.archive.destination import FileFacts
    from noa_async.catalogue.product import Product
    from noa_async.errors import NoaError

_COUNT_EVERY = 20 * 3600.0
"""Seconds: failures of runs closer together than this count as one. So an hourly timer counts one
failure a day, and a nightly one, which is not always punctual, counts one a night."""


class Glance(NamedTuple):
    """The fields of a record that describe its file: its path and how it was left.

    The field names are columns of the ledger.
    """

    id: str
    state: str
    path: str | None
    size: int | None
    mtime_ns: int | None
    checksum: str | None
    todo: int | None
    hook_due: float | None


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger stores of a product. Instants are seconds since 1970, UTC."""

    product: Product
    """The product as the catalogue last listed it."""
    state: State
    path: str | None = None
    """Path of its file relative to the output folder, with ``/``."""
    size: int | None = None
    """Size of its file in bytes."""
    mtime_ns: int | None = None
    """Modification time of its file when it was last found right."""
    checksum: str | None = None
    """``algorithm:hex`` of the file's content; for a quarantined product, the catalogue's
    checksum."""
    verified: float | None = None
    """When the file's content was last found right."""
    looked: float | None = None
    """When a check last examined the file, with any result."""
    attempts: int = 0
    """Requests for its bytes in the last run that tried."""
    failures: int = 0
    """Failed runs since it was last right; those within 20 hours count as one."""
    failed_at: float | None = None
    """When a failure was last counted in ``failures``."""
    error: str | None = None
    reason: str | None = None
    """The class of the error, by which failures are grouped."""
    todo: int | None = None
    """Its position in the work queue; None if nothing is to be done."""
    query: int | None = None
    """The followed query that last listed it."""
    seen: int = 0
    """The run that last listed it."""
    gone: float | None = None
    """Since when the catalogue no longer lists it."""
    absences: int = 0
    """Number of complete listings in a row that did not contain it."""
    trash: str | None = None
    """Path of its file in the trash: the day, then the path that it had."""
    hook_due: float | None = None
    """Since when its hook is due; None if it has no hook, or the hook has succeeded."""
    hooked: float | None = None
    """When its hook succeeded."""
    accepted: float | None = None
    """When a user accepted that it is missing or not right, or restored it from the trash."""
    updated: float = 0.0

    @property
    def id(self) -> str:
        return self.product.id

    @property
    def path_key(self) -> str | None:
        """The path as a file system that ignores letter case compares it."""
        return None if self.path is None else fold(self.path)

    @property
    def glance(self) -> Glance:
        """The fields that describe its file."""
        return Glance(
            self.id,
            self.state,
            self.path,
            self.size,
            self.mtime_ns,
            self.checksum,
            self.todo,
            self.hook_due,
        )

    @property
    def held(self) -> bool:
        """Whether the file is present and right."""
        return self.state in HELD

    def moved(self, state: State, now: float, **changes: Any) -> Self:
        """Return the record in another state. Raise IllegalMove if that transition is not
        allowed."""
        check_move(self.state, state)
        return replace(self, state=state, updated=now, **changes)

    def spoilt(self, state: State, now: float) -> Self:
        """Return the record of a file that is no longer right.

        If the catalogue has a newer version, the old checksum is dropped, so that the old file
        cannot be found right again.
        """
        checksum = None if state is State.OUTDATED else self.checksum
        return self.moved(state, now, checksum=checksum)

    def found_right(
        self,
        state: State,
        path: PurePosixPath | str,
        facts: FileFacts,
        checksum: str,
        now: float,
        *,
        attempts: int | None = None,
        hook_due: float | None = None,
    ) -> Self:
        """Return the record of a file that is present and right as of ``now``, with nothing to be
        done.

        ``hook_due``: since when its hook is due, if that is new; otherwise it is unchanged. A
        success of the hook is only kept if the file's content is still the same.
        """
        check_move(self.state, state)
        return type(self)(  # twice as fast as ``replace``; called for every product
            self.product,
            state,
            path=str(path),
            size=facts.size,
            mtime_ns=facts.mtime_ns,
            checksum=checksum,
            verified=now,
            looked=self.looked,
            attempts=self.attempts if attempts is None else attempts,
            query=self.query,
            seen=self.seen,
            gone=self.gone,
            absences=self.absences,
            hook_due=self.hook_due if hook_due is None else hook_due,
            hooked=self.hooked if hook_due is None and checksum == self.checksum else None,
            accepted=self.accepted if self.held else None,
            updated=now,
        )

    def listed_anew(self, now: float, **changes: Any) -> Self:
        """Return the record of a product that is to be downloaded like a new one."""
        return self.moved(
            State.LISTED,
            now,
            failures=0,
            failed_at=None,
            absences=0,
            accepted=None,
            hook_due=None,
            **changes,
        )

    def removed(self, now: float, *, trash: str | None = None) -> Self:
        """Return the record of a product that the service no longer has, and whose file is gone as
        well.

        ``trash``: the path of the file in the trash. Its size, time and checksum are kept, to
        recognize it.
        """
        file = self if trash is not None else None
        return self.moved(
            State.REMOVED,
            now,
            path=None,
            size=file and file.size,
            mtime_ns=file and file.mtime_ns,
            checksum=file and file.checksum,
            failures=0,
            failed_at=None,
            todo=None,
            hook_due=None,
            trash=trash,
            gone=now,
        )

    def consumed(self, now: float) -> Self:
        """Return the record of a product whose file was consumed by its hook; the checksum is
        kept."""
        return self.moved(
            State.CONSUMED,
            now,
            path=None,
            mtime_ns=None,
            todo=None,
            hook_due=None,
            hooked=self.hooked or now,
            error=None,
            reason=None,
        )

    def gave_up(
        self, state: State, error: NoaError, now: float, *, limit: int, counts: bool = True
    ) -> Self:
        """Return the record after a failed run; after ``limit`` such runs it is not tried again.

        ``counts``: whether this failure counts. Failures within 20 hours of the last one counted do
        not; a time in the future is ignored.
        """
        soon = self.failed_at is not None and 0 <= now - self.failed_at < _COUNT_EVERY
        again = soon or not counts
        failures = self.failures if again else self.failures + 1
        return self.moved(
            state,
            now,
            attempts=error.attempts,
            failures=failures,
            failed_at=self.failed_at if again else now,
            error=str(error),
            reason=type(error).__name__,
            todo=self.todo if failures < limit else None,
        )


def first_record(product: Product, state: State, now: float) -> Record:
    """Return the first record of a product. Raise IllegalMove for a state that cannot be the
    first."""
    check_move(None, state)
    return Record(product, state, updated=now)
