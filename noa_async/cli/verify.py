"""``noa-async verify``: check the files of a folder against their checksums."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import click

from noa_async.archive.archive import ANY_ARCHIVE, Archive
from noa_async.archive.destination import ledger_there
from noa_async.archive.journal import COMPLETE, INTERRUPTED, Journal
from noa_async.archive.recovery import check_ledger
from noa_async.archive.repairing import has_wrong, wrong_products
from noa_async.archive.verify import Selection, check_known, measure, verify
from noa_async.catalogue.moments import parse_instant
from noa_async.cli.bringing import Course, observers
from noa_async.cli.findings import Findings, JsonFindings
from noa_async.cli.lines import JsonLines, make_lines, make_screen
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import ServiceOptions, VerifyOptions, read_settings
from noa_async.cli.output import Output, meant
from noa_async.cli.remarks import tell_remarks
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_service, with_verify
from noa_async.cli.tally import failures
from noa_async.cli.text import bytes_text, number_of, rate_text, seconds_text
from noa_async.errors import NoaError, SettingsError
from noa_async.threads import Threads
from noa_async.values import duration, share

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.archive.verify import Finding
    from noa_async.cli.lines import Lines
    from noa_async.cli.tally import Tally
    from noa_async.settings import Settings

_GO_ON = "Verified products are recorded: --sample continues with those verified longest ago."
_WRONG = ("damaged", "missing", "unreadable")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to verify, and how to print the results."""

    folder: Path | str
    scratch: str | None
    selection: Selection
    as_json: bool
    bars: bool


@dataclass(slots=True)
class Sum:
    """Totals of a verification."""

    counts: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    """Bytes read."""
    seconds: float = 0.0

    def add(self, finding: Finding) -> None:
        """Count a finding."""
        self.counts[finding.condition] += 1
        self.bytes += finding.read

    def held(self) -> dict[str, object]:
        """Return the totals as JSON values."""
        counts = {kind: self.counts[kind] for kind in ("right", *_WRONG, "foreign")}
        if accepted := self.counts["accepted"]:
            counts["accepted"] = accepted
        return {"counts": counts, "bytes": self.bytes, "seconds": round(self.seconds, 3)}

    @property
    def wrong(self) -> int:
        return sum(self.counts[condition] for condition in _WRONG)


def read_since(text: str, now: float) -> float:
    """Convert a time, or an age such as ``7d``, to seconds since 1970. Raise QueryError if invalid.

    >>> read_since("12h", 86400.0), read_since("1970-01-02", 0.0)
    (43200.0, 86400.0)
    """
    try:
        return now - duration(text).total_seconds()
    except ValueError:
        return parse_instant(text, "--since").timestamp()


def read_share(text: str) -> float:
    """Convert a percentage to a fraction from 0 to 1. Raise SettingsError if it is invalid.

    >>> read_share("0.5%")
    0.005
    """
    try:
        if part := share(text):
            return part
    except ValueError:
        pass
    raise SettingsError(
        f"Invalid --sample {text!r:.40}.", hint="Write a percentage such as 1% or 0.5%, up to 100%."
    )


@click.command(cls=VerbCommand)
@click.argument("folder", metavar="DIR", type=Output())
@with_verify
@with_service
@with_manner
@click.pass_obj
def command(
    manner: Manner, folder: Path | str, options: VerifyOptions, service: ServiceOptions
) -> int:
    """Read every product in DIR and compare it with its checksum.

    Each damaged, missing, unreadable or foreign file is printed as a line on standard output.
    Foreign files do not belong to any product: they are kept, are not an error, and are not
    searched for with --since or --sample. Use noa-async accept for products that cannot be
    downloaded again. Only --repair needs an account and network access.

    The exit code is 1 if a product is wrong and was not repaired.
    """
    selection = Selection(
        None if options.since is None else read_since(options.since, time.time()),
        None if options.sample is None else read_share(options.sample),
    )
    helper = find_help(service, options.workers, options.scratch) if options.repair else None
    check_ledger(ledger_there(meant(folder, options.scratch)))
    if helper is not None:
        tell_remarks(make_lines(manner), service, helper.settings, workers=True)
    quiet = manner.json or manner.quiet or options.no_progress
    plan = Plan(folder, options.scratch, selection, as_json=options.form == "json", bars=not quiet)
    return run(_work(plan, manner, helper), how_to_go_on=_GO_ON)


