"""What a coordinator and its workers say to each other. Tokens are in no repr: Dask logs those."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.archive.destination import FileFacts
    from noa_async.catalogue.product import Product
    from noa_async.events import Event
    from noa_async.failure import Failure
    from noa_async.settings import Settings
    from noa_async.transfer.fetching import Whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long the two wait for each other, in seconds."""

    report: float = 0.5
    """The longest between two reports of a worker that is well."""
    silence: float = 15.0
    """A worker that says nothing for so long is lost."""
    lease: float = 10.0
    """A worker that hears nothing for so long stops by itself, so that its places are free."""
    look: float = 1.0
    """How often the scheduler is asked who is there."""
    nobody: float = 60.0
    """How long a run waits for a first worker, or for another after the last one is lost."""


def patience(settings: Settings, size: int | None, *, silent: bool = False) -> float:
    """Seconds that a worker may bring no byte of a product: its own time-outs, and then some.

    A part that is gone on with is read first, at 20 MB/s or more. ``silent``: it is sent into a
    store, at 1 MB/s or more, which tries again for minutes.

    >>> from noa_async.settings import Settings
    >>> patience(Settings(), 1_000_000_000), patience(Settings(), 1_000_000_000, silent=True)
    (280.0, 1600.0)
    """
    if silent:
        return 600 + (size or 0) / 1e6
    return settings.timeouts.together + (size or 0) / 20e6


def own_version() -> str:
    """Of noa-async, as it is installed here."""
    return version("noa-async")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to know before its first order."""

    session: str
    """Of this run: what a worker still does for an earlier one with the same output ends."""
    output: str
    version: str
    """Of noa-async: what the two say to each other is of no other."""
    settings: Settings
    folder: str | None
    """Where parts gather, the same on all machines; None: with each worker, whose output is an
    object store."""
    witness: str
    """The name of a file there: who does not see it has another folder."""
    lease: float
    cut: bool
    """Whether back-off takes no time, as ``testing`` says."""


@dataclass(frozen=True, slots=True)
class Order:
    """One attempt at a product, for one worker."""

    key: str
    product: Product
    part: str
    """Its file's name in the folder: no other attempt ever has it."""
    fresh: bool
    """Whether nothing is there to go on with."""
    others_served: bool
    """Whether the service is sending other products at the moment."""

    def patience(self, settings: Settings) -> float:
        """Seconds in which something must be heard of it."""
        return patience(settings, self.product.size)


@dataclass(frozen=True, slots=True)
class Sending:
    """A product that a worker has whole, to be sent into an object store."""

    key: str
    part: str
    size: int
    url: str
    path: str
    """Its name in the store."""
    attributes: Mapping[str, str]

    def patience(self, settings: Settings) -> float:
        """Seconds in which something must be heard of it."""
        return patience(settings, self.size, silent=True)


@dataclass(frozen=True, slots=True)
class Renewal:
    """From the coordinator, again and again: it is there, and this is what holds now."""

    token: str | None = field(repr=False)
    """None: the worker goes on with the one that it has."""
    rate: float | None
    """Bytes a second for this worker; None is no cap."""


@dataclass(frozen=True, slots=True)
class Done:
    """How an attempt ended; nobody writes into its part any more."""

    key: str
    result: Whole | FileFacts | Failure | str
    """What is whole is on stable storage, and closed. Facts are those of an object that was sent. A
    text is a defect: a traceback's last line."""
    length: int
    """Bytes of the part."""
    by: str = ""
    """The worker's address."""


@dataclass(frozen=True, slots=True)
class Received:
    """All bytes of an attempt are there, and its connection is free; it is sealed now."""


@dataclass(frozen=True, slots=True)
class Report:
    """From a worker: what happened since the last."""

    events: tuple[tuple[str, Event | Received], ...]
    """With the key of the order that each belongs to."""
    done: tuple[Done, ...]
    rejected: tuple[str, ...] = field(repr=False)
    """Tokens to which the service answered 401."""
