"""Options shared by several verbs, grouped into sections of the help text."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from noa_async.catalogue.moments import TimeRelation
from noa_async.cli import completing
from noa_async.cli.options import (
    FollowOptions,
    QueryOptions,
    ServiceOptions,
    TransferOptions,
    VerifyOptions,
)
from noa_async.cli.output import Output
from noa_async.services import SERVICES

_F = TypeVar("_F", bound=Callable[..., Any])


class SectionOption(click.Option):
    """An option listed under a section heading in the help text."""

    def __init__(self, *declarations: Any, section: str = "Options", **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.section = section


class VerbCommand(click.Command):
    """A command whose help text groups its options by section."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                section = getattr(parameter, "section", "Output and help")
                sections.setdefault(section, []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)


def _sectioned(section: str, kind: type, name: str, *options: Any) -> Callable[[_F], _F]:
    """Add options to a command and pass them to it as one ``kind`` object named ``name``."""

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def call(**values: Any) -> Any:
            mine = {field.name: values.pop(field.name) for field in fields(kind)}
            return function(**values, **{name: kind(**mine)})

        for declarations, attributes in reversed(options):
            click.option(*declarations, cls=SectionOption, section=section, **attributes)(call)
        return call  # type: ignore[return-value] # it takes other arguments, as click calls it

    return decorate


