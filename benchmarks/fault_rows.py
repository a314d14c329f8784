"""The rows of the fault table: what goes wrong, once for each product, and in which folder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from noa_async.emulator import Fault, FaultKind, FaultPlan

K = FaultKind
SECONDS_OF_SILENCE = 60.0


class Start(Enum):
    """What lies in the folder at the start."""

    EMPTY = "empty"
    PLANTED = "planted"
    """A partial file with wrong bytes, that the tool did not write."""
    DAMAGED = "damaged"
    """What the tool itself left when it was killed, with some bytes changed since."""


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. Every product meets it once; what follows is clean."""

    key: str
    title: str
    faults: tuple[Fault, ...] = ()
    start: Start = Start.EMPTY

    @property
    def plan(self) -> FaultPlan:
        """The row's faults as a plan."""
        return FaultPlan(self.faults)


def _row(title: str, fault: Fault, key: str = "") -> Row:
    return Row(key or fault.kind.value, title, (fault,))


def _after_a_cut(title: str, kind: FaultKind) -> Row:
    """What can only strike a request that goes on: a cut comes first."""
    return Row(kind.value, title, (Fault(K.CUT), Fault(kind, first=2)))


ROWS = (
    _row("The body is cut", Fault(K.CUT)),
    _row("The body is cut twice", Fault(K.CUT, times=2), "cut_twice"),
    _row("The connection is reset", Fault(K.RESET)),
    _row("The body stalls for a minute", Fault(K.STALL, seconds=SECONDS_OF_SILENCE)),
    _row("The body comes at 4 MB/s", Fault(K.THROTTLE, rate=4_000_000)),
    _row("The first byte comes after 3 s", Fault(K.SLOW_FIRST_BYTE, seconds=3.0)),
    _row("Connections are refused for 2 s", Fault(K.CONNECTION_REFUSED, index=1, seconds=2.0)),
    _row("Some bytes are wrong", Fault(K.WRONG_BYTES)),
    _row("A short body, with a Content-Length that fits it", Fault(K.SHORT_BODY)),
    _row("An error text in the middle of the body, then a cut", Fault(K.INJECTED_ERROR)),
    _after_a_cut("206, but of another range", K.WRONG_RANGE),
    _after_a_cut("206 with bytes of another range than it says", K.LYING_RANGE),
    _after_a_cut("The Range is ignored: 200", K.IGNORED_RANGE),
    _after_a_cut("206 from byte 0", K.RANGE_FROM_ZERO),
    _after_a_cut("200 with a Content-Range", K.OK_WITH_CONTENT_RANGE),
    _after_a_cut("Another ETag for the same bytes", K.NEW_ETAG),
    _after_a_cut("No ETag", K.NO_ETAG),
    _after_a_cut("The product is replaced between cut and resume", K.REPLACED),
    _row("200 with a sentence about the quota", Fault(K.QUOTA_TEXT)),
    _row("200 with an HTML error page", Fault(K.ERROR_PAGE)),
    _row("202 with an empty body", Fault(K.EMPTY_202, retry_after="1")),
    _row("403 with a sentence about the quota", Fault(K.QUOTA_403)),
    _row("403, once, with no word of a quota", Fault(K.FORBIDDEN)),
    _row("404, once", Fault(K.NOT_FOUND)),
    _row("429 with Retry-After: 2", Fault(K.TOO_MANY, retry_after="2")),
    _row(
        "429 with Retry-After as a date",
        Fault(K.TOO_MANY, retry_after="date", seconds=2.0),
        "too_many_date",
    ),
    _row("429 without Retry-After", Fault(K.TOO_MANY), "too_many_bare"),
    _row("503", Fault(K.SERVER_ERROR)),
    _row("401, once; the token still holds", Fault(K.FORBIDDEN, status=401), "unauthorised"),
    _row("401: the token is revoked", Fault(K.REVOKED_TOKEN)),
    _row("A redirect to a host that refuses tokens", Fault(K.REDIRECT_FOREIGN)),
    _row("A redirect to a host that needs the token", Fault(K.REDIRECT_TRUSTED)),
    _row("The body is gzipped, unasked", Fault(K.GZIP)),
    _row("The body comes in chunks, with no length", Fault(K.CHUNKED)),
    Row("planted", "A foreign partial file, with wrong bytes, is there", start=Start.PLANTED),
    Row("damaged", "The partial file of a killed run was damaged", start=Start.DAMAGED),
)
