"""Events as people and as machines read them. All of it is pure."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from noa_async.catalogue.times import format_instant
from noa_async.cli.text import bytes_text, number_of, seconds_text, shown
from noa_async.events import (
    AllQueued,
    EntrySkipped,
    Event,
    FilePutAside,
    FilesChecked,
    FilesMoved,
    FileSystemLimited,
    HookFailed,
    LedgerSetAside,
    LoginRetried,
    MirrorPlanned,
    PageListed,
    PageRetried,
    ProductFinished,
    ProductQueued,
    ProductRemoved,
    ProductWaiting,
    RemovalRefused,
    RemovalsHeld,
    Status,
    TokenObtained,
    TransferAdvanced,
    TransferRetried,
    TransferStarted,
    TrashEmptied,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


def level_of(event: Event) -> int:
    """From which verbosity on an event is told: -1 always, 0 as usual, 1 with ``-v``, 2 ``-vv``."""
    if isinstance(event, ProductFinished):
        return _ENDINGS.get(event.status, 0)
    if isinstance(event, FilesChecked):
        return 0 if event.missing or event.changed else 1
    return level_of_kind(type(event))


def level_of_kind(kind: type[Event]) -> int:
    """The same of a kind of event; of products that have ended, for most endings."""
    return _WORDS[kind][0]


def sentence(event: Event) -> str:
    """An event on one line.

    >>> sentence(ProductFinished("0a5c", "S2A", Status.DOWNLOADED, "S2A.zip", 12_000_000, 1, None))
    'downloaded  S2A.zip  12.0 MB'
    """
    return shown(_WORDS[type(event)][1](event))


def _token(event: TokenObtained) -> str:
    how = "log-in" if event.grant == "password" else "renewal"
    return f"token by {how}, holds {seconds_text(event.expires_in)}"


def _login_again(event: LoginRetried) -> str:
    return f"the log-in, again in {seconds_text(event.delay)}: {event.reason}"


def _page(event: PageListed) -> str:
    return f"page {event.pages}: {number_of(event.products, 'product')} listed"


def _page_again(event: PageRetried) -> str:
    return f"the catalogue, again in {seconds_text(event.delay)}: {event.reason}"


def _skipped(event: EntrySkipped) -> str:
    return f"skipped: {event.reason}"


def _queued(event: ProductQueued) -> str:
    return f"queued  {event.name}"


def _started(event: TransferStarted) -> str:
    whole = "" if event.total is None else f" of {bytes_text(event.total)}"
    if not event.offset:
        return f"started  {event.name}{whole.replace(' of', ' ')}"
    return f"goes on  {event.name}  at {bytes_text(event.offset)}{whole}"


def _advanced(event: TransferAdvanced) -> str:
    return f"{event.product_id}  {bytes_text(event.received)} more"


def _transfer_again(event: TransferRetried) -> str:
    return f"again in {seconds_text(event.delay)}  {event.name}: {event.reason}"


def _waiting(event: ProductWaiting) -> str:
    state = "off line and ordered" if event.ordered else "off line"
    return f"again in {seconds_text(event.delay)}  {event.name}: it is {state}"


def _finished(event: ProductFinished) -> str:
    if event.status is Status.FAILED:
        return f"failed  {event.name}: {event.error}"
    if event.status is Status.GONE:
        return f"gone  {event.name}: the service removed it after it was listed"
    size = "" if event.size is None else f"  {bytes_text(event.size)}"
    return f"{event.status}  {event.path or event.name}{size}"


def _put_aside(event: FilePutAside) -> str:
    return f"in the way, and no product: {event.path} is now {event.kept_at}"


def _moved(event: FilesMoved) -> str:
    return f"moved into the layout {event.layout}: {number_of(event.files, 'file')}"


def _limited(event: FileSystemLimited) -> str:
    return f"The file system of {event.path} has {event.limit}."


def _set_aside(event: LedgerSetAside) -> str:
    what = (
        "The ledger is gone" if event.path is None else f"The ledger is damaged, {event.path} now"
    )
    if event.recovered:
        known = number_of(event.recovered, "product")
        return (
            f"{what}: it is begun anew with {known} from what could be read of it, its last copy "
            "and the manifest. All of the query is listed again."
        )
    return f"{what}: it is begun anew. Files that are here are found again by their checksums."


def _planned(event: MirrorPlanned) -> str:
    changed = "The query is another one than this folder followed so far; what is here stays. "
    what = f"what was published since {format_instant(event.since)}" if event.since else "all of it"
    return f"{changed if event.changed else ''}The query is listed: {what}."


def _all_queued(_event: AllQueued) -> str:
    return "all queued"


def _removed(event: ProductRemoved) -> str:
    return f"removed  {event.path}: the service has it no more"


def _held(event: RemovalsHeld) -> str:
    return (
        f"Nothing was deleted: {event.gone} of {number_of(event.known, 'file')} are gone from "
        f"the service, more than {100 * event.max_delete:g} % (--max-delete). Look whether that "
        "can be right, then allow more."
    )


def _refused(event: RemovalRefused) -> str:
    return f"kept  {event.path}: the service has the product no more, but {event.reason}"


def _emptied(event: TrashEmptied) -> str:
    return f"deleted for good: {number_of(event.files, 'file')} that lay in the trash"


def _checked(event: FilesChecked) -> str:
    wrong = [
        f"{count} {what}"
        for count, what in ((event.missing, "missing"), (event.changed, "changed"))
        if count
    ]
    found = f"{', '.join(wrong)}, such as {event.example}" if wrong else "all as they were"
    return f"{number_of(event.files, 'file')} looked at: {found}"


def _hook(event: HookFailed) -> str:
    return f"hook failed  {event.name}: {event.reason}"


_ENDINGS = {Status.FAILED: -1, Status.PRESENT: 2}
"""What was there already is counted at the end; an archive has too many of them to name each."""
_WORDS: dict[type[Event], tuple[int, Callable[[Any], str]]] = {
    TransferAdvanced: (2, _advanced),
    ProductQueued: (2, _queued),
    TokenObtained: (1, _token),
    LoginRetried: (0, _login_again),
    PageListed: (1, _page),
    TransferStarted: (1, _started),
    PageRetried: (0, _page_again),
    EntrySkipped: (0, _skipped),
    TransferRetried: (0, _transfer_again),
    ProductWaiting: (0, _waiting),
    ProductFinished: (0, _finished),
    FilePutAside: (0, _put_aside),
    FilesMoved: (0, _moved),
    FileSystemLimited: (-1, _limited),
    LedgerSetAside: (-1, _set_aside),
    MirrorPlanned: (0, _planned),
    AllQueued: (2, _all_queued),
    ProductRemoved: (0, _removed),
    RemovalsHeld: (-1, _held),
    RemovalRefused: (-1, _refused),
    TrashEmptied: (0, _emptied),
    FilesChecked: (0, _checked),
    HookFailed: (-1, _hook),
}
"""For each kind of event from which verbosity on it is told, and how."""


def record(event: Event, now: datetime) -> str:
    """An event as one JSON object: ``time``, ``event``, and the event's own fields.

    >>> from datetime import UTC, datetime
    >>> record(PageListed(1, 50), datetime(2026, 1, 11, tzinfo=UTC))
    '{"time": "2026-01-11T00:00:00.000Z", "event": "page_listed", "pages": 1, "products": 50}'
    """
    held = {field.name: getattr(event, field.name) for field in fields(event)}
    return own_record(event_name(type(event)), held, now)


def event_name(kind: type[Event]) -> str:
    """What a kind of event is called in a log.

    >>> event_name(PageListed)
    'page_listed'
    """
    return _CAPITAL.sub("_", kind.__name__).lower()


def own_record(name: str, held: Mapping[str, object], now: datetime) -> str:
    """What is no event of the library, in the same form."""
    return json.dumps({"time": format_instant(now), "event": name, **held}, default=format_instant)
