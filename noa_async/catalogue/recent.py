"""A bounded set of recently seen keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noa_async.oldest import drop_oldest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Recent:
    """The most recent ``size`` keys. Products are repeated within a short distance only."""

    def __init__(self, size: int, keys: Iterable[str] = ()) -> None:
        self._size = size
        self._keys = dict.fromkeys(keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def add(self, key: str) -> bool:
        """Add ``key``. Return whether it is new."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._size:
            drop_oldest(self._keys, max(1, self._size // 16))
        return True
