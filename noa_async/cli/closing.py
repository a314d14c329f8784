"""Print the summary at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.cli.lines import JsonLines
from noa_async.cli.tally import closing, failures, summary

if TYPE_CHECKING:
    from noa_async.cli.bringing import Course
    from noa_async.cli.lines import Lines
    from noa_async.cli.options import TransferOptions


def close(course: Course, screen: Lines, transfer: TransferOptions, *, nothing: str) -> None:
    """Print the results of a run; print ``nothing`` if its listing was complete and empty."""
    progress, tally = course.progress, course.tally
    if progress.complete and not progress.listed:
        screen.line(nothing)
    if isinstance(screen, JsonLines):
        screen.put("run_finished", **summary(tally, progress, course.seconds))
        return
    for line in failures(tally, report=transfer.report is not None):
        screen.line(line, level=-1)
    if tally.products:
        for line in closing(tally, progress, course.seconds):
            screen.line(line)
    if tally.products > tally.failed:
        screen.line(f"They are in {transfer.output}.")
