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
            self.id, self.state, self.path, self.size, self.mtime_ns, self.checksum, self.todo
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
    ) -> Self:
        """The record of a file that is here and right as of ``now``: nothing is to be done."""
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
            updated=now,
        )

    def listed_anew(self, now: float, **changes: Any) -> Self:
        """The record of a product that is to be fetched as if it were new."""
        return self.moved(State.LISTED, now, failures=0, failed_at=None, **changes)

    def removed(self, now: float) -> Self:
        """The record of a product that the service has no more, and whose file is gone, too."""
        return self.moved(
            State.REMOVED,
            now,
            path=None,
            size=None,
            mtime_ns=None,
            checksum=None,
            failures=0,
            failed_at=None,
            todo=None,
            gone=now,
        )

    def gave_up(
        self, state: State, error: NoaError, now: float, *, limit: int, counts: bool = True
    ) -> Self:
        """The record after a run that failed; past ``limit`` such runs it is no more to be done.

        ``counts``: whether it is one of them, but for those close to the last that was.
        """
        soon = self.failed_at is not None and now - self.failed_at < _COUNT_EVERY
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
