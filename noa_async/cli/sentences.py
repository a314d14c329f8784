"""Events as people and as machines read them. All of it is pure."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING

from noa_async.catalogue.times import format_instant
from noa_async.cli.text import bytes_text, number_of, seconds_text, shown
from noa_async.events import (
    Event,
    FilePutAside,
    PageListed,
    PageRetried,
    ProductFinished,
    ProductQueued,
    Status,
    TokenObtained,
    TransferAdvanced,
    TransferRetried,
    TransferStarted,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def level_of(event: Event) -> int:
    """From which verbosity on an event is told: -1 always, 0 as usual, 1 with ``-v``, 2 ``-vv``."""
    match event:
        case ProductFinished():
            return -1 if event.status is Status.FAILED else 0
        case PageRetried() | TransferRetried() | FilePutAside():
            return 0
        case TransferAdvanced() | ProductQueued():
            return 2
        case _:
            return 1


def sentence(event: Event) -> str:
    """An event on one line.

    >>> sentence(ProductFinished("0a5c", "S2A", Status.DOWNLOADED, "S2A.zip", 12_000_000, 1, None))
    'downloaded  S2A.zip  12.0 MB'
    """
    match event:
        case TokenObtained():
            how = "log-in" if event.grant == "password" else "renewal"
            text = f"token by {how}, holds {seconds_text(event.expires_in)}"
        case PageListed():
            text = f"page {event.pages}: {number_of(event.products, 'product')} listed"
        case PageRetried():
            text = f"the catalogue, again in {seconds_text(event.delay)}: {event.reason}"
        case ProductQueued():
            text = f"queued  {event.name}"
        case TransferStarted():
            text = f"{'goes on' if event.offset else 'started'}  {event.name}{_span(event)}"
        case TransferAdvanced():
            text = f"{event.product_id}  {bytes_text(event.received)} more"
        case TransferRetried():
            text = f"again in {seconds_text(event.delay)}  {event.name}: {event.reason}"
        case ProductFinished():
            text = _finished(event)
        case FilePutAside():
            text = f"in the way, and no product: {event.path} is now {event.kept_at}"
    return shown(text)


def _span(event: TransferStarted) -> str:
    whole = "" if event.total is None else f" of {bytes_text(event.total)}"
    return f"  at {bytes_text(event.offset)}{whole}" if event.offset else whole.replace(" of", " ")


def _finished(event: ProductFinished) -> str:
    if event.status is Status.FAILED:
        return f"failed  {event.name}: {event.error}"
    size = "" if event.size is None else f"  {bytes_text(event.size)}"
    return f"{event.status}  {event.path or event.name}{size}"


def record(event: Event, now: datetime) -> str:
    """An event as one JSON object: ``time``, ``event``, and the event's own fields.

    >>> from datetime import UTC, datetime
    >>> record(PageListed(1, 50), datetime(2026, 1, 11, tzinfo=UTC))
    '{"time": "2026-01-11T00:00:00.000Z", "event": "page_listed", "pages": 1, "products": 50}'
    """
    name = _CAPITAL.sub("_", type(event).__name__).lower()
    held = {field.name: getattr(event, field.name) for field in fields(event)}
    return json.dumps({"time": format_instant(now), "event": name} | held)


def own_record(name: str, held: Mapping[str, object], now: datetime) -> str:
    """What is no event of the library, in the same form."""
    return json.dumps({"time": format_instant(now), "event": name, **held})
