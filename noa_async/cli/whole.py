"""Write a file under a temporary name and rename it when it is complete."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from noa_async.archive.targets import STATE_FOLDER
from noa_async.disk import destination_error
from noa_async.errors import DestinationError, DestinationFull

if TYPE_CHECKING:
    from collections.abc import Generator


def place_for(path: Path, state: Path) -> Path:
    """Return the path to write to, with symbolic links resolved.

    Raise DestinationError if it is inside the ``state`` folder of an archive.
    """
    with _blamed_on(path):
        place = Path(os.path.realpath(path))
        inside = place.is_relative_to(os.path.realpath(state))
    if inside or STATE_FOLDER in place.parts:
        raise DestinationError(
            f"{path} is in the archive's internal folder.",
            hint="Specify a FILE beside the products, or anywhere else.",
        )
    return place


@contextmanager
def whole_file(place: Path, *, text: bool) -> Generator[IO[Any]]:
    """Write a temporary file that replaces ``place`` at the end, or is removed on an error.

    A pipe or device is written directly. Raise DestinationError if writing fails.
    """
    with _blamed_on(place):
        direct = place.exists() and not place.is_file()
        draft = place if direct else place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        mode = ("w" if direct else "x") + ("t" if text else "b")
        encoding, newline = ("utf-8", "") if text else (None, None)
        try:
            with draft.open(mode, encoding=encoding, newline=newline) as file:
                yield file
                file.flush()
                if not direct:
                    os.fsync(file.fileno())
            if not direct:
                draft.replace(place)
        except BaseException:
            if not direct:
                with suppress(OSError):
                    draft.unlink()
            raise


@contextmanager
def _blamed_on(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        if isinstance(destination_error(error, path), DestinationFull):
            raise DestinationFull(
                f"Not enough space for {path}: {reason}.",
                hint="Free some space, or specify a FILE elsewhere.",
            ) from error
        raise DestinationError(
            f"Cannot write {path}: {reason}.",
            hint="Specify a FILE in an existing folder that you may write to.",
        ) from error
