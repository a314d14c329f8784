"""What happens during a run, as typed messages.

A progress bar, a log line and a metric are observers of the same events. An observer is called on
the event loop's thread, often: it must return at once and must not raise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


class Status(StrEnum):
    """How a product ended."""

    DOWNLOADED = "downloaded"
    """Fetched, whole, and its checksum is the catalogue's."""
    PRESENT = "present"
    """Was there and right; nothing was fetched."""
    UNVERIFIED = "unverified"
    """Arrived whole by size; the catalogue has no usable checksum for it."""
    FAILED = "failed"
    """Not there; the error says why."""


@dataclass(frozen=True, slots=True)
class TokenObtained:
    """A token came: ``grant`` is ``password`` or ``refresh_token``, ``expires_in`` seconds."""

    grant: str
    expires_in: float


@dataclass(frozen=True, slots=True)
class PageListed:
    """A page of the catalogue was read; both figures count from the start of the listing."""

    pages: int
    products: int


@dataclass(frozen=True, slots=True)
class PageRetried:
    """A page could not be read and is asked for again after ``delay`` seconds."""

    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class ProductQueued:
    """The listing put a product into the queue; ``size`` in bytes where the catalogue knows it."""

    product_id: str
    name: str
    size: int | None


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """A product's bytes begin to arrive at ``offset`` of ``total`` bytes (None: unknown)."""

    product_id: str
    name: str
    attempt: int
    offset: int
    total: int | None


@dataclass(frozen=True, slots=True)
class TransferAdvanced:
    """``received`` more bytes of a product arrived."""

    product_id: str
    received: int


@dataclass(frozen=True, slots=True)
class TransferRetried:
    """An attempt failed; the next begins after ``delay`` seconds."""

    product_id: str
    name: str
    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True)
class ProductWaiting:
    """A product is off line and is asked for again after ``delay`` seconds.

    ``ordered``: the service took an order for it; else the request for its bytes stands for one.
    """

    product_id: str
    name: str
    delay: float
    ordered: bool


@dataclass(frozen=True, slots=True)
class ProductFinished:
    """The last word on a product of this run; ``path`` is relative to the output folder."""

    product_id: str
    name: str
    status: Status
    path: str | None
    size: int | None
    attempts: int
    error: str | None


@dataclass(frozen=True, slots=True)
class FilePutAside:
    """A file that is no product lay where a product goes; it is in ``quarantine/`` now."""

    path: str
    kept_at: str


@dataclass(frozen=True, slots=True)
class FilesMoved:
    """So many files were moved into another layout; nothing was fetched for it."""

    files: int
    layout: str


@dataclass(frozen=True, slots=True)
class LedgerSetAside:
    """The folder's ledger was damaged, or gone, and is begun anew: files are found by checksum."""

    path: str | None
    """Where the damaged one is now; None where there was none."""


@dataclass(frozen=True, slots=True)
class MirrorPlanned:
    """What a mirror run asks for: all of its query, or what was published ``since``."""

    full: bool
    since: datetime | None
    changed: bool
    """Whether the folder followed other queries so far, and this one is new to it."""


@dataclass(frozen=True, slots=True)
class AllQueued:
    """The listing has come to its end: nothing more will be queued in this run."""


@dataclass(frozen=True, slots=True)
class ProductRemoved:
    """A file was deleted because the service has the product no more."""

    product_id: str
    name: str
    path: str


@dataclass(frozen=True, slots=True)
class RemovalsHeld:
    """Too many products are gone from the service at once: nothing was deleted.

    From a hundred on ``gone`` may be fewer than there are: no more are asked for.
    """

    gone: int
    known: int
    """Products of the query."""
    max_delete: float


@dataclass(frozen=True, slots=True)
class HookFailed:
    """The hook of a product that came went wrong; the product is there all the same."""

    product_id: str
    name: str
    reason: str


Event = (
    TokenObtained
    | PageListed
    | PageRetried
    | ProductQueued
    | TransferStarted
    | TransferAdvanced
    | TransferRetried
    | ProductWaiting
    | ProductFinished
    | FilePutAside
    | FilesMoved
    | LedgerSetAside
    | MirrorPlanned
    | AllQueued
    | ProductRemoved
    | RemovalsHeld
    | HookFailed
)


class Observer(Protocol):
    """Anything that wants to know: a function of one event."""

    def __call__(self, event: Event, /) -> None: ...


def ignore(_event: Event, /) -> None:
    """Observe nothing."""
