"""Download the products of a query, show progress and write the report."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noa_async.cli.running import beside
from noa_async.cli.tally import Tally
from noa_async.errors import NoaError, SettingsError, UsageError
from noa_async.events import ignore
from noa_async.hooks import Command
from noa_async.progress import Progress
from noa_async.values import duration

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.archive.layout import Layout
    from noa_async.catalogue.query import Query
    from noa_async.cli.lines import Lines
    from noa_async.cli.options import TransferOptions
    from noa_async.cli.report import Report
    from noa_async.client import NoaClient
    from noa_async.events import Event, Observer
    from noa_async.hooks import Hook


_EXEC_TIMEOUT = "1h"


@dataclass(frozen=True, slots=True)
class Job:
    """What to download, and where to."""

    query: Query
    folder: Path | str
    """A folder, or the URL of an object store as text."""
    layout: str | None = None
    """As in ``NoaClient.download``."""
    attributes: bool = False
    """Whether the layout needs attributes that must be requested from the catalogue."""
    retry_failed: bool = False
    after: Hook | None = None


def job_of(query: Query, transfer: TransferOptions, layout: Layout) -> Job:
    """Return the job described by a verb's options. Raise SettingsError if --exec is invalid."""
    return Job(
        query,
        transfer.output,
        transfer.layout,
        layout.needs_attributes,
        transfer.retry_failed,
        _hook(transfer),
    )


def _hook(transfer: TransferOptions) -> Command | None:
    """Return the command of --exec, or None. Raise SettingsError or UsageError if invalid."""
    if transfer.exec_command is None:
        if transfer.exec_timeout is not None or transfer.exec_consumes:
            raise UsageError("--exec-timeout and --exec-consumes require --exec.")
        return None
    try:
        timeout = duration(transfer.exec_timeout or _EXEC_TIMEOUT).total_seconds()
    except ValueError as error:
        raise SettingsError(
            f"Invalid --exec-timeout {transfer.exec_timeout!r:.40}: {error}."
        ) from None
    return Command.parse(
        transfer.exec_command, timeout=timeout or None, consumes=transfer.exec_consumes
    )


@dataclass(slots=True)
class Course:
    """The state of a run: its progress, its results and its start time."""

    progress: Progress = field(default_factory=Progress)
    tally: Tally = field(default_factory=Tally)
    began: float = field(default_factory=time.monotonic)

    def restart(self) -> None:
        """Measure the elapsed time from now."""
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def observers(*each: Observer) -> Observer:
    """Return an observer that passes each event to all given observers."""

    def tell(event: Event, /) -> None:
        for observer in each:
            observer(event)

    return tell


class Relay:
    """An observer that passes events to another one, ``to``, which can be replaced."""

    def __init__(self) -> None:
        self.to: Observer = ignore

    def __call__(self, event: Event, /) -> None:
        self.to(event)


async def bring(
    noa: NoaClient, job: Job, course: Course, screen: Lines, report: Report | None = None
) -> None:
    """Download all products of a job. ``course`` holds the results, even if this raises.

    ``noa`` must be open and must send its events to ``course.progress`` and ``screen``.
    """
    async with (
        screen.alive(course.progress),
        beside(_ask_count(noa, job.query, course.progress, wanted=screen.wants_total)),
        aclosing(noa.search(job.query, attributes=job.attributes)) as found,
        AsyncExitStack() as stack,
    ):
        outcomes = noa.download_all(
            found,
            job.folder,
            layout=job.layout,
            retry_failed=job.retry_failed,
            after=job.after,
        )
        async for outcome in await stack.enter_async_context(aclosing(outcomes)):
            course.tally.add(outcome)
            if report is not None:
                await report.add(outcome)


def report_of(job: Job, transfer: TransferOptions, course: Course) -> Report | None:
    """Return the report requested with --report, or None."""
    if transfer.report is None:
        return None
    from noa_async.cli.report import Report  # noqa: PLC0415 (where it is asked for)

    return Report(transfer.report, job.query.filter, course.tally)


async def _ask_count(noa: NoaClient, query: Query, progress: Progress, *, wanted: bool) -> None:
    """Request the service's count of products, from which the total size is estimated."""
    if wanted:
        with suppress(NoaError):  # the listing reports the same error
            progress.matching = await noa.count(query)
