"""The options that several verbs share, as they stand in the help."""

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
    """An option that stands under a heading of its own in the help."""

    def __init__(self, *declarations: Any, section: str = "Options", **attributes: Any) -> None:
        super().__init__(*declarations, **attributes)
        self.section = section


class VerbCommand(click.Command):
    """A command whose help shows its options by section."""

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
    """Options that reach the command as one ``kind``, under ``name``."""

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
    "What to ask for",
    QueryOptions,
    "query",
    _option("--roi", metavar="AREA", help="WKT, a .wkt or .geojson file, or W,S,E,N in degrees."),
    _option(
        "--simplify",
        is_flag=True,
        help="If the area is too long for an address, grow it by as little as is needed.",
    ),
    _option("--content-start", metavar="TIME", help="Sensed from then on (UTC where no zone)."),
    _option("--content-end", metavar="TIME", help="Sensed until then; a bare day is all of it."),
    _option(
        "--time",
        type=click.Choice([relation.value for relation in TimeRelation]),
        help="Which products belong to that time: those that lie within it (the default: what "
        "crosses its start or end is left out), touch it, or start in it, its end left out (for "
        "one range after another).",
    ),
    _option("--pub-start", metavar="TIME", help="Published from then on."),
    _option("--pub-end", metavar="TIME", help="Published until then."),
    _option(
        "--rule",
        "rules",
        multiple=True,
        metavar="RULE",
        shell_complete=completing.rules,
        help=r"Such as platform=SENTINEL-2,cloud_max=20; A|B is either, \, a comma in a value. "
        "Of several rules one must match.",
    ),
    _option(
        "--filter", "filters", multiple=True, metavar="ODATA", help="Raw OData; all must hold."
    ),
    _option("--limit", type=int, metavar="N", help="At most so many products."),
    _option("--everything", is_flag=True, help="Allow a query with no condition."),
)
with_service = _sectioned(
    "Which mirror",
    ServiceOptions,
    "service",
    _option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="A TOML file with the query and settings; options stand in for what it says.",
    ),
    _option(
        "--service",
        metavar="NAME",
        help=f"{' or '.join(SERVICES)}: all that is below, by its name ({next(iter(SERVICES))}). "
        "Any other mirror is given by its addresses.",
    ),
    _option("--catalogue-url", metavar="URL", help="Its product list (the service's)."),
    _option("--token-url", metavar="URL", help="Its log-in (the service's)."),
    _option("--client-id", metavar="ID", help="What the log-in calls us (the service's)."),
    _option(
        "--trusted-host",
        "trusted_hosts",
        multiple=True,
        metavar="HOST",
        help="Gets the token too after a redirect.",
    ),
    _option(
        "--insecure-http",
        is_flag=True,
        default=None,
        help="Allow the password and the token over plain http to another machine.",
    ),
)
_SCRATCH = _option(
    "--scratch",
    metavar="DIR",
    help="The folder through which products go into an object store (~/.local/state/noa-async).",
)
with_scratch = click.option(*_SCRATCH[0], **_SCRATCH[1])
with_transfer = _sectioned(
    "How to fetch",
    TransferOptions,
    "transfer",
    _option(
        "--output",
        type=Output(),
        default=Path("noa-data"),
        show_default=True,
        metavar="DIR",
        help="Where products go; made where it is missing. Or s3://bucket/prefix, gs://, az://.",
    ),
    _SCRATCH,
    _option("--workers", metavar="N", help="Products at the same time (4)."),
    _option("--retries", metavar="N", help="Failures in a row before a product is given up (8)."),
    _option("--stall-timeout", metavar="SECONDS", help="No byte for so long is a cut (60)."),
    _option(
        "--offline-wait",
        metavar="SECONDS",
        help="How long products that are off line are waited for, 0 not at all (3600).",
    ),
    _option("--bandwidth", metavar="RATE", help="Bytes a second in all, such as 20M."),
    _option(
        "--layout",
        metavar="LAYOUT",
        shell_complete=completing.layouts,
        help="flat, date, or a template such as {platform}/{year}/{month}/{name}; another one "
        "than a folder has moves what is there (the folder's, else flat).",
    ),
    _option(
        "--retry-failed",
        is_flag=True,
        help="Fetch again what an earlier run put in quarantine for its wrong bytes.",
    ),
    _option(
        "--exec",
        "exec_command",
        metavar="CMD",
        help="Run this for each product that came, such as 'unzip -tq {path}'; no shell. "
        "{id}, {name}, {size}, {checksum} too. If it fails, the next run tries it again.",
    ),
    _option(
        "--exec-timeout",
        metavar="TIME",
        help="End the command when it takes longer for a product, such as 10m (1h).",
    ),
    _option(
        "--exec-consumes",
        is_flag=True,
        help="The command may move, change or delete the file: the product counts as done, and is "
        "not fetched again.",
    ),
    _option(
        "--min-free",
        metavar="SIZE",
        help="Leave so much of the disk free, such as 50G (16 MiB).",
    ),
    _option(
        "--archive-id", metavar="ID", help="Go on only if DIR holds this archive (see status)."
    ),
    _option(
        "--new-archive",
        is_flag=True,
        help="Begin a new archive though DIR held one that is not there, or holds another.",
    ),
    _option("--dry-run", is_flag=True, help="List what would be fetched; write nothing."),
    _option(
        "--report",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write how each product ended, as JSON; - is standard output.",
    ),
    _option("--no-progress", is_flag=True, help="Lines in place of bars."),
    _option(
        "--dask",
        metavar="ADDRESS",
        help="Fetch by the workers of a Dask cluster, such as tcp://scheduler:8786; local starts "
        "some here. --output is a folder that all of them see, or an object store.",
    ),
)
with_following = _sectioned(
    "How to follow",
    FollowOptions,
    "following",
    _option("--watch", metavar="TIME", help="Stay, and look again after so long, such as 15m."),
    _option(
        "--overlap",
        metavar="TIME",
        help="Ask again for what was published so long before the last run's newest (3d).",
    ),
    _option("--reconcile-every", metavar="TIME", help="List all of the query again so often (7d)."),
    _option("--reconcile", is_flag=True, help="List all of it now."),
    _option(
        "--max-shrink",
        metavar="PERCENT",
        help="Believe no listing that is shorter than the last one by more than that until it has "
        "been so on three days (20%).",
    ),
    _option("--accept-shrunk", is_flag=True, help="Believe such a listing now."),
    _option(
        "--on-removed",
        metavar="WHAT",
        shell_complete=completing.removals,
        help="keep or delete the file of a product that the service has no more (keep).",
    ),
    _option(
        "--attributes/--no-attributes",
        default=None,
        help="Ask for each product's attributes, from which export has cloud cover, orbit "
        "direction, polarisation and mode, or do not: smaller answers (--attributes).",
    ),
    _option(
        "--max-delete",
        metavar="PERCENT",
        help="Delete none if more than that part of the query's files here is gone (1%).",
    ),
    _option(
        "--gone-for",
        metavar="TIME",
        help="Delete only what two listings or more have not met for so long (3d).",
    ),
    _option(
        "--keep-trash",
        metavar="TIME",
        help="Keep deleted files in .noa-async/trash for so long, 0d not at all (30d).",
    ),
    _option(
        "--no-check-files",
        "check_files",
        flag_value="no",
        default=None,
        help="Do not compare each file's size and time with the ledger first, for slow disks.",
    ),
    _option(
        "--accept-missing",
        is_flag=True,
        help="Fetch missing files again, however many; else a mass of them ends the run.",
    ),
)
with_verify = _sectioned(
    "What to read",
    VerifyOptions,
    "options",
    _option("--repair", is_flag=True, help="Fetch again what is wrong."),
    _option(
        "--since",
        metavar="TIME",
        help="Only what came or changed since then: an instant, or an age such as 7d, 12h, 30m.",
    ),
    _option(
        "--sample",
        metavar="PERCENT",
        help="Only such a share, as 1% or 0.5%: what was verified longest ago, never first.",
    ),
    _SCRATCH,
    _option("--workers", metavar="N", help="Products at the same time with --repair (4)."),
    _option(
        "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
    ),
    _option("--no-progress", is_flag=True, help="No bar."),
)
