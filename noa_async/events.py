"""What happens during a run, as typed messages.

A progress bar, a log line and a metric are observers of the same events. An observer is called on
the event loop's thread, often: it must return at once and must not raise. The tables of
``docs/events.md`` are made of this module.
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
    GONE = "gone"
    """Not there, and nothing is missing: the service removed it between listing and download."""
    FAILED = "failed"
    """Not there; the error says why."""


@dataclass(frozen=True, slots=True)
class TokenObtained:
    """A token came."""

    grant: str
    """How: ``password`` (a log-in) or ``refresh_token`` (a renewal)."""
    expires_in: float
    """Seconds that it holds."""


@dataclass(frozen=True, slots=True)
class LoginRetried:
    """The log-in service gave no token, and is asked again."""

    attempt: int
    """Which attempt failed, from 1."""
    delay: float
    """Seconds until the next."""
    reason: str
    """What was wrong."""


@dataclass(frozen=True, slots=True)
class PageListed:
    """A page of the catalogue was read."""

    pages: int
    """Pages since the start of the listing."""
    products: int
    """Products since the start of the listing."""


@dataclass(frozen=True, slots=True)
class PageRetried:
    """A page could not be read, and is asked for again."""

    attempt: int
    """Which attempt failed, from 1."""
    delay: float
    """Seconds until the next."""
    reason: str
    """What was wrong."""


@dataclass(frozen=True, slots=True)
class EntrySkipped:
    """An entry of a page is no product; the others on the page are listed."""

    reason: str
    """What is wrong with it."""


@dataclass(frozen=True, slots=True)
class ProductQueued:
    """The listing put a product into the queue."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    size: int | None
    """Bytes as the catalogue says; None where it does not."""


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """A product's bytes begin to arrive."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    attempt: int
    """From 1."""
    offset: int
    """Bytes that are here already: a resume where it is above 0."""
    total: int | None
    """Bytes of the whole product; None where nobody knows."""


@dataclass(frozen=True, slots=True)
class TransferAdvanced:
    """More bytes of a product arrived; told many times a second."""

    product_id: str
    """The catalogue's ``Id``."""
    received: int
    """How many more."""


@dataclass(frozen=True, slots=True)
class TransferRetried:
    """An attempt at a product failed, and there is another."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    attempt: int
    """Which attempt failed, from 1."""
    delay: float
    """Seconds until the next."""
    reason: str
    """What was wrong."""


@dataclass(frozen=True, slots=True)
class ProductWaiting:
    """A product is off line, and is asked for again."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    delay: float
    """Seconds until then."""
    ordered: bool
    """Whether the service took an order; else the request for its bytes stands for one."""


@dataclass(frozen=True, slots=True)
class ProductFinished:
    """The last word on a product of this run."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    status: Status
    """How it ended: ``downloaded``, ``present``, ``unverified`` or ``failed``."""
    path: str | None
    """Where it lies, from the output folder; None where it failed."""
    size: int | None
    """Bytes of the file; 0 where it failed."""
    attempts: int
    """Requests for its bytes in this run; 0 where it was there."""
    error: str | None
    """Why it failed, in a sentence."""


@dataclass(frozen=True, slots=True)
class FilePutAside:
    """A file that is no product lay where a product goes."""

    path: str
    """Where it lay, from the output folder."""
    kept_at: str
    """Where it is now, in ``quarantine/``."""


@dataclass(frozen=True, slots=True)
class FilesMoved:
    """Files were moved into another layout; nothing was fetched for it."""

    files: int
    """How many."""
    layout: str
    """The layout's template."""


@dataclass(frozen=True, slots=True)
class FileSystemLimited:
    """The file system of the state folder lacks something; the run uses a substitute."""

    path: str
    """The state folder."""
    limit: str
    """What it lacks, why, and what takes its place."""


@dataclass(frozen=True, slots=True)
class LedgerSetAside:
    """The folder's ledger was damaged, or gone, and is begun anew: files are found by checksum."""

    path: str | None
    """Where the damaged one is now; None where there was none."""
    recovered: int = 0
    """Products that are known again: from what could still be read of it, from the last copy of a
    ledger, and from the manifest."""


@dataclass(frozen=True, slots=True)
class MirrorPlanned:
    """What a mirror run asks for."""

    full: bool
    """All of its query."""
    since: datetime | None
    """Else what was published since then, UTC."""
    changed: bool
    """Whether the folder followed other queries so far, and this one is new to it."""


@dataclass(frozen=True, slots=True)
class AllQueued:
    """The listing has come to its end: nothing more will be queued in this run."""


@dataclass(frozen=True, slots=True)
class ProductRemoved:
    """A file was deleted because the service has the product no more."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    path: str
    """Where it lay, from the output folder."""


@dataclass(frozen=True, slots=True)
class RemovalsHeld:
    """Too many products are gone from the service at once: nothing was deleted."""

    gone: int
    """How many; from a hundred on there may be more, for no more are asked for."""
    known: int
    """Files here, of the query's products."""
    max_delete: float
    """The part of them that may be deleted at once, of 0 to 1."""


@dataclass(frozen=True, slots=True)
class RemovalRefused:
    """A product is gone from the service, but its file was kept, for the reason told."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    path: str
    """Where it lies, from the output folder."""
    reason: str
    """What is other than recorded, or in the way."""


@dataclass(frozen=True, slots=True)
class TrashEmptied:
    """Files that had lain in the trash for long enough were deleted for good."""

    files: int
    """How many."""


@dataclass(frozen=True, slots=True)
class FilesChecked:
    """The name, size and time of every file were compared with the ledger."""

    files: int
    """How many."""
    missing: int
    """Those that are not there; they are to be fetched again."""
    changed: int
    """Those of another size or time, or out of reach: they are to be read."""
    example: str | None
    """The path of one of them, from the output folder."""


@dataclass(frozen=True, slots=True)
class HookFailed:
    """The hook of a product that came went wrong; the product is there all the same."""

    product_id: str
    """The catalogue's ``Id``."""
    name: str
    """The catalogue's ``Name``, as it came."""
    reason: str
    """What it said."""


Event = (
    TokenObtained
    | LoginRetried
    | PageListed
    | PageRetried
    | EntrySkipped
    | ProductQueued
    | TransferStarted
    | TransferAdvanced
    | TransferRetried
    | ProductWaiting
    | ProductFinished
    | FilePutAside
    | FilesMoved
    | FileSystemLimited
    | LedgerSetAside
    | MirrorPlanned
    | AllQueued
    | ProductRemoved
    | RemovalsHeld
    | RemovalRefused
    | TrashEmptied
    | FilesChecked
    | HookFailed
)


class Observer(Protocol):
    """Anything that wants to know: a function of one event."""

    def __call__(self, event: Event, /) -> None: ...


def ignore(_event: Event, /) -> None:
    """Observe nothing."""
