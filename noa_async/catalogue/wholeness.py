"""Whether a listing was whole, by the service's counts, and what to say where it was not. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.errors import ServiceFault

if TYPE_CHECKING:
    from noa_async.catalogue.windows import Shortfall


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a listing came to, beside the service's counts of all that it should hold.

    >>> tally = Tally(first=800, again=800, listed=798, by_time=True)
    >>> tally.short, tally.may_lie_beside, tally.accounts_for(798, 0), tally.accounts_for(800, 0)
    (True, True, False, True)
    >>> tally.fault().message
    'The catalogue listed 798 products of the 800 it counts.'
    """

    first: int | None
    """Counted before it; None where the service does not count."""
    again: int | None
    """Counted after it; None where that was not asked."""
    listed: int
    shortfalls: tuple[Shortfall, ...] = ()
    """The windows that could not be listed whole."""
    skipped: tuple[str, ...] = ()
    """A sentence for each entry that is no product."""
    by_time: bool = False
    """Whether it was read in windows of time, or went on by date: what has none may be missing."""

    @property
    def counted(self) -> int | None:
        """The latest count."""
        return self.first if self.again is None else self.again

    @property
    def short(self) -> bool:
        """Whether something is missing, as far as the counts tell.

        There may be fewer than one of the counts: some went or came meanwhile.
        """
        entries = self.listed + len(self.skipped)
        return bool(self.shortfalls) or entries < min(self.first or 0, self.counted or 0)

    @property
    def may_lie_beside(self) -> bool:
        """Whether products that no window of time holds are worth a question.

        | read by time | a window fell short | the service counts | fewer listed | worth it |
        |--------------|---------------------|--------------------|--------------|----------|
        | no           | -                   | -                  | -            | no       |
        | yes          | yes                 | -                  | -            | no       |
        | yes          | no                  | no                 | -            | yes      |
        | yes          | no                  | yes                | no           | no       |
        | yes          | no                  | yes                | yes          | yes      |
        """
        return self.by_time and not self.shortfalls and (self.first is None or self.short)

    def accounts_for(self, dated: int, undated: int) -> bool:
        """Whether all that is counted has a date or was listed for having none.

        Then nothing lies beside the windows; where each was whole when it was read, fewer than
        either count were listed because some went and others came meanwhile.
        """
        return not self.shortfalls and dated + undated >= (self.counted or 0)

    def fault(self) -> ServiceFault:
        """What to say of a short one."""
        told = self.counted or 0
        if self.listed >= told:
            told = self.listed + sum((one.counted or 0) - one.listed for one in self.shortfalls)
        if self.counted is None:
            sentence = f"The catalogue listed {self.listed} products and gave no way on from them."
        else:
            sentence = f"The catalogue listed {self.listed} products of the {told} it counts."
        return ServiceFault(sentence, hint=f"What was listed is right{self._rest()}")

    def unread(self) -> ServiceFault:
        """What to say of a listing in which entries were skipped."""
        others = len(self.skipped) - 1
        more = f" So are {others} other entries." if others > 0 else ""
        return ServiceFault(
            f"{self.skipped[0]}{more}",
            hint="What was listed is right; an entry that cannot be read was skipped. Tell the "
            "service's people if it stays so.",
        )

    def _rest(self) -> str:
        where = next((each for each in self.shortfalls if each.window.bounds), None)
        if where is not None:
            of = "" if where.counted is None else f" of {where.counted}"
            return f". It lists {where.listed}{of} for {where.window.bounds}."
        if self.by_time and not self.shortfalls:
            return ". Products with no ContentDate are in no window of time."
        return "; start again, or ask for a shorter time."
