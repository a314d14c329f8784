"""Report the faults in the demo, and the recovery from them, as they happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.cli.text import bytes_text, seconds_text, shortened, shown
from noa_async.events import Event, TokenObtained, TransferRetried, TransferStarted

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME_WIDTH = 44


class Troubles:
    """An observer that prints and counts cuts, resumes and token renewals."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.cuts = 0
        self.resumes = 0
        self.refreshes = 0

    def __call__(self, event: Event, /) -> None:
        match event:
            case TransferRetried():
                self.cuts += 1
                self._tell(event.name, event.reason, f"Retry in {seconds_text(event.delay)}.")
            case TransferStarted() if event.attempt > 1 and event.offset:
                self.resumes += 1
                whole = "" if event.total is None else f" of {bytes_text(event.total)}"
                self._tell(event.name, f"resuming at {bytes_text(event.offset)}{whole}.")
            case TokenObtained(grant="refresh_token"):
                self.refreshes += 1
                self._say("     The access token expired and was refreshed, once for all workers.")
            case _:
                pass

    def _tell(self, name: str, *what: str) -> None:
        self._say(f"     {shortened(shown(name), _NAME_WIDTH)}: {shown(' '.join(what))}")
