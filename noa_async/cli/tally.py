"""What became of the products of a run, and the words for it."""

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
    """The sums of a run's outcomes; of the failures only the first few are kept."""

    counts: Counter[Status] = field(default_factory=Counter)
    sizes: Counter[Status] = field(default_factory=Counter)
    bytes: int = 0
    """Bytes of the products that this run brought: those that were there do not count."""
    failures: list[str] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count one more."""
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
    """The lines that end a run: products by status, then what it took.

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
    """What a run that ended early had still before it, as far as that is known."""
    left = progress.listed - progress.finished
    if progress.complete:
        return [f"Left to do: {number_of(left, 'product')}."] if left else []
    if progress.matching:
        most = max(progress.matching, progress.listed) - progress.finished
        return [f"Left to do: about {number_of(most, 'product')}."]
    return [f"Left to do: {number_of(left, 'product')}, and what was not listed yet."]


def summary(tally: Tally, progress: Progress, seconds: float) -> dict[str, object]:
    """The same for machines; ``arrived`` is bytes over the network."""
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
    """The failures with their reasons, as many as were kept; none where nothing failed."""
    if not tally.failed:
        return []
    more = tally.failed - len(tally.failures)
    where = "see the report" if report else "--report FILE lists them all"
    lines = [
        f"{number_of(tally.failed, 'product')} failed:",
        *(f"  {one}" for one in tally.failures),
    ]
    return [*lines, f"  and {more} more; {where}"] if more else lines
