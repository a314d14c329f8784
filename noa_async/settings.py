"""Frozen settings with documented defaults; from arguments, the environment or a TOML file."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from noa_async import values
from noa_async.errors import SettingsError
from noa_async.services import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds to wait for the service."""

    connect: float = 30.0
    """Seconds to establish a connection, including TLS."""
    answer: float = 120.0
    """Seconds from the request to the head of the response; a page can take tens of seconds. For a
    token, to the end of the response."""
    stall: float = 60.0
    """Seconds without data after which a transfer is aborted."""

    @property
    def together(self) -> float:
        """The time-outs of a complete request plus a margin, for a process that waits for another
        one."""
        return self.connect + self.answer + self.stall + 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of concurrency and bandwidth."""

    workers: int = 4
    """Products downloaded at the same time. NOA's quota is not published; similar services allow
    four."""
    listings: int = 8
    """Maximum number of concurrent catalogue requests of long listings: starts at four, grows while
    the service responds well, halves when it is overloaded."""
    bandwidth: float | None = None
    """Bytes per second for all workers together (None: no limit)."""


_FOLLOWED = 3
"""Failures in a row for which a Retry-After that is shorter than the back-off is followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon to retry: exponential back-off with full jitter.

    >>> RetryPolicy(base=1, cap=60).delay(4, draw=lambda: 0.5)
    4.0
    >>> RetryPolicy().delay(1, asked=7.0, draw=lambda: 0.5)
    7.0
    >>> RetryPolicy().delay(4, asked=1.0, draw=lambda: 0.5)
    4.0
    """

    retries: int = 8
    """Maximum number of failed attempts in a row after the first; an attempt that received bytes
    resets the count."""
    base: float = 1.0
    """Seconds: the maximum wait before the first retry; it doubles with each retry."""
    cap: float = 60.0
    """Seconds: the maximum back-off; for an offline product, 15 times that."""
    longest_wait: float = 3600.0
    """Seconds: if the service asks for a longer wait, the attempt fails instead."""
    offline_wait: float = 3600.0
    """Seconds a run waits for an offline product, from its first request; 0 does not wait at
    all."""
    offline_most: int = 1000
    """Maximum number of offline products that a run waits for at the same time; more are not
    ordered, but left to a later run."""

    def allows(self, failures: int, *, asked: float | None = None) -> bool:
        """Return whether to retry after ``failures`` in a row; ``asked`` as for ``delay``."""
        return failures <= self.retries and (asked or 0.0) <= self.longest_wait

    def delay(
        self,
        failures: int,
        *,
        asked: float | None = None,
        draw: Callable[[], float] = random.random,
    ) -> float:
        """Return the seconds to wait before the next attempt, after ``failures`` in a row.

        ``asked`` is the service's Retry-After in seconds; the result is never less. If it is a
        second or more, it is used as it is three times in a row; after that, or if it is less than
        a second, the back-off is used if it is longer.
        """
        ours = draw() * min(self.cap, self.base * 2.0 ** min(failures - 1, 32))
        if asked is not None and asked >= 1.0 and failures <= _FOLLOWED:
            return asked
        return max(ours, asked or 0.0)


class OnRemoved(StrEnum):
    """What to do with a product's file when the service has deleted the product."""

    KEEP = "keep"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How a folder mirrors a query."""

    overlap: timedelta = timedelta(days=3)
    """How far before the watermark a run lists again, because new products appear in listings with
    a delay."""
    reconcile_every: timedelta = timedelta(days=7)
    """How often to list the whole query, which shows replaced, deleted and overlooked products."""
    max_shrink: float = 0.2
    """By how much a full listing may be shorter than the one before: 0.2 is a fifth. If it is
    shorter still, and lacks more than five products, it is not trusted: the run ends with an error,
    and nothing is deleted or given up because of it."""
    shrink_days: int = 3
    """On how many days in a row a full listing must be that short to be trusted; listings less than
    20 hours apart count as one day."""
    accept_shrunk: bool = False
    """Trust a full listing at once, however much shorter than the one before."""
    on_removed: OnRemoved = OnRemoved.KEEP
    """What to do with a product's file when the service has deleted the product."""
    attributes: bool = True
    """Whether a mirror's listings request each product's attributes: larger responses, which
    provide exports with cloud cover, orbit direction, polarisation and mode."""
    max_delete: float = 0.01
    """The largest fraction of a query's local files that one run may delete: 0.01 is one percent.
    If more products are gone, none is deleted."""
    gone_listings: int = 2
    """Number of full listings in a row without a product, before its file is deleted."""
    gone_for: timedelta = timedelta(days=3)
    """Minimum time since the first full listing without a product, before its file is deleted."""
    keep_trash: timedelta = timedelta(days=30)
    """How long a deleted file is kept in ``.noa-async/trash``; 0 deletes it at once. Object stores
    have no trash: use their versioning."""
    check_files: bool = True
    """Whether each run first compares the name, size and time of every file with the ledger."""
    accept_missing: bool = False
    """Download all missing files again, however many. Otherwise, if more than ten files are
    missing, and more than a fifth of all or all of a folder, a run ends with an error before it
    downloads anything: a disk may not be mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. ``Settings()`` is NOA's mirror with conservative defaults."""

    service: Service = field(default_factory=Service)
    """The service to use."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    """How long to wait for it, in seconds."""
    limits: Limits = field(default_factory=Limits)
    """Limits of concurrency and bandwidth."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """How often and how soon to retry."""
    following: Following = field(default_factory=Following)
    """How a folder mirrors a query."""
    ca_file: str | None = None
    """A file of certificate authorities (PEM) to trust in addition to the system's."""
    insecure_http: bool = False
    """Whether the password and the token may be sent to another machine over plain http."""
    min_free: int = 16 << 20
    """Bytes to keep free on the disk; increase it if others use the disk too."""
    archive_id: str | None = None
    """The Id of the archive that the output folder must hold (``noa-async status`` shows it)."""
    new_archive: bool = False
    """Create a new archive in a folder that held another one, or that held one and is empty now."""
    scratch: str | None = None
    """The folder for part files of products on their way to an object store; None: in the user's
    state folder."""
    dask: str | None = None
    """A Dask scheduler whose workers download, such as ``tcp://head:8786``; ``local`` starts
    workers on this machine. All must share the output folder, or reach the object store."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Return NOA's defaults, changed by ``NOA_*`` variables (``NOA_CATALOGUE_URL``, ...).

        Raise SettingsError if a variable is invalid.
        """
        return cls().with_values(environment_values(os.environ if environ is None else environ))

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with named values, the keys of ``KEYS``; None leaves a value unchanged.

        ``service`` is applied first; the other keys override its values. Raise SettingsError, which
        names the invalid key and value.
        """
        settings = self
        for key, value in sorted(values.items(), key=lambda item: item[0] != "service"):
            if value is None:
                continue
            part, name, read = _known(key)
            try:
                good = read(value)
            except (TypeError, ValueError) as error:
                shown = "" if "@" in str(value) else f" is {value!r}"  # may hold a password
                raise SettingsError(f"The setting {key}{shown}: {error}.") from None
            if part is None:
                settings = replace(settings, **{name: good})
            else:
                group = replace(getattr(settings, part), **{name: good})
                settings = replace(settings, **{part: group})
        return settings


def environment_values(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings in ``NOA_*`` variables; empty variables are ignored.

    Trailing line ends are dropped: a variable that is filled from a file may have them.
    """
    given = {key: environ.get(f"NOA_{key.upper()}", "").rstrip("\r\n") for key in KEYS}
    return {key: value for key, value in given.items() if value}


