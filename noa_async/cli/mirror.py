"""``noa-async mirror``: keep a folder up to date with a query."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from noa_async.catalogue.times import format_instant
from noa_async.cli.bringing import Course, Job, Relay, job_of, observers, report_of
from noa_async.cli.closing import close
from noa_async.cli.lines import make_screen, nothing_found
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import (
    FollowOptions,
    QueryOptions,
    ServiceOptions,
    TransferOptions,
    read_layout,
    read_query,
    read_settings,
)
from noa_async.cli.remarks import fitted_query, tell_remarks, tell_scratch
from noa_async.cli.running import run
from noa_async.cli.sections import (
    VerbCommand,
    with_following,
    with_query,
    with_service,
    with_transfer,
)
from noa_async.cli.text import number_of
from noa_async.errors import (
    CredentialsRefused,
    DestinationInUse,
    ListingShrunk,
    NoaError,
    ServiceAway,
    ServiceFault,
    ServiceRefused,
    ServiceUnreachable,
)
from noa_async.values import duration

if TYPE_CHECKING:
    from noa_async.archive.mirror import MirrorReport
    from noa_async.cli.lines import Lines
    from noa_async.client import NoaClient
    from noa_async.settings import Settings
    from noa_async.transfer.outcome import Outcome

_GO_ON = "Downloaded data is kept: run the same command again to resume."
_NOTHING_NEW = "No new products."
_PASSING = (ServiceUnreachable, ServiceFault, ServiceAway, ListingShrunk, DestinationInUse)


@dataclass(frozen=True, slots=True)
class _Round:
    """What each run of a mirror needs."""

    job: Job
    settings: Settings
    transfer: TransferOptions
    screen: Lines
    reconcile: bool


@click.command(cls=VerbCommand)
@with_query
@with_service
@with_transfer
@with_following
@with_manner
@click.pass_obj
def command(
    manner: Manner,
    query: QueryOptions,
    service: ServiceOptions,
    transfer: TransferOptions,
    following: FollowOptions,
) -> int:
    """Keep a folder up to date with the products that match a query.

    The first run lists all products of the query and downloads them. Later runs list what was
    published since, with an overlap, and periodically list the whole query again to find products
    that the service replaced, removed or listed late. Failed products are retried by later runs.

    Run it from a timer, or continuously with --watch. Each run first compares the size and time of
    every file with the ledger. The exit code is 1 if at the end any product of the query is
    missing, for any reason, or something else needs attention: see noa-async status.
    """
    asked = read_query(query, service.config)
    if asked.limit is not None:
        raise click.UsageError(
            "A mirror keeps all matching products: omit --limit, or use download instead."
        )
    settings = read_settings(service, transfer, following)
    layout = read_layout(transfer)
    job = job_of(asked, transfer, layout)
    every = None if following.watch is None else _interval(following.watch)
    if every is not None:  # the next run requests offline products again
        wait = min(settings.retry.offline_wait, every.total_seconds())
        settings = replace(settings, retry=replace(settings.retry, offline_wait=wait))
    if transfer.dry_run:
        from noa_async.cli.dryrun import dry_run  # noqa: PLC0415 (seldom asked for)

        return dry_run(manner, asked, settings, transfer, layout)
    screen = make_screen(manner, settings.limits.workers, bars=not transfer.no_progress)
    job = replace(job, query=fitted_query(screen, asked, settings))
    tell_remarks(screen, service, settings, workers=True)
    tell_scratch(screen, transfer, settings)
    look = _Round(job, settings, transfer, screen, following.reconcile)
    work = _once(look) if every is None else _watch(look, every)
    return run(work, service=settings.service.catalogue_url, how_to_go_on=_GO_ON)


def _interval(text: str) -> timedelta:
    try:
        every = duration(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--watch") from None
    if every < timedelta(seconds=1):
        raise click.BadParameter("the interval must be at least 1s.", param_hint="--watch")
    return every


async def _once(look: _Round) -> int:
    """Run once; return the exit code."""
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    relay = Relay()
    return await _look(look, NoaClient(look.settings, observer=relay), relay)


async def _look(look: _Round, client: NoaClient, relay: Relay) -> int:
    """Run once with ``client``, which sends its events to ``relay``; return the exit code."""
    course = Course()
    report = report_of(look.job, look.transfer, course)
    relay.to = observers(course.progress, look.screen)
    done: MirrorReport | None = None
    why: list[str] = []

    async def tell(outcome: Outcome) -> None:
        course.tally.add(outcome)
        if report is not None:
            await report.add(outcome)

    try:
        async with report or nullcontext(), client as noa, look.screen.alive(course.progress):
            done = await noa.mirror(
                look.job.query,
                look.job.folder,
                layout=look.job.layout,
                reconcile=look.reconcile,
                retry_failed=look.job.retry_failed,
                after=look.job.after,
                tell=tell,
            )
            if done.full and not done.listed:
                from noa_async.cli.sounding import reasons  # noqa: PLC0415 (seldom needed)

                why = await reasons(noa, look.job.query)
    finally:
        nothing = nothing_found(why) if done is not None and done.full else _NOTHING_NEW
        close(course, look.screen, look.transfer, nothing=nothing)
    if done.removed:
        look.screen.line(
            f"Removed: {number_of(done.removed, 'product')} that the service no longer has."
        )
    if done.absent > course.tally.failed:
        look.screen.line(
            f"Missing: {number_of(done.absent, 'product')} in total; see noa-async status "
            f"{look.job.folder}.",
            level=-1,
        )
    if done.held:
        look.screen.line(
            f"Kept: {number_of(done.held, 'file')} of products that the service no longer has; "
            "they are more than --max-delete allows to delete.",
            level=-1,
        )
    if done.hooks_due:
        look.screen.line(
            f"The --exec command has not succeeded for {number_of(done.hooks_due, 'product')}; the "
            "next run will run it again.",
            level=-1,
        )
    return 0 if done.ok and not course.progress.hooks_failed else 1


def passes(error: NoaError, *, was_good: bool) -> bool:
    """Return whether ``--watch`` continues after an error that ended a run.

    ``was_good``: an earlier run ended without an error.

    | error                                      | no successful run yet | after a successful run |
    |--------------------------------------------|-----------------------|------------------------|
    | service unavailable, folder in use         | yes                   | yes                    |
    | listing implausibly short                  | yes                   | yes                    |
    | request rejected, such as a 404            | no                    | yes                    |
    | new token rejected by the catalogue        | no                    | yes                    |
    | account temporarily locked                 | no                    | yes                    |
    | password refused                           | no                    | no                     |
    | any other                                  | no                    | no                     |

    A service that is down answers 404 or 403 as often as 503, and URLs and accounts that worked
    before are probably still valid. A refused password is never sent again.
    """
    if isinstance(error, CredentialsRefused):
        return was_good and error.more_tries > 0  # it is 0 for a refused password
    return isinstance(error, _PASSING) or (was_good and isinstance(error, ServiceRefused))


async def _watch(look: _Round, every: timedelta) -> int:
    """Run repeatedly until a signal, or an error that waiting does not resolve."""
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    relay, was_good = Relay(), False
    client = NoaClient(look.settings, observer=relay, keep_session=True)
    try:
        while True:
            try:
                await _look(look, client, relay)
                was_good = True
            except NoaError as error:
                if not passes(error, was_good=was_good):
                    raise
                look.screen.line(f"noa-async: {error}", level=-1)
            after = datetime.now(UTC) + every
            look.screen.line(f"The next run starts at {format_instant(after)}.")
            await asyncio.sleep(every.total_seconds())
    finally:
        await client.log_out()
