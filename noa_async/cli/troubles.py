"""What goes wrong in the demo, and how it is mended, told as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.cli.text import bytes_text, seconds_text, shortened, shown
from noa_async.events import Event, TokenObtained, TransferRetried, TransferStarted

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME_WIDTH = 44


class Troubles:
    """An observer that tells of cuts, resumes and renewed tokens, and counts them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.cuts = 0
        self.resumes = 0
        self.refreshes = 0

    def __call__(self, event: Event, /) -> None:
        match event:
            case TransferRetried():
                self.cuts += 1
                self._tell(event.name, event.reason, f"again in {seconds_text(event.delay)}.")
            case TransferStarted() if event.attempt > 1 and event.offset:
                self.resumes += 1
                whole = "" if event.total is None else f" of {bytes_text(event.total)}"
                self._tell(event.name, f"goes on at {bytes_text(event.offset)}{whole}.")
            case TokenObtained(grant="refresh_token"):
                self.refreshes += 1
                self._say("     the token runs out: it is refreshed, once for all workers.")
            case _:
                pass

    def _tell(self, name: str, *what: str) -> None:
        self._say(f"     {shortened(shown(name), _NAME_WIDTH)}: {shown(' '.join(what))}")
