"""Decide from the service's counts whether a listing was complete, and build the error. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.errors import ServiceFault

if TYPE_CHECKING:
    from noa_async.catalogue.windows import Shortfall


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The number of products listed, and the service's counts.

    >>> tally = Tally(first=800, again=800, listed=798, by_time=True)
    >>> tally.short, tally.may_lie_beside, tally.accounts_for(798, 0), tally.accounts_for(800, 0)
    (True, True, False, True)
    >>> tally.fault().message
    'The catalogue listed 798 of the 800 products that it counts.'
    """

    first: int | None
    """Count before the listing; None if the service does not count."""
    again: int | None
    """Count after the listing; None if it was not requested."""
    listed: int
    shortfalls: tuple[Shortfall, ...] = ()
    """The windows that could not be listed completely."""
    skipped: tuple[str, ...] = ()
    """One sentence for each entry that could not be parsed."""
    by_time: bool = False
    """Whether it was read in time windows or continued by date: products without a date may be
    missing."""

    @property
    def counted(self) -> int | None:
        """The latest count."""
        return self.first if self.again is None else self.again

    @property
    def short(self) -> bool:
        """Whether products are missing, by the counts.

        Fewer products than one of the two counts are accepted: some were removed or added
        meanwhile.
        """
        entries = self.listed + len(self.skipped)
        return bool(self.shortfalls) or entries < min(self.first or 0, self.counted or 0)

    @property
    def may_lie_beside(self) -> bool:
        """Whether to request products that are in no time window, because they have no date.

        | read by time | a window fell short | the service counts | fewer listed | request |
        |--------------|---------------------|--------------------|--------------|---------|
        | no           | -                   | -                  | -            | no      |
        | yes          | yes                 | -                  | -            | no      |
        | yes          | no                  | no                 | -            | yes     |
        | yes          | no                  | yes                | no           | no      |
        | yes          | no                  | yes                | yes          | yes     |
        """
        return self.by_time and not self.shortfalls and (self.first is None or self.short)

    def accounts_for(self, dated: int, undated: int) -> bool:
        """Return whether the counts of dated and undated products add up to the total.

        If they do, no product is outside the windows. If each window was complete when read, a
        difference from the counts comes from products removed and added meanwhile.
        """
        return not self.shortfalls and dated + undated >= (self.counted or 0)

    def fault(self) -> ServiceFault:
        """Return the error for a listing with missing products."""
        told = self.counted or 0
        if self.listed >= told:
            told = self.listed + sum((one.counted or 0) - one.listed for one in self.shortfalls)
        if self.counted is None:
            sentence = f"The catalogue listed {self.listed} products; the last page has no link."
        else:
            sentence = f"The catalogue listed {self.listed} of the {told} products that it counts."
        return ServiceFault(sentence, hint=f"The listed products are valid{self._rest()}")

    def unread(self) -> ServiceFault:
        """Return the error for a listing with skipped entries."""
        others = len(self.skipped) - 1
        more = f" ({others} more such entries.)" if others > 0 else ""
        return ServiceFault(
            f"{self.skipped[0]}{more}",
            hint="The listed products are valid; entries that cannot be parsed were skipped. "
            "Report this to the service's operators if it persists.",
        )

    def _rest(self) -> str:
        where = next((each for each in self.shortfalls if each.window.bounds), None)
        if where is not None:
            of = "" if where.counted is None else f" of {where.counted}"
            return f". It listed {where.listed}{of} for {where.window.bounds}."
        if self.by_time and not self.shortfalls:
            return ". Products without a ContentDate may be missing."
        return "; start again, or query a shorter time range."
