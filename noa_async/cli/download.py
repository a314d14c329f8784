"""``noa-async download``: download and verify the products that match a query."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from noa_async.cli.bringing import Course, Job, bring, job_of, observers, report_of
from noa_async.cli.closing import close
from noa_async.cli.lines import make_screen, nothing_found
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import (
    QueryOptions,
    ServiceOptions,
    TransferOptions,
    read_layout,
    read_query,
    read_settings,
)
from noa_async.cli.remarks import fitted_query, tell_remarks, tell_scratch
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_query, with_service, with_transfer

if TYPE_CHECKING:
    from noa_async.cli.lines import Lines
    from noa_async.cli.report import Report
    from noa_async.client import NoaClient
    from noa_async.settings import Settings

_GO_ON = "Downloaded data is kept: run the same command again to resume."


@click.command(cls=VerbCommand)
@with_query
@with_service
@with_transfer
@with_manner
@click.pass_obj
def command(
    manner: Manner, query: QueryOptions, service: ServiceOptions, transfer: TransferOptions
) -> int:
    """Download the products that match a query and verify their checksums.

    Products that are already present and correct are not downloaded again, and partial downloads
    are resumed. A file gets its final name only when it is complete and its checksum, if the
    catalogue has one, is correct.

    In a report (--report), "bytes" counts the products that this run downloaded.
    """
    asked = read_query(query, service.config)
    settings = read_settings(service, transfer)
    layout = read_layout(transfer)
    job = job_of(asked, transfer, layout)
    if transfer.dry_run:
        from noa_async.cli.dryrun import dry_run  # noqa: PLC0415 (seldom asked for)

        return dry_run(manner, asked, settings, transfer, layout)
    screen = make_screen(manner, settings.limits.workers, bars=not transfer.no_progress)
    job = replace(job, query=fitted_query(screen, asked, settings))
    tell_remarks(screen, service, settings, workers=True)
    tell_scratch(screen, transfer, settings)
    return _download(job, settings, transfer, screen)


def _download(job: Job, settings: Settings, transfer: TransferOptions, screen: Lines) -> int:
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    course = Course()
    told: list[str] = []
    report = report_of(job, transfer, course)
    client = NoaClient(settings, observer=observers(course.progress, screen))
    try:
        run(
            _bring(client, job, course, screen, report, told),
            service=settings.service.catalogue_url,
            how_to_go_on=_GO_ON,
        )
    finally:
        close(course, screen, transfer, nothing=nothing_found(told))
    return 1 if course.tally.failed or course.progress.hooks_failed else 0


async def _bring(
    client: NoaClient,
    job: Job,
    course: Course,
    screen: Lines,
    report: Report | None,
    told: list[str],
) -> None:
    """Run the download. Append likely errors in the query to ``told`` if it matches nothing."""
    async with report or nullcontext(), client as noa:
        await bring(noa, job, course, screen, report)
        if not course.progress.listed:
            from noa_async.cli.sounding import reasons  # noqa: PLC0415 (seldom needed)

            told += await reasons(noa, job.query)
