"""What an archive keeps beside its products, on this machine: lock, parts, quarantine, layout."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from noa_async.disk import blamed_on, destination_error, write_synced
from noa_async.errors import DestinationError, DestinationInUse
from noa_async.transfer.sink import note_of

_ROOM_SECONDS = 1.0


class Scratch:
    """A state folder, ``.noa-async/`` or its like. Blocks.

    Resources: ``lock`` takes the lock, ``close`` gives it back.
    """

    def __init__(self, state: Path, name: str) -> None:
        """``name``: what the archive is called in errors."""
        self.name = name
        self.state = state
        self._kept_layout = self.state / "layout"
        self._next_layout = self.state / "layout.next"
        self._parts = os.path.join(self.state, "parts", "")  # noqa: PTH118 (for every product)
        self._begun: set[str] = set()
        self._room, self._room_until = 0, 0.0
        self._lock = -1
        self._process = 0
        self.suspect = False
        """Whether the last run did not end in order: its lock still named it."""

    @property
    def scratch_name(self) -> str:
        """What the disk on which parts gather is called in errors."""
        return self.name

    def lock(self) -> None:
        """Make the state folder where it is missing, its parent being there, and lock it.

        Raises DestinationError where it cannot be written, DestinationInUse where another run
        holds it.
        """
        with blamed_on(self.state):
            self.state.mkdir(mode=0o700, exist_ok=True)
            for name in ("parts", "quarantine"):
                (self.state / name).mkdir(exist_ok=True)
            self._take_lock()
            self._look_at_parts()

    def _look_at_parts(self) -> None:
        """What earlier runs left; a note whose part has been given its name is of no use."""
        parts = Path(self._parts)
        self._begun = {file.stem for file in parts.glob("*.part")}
        for note in parts.glob("*.json"):
            if note.stem not in self._begun:
                note.unlink(missing_ok=True)

    def _take_lock(self) -> None:
        path = self.state / "lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise DestinationInUse(
                f"{self.name} is in use by another run"
                + (f" (process {holder})." if holder else "."),
                hint="Wait for it to end, or name another folder.",
            ) from None
        except BaseException:
            os.close(lock)
            raise
        self._lock, self._process = lock, os.getpid()
        self.suspect = os.fstat(lock).st_size > 0
        name = f"{os.getpid()}\n".encode()
        os.pwrite(lock, name, 0)
        os.ftruncate(lock, len(name))
        os.fsync(lock)  # or a power cut takes the name, and nobody looks through the ledger

    def close(self, *, in_order: bool = True) -> None:
        """Give the lock back; ``in_order``: nothing here has to be looked through next time."""
        lock, self._lock = self._lock, -1
        if lock < 0:
            return
        try:
            if os.getpid() == self._process:  # a fork has the same lock, and may live for longer
                if in_order:
                    os.ftruncate(lock, 0)
                fcntl.flock(lock, fcntl.LOCK_UN)
        finally:
            os.close(lock)

    def read_layout(self) -> str | None:
        """The layout that products lie in, or are being moved into; None where none was kept.

        Raises DestinationError where what was kept cannot be read, or is no layout.
        """
        return _template(self._next_layout) or _template(self._kept_layout)

    def kept_layouts(self) -> list[str]:
        """The layouts that products may lie in: the kept one, and that of a move under way."""
        found = []
        for path in (self._next_layout, self._kept_layout):
            with suppress(DestinationError):
                found.append(_template(path))
        return [template for template in found if template is not None]

    @property
    def moving(self) -> bool:
        """Whether a move into another layout has begun, and not ended."""
        return self._next_layout.exists()

    def begin_move(self, template: str) -> None:
        """Keep what layout all is moved into, before the first file is."""
        write_synced(self._next_layout, f"{template}\n")

    def keep_layout(self, template: str) -> None:
        """Keep the layout that all lies in, for good: it outlives the ledger. Ends a move."""
        write_synced(self._kept_layout, f"{template}\n")
        with blamed_on(self._next_layout):
            self._next_layout.unlink(missing_ok=True)

    def part(self, product_id: str) -> Path:
        """Where a product's bytes gather; an Id is safe as a name (``Product.id``)."""
        return Path(f"{self._parts}{product_id}.part")

    def begin(self, product_id: str) -> bool:
        """A product's bytes will gather; whether some may be there from before."""
        before = product_id in self._begun
        self._begun.add(product_id)
        return before

    def part_size(self, product_id: str) -> int:
        """Bytes of a product that have gathered."""
        try:
            return self.part(product_id).stat().st_size
        except OSError:
            return 0

    def drop_part(self, product_id: str) -> None:
        """Delete what has gathered of a product that is not wanted any more, if anything has."""
        part = self.part(product_id)
        with blamed_on(part):
            part.unlink(missing_ok=True)
            note_of(part).unlink(missing_ok=True)
        self._begun.discard(product_id)

    def quarantine(self, part: Path) -> Path | None:
        """Put wrong bytes out of the way, over those of an earlier try; where they lie now.

        None where they never lay here, but with a worker of a cluster.
        """
        if not part.exists():
            return None
        return moved(part, self.state / "quarantine" / part.name)

    def room(self) -> int:
        """Bytes free for this user where parts gather."""
        with blamed_on(self.state):
            return shutil.disk_usage(self.state).free

    def room_lately(self, more: int) -> int:
        """As ``room``, asked at most once a second, less the bytes that came ``more`` since."""
        now = time.monotonic()
        if now < self._room_until:
            self._room -= more
        else:
            self._room, self._room_until = self.room(), now + _ROOM_SECONDS
        return self._room


def moved(file: Path, target: Path) -> Path:
    """Give a file another name; the name it has now."""
    with blamed_on(target):
        file.replace(target)
    return target


def _template(path: Path) -> str | None:
    """The layout in a file; None where there is no file."""
    try:
        text = path.read_bytes().decode(errors="replace").strip()
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        [*_, file] = [folder for folder in path.parents if not folder.is_dir()]
        raise destination_error(error, file) from error
    except OSError as error:
        raise destination_error(error, path) from error
    if "{name" not in text:
        raise DestinationError(
            f"{path} holds no layout: nobody knows where products belong in this folder.",
            hint="Name the layout that it has with --layout; files that lie elsewhere are moved.",
        )
    return text