def _option(*declarations: str, **attributes: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return declarations, attributes


with_query = _sectioned(
    "Query",
    QueryOptions,
    "query",
    _option(
        "--roi",
        metavar="AREA",
        help="Area of interest: WKT, a .wkt or .geojson file, or W,S,E,N in degrees.",
    ),
    _option(
        "--simplify",
        is_flag=True,
        help="If the area is too long for a URL, replace it by a simpler, slightly larger one.",
    ),
    _option(
        "--content-start",
        metavar="TIME",
        help="Earliest sensing time, such as 2026-01-31 or 2026-01-31T12:00Z (UTC by default).",
    ),
    _option(
        "--content-end",
        metavar="TIME",
        help="Latest sensing time; a date without a time includes the whole day.",
    ),
    _option(
        "--time",
        type=click.Choice([relation.value for relation in TimeRelation]),
        help="Which products match the sensing times: within, those sensed entirely between them "
        "(default); touches, those that overlap the range; starts, those whose sensing begins in "
        "it, end excluded, so that adjacent ranges share no product.",
    ),
    _option("--pub-start", metavar="TIME", help="Earliest publication time."),
    _option("--pub-end", metavar="TIME", help="Latest publication time."),
    _option(
        "--rule",
        "rules",
        multiple=True,
        metavar="RULE",
        shell_complete=completing.rules,
        help="Conditions that a product must all meet, such as platform=SENTINEL-2,cloud_max=20. "
        r"A|B means A or B; write \, for a comma in a value. If --rule is given several times, "
        "one rule must match.",
    ),
    _option(
        "--filter",
        "filters",
        multiple=True,
        metavar="ODATA",
        help="A raw OData condition; may be repeated, and all must match.",
    ),
    _option("--limit", type=int, metavar="N", help="Stop after N products."),
    _option("--everything", is_flag=True, help="Allow a query without any condition."),
)
with_service = _sectioned(
    "Service",
    ServiceOptions,
    "service",
    _option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A TOML file with the query and settings; options override its values.",
    ),
    _option(
        "--service",
        metavar="NAME",
        help=f"A known service: {' or '.join(SERVICES)} (default {next(iter(SERVICES))}). It sets "
        "the URLs and the client id; specify another service by its URLs.",
    ),
    _option(
        "--catalogue-url",
        metavar="URL",
        help="OData URL of the product catalogue (default: that of the service).",
    ),
    _option(
        "--token-url",
        metavar="URL",
        help="URL of the OAuth token endpoint (default: that of the service).",
    ),
    _option("--client-id", metavar="ID", help="OAuth client id (default: that of the service)."),
    _option(
        "--trusted-host",
        "trusted_hosts",
        multiple=True,
        metavar="HOST",
        help="Also send the access token to this host if a download is redirected to it.",
    ),
    _option(
        "--insecure-http",
        is_flag=True,
        default=None,
        help="Allow sending the password and token over unencrypted HTTP to another machine.",
    ),
)
_SCRATCH = _option(
    "--scratch",
    metavar="DIR",
    help="Local folder for the ledger and part files of an object store (default "
    "~/.local/state/noa-async).",
)
with_scratch = click.option(*_SCRATCH[0], **_SCRATCH[1])
with_transfer = _sectioned(
    "Download",
    TransferOptions,
    "transfer",
    _option(
        "--output",
        type=Output(),
        default=Path("noa-data"),
        show_default=True,
        metavar="DIR",
        help="Output folder, created if missing; or an object store: s3://bucket/prefix, gs://..., "
        "az://...",
    ),
    _SCRATCH,
    _option("--workers", metavar="N", help="Number of concurrent downloads (default 4)."),
    _option(
        "--retries",
        metavar="N",
        help="Maximum number of consecutive retries before a product fails (default 8).",
    ),
    _option(
        "--stall-timeout",
        metavar="SECONDS",
        help="Abort a transfer after this many seconds without data, and retry (default 60).",
    ),
    _option(
        "--offline-wait",
        metavar="SECONDS",
        help="Maximum time to wait for offline products; 0 does not wait (default 3600).",
    ),
    _option(
        "--bandwidth",
        metavar="RATE",
        help="Total bandwidth limit in bytes per second, such as 20M (default: none).",
    ),
    _option(
        "--layout",
        metavar="LAYOUT",
        shell_complete=completing.layouts,
        help="flat, date, or a template such as {platform}/{year}/{month}/{name}. If the folder "
        "has a different layout, its files are moved (default: the folder's layout, or flat).",
    ),
    _option(
        "--retry-failed",
        is_flag=True,
        help="Also retry products that earlier runs abandoned or quarantined (wrong checksum).",
    ),
    _option(
        "--exec",
        "exec_command",
        metavar="CMD",
        help="Run a command, without a shell, for each downloaded product, such as 'unzip -tq "
        "{path}'. Fields: {path}, {id}, {name}, {size}, {checksum}. If it fails, the next run with "
        "--exec runs it again.",
    ),
    _option(
        "--exec-timeout",
        metavar="TIME",
        help="Terminate the command if it runs longer than this, such as 10m (default 1h).",
    ),
    _option(
        "--exec-consumes",
        is_flag=True,
        help="The command may move, change or delete the file: afterwards the product counts as "
        "done and is not downloaded again.",
    ),
    _option(
        "--min-free",
        metavar="SIZE",
        help="Disk space to keep free, such as 50G (default 16 MiB).",
    ),
    _option(
        "--archive-id",
        metavar="ID",
        help="Run only if the output folder holds the archive with this id (see status).",
    ),
    _option(
        "--new-archive",
        is_flag=True,
        help="Create a new archive even if the output folder used to hold one that is now missing, "
        "or holds a different one.",
    ),
    _option("--dry-run", is_flag=True, help="List what would be downloaded; write nothing."),
    _option(
        "--report",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the status of each product to FILE as JSON; - is standard output.",
    ),
    _option("--no-progress", is_flag=True, help="Print lines instead of progress bars."),
    _option(
        "--dask",
        metavar="ADDRESS",
        help="Download with the workers of a Dask cluster, such as tcp://scheduler:8786; local "
        "starts workers on this machine. All workers must have access to --output, a shared "
        "folder or an object store.",
    ),
)
with_following = _sectioned(
    "Mirror",
    FollowOptions,
    "following",
    _option(
        "--watch", metavar="TIME", help="Keep running and check again at this interval, e.g. 15m."
    ),
    _option(
        "--overlap",
        metavar="TIME",
        help="Also list what was published up to this long before the newest known product, "
        "because products can be listed late (default 3d).",
    ),
    _option(
        "--reconcile-every",
        metavar="TIME",
        help="Interval at which the whole query is listed again (default 7d).",
    ),
    _option("--reconcile", is_flag=True, help="List the whole query in this run."),
    _option(
        "--max-shrink",
        metavar="PERCENT",
        help="Reject a full listing that is shorter than the previous one by more than this, until "
        "it has been that short on three days (default 20%).",
    ),
    _option("--accept-shrunk", is_flag=True, help="Accept such a listing now."),
    _option(
        "--on-removed",
        metavar="WHAT",
        shell_complete=completing.removals,
        help="keep or delete the files of products that the service removed (default keep).",
    ),
    _option(
        "--attributes/--no-attributes",
        default=None,
        help="Whether to request the attributes of each product, from which export takes cloud "
        "cover, orbit direction, polarisation and mode; without them responses are smaller "
        "(default --attributes).",
    ),
    _option(
        "--max-delete",
        metavar="PERCENT",
        help="Delete nothing if more than this share of the query's files would be deleted "
        "(default 1%).",
    ),
    _option(
        "--gone-for",
        metavar="TIME",
        help="Delete a file only if its product has been missing from at least two listings over "
        "this time (default 3d).",
    ),
    _option(
        "--keep-trash",
        metavar="TIME",
        help="How long to keep deleted files in .noa-async/trash; 0d deletes immediately (default "
        "30d).",
    ),
    _option(
        "--no-check-files",
        "check_files",
        flag_value="no",
        default=None,
        help="Do not compare the size and time of each file with the ledger first, for slow disks.",
    ),
    _option(
        "--accept-missing",
        is_flag=True,
        help="Download missing files again even if there are many; by default many missing files "
        "stop the run.",
    ),
)
with_verify = _sectioned(
    "Verification",
    VerifyOptions,
    "options",
    _option("--repair", is_flag=True, help="Download damaged and missing products again."),
    _option(
        "--since",
        metavar="TIME",
        help="Only products that were downloaded or changed since a time, such as 2026-01-31, or "
        "within an age, such as 7d, 12h, 30m.",
    ),
    _option(
        "--sample",
        metavar="PERCENT",
        help="Only this share of the products, such as 1% or 0.5%: those never verified first, "
        "then those verified longest ago.",
    ),
    _SCRATCH,
    _option(
        "--workers", metavar="N", help="Number of concurrent downloads with --repair (default 4)."
    ),
    _option(
        "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
    ),
    _option("--no-progress", is_flag=True, help="Show no progress bar."),
)
