"""One product's line in the ledger, and how it changes. All of it is pure."""

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
"""Seconds: failures of runs closer to each other than that count as one. So a timer that fires each
hour counts one a day, and one that fires each night, not always on time, all of them."""


class Glance(NamedTuple):
    """What of a record says where its file lies, and as what it was left.

    Its names are columns of the ledger, too.
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
    """What is known of a product. Instants are seconds since 1970, UTC."""

    product: Product
    """As the catalogue had it last."""
    state: State
    path: str | None = None
    """Of its file, from the output folder, with ``/``."""
    size: int | None = None
    """Of its file, bytes."""
    mtime_ns: int | None = None
    """Of its file, when it was last found right."""
    checksum: str | None = None
    """``algorithm:hex`` of the file's bytes; of what is in quarantine, what the catalogue wants."""
    verified: float | None = None
    """When the file's bytes were last found right."""
    looked: float | None = None
    """When a check last looked at the file, whatever it found."""
    attempts: int = 0
    """Requests for its bytes in the run that tried last."""
    failures: int = 0
    """Runs in which it failed since it was last right, within 20 hours counted as one."""
    failed_at: float | None = None
    """When such a failure was last counted."""
    error: str | None = None
    reason: str | None = None
    """The error's class, to count failures by."""
    todo: int | None = None
    """Its place in the list of what is to be fetched; None where nothing is to be done."""
    query: int | None = None
    """The followed query that listed it last."""
    seen: int = 0
    """The run that listed it last."""
    gone: float | None = None
    """Since when the catalogue does not list it any more."""
    absences: int = 0
    """Complete listings in a row that did not meet it."""
    trash: str | None = None
    """Where its file lies in the trash: the day, then the path that it had."""
    hook_due: float | None = None
    """Since when its hook is due; None where there is none, or it has passed."""
    hooked: float | None = None
    """When its hook passed."""
    accepted: float | None = None
    """When somebody accepted that it is not here, or not right, or put it back from the trash."""
    updated: float = 0.0

    @property
    def id(self) -> str:
        return self.product.id

    @property
    def path_key(self) -> str | None:
        """The path as a file system that ignores letter case sees it."""
        return None if self.path is None else fold(self.path)

    @property
    def glance(self) -> Glance:
        """What it says of its file."""
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
        """Whether the file is here and right."""
        return self.state in HELD

    def moved(self, state: State, now: float, **changes: Any) -> Self:
        """The record in another state. Raises IllegalMove where that cannot be."""
        check_move(self.state, state)
        return replace(self, state=state, updated=now, **changes)

    def spoilt(self, state: State, now: float) -> Self:
        """The record of a file that is not right any more.

        One that the catalogue has replaced was right once; its checksum must not make it right
        again.
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
        """The record of a file that is here and right as of ``now``: nothing is to be done.

        ``hook_due``: since when its hook is due, if that is new; one that was due before stays so.
        A hook that passed has passed for the bytes of then.
        """
        check_move(self.state, state)
        return type(self)(  # half of the time that ``replace`` takes, for every product
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
        """The record of a product that is to be fetched as if it were new."""
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
        """The record of a product that the service has no more, and whose file is gone, too.

        ``trash``: where the file lies now. What it was is kept with it, to know it again.
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
        """The record of a product whose file its hook has taken; its checksum is kept."""
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
        """The record after a run that failed; past ``limit`` such runs it is no more to be done.

        ``counts``: whether it is one of them, but for those close to the last that was. A last one
        that lies ahead of the clock is none.
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
    """The first record of a product. Raises IllegalMove for a state that nothing begins with."""
    check_move(None, state)
    return Record(product, state, updated=now)
