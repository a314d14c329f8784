"""Settings: frozen, with documented defaults; from arguments, the environment, a TOML file."""

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
    """For a connection, TLS included."""
    answer: float = 120.0
    """From the request to the head of its answer: a page can take tens of seconds. For a token, to
    the end of its answer."""
    stall: float = 60.0
    """Between two bytes of a body; no byte for so long counts as a cut."""

    @property
    def together(self) -> float:
        """For one who waits for another that asks: all of these, and then some."""
        return self.connect + self.answer + self.stall + 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much at once."""

    workers: int = 4
    """Products fetched at the same time. NOA's quota is not published; its kin allow four."""
    listings: int = 8
    """The most pages of the catalogue asked for at the same time by long listings: four at first,
    more while that goes well, half where the service is in trouble."""
    bandwidth: float | None = None
    """Bytes a second for all workers together (None: no cap)."""


_FOLLOWED = 3
"""Failures in a row for which a Retry-After that is shorter than the back-off is followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon to try again: exponential back-off with full jitter.

    >>> RetryPolicy(base=1, cap=60).delay(4, draw=lambda: 0.5)
    4.0
    >>> RetryPolicy().delay(1, asked=7.0, draw=lambda: 0.5)
    7.0
    >>> RetryPolicy().delay(4, asked=1.0, draw=lambda: 0.5)
    4.0
    """

    retries: int = 8
    """Attempts after the first that may fail in a row; an attempt that brought bytes resets it."""
    base: float = 1.0
    """Seconds: the longest wait before the first retry; it doubles with each."""
    cap: float = 60.0
    """Seconds: no wait of our own choosing is longer, but for what is off line: 15 times that."""
    longest_wait: float = 3600.0
    """Seconds: a service that asks for a longer wait is not waited for."""
    offline_wait: float = 3600.0
    """Seconds a run waits for a product that is off line, from when it first asked for it; 0 does
    not wait at all."""
    offline_most: int = 1000
    """Products off line that a run waits for at the same time; what is more is not ordered, but
    left to a later run."""

    def allows(self, failures: int, *, asked: float | None = None) -> bool:
        """Whether to try again after ``failures`` in a row; ``asked`` as for ``delay``."""
        return failures <= self.retries and (asked or 0.0) <= self.longest_wait

    def delay(
        self,
        failures: int,
        *,
        asked: float | None = None,
        draw: Callable[[], float] = random.random,
    ) -> float:
        """Seconds to wait before the next attempt, after ``failures`` in a row.

        ``asked`` is the service's Retry-After in seconds: never less than that. It is followed
        three times in a row if it is a second or more; after that, and for less than a second, the
        back-off counts if it is longer.
        """
        ours = draw() * min(self.cap, self.base * 2.0 ** min(failures - 1, 32))
        if asked is not None and asked >= 1.0 and failures <= _FOLLOWED:
            return asked
        return max(ours, asked or 0.0)


