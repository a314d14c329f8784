"""Count the results of a run, and format its summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from noa_async.cli.text import bytes_text, number_of, rate_text, seconds_text, shown, table
from noa_async.events import Status

if TYPE_CHECKING:
    from noa_async.progress import Progress
    from noa_async.transfer.outcome import Outcome

_TOLD_FAILURES = 10


@dataclass(slots=True)
class Tally:
    """Totals of a run's outcomes, and the first few failures."""

    counts: Counter[Status] = field(default_factory=Counter)
    sizes: Counter[Status] = field(default_factory=Counter)
    bytes: int = 0
    """Bytes of the products that this run downloaded, without those already present."""
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.counts[outcome.status] += 1
        self.sizes[outcome.status] += outcome.bytes
        if outcome.brought:
            self.bytes += outcome.bytes
        if outcome.status is Status.FAILED and len(self.failures) < _TOLD_FAILURES:
            self.failures.append(shown(f"{outcome.product.name}: {outcome.error}"))

    @property
    def products(self) -> int:
        return self.counts.total()

    @property
    def failed(self) -> int:
        return self.counts[Status.FAILED]


def closing(tally: Tally, progress: Progress, seconds: float) -> list[str]:
    """Return the summary lines of a run: products by status, then time, rate and retries.

    >>> from noa_async.progress import Progress
    >>> tally = Tally(Counter({Status.DOWNLOADED: 2}), Counter({Status.DOWNLOADED: 24_000_000}))
    >>> closing(tally, Progress(arrived=24_000_000, retries=1, complete=True), 2.0)
    ['  downloaded  2  24.0 MB', '2 products in 2.0 s, 12.0 MB/s, 1 retry']
    """
    rows = [
        (str(status), str(tally.counts[status]), bytes_text(size) if size else "")
        for status in Status
        if tally.counts[status]
        for size in [tally.sizes[status]]
    ]
    products = number_of(tally.products, "product")
    retries = number_of(progress.retries, "retry", "retries")
    took = (
        f"{products} in {seconds_text(seconds)}, {rate_text(progress.arrived / max(seconds, 1e-9))}"
    )
    hooks = f", {number_of(progress.hooks_failed, 'hook')} failed" if progress.hooks_failed else ""
    return [*(table(rows) if rows else []), f"{took}, {retries}{hooks}", *_left_to_do(progress)]


def _left_to_do(progress: Progress) -> list[str]:
    """Return a line on the remaining products of a run that ended early."""
    left = progress.listed - progress.finished
    if progress.complete:
        return [f"Remaining: {number_of(left, 'product')}."] if left else []
    if progress.matching:
        most = max(progress.matching, progress.listed) - progress.finished
        return [f"Remaining: about {number_of(most, 'product')}."]
    return [f"Remaining: {number_of(left, 'product')}, and those not yet listed."]


def summary(tally: Tally, progress: Progress, seconds: float) -> dict[str, object]:
    """Return the summary as JSON values; ``arrived`` is bytes received over the network."""
    return {
        "counts": {str(status): tally.counts[status] for status in Status},
        "bytes": tally.bytes,
        "arrived": progress.arrived,
        "seconds": round(seconds, 3),
        "retries": progress.retries,
        "renewals": progress.renewals,
        "hooks_failed": progress.hooks_failed,
        "left": progress.listed - progress.finished,
        "listing_complete": progress.complete,
    }


def failures(tally: Tally, *, report: bool) -> list[str]:
    """Return lines with the kept failures and their reasons; empty if nothing failed."""
    if not tally.failed:
        return []
    more = tally.failed - len(tally.failures)
    where = "see the report" if report else "--report FILE lists them all"
    lines = [
        f"{number_of(tally.failed, 'product')} failed:",
        *(f"  {one}" for one in tally.failures),
    ]
    return [*lines, f"  and {more} more; {where}"] if more else lines
