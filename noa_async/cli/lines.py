"""What happens, told line by line on standard error: as text or as JSON."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noa_async.cli.sentences import level_of, own_record, record, sentence
from noa_async.events import ProductFinished

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from noa_async.cli.manner import Manner
    from noa_async.events import Event
    from noa_async.progress import Progress

NOTHING_FOUND = (
    "No product matches. Widen the dates or the area, or drop a rule; what was sensed lately may "
    "not be in the mirror yet."
)

_EXPLAIN = "noa-async explain, with the same query, says which of its conditions empties it."


def nothing_found(reasons: Sequence[str]) -> str:
    """What to say of a query that matches nothing; ``reasons``: what is likely wrong with it."""
    what = " ".join(["No product matches.", *reasons]) if reasons else NOTHING_FOUND
    return f"{what}\n{_EXPLAIN}"


class Lines:
    """Text; ``level`` is how much of it, as in `Manner`."""

    wants_total = False
    """Whether the number of all products should be asked for, to show how far the run is."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __call__(self, event: Event, /) -> None:
        level = level_of(event)
        if isinstance(event, ProductFinished):
            level = max(0, level)  # failures are listed at the end, however quiet
        if level <= self.level:
            self.line(sentence(event), level=level)

    def line(self, text: str, *, level: int = 0) -> None:
        """Say something that is no event; ``level`` as in `sentences.level_of`."""
        if level <= self.level:
            print(text, file=sys.stderr)

    def say(self, text: str) -> None:
        """Data for standard output, where it must not run into what is drawn."""
        print(text)

    @asynccontextmanager
    async def alive(self, _progress: Progress) -> AsyncGenerator[None]:
        """Show how far a run is for as long as the context is open; lines show what happened."""
        yield


class JsonLines(Lines):
    """One JSON object an event; more of them than as text, for a machine can choose."""

    def __call__(self, event: Event, /) -> None:
        level = level_of(event)
        if (0 if level == 1 else level) <= self.level:
            print(record(event, datetime.now(UTC)), file=sys.stderr)

    def put(self, name: str, **held: object) -> None:
        """Tell an event of the command line's own."""
        if self.level >= 0:
            print(own_record(name, held, datetime.now(UTC)), file=sys.stderr)

    def line(self, text: str, *, level: int = 0) -> None:
        if level <= self.level:
            self.put("message", message=text)


def make_lines(manner: Manner) -> Lines:
    """Lines in the run's manner."""
    return (JsonLines if manner.json else Lines)(manner.level)


def make_screen(manner: Manner, workers: int, *, bars: bool) -> Lines:
    """Bars where there is a terminal to draw them on, else lines."""
    if bars and not manner.json and not manner.quiet and sys.stderr.isatty():
        from noa_async.cli.bars import Bars, fit_for_bars  # noqa: PLC0415 (tqdm, for terminals)

        if fit_for_bars(sys.stderr):
            return Bars(manner.level, workers)
    return make_lines(manner)
