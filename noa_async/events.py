"""Events: what happens during a run, as typed objects.

Progress bars, log lines and metrics are observers of the same events. An observer is called often,
on the event loop's thread: it must return at once and must not raise. The tables in
``docs/events.md`` are generated from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


class Status(StrEnum):
    """The final status of a product in a run."""

    DOWNLOADED = "downloaded"
    """Downloaded completely, and the checksum matches the catalogue's."""
    PRESENT = "present"
    """Already in the output folder and correct; nothing was downloaded."""
    UNVERIFIED = "unverified"
    """Downloaded with the expected size; the catalogue has no usable checksum for it."""
    GONE = "gone"
    """Not downloaded: the service removed it between listing and download."""
    FAILED = "failed"
    """Not downloaded; the error says why."""


@dataclass(frozen=True, slots=True)
class TokenObtained:
    """The log-in service issued an access token."""

    grant: str
    """The grant type: ``password`` (a log-in) or ``refresh_token`` (a renewal)."""
    expires_in: float
    """Seconds for which the token is valid."""


@dataclass(frozen=True, slots=True)
class LoginRetried:
    """A request for a token failed and will be retried."""

    attempt: int
    """Number of the failed attempt, from 1."""
    delay: float
    """Seconds until the next attempt."""
    reason: str
    """Why the attempt failed."""


@dataclass(frozen=True, slots=True)
class PageListed:
    """A page of the catalogue was received."""

    pages: int
    """Pages received since the start of the listing."""
    products: int
    """Products received since the start of the listing."""


@dataclass(frozen=True, slots=True)
class PageRetried:
    """A request for a catalogue page failed and will be retried."""

    attempt: int
    """Number of the failed attempt, from 1."""
    delay: float
    """Seconds until the next attempt."""
    reason: str
    """Why the attempt failed."""


@dataclass(frozen=True, slots=True)
class EntrySkipped:
    """An entry of a catalogue page cannot be parsed as a product and is skipped."""

    reason: str
    """What is wrong with the entry."""


@dataclass(frozen=True, slots=True)
class ProductQueued:
    """A listed product was added to the download queue."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    size: int | None
    """Size in bytes according to the catalogue; None if it does not say."""


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """The service started to send a product's bytes."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    attempt: int
    """Number of the attempt, from 1."""
    offset: int
    """Bytes already in the part file; above 0 if the download is resumed."""
    total: int | None
    """Size of the whole product in bytes; None if unknown."""


@dataclass(frozen=True, slots=True)
class TransferAdvanced:
    """More bytes of a product arrived; sent many times a second."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    received: int
    """Number of bytes that arrived."""


@dataclass(frozen=True, slots=True)
class TransferRetried:
    """An attempt to download a product failed and will be retried."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    attempt: int
    """Number of the failed attempt, from 1."""
    delay: float
    """Seconds until the next attempt."""
    reason: str
    """Why the attempt failed."""


@dataclass(frozen=True, slots=True)
class ProductWaiting:
    """A product is offline at the service and will be requested again."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    delay: float
    """Seconds until the next request."""
    ordered: bool
    """Whether the service accepted an order; otherwise the download request serves as the order."""


@dataclass(frozen=True, slots=True)
class ProductFinished:
    """A product reached its final status in this run."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    status: Status
    """The final status: ``downloaded``, ``present``, ``unverified`` or ``failed``."""
    path: str | None
    """Path of the file, relative to the output folder; None if the product failed."""
    size: int | None
    """Size of the file in bytes; 0 if the product failed."""
    attempts: int
    """Download requests made for it in this run; 0 if it was already present."""
    error: str | None
    """The reason for the failure, as a sentence; None if it did not fail."""


@dataclass(frozen=True, slots=True)
class FilePutAside:
    """A file that is not the product occupied a product's path and was moved aside."""

    path: str
    """Its previous path, relative to the output folder."""
    kept_at: str
    """Its new path, in ``quarantine/``."""


@dataclass(frozen=True, slots=True)
class FilesMoved:
    """Files were moved to another layout; nothing was downloaded."""

    files: int
    """Number of files moved."""
    layout: str
    """The template of the new layout."""


@dataclass(frozen=True, slots=True)
class FileSystemLimited:
    """The file system of the state folder lacks something; the run uses a substitute."""

    path: str
    """The state folder."""
    limit: str
    """What it lacks, why, and what takes its place."""


@dataclass(frozen=True, slots=True)
class LedgerSetAside:
    """The ledger was damaged or missing and was rebuilt: files are recognized by checksum."""

    path: str | None
    """Where the damaged ledger was moved to; None if the ledger was missing."""
    recovered: int = 0
    """Products recovered from the readable part of the ledger, its latest copy and the manifest."""


@dataclass(frozen=True, slots=True)
class MirrorPlanned:
    """A mirror run decided what to list."""

    full: bool
    """Whether the whole query is listed."""
    since: datetime | None
    """Otherwise only products published since this instant (UTC) are listed."""
    changed: bool
    """Whether the folder followed only other queries before."""


@dataclass(frozen=True, slots=True)
class AllQueued:
    """The listing is complete: no more products will be queued in this run."""


@dataclass(frozen=True, slots=True)
class ProductRemoved:
    """A file was deleted because the service no longer has the product."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    path: str
    """Path of the deleted file, relative to the output folder."""


@dataclass(frozen=True, slots=True)
class RemovalsHeld:
    """More products disappeared from the service than may be deleted: nothing was deleted."""

    gone: int
    """Products that disappeared; a lower bound if 100 or more, because no more are checked."""
    known: int
    """Files in the folder that belong to the query's products."""
    max_delete: float
    """The largest fraction of them that may be deleted in one run, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class RemovalRefused:
    """The service no longer has a product, but its file was kept, for the reason given."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    path: str
    """Path of the file, relative to the output folder."""
    reason: str
    """How the file differs from the ledger, or why it cannot be deleted."""


@dataclass(frozen=True, slots=True)
class TrashEmptied:
    """Files whose retention time in the trash was over were deleted permanently."""

    files: int
    """Number of files deleted."""


@dataclass(frozen=True, slots=True)
class FilesChecked:
    """The name, size and time of every file were compared with the ledger."""

    files: int
    """Number of files checked."""
    missing: int
    """Files that are missing; they will be downloaded again."""
    changed: int
    """Files whose size or time differs, or that are inaccessible; they will be read again."""
    example: str | None
    """Path of one missing or changed file, relative to the output folder."""


@dataclass(frozen=True, slots=True)
class HookFailed:
    """The hook of a downloaded product failed; the product itself is kept."""

    product_id: str
    """The product's ``Id`` in the catalogue."""
    name: str
    """The product's ``Name`` in the catalogue, unchanged."""
    reason: str
    """Why the hook failed."""


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
    """A callable that receives each event."""

    def __call__(self, event: Event, /) -> None: ...


def ignore(_event: Event, /) -> None:
    """Ignore the event."""
