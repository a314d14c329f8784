"""Messages between a coordinator and its workers. Their reprs, which Dask logs, hide the tokens."""

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
    """Timings between coordinator and workers, in seconds."""

    report: float = 0.5
    """Maximum time between two reports of a worker."""
    silence: float = 15.0
    """A worker that does not answer for this long is lost."""
    lease: float = 10.0
    """A worker that gets no message for this long stops by itself, so that its permits can be
    reused."""
    look: float = 1.0
    """How often the scheduler is asked for its workers."""
    nobody: float = 60.0
    """How long a run waits for the first worker, or for another one after the last is lost."""


def patience(settings: Settings, size: int | None, *, silent: bool = False) -> float:
    """Return the seconds that a worker may make no progress with a product: its time-outs plus a
    margin.

    A part file that is resumed is first read, at 20 MB/s or more. ``silent``: the product is
    uploaded to a store, at 1 MB/s or more, with minutes of retries.

    >>> from noa_async.settings import Settings
    >>> patience(Settings(), 1_000_000_000), patience(Settings(), 1_000_000_000, silent=True)
    (280.0, 1600.0)
    """
    if silent:
        return 600 + (size or 0) / 1e6
    return settings.timeouts.together + (size or 0) / 20e6


def own_version() -> str:
    """Return the installed version of noa-async."""
    return version("noa-async")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to know before its first order."""

    session: str
    """The id of this run; a worker ends its orders of earlier runs with the same output."""
    output: str
    version: str
    """The version of noa-async; messages are only compatible within one version."""
    settings: Settings
    folder: str | None
    """The folder of the part files, the same on all machines. None if the output is an object
    store: then each worker uses a folder of its own."""
    witness: str
    """The name of a file in the folder; a worker that does not see it has another folder."""
    lease: float
    cut: bool
    """Whether back-off waits are skipped, as for ``testing``."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order for one attempt to download a product, on one worker."""

    key: str
    product: Product
    part: str
    """The name of the part file in the folder; unique to this attempt."""
    fresh: bool
    """Whether there is no part file to resume."""
    others_served: bool
    """Whether the service is sending other products at the moment."""

    def patience(self, settings: Settings) -> float:
        """Return the seconds within which an event of the order must arrive."""
        return patience(settings, self.product.size)


@dataclass(frozen=True, slots=True)
class Sending:
    """An order to upload a product, complete on a worker, to an object store."""

    key: str
    part: str
    size: int
    url: str
    path: str
    """The object's name in the store."""
    attributes: Mapping[str, str]

    def patience(self, settings: Settings) -> float:
        """Return the seconds within which an event of the order must arrive."""
        return patience(settings, self.size, silent=True)


@dataclass(frozen=True, slots=True)
class Renewal:
    """A message of the coordinator that extends the lease and updates the token and rate."""

    token: str | None = field(repr=False)
    """None: keep using the present token."""
    rate: float | None
    """Bytes per second for this worker; None is no cap."""


@dataclass(frozen=True, slots=True)
class Done:
    """The result of an attempt; the worker no longer writes to its part file."""

    key: str
    result: Whole | FileFacts | Failure | str
    """Whole: the part file is complete, synced and closed. FileFacts: those of the uploaded object.
    Failure: the error. A string: the last line of an unexpected exception's traceback."""
    length: int
    """Length of the part file in bytes."""
    by: str = ""
    """The worker's address."""


@dataclass(frozen=True, slots=True)
class Received:
    """All bytes of an attempt have arrived and its connection is free; the part file is being
    sealed."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened on a worker since its last report."""

    events: tuple[tuple[str, Event | Received], ...]
    """Each event with the key of its order."""
    done: tuple[Done, ...]
    rejected: tuple[str, ...] = field(repr=False)
    """Tokens to which the service answered 401."""
