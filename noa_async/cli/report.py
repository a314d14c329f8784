"""``--report``: write the status of each product as one JSON object during the run."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import aiofiles
import aiofiles.os
import aiofiles.tempfile

from noa_async.catalogue.times import format_instant
from noa_async.disk import destination_error
from noa_async.events import Status

if TYPE_CHECKING:
    from pathlib import Path

    from aiofiles.threadpool.text import AsyncTextIOWrapper

    from noa_async.cli.tally import Tally
    from noa_async.transfer.outcome import Outcome

VERSION = 1


class Report:
    """A report file that gets its final name when the run ends, even after an error.

    The path ``-`` means standard output. Products are written as they finish, not collected.

    Error handling: DestinationError if the report cannot be written.
    Resources: an async context manager; leaving it completes the report with the totals of
    ``tally`` at that time.
    """

    def __init__(self, path: Path, filter_: str, tally: Tally) -> None:
        self.path = path
        self._filter = filter_
        self._tally = tally
        self._first = True
        self._file: AsyncTextIOWrapper
        self._draft: Path | None = None
        self._target: Path

    async def __aenter__(self) -> Self:
        with self._blamed():
            await self._open()
            head = {"version": VERSION, "filter": self._filter, "started": _now()}
            await self._file.write(json.dumps(head)[:-1] + ', "products": [')
        return self

    async def add(self, outcome: Outcome) -> None:
        """Write the entry of a product."""
        line = json.dumps(product_entry(outcome))
        with self._blamed():
            await self._file.write(("\n" if self._first else ",\n") + line)
        self._first = False

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._blamed():
                await self._finish()
        except Exception:
            await self._drop()
            if kind is None:
                raise

    async def _finish(self) -> None:
        counts = {str(status): self._tally.counts[status] for status in Status}
        tail = {"finished": _now(), "bytes": self._tally.bytes, "counts": counts}
        await self._file.write("\n], " + json.dumps(tail)[1:] + "\n")
        await self._file.flush()
        if str(self.path) == "-":
            await self._file.seek(0)
            async for line in self._file:
                sys.stdout.write(line)
        elif self._draft is not None:
            os.fsync(self._file.fileno())
            await aiofiles.os.replace(self._draft, self._target)
        await self._file.close()

    async def _drop(self) -> None:
        with suppress(OSError):
            await self._file.close()
        if self._draft is not None:
            with suppress(OSError):
                await aiofiles.os.unlink(self._draft)

    async def _open(self) -> None:
        """Open a draft beside the report, the pipe or device itself, or a temporary file."""
        self._draft = None
        if str(self.path) == "-":
            self._file = await aiofiles.tempfile.TemporaryFile("w+", encoding="utf-8")
            return
        self._target = await asyncio.to_thread(self.path.resolve)  # keep a symbolic link
        if await aiofiles.os.path.isfile(self._target) or not self._target.exists():
            self._draft = self._target.with_name(f".{self._target.name}.draft")
        self._file = await aiofiles.open(self._draft or self._target, "w", encoding="utf-8")

    def _blamed(self) -> _Blamed:
        return _Blamed(self.path)


class _Blamed:
    """Convert an OSError to a DestinationError for the report, except BrokenPipeError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise destination_error(error, self._path) from error


def product_entry(outcome: Outcome) -> dict[str, Any]:
    """Return the report entry of a product; its path is relative to the output."""
    return {
        "id": outcome.product.id,
        "name": outcome.product.name,
        "path": outcome.key,
        "status": str(outcome.status),
        "bytes": outcome.bytes,
        "checksum": outcome.checksum,
        "attempts": outcome.attempts,
        "error": None if outcome.error is None else str(outcome.error),
    }


def _now() -> str:
    return format_instant(datetime.now(UTC))