def file_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the tables of a configuration file that are named in ``TABLES``.

    ``service`` may be a table, whose ``name`` is a named service, or the name alone. Raise
    SettingsError for an unknown key.
    """
    values: dict[str, Any] = {}
    for table in TABLES:
        content = document.get(table, {})
        if table == "service":
            content = _service_table(content)
        if not isinstance(content, dict):
            raise SettingsError(f"{table} is {content!r}: it must be a table, [{table}].")
        values |= content
    for key in values:
        _known(key)
    return values


def _service_table(content: object) -> object:
    """Return the table that ``service = "NAME"`` stands for; a table's ``name`` is its named
    service."""
    if isinstance(content, str):
        return {"service": content}
    if isinstance(content, dict) and "name" in content:
        return {("service" if key == "name" else key): value for key, value in content.items()}
    return content


def _on_removed(value: str) -> OnRemoved:
    try:
        return OnRemoved(value)
    except ValueError:
        raise ValueError("it must be keep or delete") from None


_READERS: dict[str, tuple[str | None, str, Callable[[Any], Any]]] = {
    "service": (None, "service", Service.named),
    "catalogue_url": ("service", "catalogue_url", values.url),
    "token_url": ("service", "token_url", values.url),
    "client_id": ("service", "client_id", values.text),
    "trusted_hosts": ("service", "trusted_hosts", values.hosts),
    "page_size": ("service", "page_size", values.count(1, 1000)),
    "max_url_length": ("service", "max_url_length", values.count(500, 1_000_000)),
    "workers": ("limits", "workers", values.count(1, 256)),
    "listings": ("limits", "listings", values.count(1, 64)),
    "bandwidth": ("limits", "bandwidth", values.byte_rate),
    "retries": ("retry", "retries", values.count(0, 1000)),
    "offline_wait": ("retry", "offline_wait", values.not_negative),
    "connect_timeout": ("timeouts", "connect", values.positive),
    "answer_timeout": ("timeouts", "answer", values.positive),
    "stall_timeout": ("timeouts", "stall", values.positive),
    "overlap": ("following", "overlap", values.duration),
    "reconcile_every": ("following", "reconcile_every", values.duration),
    "on_removed": ("following", "on_removed", _on_removed),
    "max_shrink": ("following", "max_shrink", values.share),
    "shrink_days": ("following", "shrink_days", values.count(1, 1000)),
    "max_delete": ("following", "max_delete", values.share),
    "attributes": ("following", "attributes", values.flag),
    "gone_listings": ("following", "gone_listings", values.count(1, 1000)),
    "gone_for": ("following", "gone_for", values.duration),
    "keep_trash": ("following", "keep_trash", values.duration),
    "check_files": ("following", "check_files", values.flag),
    "min_free": (None, "min_free", values.size),
    "archive_id": (None, "archive_id", values.text),
    "ca_file": (None, "ca_file", values.text),
    "insecure_http": (None, "insecure_http", values.flag),
    "scratch": (None, "scratch", values.text),
    "dask": (None, "dask", values.scheduler),
}
KEYS = tuple(_READERS)
"""The settings that an argument, a variable or a file can set."""
TABLES = ("service", "transfer", "mirror")
"""The tables of a configuration file that contain settings."""


def _known(key: str) -> tuple[str | None, str, Callable[[Any], Any]]:
    if key in _READERS:
        return _READERS[key]
    from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

    near = get_close_matches(key, _READERS, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"The settings are {', '.join(_READERS)}."
    raise SettingsError(f"There is no setting {key!r}.", hint=hint)
