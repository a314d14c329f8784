"""Format events as text lines and as JSON records. All functions are pure."""

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
    """Return the verbosity that shows an event: -1 always, 0 by default, 1 ``-v``, 2 ``-vv``."""
    if isinstance(event, ProductFinished):
        return _ENDINGS.get(event.status, 0)
    if isinstance(event, FilesChecked):
        return 0 if event.missing or event.changed else 1
    return level_of_kind(type(event))


def level_of_kind(kind: type[Event]) -> int:
    """Return the verbosity that shows a type of event; ProductFinished varies by status."""
    return _WORDS[kind][0]


def sentence(event: Event) -> str:
    """Return an event as one line of text.

    >>> sentence(ProductFinished("0a5c", "S2A", Status.DOWNLOADED, "S2A.zip", 12_000_000, 1, None))
    'downloaded  S2A.zip  12.0 MB'
    """
    return shown(_WORDS[type(event)][1](event))


def _token(event: TokenObtained) -> str:
    how = "obtained by log-in" if event.grant == "password" else "renewed"
    return f"token {how}, valid for {seconds_text(event.expires_in)}"


def _login_again(event: LoginRetried) -> str:
    return f"log-in: retry in {seconds_text(event.delay)}: {event.reason}"


def _page(event: PageListed) -> str:
    return f"page {event.pages}: {number_of(event.products, 'product')} listed"


def _page_again(event: PageRetried) -> str:
    return f"catalogue: retry in {seconds_text(event.delay)}: {event.reason}"


def _skipped(event: EntrySkipped) -> str:
    return f"skipped a catalogue entry: {event.reason}"


def _queued(event: ProductQueued) -> str:
    return f"queued  {event.name}"


def _started(event: TransferStarted) -> str:
    whole = "" if event.total is None else f" of {bytes_text(event.total)}"
    if not event.offset:
        return f"started  {event.name}{whole.replace(' of', ' ')}"
    return f"resuming  {event.name}  at {bytes_text(event.offset)}{whole}"


def _advanced(event: TransferAdvanced) -> str:
    return f"{event.product_id}  {bytes_text(event.received)} more"


def _transfer_again(event: TransferRetried) -> str:
    return f"retry in {seconds_text(event.delay)}  {event.name}: {event.reason}"


def _waiting(event: ProductWaiting) -> str:
    state = "offline and ordered" if event.ordered else "offline"
    return f"retry in {seconds_text(event.delay)}  {event.name}: it is {state}"


def _finished(event: ProductFinished) -> str:
    if event.status is Status.FAILED:
        return f"failed  {event.name}: {event.error}"
    if event.status is Status.GONE:
        return f"gone  {event.name}: the service removed it after it was listed"
    size = "" if event.size is None else f"  {bytes_text(event.size)}"
    return f"{event.status}  {event.path or event.name}{size}"


def _put_aside(event: FilePutAside) -> str:
    return f"moved aside a file that is not the product: {event.path} is now {event.kept_at}"


def _moved(event: FilesMoved) -> str:
    return f"moved to the layout {event.layout}: {number_of(event.files, 'file')}"


def _limited(event: FileSystemLimited) -> str:
    return f"The file system of {event.path} has {event.limit}."


def _set_aside(event: LedgerSetAside) -> str:
    what = (
        "The ledger is missing"
        if event.path is None
        else f"The ledger is damaged and was moved to {event.path}"
    )
    if event.recovered:
        known = number_of(event.recovered, "product")
        return (
            f"{what}. It was rebuilt with {known}, recovered from what could be read of it, its "
            "latest copy and the manifest. The whole query will be listed again."
        )
    return f"{what}. A new one was created. Existing files will be recognized by their checksums."


def _planned(event: MirrorPlanned) -> str:
    changed = (
        "The query differs from the ones this folder followed before; existing files are kept. "
    )
    what = (
        f"products published since {format_instant(event.since)}"
        if event.since
        else "the whole query"
    )
    return f"{changed if event.changed else ''}Listing {what}."


def _all_queued(_event: AllQueued) -> str:
    return "listing complete"


def _removed(event: ProductRemoved) -> str:
    return f"removed  {event.path}: the service no longer has it"


def _held(event: RemovalsHeld) -> str:
    return (
        f"Nothing was deleted: the products of {event.gone} of {number_of(event.known, 'file')} "
        f"are gone from the service, more than {100 * event.max_delete:g} % (--max-delete). Check "
        "whether that is plausible, then allow more."
    )


def _refused(event: RemovalRefused) -> str:
    return f"kept  {event.path}: the service no longer has the product, but {event.reason}"


def _emptied(event: TrashEmptied) -> str:
    return f"emptied the trash: {number_of(event.files, 'file')} deleted permanently"


def _checked(event: FilesChecked) -> str:
    wrong = [
        f"{count} {what}"
        for count, what in ((event.missing, "missing"), (event.changed, "changed"))
        if count
    ]
    found = f"{', '.join(wrong)}, for example {event.example}" if wrong else "none changed"
    return f"{number_of(event.files, 'file')} compared with the ledger: {found}"


def _hook(event: HookFailed) -> str:
    return f"hook failed  {event.name}: {event.reason}"


_ENDINGS = {Status.FAILED: -1, Status.PRESENT: 2}
"""Present products are only counted at the end: an archive has too many to list each."""
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
"""For each type of event, the verbosity that shows it and the function that formats it."""


def record(event: Event, now: datetime) -> str:
    """Return an event as one JSON object: ``time``, ``event``, and the fields of the event.

    >>> from datetime import UTC, datetime
    >>> record(PageListed(1, 50), datetime(2026, 1, 11, tzinfo=UTC))
    '{"time": "2026-01-11T00:00:00.000Z", "event": "page_listed", "pages": 1, "products": 50}'
    """
    held = {field.name: getattr(event, field.name) for field in fields(event)}
    return own_record(event_name(type(event)), held, now)


def event_name(kind: type[Event]) -> str:
    """Return the name of a type of event in JSON logs.

    >>> event_name(PageListed)
    'page_listed'
    """
    return _CAPITAL.sub("_", kind.__name__).lower()


def own_record(name: str, held: Mapping[str, object], now: datetime) -> str:
    """Return the JSON record of a command-line event, such as ``error``, in the same form."""
    return json.dumps({"time": format_instant(now), "event": name, **held}, default=format_instant)
