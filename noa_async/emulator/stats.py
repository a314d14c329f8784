"""What the emulator saw: the counters that tests and benchmarks read."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple


class Delivery(NamedTuple):
    """One answer to a request for a product's bytes."""

    range_start: int
    """First byte asked for; 0 where the whole product was asked for."""
    status: int
    bytes_sent: int


@dataclass(slots=True)
class Stats:
    """Counters since the start or the last reset."""

    requests: int = 0
    """All but log-outs."""
    token_logins: int = 0
    """Password grants that were answered with a token."""
    token_refreshes: int = 0
    """Refresh grants that were answered with a token."""
    token_refused: int = 0
    logouts: int = 0
    """Sessions that were ended by the one who began them."""
    wrong_passwords: int = 0
    tokens_in_flight: int = 0
    tokens_in_flight_peak: int = 0
    pages: int = 0
    lists_in_flight: int = 0
    lists_peak: int = 0
    """Most requests for pages of lists at once."""
    entries: int = 0
    """Single entries asked for by Id."""
    orders: int = 0
    """Orders of products that were sent, whatever the answer."""
    downloads_in_flight: int = 0
    downloads_peak: int = 0
    download_seconds: float = 0.0
    """How long each download took, added up: over the time that passed, how many there were."""
    bytes_sent: int = 0
    """Bytes of products, whatever became of them."""
    quota_refusals: int = 0
    unauthorised: int = 0
    faults: int = 0
    leaked_tokens: int = 0
    """Requests to the foreign host that carried an Authorization header."""
    downloads: dict[str, list[Delivery]] = field(default_factory=dict)
    """Every answer to `$value`, by product Id."""

    def reset(self) -> None:
        """Back to zero; what is in flight stays counted, its peaks start from there."""
        kept = {"tokens_in_flight", "downloads_in_flight", "lists_in_flight"}
        for one in fields(self):
            if one.name not in kept:
                setattr(self, one.name, {} if isinstance(getattr(self, one.name), dict) else 0)
        self.tokens_in_flight_peak = self.tokens_in_flight
        self.downloads_peak = self.downloads_in_flight
        self.lists_peak = self.lists_in_flight

    def token_begins(self) -> None:
        """A token request came in."""
        self.tokens_in_flight += 1
        self.tokens_in_flight_peak = max(self.tokens_in_flight_peak, self.tokens_in_flight)

    def list_begins(self) -> None:
        """A request for a page of a list came in."""
        self.lists_in_flight += 1
        self.lists_peak = max(self.lists_peak, self.lists_in_flight)

    @contextmanager
    def download(self) -> Generator[None]:
        """A download holds its slot."""
        began = time.monotonic()
        self.downloads_in_flight += 1
        self.downloads_peak = max(self.downloads_peak, self.downloads_in_flight)
        try:
            yield
        finally:
            self.downloads_in_flight -= 1
            self.download_seconds += time.monotonic() - began

    def delivered(self, product: str, range_start: int, status: int, sent: int) -> None:
        """An answer to `$value` ended, whole or not."""
        self.downloads.setdefault(product, []).append(Delivery(range_start, status, sent))

    def as_dict(self) -> dict[str, Any]:
        """The counters as JSON can hold them."""
        return {one.name: getattr(self, one.name) for one in fields(self)}