class OnRemoved(StrEnum):
    """What becomes of a product's file when the service has the product no more."""

    KEEP = "keep"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """How a folder follows a query."""

    overlap: timedelta = timedelta(days=3)
    """How far before the watermark a run asks again: what is published is listed with a lag."""
    reconcile_every: timedelta = timedelta(days=7)
    """How often all of the query is listed: it shows what was replaced, removed or overlooked."""
    max_shrink: float = 0.2
    """By how much a listing of all may be shorter than the one before: 0.2 is a fifth. If it is
    shorter still, and lacks more than five products, it is not believed: nothing is concluded from
    it, and the run ends with an error."""
    shrink_days: int = 3
    """On how many days in a row a listing must be so short until it is believed; listings less than
    20 hours apart count as one day."""
    accept_shrunk: bool = False
    """Believe such a listing at once."""
    on_removed: OnRemoved = OnRemoved.KEEP
    """What becomes of a product's file when the service has the product no more."""
    attributes: bool = True
    """Whether a mirror's listings ask for each product's attributes: larger answers, from which
    exports have cloud cover, orbit direction, polarisation and mode."""
    max_delete: float = 0.01
    """The largest part of the files here, of a query's products, that one run may delete: 0.01 is
    one in a hundred. If more are gone, none is deleted."""
    gone_listings: int = 2
    """How many listings of all in a row must not meet a product before its file is deleted."""
    gone_for: timedelta = timedelta(days=3)
    """How long ago the first of them must be."""
    keep_trash: timedelta = timedelta(days=30)
    """How long a deleted file lies in ``.noa-async/trash``; 0 deletes it at once. An object store
    has no trash: use its versions."""
    check_files: bool = True
    """Whether each run first compares the name, size and time of every file with the ledger."""
    accept_missing: bool = False
    """Fetch again whatever is missing, however much it is. Else a run ends with an error before it
    fetches anything if more than ten files, and more than a fifth of all or all of a folder, are
    missing: a disk may not be mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of it. ``Settings()`` is NOA's mirror with careful defaults."""

    service: Service = field(default_factory=Service)
    """Which mirror."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    """How long to wait for it, in seconds."""
    limits: Limits = field(default_factory=Limits)
    """How much at once."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    """How often and how soon to try again."""
    following: Following = field(default_factory=Following)
    """How a folder follows a query."""
    ca_file: str | None = None
    """A file of certificate authorities (PEM) to trust beside the system's."""
    insecure_http: bool = False
    """Whether the password and the token may be sent to another machine over plain http."""
    min_free: int = 16 << 20
    """Bytes that are left free on the disk; more of it suits a disk that others use, too."""
    archive_id: str | None = None
    """The Id of the archive that the output folder must hold (``noa-async status`` shows it)."""
    new_archive: bool = False
    """Begin a new archive in a folder that held another one, or held one and is empty now."""
    scratch: str | None = None
    """Where products on their way into an object store lie; None: in the user's state folder."""
    dask: str | None = None
    """A Dask scheduler whose workers fetch, ``tcp://head:8786``; ``local`` starts some here. All
    must see the output folder, or reach the object store."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """NOA's mirror, changed by ``NOA_*`` variables (``NOA_CATALOGUE_URL``, ...).

        Raises SettingsError where a variable makes no sense.
        """
        return cls().with_values(environment_values(os.environ if environ is None else environ))

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """A copy changed by named values, the keys of ``KEYS``; None leaves a value as it is.

        A named ``service`` comes first: the others stand in for what it holds. Raises
        SettingsError naming the key and the value that make no sense.
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
    """The settings that ``NOA_*`` variables give; empty ones count as absent.

    Line ends at their end are dropped: a variable that is filled from a file has them.
    """
    given = {key: environ.get(f"NOA_{key.upper()}", "").rstrip("\r\n") for key in KEYS}
    return {key: value for key, value in given.items() if value}


def file_values(document: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a configuration file's tables, those of ``TABLES``.

    ``service`` may be a table, whose ``name`` is a named service, or that name alone.
    Raises SettingsError for a key that is not known.
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
    """``service = "NAME"`` is short for a table that holds ``name`` alone."""
    if isinstance(content, str):
        return {"service": content}
    if isinstance(content, dict) and "name" in content:
        return {("service" if key == "name" else key): value for key, value in content.items()}
    return content


def _on_removed(value: str) -> OnRemoved:
    try:
        return OnRemoved(value)
    except ValueError:
        raise ValueError("it is keep or delete") from None


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
"""Every setting that an argument, a variable or a file can give."""
TABLES = ("service", "transfer", "mirror")
"""The tables of a configuration file that hold settings."""


def _known(key: str) -> tuple[str | None, str, Callable[[Any], Any]]:
    if key in _READERS:
        return _READERS[key]
    from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

    near = get_close_matches(key, _READERS, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(_READERS)}."
    raise SettingsError(f"There is no setting {key!r}.", hint=hint)
