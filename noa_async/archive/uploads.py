"""Uploads in pieces that a killed run left unfinished: the store keeps the pieces, and none sees.

A note in the scratch says what is about to go up. One that is still there when the next run begins
tells what may lie in the store: an upload to that very key, begun within the minutes after the note
was written, by the store's own account. All others are somebody else's, and left alone.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import TYPE_CHECKING

from noa_async.archive.signed import ask
from noa_async.disk import blamed_on

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from noa_async.archive.sigv4 import Bucket

_WITHIN = timedelta(minutes=5)
"""An upload is begun as soon as its note is written, but may be refused for minutes."""
_SLACK = timedelta(seconds=2)
"""Stores write down whole seconds."""
_UPLOAD = re.compile(r"<Upload>(.*?)</Upload>", re.DOTALL)
_FIELD = re.compile(r"<(Key|UploadId|Initiated)>([^<]*)</\1>")
_TRUNCATED = "<IsTruncated>true</IsTruncated>"


@dataclass(frozen=True, slots=True)
class Upload:
    """One that a store has not seen the end of."""

    key: str
    id: str
    begun: datetime


@dataclass(frozen=True, slots=True)
class Note:
    """What was about to go up."""

    key: str
    begun: datetime
    """By this machine's clock."""


def ours(uploads: Iterable[Upload], note: Note, ahead: timedelta) -> list[Upload]:
    """Those of ``uploads`` that ``note`` is about; ``ahead``: the store's clock before ours.

    | key     | begun, by the store's clock     | ours |
    |---------|---------------------------------|------|
    | another | any                             | no   |
    | same    | before the note                 | no   |
    | same    | within minutes after it         | yes  |
    | same    | later                           | no   |
    """
    begun = note.begun + ahead
    first, last = begun - _SLACK, begun + _WITHIN + _SLACK
    return [one for one in uploads if one.key == note.key and first <= one.begun <= last]


class Uploads:
    """The notes of one output. All of it blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def noted(self, key: str) -> Generator[None]:
        """Keep a note of what goes up; it stays where that does not come to its end."""
        note = self._folder / f"{time.time_ns()}.json"
        with blamed_on(note):
            self._folder.mkdir(exist_ok=True)
            note.write_text(json.dumps({"key": key, "begun": time.time()}))
        yield
        note.unlink(missing_ok=True)

    def clear(self, bucket: Bucket | None) -> int:
        """End what earlier runs left unfinished, and how many that were.

        A store that cannot be reached is asked again by the next run; one that refuses, or keeps
        keys of its own (None), is left to its rules.
        """
        ended = 0
        for file in sorted(self._folder.glob("*.json")):
            note = _read(file)
            try:
                if note is not None and bucket is not None:
                    ended += _end(bucket, note)
            except urllib.error.HTTPError as error:
                if error.code >= http.client.INTERNAL_SERVER_ERROR and error.code != (
                    http.client.NOT_IMPLEMENTED
                ):
                    continue
            except (OSError, http.client.HTTPException):
                continue
            with suppress(OSError):
                file.unlink()
        return ended


def _read(file: Path) -> Note | None:
    try:
        said = json.loads(file.read_text())
        return Note(str(said["key"]), datetime.fromtimestamp(float(said["begun"]), UTC))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _end(bucket: Bucket, note: Note) -> int:
    """Abort the uploads of a note; how many."""
    found, ahead = _listed(bucket, note.key)
    mine = ours(found, note, ahead)
    for one in mine:
        ask(bucket, "DELETE", one.key, {"uploadId": one.id})
    return len(mine)


def _listed(bucket: Bucket, key: str) -> tuple[list[Upload], timedelta]:
    """The unfinished uploads whose keys begin with ``key``, and the store's clock before ours."""
    found: list[Upload] = []
    after: dict[str, str] = {}
    while True:
        text, ahead = ask(bucket, "GET", "", {"uploads": "", "prefix": key} | after)
        found += read_uploads(text)
        if _TRUNCATED not in text or not found:
            return found, ahead
        last = found[-1]
        if after.get("upload-id-marker") == last.id:
            return found, ahead
        after = {"key-marker": last.key, "upload-id-marker": last.id}


def read_uploads(text: str) -> list[Upload]:
    """The uploads in an answer of S3; what has no key, Id or time is none.

    >>> read_uploads("<Upload><Key>a&amp;b</Key><UploadId>1</UploadId>"
    ...              "<Initiated>2026-01-01T00:00:00Z</Initiated></Upload>")
    [Upload(key='a&b', id='1', begun=datetime.datetime(2026, 1, 1, 0, 0, tzinfo=...utc))]
    """
    found = []
    for part in _UPLOAD.findall(text):
        said: dict[str, str] = {name: unescape(value) for name, value in _FIELD.findall(part)}
        with suppress(KeyError, ValueError):
            begun = datetime.fromisoformat(said["Initiated"])
            begun = begun if begun.tzinfo else begun.replace(tzinfo=UTC)
            found.append(Upload(said["Key"], said["UploadId"], begun))
    return found
