"""How a product's bytes are sent, and what a fault makes of that: pure decisions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from noa_async.emulator.faults import Fault, FaultKind
from noa_async.emulator.ranges import Span

ERROR_TEXT = (
    "\n<html><head><title>500</title></head><body>An error occurred while streaming the "
    "product.</body></html>\n"
)


class Ending(Enum):
    """What follows the last byte sent."""

    CLEAN = "clean"
    CUT = "cut"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Delivery:
    """One answer that carries bytes of a product."""

    status: int
    span: Span
    """The bytes of the body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    announced: int | None = None
    """Content-Length; None sends the body in chunks."""
    ranged: bool = False
    """Whether the request asked for a range that counts."""
    wait: float = 0.0
    """Seconds before the head."""
    rate: float | None = None
    flip_at: int | None = None
    """Place in the body from which some bytes are wrong."""
    stall_at: int | None = None
    stall: float = 0.0
    stop_at: int | None = None
    """Place in the body after which nothing of the product is sent."""
    injected: bytes = b""
    """Sent at `stop_at`."""
    ending: Ending = Ending.CLEAN
    gzip: bool = False

    @property
    def length(self) -> int:
        """Bytes of the body."""
        return self.span.stop - self.span.start


def afflicted(delivery: Delivery, fault: Fault) -> Delivery:
    """The delivery as this fault makes it; unchanged by kinds that are no matter of bytes."""
    change = _CHANGES.get(fault.kind)
    return change(delivery, fault) if change else delivery


def _cut(delivery: Delivery, fault: Fault) -> Delivery:
    ending = Ending.RESET if fault.kind is FaultKind.RESET else Ending.CUT
    return replace(delivery, stop_at=fault.offset(delivery.length), ending=ending)


def _stall(delivery: Delivery, fault: Fault) -> Delivery:
    return replace(delivery, stall_at=fault.offset(delivery.length), stall=fault.seconds)


def _throttle(delivery: Delivery, fault: Fault) -> Delivery:
    return replace(delivery, rate=fault.rate)


def _wrong_bytes(delivery: Delivery, fault: Fault) -> Delivery:
    place = min(fault.offset(delivery.length), max(0, delivery.length - 1))
    return replace(delivery, flip_at=place)


def _short(delivery: Delivery, fault: Fault) -> Delivery:
    kept = min(fault.offset(delivery.length), max(0, delivery.length - 1))
    return replace(delivery, stop_at=kept, announced=kept)


def _injected(delivery: Delivery, fault: Fault) -> Delivery:
    text = (fault.text or ERROR_TEXT).encode()
    place = min(fault.offset(delivery.length), max(0, delivery.length - len(text) - 1))
    return replace(delivery, stop_at=place, injected=text, ending=Ending.CUT)


def _elsewhere(span: Span) -> Span:
    """Another place of the product than the one asked for."""
    start = span.start // 2 if span.start else span.size // 2
    return Span(start, max(start, span.stop), span.size)


def _ranged(delivery: Delivery, status: int, span: Span) -> Delivery:
    headers = {k: v for k, v in delivery.headers.items() if k != "Content-Range"}
    if status == 206:
        headers["Content-Range"] = span.content_range
    return replace(
        delivery, status=status, span=span, headers=headers, announced=span.stop - span.start
    )


def _wrong_range(delivery: Delivery, _: Fault) -> Delivery:
    if not delivery.ranged:
        return delivery
    return _ranged(delivery, 206, _elsewhere(delivery.span))


def _lying_range(delivery: Delivery, _: Fault) -> Delivery:
    span = delivery.span
    start = span.start // 2
    if not delivery.ranged or start == span.start:
        return delivery
    return replace(delivery, span=Span(start, start + delivery.length, span.size))


def _ignored_range(delivery: Delivery, _: Fault) -> Delivery:
    return _ranged(delivery, 200, Span(0, delivery.span.size, delivery.span.size))


def _from_zero(delivery: Delivery, _: Fault) -> Delivery:
    if not delivery.ranged:
        return delivery
    return _ranged(delivery, 206, Span(0, delivery.span.size, delivery.span.size))


def _ok_ranged(delivery: Delivery, _: Fault) -> Delivery:
    headers = {**delivery.headers, "Content-Range": delivery.span.content_range}
    return replace(delivery, status=200, headers=headers)


def _etag(delivery: Delivery, fault: Fault) -> Delivery:
    headers = {k: v for k, v in delivery.headers.items() if k != "ETag"}
    if fault.kind is FaultKind.NEW_ETAG:
        headers["ETag"] = f'"{fault.text or "of-another-time"}"'
    return replace(delivery, headers=headers)


def _gzip(delivery: Delivery, _: Fault) -> Delivery:
    whole = _ignored_range(delivery, _)
    headers = {**whole.headers, "Content-Encoding": "gzip"}
    return replace(whole, headers=headers, announced=None, gzip=True)


def _chunked(delivery: Delivery, _: Fault) -> Delivery:
    return replace(delivery, announced=None)


def _labelled(delivery: Delivery, fault: Fault) -> Delivery:
    name, usual = _LABELS[fault.kind]
    text = usual if fault.text is None else fault.text
    if fault.kind is FaultKind.LABEL_RANGE:
        if name not in delivery.headers:
            return delivery
        span = delivery.span
        text = text.format(span.start, span.stop - 1, span.size)
    return replace(delivery, headers={**delivery.headers, name: text})


def _announced(delivery: Delivery, fault: Fault) -> Delivery:
    more = fault.at if isinstance(fault.at, int) else 1
    return replace(
        delivery,
        announced=delivery.length + more,
        stall_at=delivery.length,
        stall=fault.seconds,
        ending=Ending.CUT,
    )


_LABELS = {
    FaultKind.LABEL_ENCODING: ("Content-Encoding", "aws-chunked"),
    FaultKind.LABEL_TYPE: ("Content-Type", "text/html"),
    FaultKind.LABEL_RANGE: ("Content-Range", "bytes={}-{}/{}"),
}
"""The header field that a fault sets, and what it says."""


def _slow(delivery: Delivery, fault: Fault) -> Delivery:
    return replace(delivery, wait=delivery.wait + fault.seconds)


_CHANGES: dict[FaultKind, Callable[[Delivery, Fault], Delivery]] = {
    FaultKind.CUT: _cut,
    FaultKind.RESET: _cut,
    FaultKind.STALL: _stall,
    FaultKind.THROTTLE: _throttle,
    FaultKind.WRONG_BYTES: _wrong_bytes,
    FaultKind.SHORT_BODY: _short,
    FaultKind.INJECTED_ERROR: _injected,
    FaultKind.WRONG_RANGE: _wrong_range,
    FaultKind.LYING_RANGE: _lying_range,
    FaultKind.IGNORED_RANGE: _ignored_range,
    FaultKind.RANGE_FROM_ZERO: _from_zero,
    FaultKind.OK_WITH_CONTENT_RANGE: _ok_ranged,
    FaultKind.NEW_ETAG: _etag,
    FaultKind.NO_ETAG: _etag,
    FaultKind.GZIP: _gzip,
    FaultKind.CHUNKED: _chunked,
    FaultKind.SLOW_FIRST_BYTE: _slow,
    FaultKind.LABEL_ENCODING: _labelled,
    FaultKind.LABEL_TYPE: _labelled,
    FaultKind.LABEL_RANGE: _labelled,
    FaultKind.LABEL_LENGTH: _announced,
}
