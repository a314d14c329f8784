"""Define the states of a product in the archive and the allowed transitions, in one table."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of a product in the archive."""

    LISTED = "listed"
    """In the catalogue; to be downloaded."""
    WAITING = "waiting"
    """Requested; the service has to restore it from its long-term archive first."""
    VERIFIED = "verified"
    """Downloaded, and its checksum is the catalogue's."""
    UNVERIFIED = "unverified"
    """Downloaded, with the right size; the catalogue has no usable checksum."""
    OUTDATED = "outdated"
    """Downloaded, but the catalogue now has a newer version."""
    DAMAGED = "damaged"
    """The content of its file has changed since it was verified."""
    MISSING = "missing"
    """Its file is gone."""
    FAILED = "failed"
    """The download failed; later runs try again, up to a limit."""
    QUARANTINED = "quarantined"
    """Downloaded completely twice, with a wrong checksum; not tried again until something
    changes."""
    CONSUMED = "consumed"
    """Was downloaded and right; the hook of a run then moved, changed or deleted its file, as
    allowed."""
    REMOVED = "removed"
    """The service no longer has it, and its file is deleted or in the trash."""


HELD = frozenset({State.VERIFIED, State.UNVERIFIED})
"""The file is present and right."""
DONE = HELD | {State.CONSUMED}
"""Nothing is to be done."""
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
"""From each state (None: not in the ledger) the states it may change to; no change is always
allowed."""


class IllegalMove(RuntimeError):
    """A transition that is not in the table: a bug in this program."""


def check_move(before: State | None, after: State) -> None:
    """Raise IllegalMove if a product cannot change from one state to the other.

    >>> check_move(State.LISTED, State.VERIFIED)
    >>> check_move(State.VERIFIED, State.LISTED)
    Traceback (most recent call last):
    noa_async.archive.states.IllegalMove: A product cannot move from verified to listed.
    """
    if before is not after and after not in MOVES[before]:
        told = "no record" if before is None else before
        raise IllegalMove(f"A product cannot move from {told} to {after}.")
