"""Print events and messages to standard error, as text or JSON lines."""

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
    "No product matches. Widen the dates or the area, or drop a rule; recently sensed products may "
    "not be in the mirror yet."
)

_EXPLAIN = "Run noa-async explain with the same query to see which condition excludes all products."


def nothing_found(reasons: Sequence[str]) -> str:
    """Return the message for a query that matches nothing, with likely ``reasons``."""
    what = " ".join(["No product matches.", *reasons]) if reasons else NOTHING_FOUND
    return f"{what}\n{_EXPLAIN}"


class Lines:
    """Print events as text; ``level`` is the verbosity, as in `Manner`."""

    wants_total = False
    """Whether the total number of products should be requested, to show progress."""

    def __init__(self, level: int) -> None:
        self.level = level

    def __call__(self, event: Event, /) -> None:
        level = level_of(event)
        if isinstance(event, ProductFinished):
            level = max(0, level)  # with -q, failures are printed only in the final summary
        if level <= self.level:
            self.line(sentence(event), level=level)

    def line(self, text: str, *, level: int = 0) -> None:
        """Print a message that is not an event; ``level`` as in `sentences.level_of`."""
        if level <= self.level:
            print(text, file=sys.stderr)

    def say(self, text: str) -> None:
        """Print data to standard output without overlapping the progress bars."""
        print(text)

    @asynccontextmanager
    async def alive(self, _progress: Progress) -> AsyncGenerator[None]:
        """Show progress while the context is open; here only events are printed."""
        yield


class JsonLines(Lines):
    """Print each event as a JSON object; events of ``-v`` are included."""

    def __call__(self, event: Event, /) -> None:
        level = level_of(event)
        if (0 if level == 1 else level) <= self.level:
            print(record(event, datetime.now(UTC)), file=sys.stderr)

    def put(self, name: str, **held: object) -> None:
        """Print a command-line event, such as ``run_finished``."""
        if self.level >= 0:
            print(own_record(name, held, datetime.now(UTC)), file=sys.stderr)

    def line(self, text: str, *, level: int = 0) -> None:
        if level <= self.level:
            self.put("message", message=text)


def make_lines(manner: Manner) -> Lines:
    """Return a printer with the requested format and verbosity."""
    return (JsonLines if manner.json else Lines)(manner.level)


def make_screen(manner: Manner, workers: int, *, bars: bool) -> Lines:
    """Return progress bars if standard error is a suitable terminal, or a line printer."""
    if bars and not manner.json and not manner.quiet and sys.stderr.isatty():
        from noa_async.cli.bars import Bars, fit_for_bars  # noqa: PLC0415 (tqdm, for terminals)

        if fit_for_bars(sys.stderr):
            return Bars(manner.level, workers)
    return make_lines(manner)
