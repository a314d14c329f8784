"""Turn the options shared by several verbs into a Query and Settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from noa_async.catalogue.query import Query, load_document
from noa_async.catalogue.rules import MissionRule
from noa_async.errors import SettingsError
from noa_async.origins import host_of
from noa_async.settings import Settings, environment_values, file_values

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from noa_async.archive.layout import Layout


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """The query options, as given."""

    roi: str | None
    content_start: str | None
    content_end: str | None
    pub_start: str | None
    pub_end: str | None
    rules: tuple[str, ...]
    filters: tuple[str, ...]
    limit: int | None
    everything: bool
    time: str | None = None
    simplify: bool = False

    def changes(self) -> dict[str, Any]:
        """Return the given options in the structure of a configuration file."""

        names = ("content_start", "content_end", "pub_start", "pub_end")
        times = {name: getattr(self, name) for name in names} | {"relation": self.time}
        given = {
            "roi": self.roi,
            "time": {name: at for name, at in times.items() if at is not None} or None,
            "rules": [MissionRule.parse(rule) for rule in self.rules] or None,
            "filter": list(self.filters) or None,
            "limit": self.limit,
            "everything": self.everything or None,
            "simplify": self.simplify or None,
        }
        return {key: value for key, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """The service options, as given, and the configuration file."""

    config: Path | None
    catalogue_url: str | None
    token_url: str | None
    client_id: str | None
    trusted_hosts: tuple[str, ...]
    service: str | None = None
    insecure_http: bool | None = None


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """The download options, as given."""

    output: Path | str
    """A folder, or the URL of an object store as text."""
    scratch: str | None
    workers: str | None
    retries: str | None
    stall_timeout: str | None
    offline_wait: str | None
    bandwidth: str | None
    layout: str | None
    retry_failed: bool
    dry_run: bool
    exec_command: str | None
    exec_timeout: str | None
    exec_consumes: bool
    min_free: str | None
    archive_id: str | None
    new_archive: bool
    report: Path | None
    no_progress: bool
    dask: str | None


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """The mirror options, as given."""

    watch: str | None
    overlap: str | None
    reconcile_every: str | None
    reconcile: bool
    max_shrink: str | None
    accept_shrunk: bool
    on_removed: str | None
    max_delete: str | None
    gone_for: str | None
    keep_trash: str | None
    check_files: str | None
    accept_missing: bool
    attributes: bool | None = None


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The options of verify, as given."""

    repair: bool
    since: str | None
    sample: str | None
    scratch: str | None
    workers: str | None
    form: str
    no_progress: bool


_SETTINGS = ("service", "catalogue_url", "token_url", "client_id", "trusted_hosts",
             "insecure_http", "workers", "retries", "stall_timeout", "offline_wait", "bandwidth",
             "overlap", "reconcile_every", "on_removed", "max_delete", "max_shrink", "gone_for",
             "keep_trash", "check_files", "min_free", "archive_id", "attributes", "scratch",
             "dask")  # fmt: skip
_ADDRESSES = ("catalogue_url", "token_url")


def read_query(options: QueryOptions, config: Path | None) -> Query:
    """Return the query; given options override those of the file.

    Raise QueryError if it is invalid.
    """

    changes = options.changes()
    return Query.from_mapping(changes) if config is None else Query.from_toml(config, changes)


def read_layout(transfer: TransferOptions) -> Layout:
    """Return the given layout, or the folder's, or flat. Raise SettingsError if it is invalid."""
    from noa_async.archive.layout import FLAT, Layout  # noqa: PLC0415 (for some verbs only)
    from noa_async.archive.scratch import Scratch  # noqa: PLC0415
    from noa_async.archive.targets import state_of  # noqa: PLC0415
    from noa_async.cli.output import meant  # noqa: PLC0415

    state = state_of(meant(transfer.output, transfer.scratch))
    text = transfer.layout or Scratch(state, str(transfer.output)).read_layout()
    return FLAT if text is None else Layout.parse(text)


def read_settings(
    service: ServiceOptions,
    transfer: TransferOptions | None = None,
    following: FollowOptions | None = None,
) -> Settings:
    """Return the settings: options override environment variables, which override the file.

    A single URL overrides that of the named service. Raise UsageError if a setting is invalid.
    """

    held = file_values(load_document(service.config)) if service.config is not None else {}
    given = {
        key: getattr(options, key)
        for options in (service, transfer, following)
        for key in _SETTINGS
        if getattr(options, key, None) not in (None, "", ())
    }
    values = held | environment_values(os.environ) | given
    settings = Settings().with_values(values)
    _check_addresses(values, settings)
    if transfer is not None and transfer.new_archive:
        settings = replace(settings, new_archive=True)
    if following is not None and (following.accept_shrunk or following.accept_missing):
        accepted = replace(
            settings.following,
            accept_shrunk=following.accept_shrunk,
            accept_missing=following.accept_missing,
        )
        settings = replace(settings, following=accepted)
    return settings


def _check_addresses(values: Mapping[str, Any], settings: Settings) -> None:
    """Raise SettingsError if only one of the two URLs was changed to another host.

    Accounts and tokens belong to one service and must not be sent to another.
    """
    given = [key for key in _ADDRESSES if values.get(key)]
    if len(given) != 1:
        return
    named = Settings().with_values({"service": values.get("service")}).service
    [key] = given
    [other] = set(_ADDRESSES) - {key}
    host = host_of(getattr(settings.service, key))
    if host != host_of(getattr(named, key)):
        raise SettingsError(
            f"{key} is at {host}, but {other} is still at {host_of(getattr(named, other))}.",
            hint=f"Specify --{other.replace('_', '-')} (NOA_{other.upper()}), too.",
        )
