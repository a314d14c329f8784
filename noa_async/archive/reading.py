"""Files read in threads: their hashes, and whether they are what they should be."""

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

from noa_async.disk import LOST, file_error
from noa_async.errors import DestinationError, FileInaccessible
from noa_async.transfer.checksum import feed_file, hasher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    from noa_async.archive.destination import Destination
    from noa_async.threads import Threads

VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
"""What opening a file meets that was there a moment ago; ELOOP is a link by now."""


async def digest_of(
    folder: Destination, path: PurePosixPath | str, algorithm: str, pool: Threads
) -> str:
    """A product's hash; the thread that takes it stops where nobody waits for it any more.

    Raises KeyError for an algorithm that cannot be taken here, FileInaccessible if the file cannot
    be read, DestinationError if an object store cannot.
    """
    stopped = threading.Event()
    return await pool.run(_digest, folder, path, algorithm, stopped.is_set, stop=stopped.set)


async def has_checksum(
    folder: Destination, path: PurePosixPath | str, expected: str, pool: Threads
) -> bool:
    """Whether a product's bytes have the checksum ``algorithm:hex``; not if some are lost.

    Raises FileInaccessible if nobody can say.
    """
    algorithm, _, value = expected.partition(":")
    try:
        return await digest_of(folder, path, algorithm, pool) == value
    except KeyError:  # a ledger of another making
        return False
    except (DestinationError, FileInaccessible) as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and (is_lost(cause) or cause.errno in VANISHED):
            return False
        raise


def _digest(
    folder: Destination,
    path: PurePosixPath | str,
    algorithm: str,
    stopped: Callable[[], bool],
) -> str:
    try:
        return folder.digest(path, algorithm, stopped)
    except OSError as error:
        raise file_error(error, f"{folder.name}/{path}") from error


def hash_file(path: Path, algorithm: str, stopped: Callable[[], bool] = lambda: False) -> str:
    """A file's hash; raises OSError. A link is not followed, and a pipe is not waited for."""
    digest = hasher(algorithm)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if hasattr(os, "posix_fadvise"):  # macOS has none
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        feed_file(descriptor, digest, os.fstat(descriptor).st_size, stopped=stopped)
    finally:
        os.close(descriptor)
    return digest.hexdigest()


def is_lost(error: OSError) -> bool:
    """Whether the disk cannot read bytes that it held: that file is damaged, the disk may go on."""
    return error.errno in LOST
