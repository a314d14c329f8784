"""How one product ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.events import Status

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.catalogue.product import Product
    from noa_async.errors import NoaError


@dataclass(frozen=True, slots=True)
class Outcome:
    """The last word on a product: there and checked, or why not."""

    product: Product
    """As the catalogue has it."""
    status: Status
    """How it ended."""
    bytes: int = 0
    """Size of the file, 0 where it failed."""
    checksum: str | None = None
    """``md5:...`` as compared with the catalogue's; None where that has none that is usable."""
    attempts: int = 0
    """Requests for its bytes in this run; 0 where it was there, or an earlier run had them all."""
    error: NoaError | None = None
    """Why it is not there."""
    url: str | None = None
    """Where it lies in an object store."""
    key: str | None = None
    """Where it lies from the output on, with ``/``; None where it failed."""
    folder: Path | None = None
    """The output folder; None where it failed, or lies in an object store."""

    @property
    def path(self) -> Path | None:
        """Where it lies on this machine; None where it failed, or lies in an object store."""
        return None if self.folder is None or self.key is None else self.folder / self.key

    @property
    def ok(self) -> bool:
        """Whether the product is there."""
        return self.status not in {Status.FAILED, Status.GONE}

    @property
    def brought(self) -> bool:
        """Whether it came to lie there in this run."""
        unchecked = self.status is Status.UNVERIFIED and self.attempts > 0
        return self.status is Status.DOWNLOADED or unchecked
