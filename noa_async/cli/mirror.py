"""``noa-async mirror``: a folder kept equal to what a query matches."""

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

_GO_ON = "What has arrived is kept: the same command goes on with it."
_NOTHING_NEW = "Nothing new."
_PASSING = (ServiceUnreachable, ServiceFault, ServiceAway, ListingShrunk, DestinationInUse)


@dataclass(frozen=True, slots=True)
class _Round:
    """What each look at the catalogue needs."""

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
    """Keep a folder equal to what a query matches, and follow what is new.

    The first run lists all of the query. Later ones ask for what was published since, less an
    overlap, and now and then for all of it again: so what the service replaced, removed or listed
    late is found. What failed is tried again by the next runs.

    Run it from a timer, or let it stay with --watch. Each run first compares every file's size and
    time with the ledger. The exit code is 1 if a product of the query is not there at the end, for
    whatever reason, or if something else needs a person: noa-async status tells what.
    """
    asked = read_query(query, service.config)
    if asked.limit is not None:
        raise click.UsageError(
            "A mirror keeps all that matches: leave --limit out, or use download for a part."
        )
    settings = read_settings(service, transfer, following)
    layout = read_layout(transfer)
    job = job_of(asked, transfer, layout)
    every = None if following.watch is None else _interval(following.watch)
    if every is not None:  # the next look asks again for what is off line, and is not held up
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
        raise click.BadParameter("a look a second is the most.", param_hint="--watch")
    return every


async def _once(look: _Round) -> int:
    """Run once; return the exit code."""
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    relay = Relay()
    return await _look(look, NoaClient(look.settings, observer=relay), relay)


async def _look(look: _Round, client: NoaClient, relay: Relay) -> int:
    """Run once with ``client``, which tells ``relay``; return the exit code."""
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
        look.screen.line(f"Removed: {number_of(done.removed, 'product')} that the service had.")
    if done.absent > course.tally.failed:
        look.screen.line(
            f"Not there: {number_of(done.absent, 'product')} in all; noa-async status "
            f"{look.job.folder} tells why.",
            level=-1,
        )
    if done.held:
        look.screen.line(
            f"Kept: {number_of(done.held, 'file')} of products that the service has no more; they "
            "are too many to be deleted unasked (--max-delete).",
            level=-1,
        )
    if done.hooks_due:
        look.screen.line(
            f"The command has yet to pass for {number_of(done.hooks_due, 'product')}; the next run "
            "tries again.",
            level=-1,
        )
    return 0 if done.ok and not course.progress.hooks_failed else 1


def passes(error: NoaError, *, was_good: bool) -> bool:
    """Whether the next look may find mended what ended this one; ``was_good``: one had no error.

    | what ended the look                        | no look was good yet | one was |
    |--------------------------------------------|----------------------|---------|
    | service away or faulty, folder in use      | yes                  | yes     |
    | a listing that is too short to be believed | yes                  | yes     |
    | refused by the service, such as a 404      | no                   | yes     |
    | refused by the catalogue, the token is new | no                   | yes     |
    | account locked for a while                 | no                   | yes     |
    | password refused                           | no                   | no      |
    | any other                                  | no                   | no      |

    A site that is taken down answers with a 404 or 403 as often as with a 503, and addresses and
    accounts that were right once are so again. A password, though, is never sent twice.
    """
    if isinstance(error, CredentialsRefused):
        return was_good and error.more_tries > 0  # a password's refusal deserves none
    return isinstance(error, _PASSING) or (was_good and isinstance(error, ServiceRefused))


async def _watch(look: _Round, every: timedelta) -> int:
    """Run after run, until a signal or a fault that does not pass by itself."""
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
            look.screen.line(f"The next look is at {format_instant(after)}.")
            await asyncio.sleep(every.total_seconds())
    finally:
        await client.log_out()