async def _work(plan: Plan, manner: Manner, helper: Helper | None) -> int:
    done, mended = Sum(), Course()
    with (JsonFindings if plan.as_json else Findings)(plan.folder, bar=plan.bars) as findings:
        await _verify(plan, done, findings)
        findings.pause()
        _close(make_lines(manner), done)
        try:
            if helper is not None:
                screen = make_screen(manner, helper.settings.limits.workers, bars=plan.bars)
                await repair(plan.folder, helper, screen, mended)
        finally:  # complete the output even if the repair fails
            repaired = None if helper is None else _repaired(mended.tally)
            findings.end(done.held() | {"repair": repaired})
    left = done.wrong if helper is None else done.counts["unreadable"] + mended.tally.failed
    return 1 if left else 0


def _repaired(tally: Tally) -> dict[str, int]:
    fetched = tally.products - tally.failed
    return {"products": fetched, "bytes": tally.bytes, "failed": tally.failed}


async def _verify(plan: Plan, done: Sum, findings: Findings) -> None:
    """Verify while holding the lock of the archive."""
    began = time.monotonic()
    with Threads(1) as pool:
        target = meant(plan.folder, plan.scratch)
        async with Archive(target, None, pool, anew=False, rules=ANY_ARCHIVE) as archive:
            await check_known(archive)
            journal = Journal(archive.ledger)
            entry, ending = await journal.begin("verify", None, time.time()), INTERRUPTED
            try:
                extent = await measure(archive, plan.selection)
                findings.begin(extent.bytes)
                async with aclosing(verify(archive, extent)) as found:
                    async for finding in found:
                        done.add(finding)
                        findings.add(finding)
                ending = COMPLETE
            except NoaError as error:
                ending = error.message
                raise
            finally:
                done.seconds = time.monotonic() - began
                looked_at = done.counts.total() - done.counts["foreign"]
                entry = replace(entry, listed=looked_at, bytes=done.bytes, failed=done.wrong)
                await journal.end(entry, ending, time.time())


def _close(lines: Lines, done: Sum) -> None:
    """Print the summary."""
    if isinstance(lines, JsonLines):
        lines.put("verify_finished", **done.held())
        return
    kinds = (*_WRONG, "accepted", "foreign")
    found = [f"{done.counts[kind]} {kind}" for kind in kinds if done.counts[kind]]
    right = number_of(done.counts["right"], "product")
    rate = rate_text(done.bytes / max(done.seconds, 1e-9))
    took = f"{bytes_text(done.bytes)} in {seconds_text(done.seconds)}, {rate}"
    lines.line(", ".join([f"{right} intact", *found]))
    lines.line(f"Read {took}")


@dataclass(frozen=True, slots=True)
class Helper:
    """The settings with which products are downloaded for a repair."""

    settings: Settings


def find_help(service: ServiceOptions, workers: str | None, scratch: str | None) -> Helper:
    """Return the settings for a repair, and check before verifying that credentials exist.

    Raise UsageError or CredentialsMissing.
    """
    from noa_async.auth.credentials import find_credentials  # noqa: PLC0415 (for --repair only)

    settings = read_settings(service).with_values(
        {"workers": workers or None, "scratch": scratch or None}
    )
    find_credentials(settings.service.token_url)
    return Helper(settings)


async def repair(folder: Path | str, helper: Helper, screen: Lines, course: Course) -> None:
    """Download again the products that the ledger of ``folder`` records as wrong.

    ``course`` receives the results.
    """
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    target = meant(folder, helper.settings.scratch)
    if not await asyncio.to_thread(has_wrong, target):
        return
    client = NoaClient(helper.settings, observer=observers(course.progress, screen))
    async with (
        client as noa,
        screen.alive(course.progress),
        aclosing(noa.download_all(wrong_products(target), folder)) as outcomes,
    ):
        async for outcome in outcomes:
            course.tally.add(outcome)
    for line in failures(course.tally, report=False):
        screen.line(line, level=-1)
    mended = course.tally.products - course.tally.failed
    screen.line(f"Repaired {number_of(mended, 'product')}, {bytes_text(course.tally.bytes)}")
