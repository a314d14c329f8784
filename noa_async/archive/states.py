"""What the folder holds of a product, and how that may change: one table."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What the folder holds of a product."""

    LISTED = "listed"
    """In the catalogue; to be fetched."""
    WAITING = "waiting"
    """Asked for; the service has to bring it on line first."""
    VERIFIED = "verified"
    """Here, and its checksum is the catalogue's."""
    UNVERIFIED = "unverified"
    """Here, whole by size; the catalogue has no usable checksum."""
    OUTDATED = "outdated"
    """Here as it was; the catalogue has other bytes by now."""
    DAMAGED = "damaged"
    """Its file is not what was published any more."""
    MISSING = "missing"
    """Its file is gone."""
    FAILED = "failed"
    """Could not be fetched; later runs try again, up to a limit."""
    QUARANTINED = "quarantined"
    """Arrived whole, twice, with wrong bytes; not tried again before something changes."""
    CONSUMED = "consumed"
    """Was here and right; the hook of a run moved, changed or deleted its file, as it may."""
    REMOVED = "removed"
    """The service has it no more, and neither has the folder, but for its trash."""


HELD = frozenset({State.VERIFIED, State.UNVERIFIED})
"""Here and right."""
DONE = HELD | {State.CONSUMED}
"""Nothing is missing."""
_ENDS = HELD | {State.WAITING, State.FAILED, State.QUARANTINED, State.REMOVED}
_SPOILT = frozenset({State.OUTDATED, State.DAMAGED, State.MISSING})

MOVES: dict[State | None, frozenset[State]] = {
    None: _ENDS - {State.REMOVED} | {State.LISTED},
    State.LISTED: _ENDS,
    State.WAITING: _ENDS | {State.LISTED},
    State.VERIFIED: _SPOILT | {State.UNVERIFIED, State.CONSUMED, State.REMOVED},
    State.UNVERIFIED: _SPOILT | {State.VERIFIED, State.CONSUMED, State.REMOVED},
    State.OUTDATED: _ENDS | {State.MISSING, State.DAMAGED, State.LISTED},
    State.DAMAGED: _ENDS | {State.MISSING, State.OUTDATED, State.LISTED},
    State.MISSING: _ENDS | {State.DAMAGED, State.OUTDATED, State.LISTED, State.CONSUMED},
    State.CONSUMED: HELD | {State.LISTED, State.REMOVED},
    State.FAILED: _ENDS | _SPOILT | {State.LISTED},
    State.QUARANTINED: HELD | {State.LISTED, State.REMOVED},
    State.REMOVED: HELD | {State.LISTED},
}
"""From each state (None: not in the ledger) those it may move to; staying is always allowed."""


class IllegalMove(RuntimeError):
    """A change of state that is not in the table: a fault of this program."""


def check_move(before: State | None, after: State) -> None:
    """Raise IllegalMove where a product cannot change so.

    >>> check_move(State.LISTED, State.VERIFIED)
    >>> check_move(State.VERIFIED, State.LISTED)
    Traceback (most recent call last):
    noa_async.archive.states.IllegalMove: A product cannot move from verified to listed.
    """
    if before is not after and after not in MOVES[before]:
        told = "no record" if before is None else before
        raise IllegalMove(f"A product cannot move from {told} to {after}.")
