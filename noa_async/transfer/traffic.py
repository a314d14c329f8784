"""What all transfers of a client share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noa_async.auth.session import AuthSession
    from noa_async.transfer.health import Health
    from noa_async.transfer.limiter import Bandwidth, Slots
    from noa_async.transfer.tail import Tail


@dataclass(frozen=True, slots=True)
class Traffic:
    """One for all workers."""

    session: AuthSession
    slots: Slots
    bandwidth: Bandwidth
    health: Health
    tail: Tail
