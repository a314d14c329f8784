"""What all transfers of a client share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noa_async.transfer.dealing import Dealer
    from noa_async.transfer.health import Health
    from noa_async.transfer.limiter import Bandwidth
    from noa_async.transfer.tail import Tail


@dataclass(frozen=True, slots=True)
class Traffic:
    """One for all workers."""

    dealer: Dealer
    bandwidth: Bandwidth
    health: Health
    tail: Tail
