"""What the tests of a cluster share."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from noa_async.cluster import opening
from noa_async.cluster.messages import Terms

from ..integration.conftest import Recorder
from .crowd import Crowd

PATIENT = Terms(report=0.05, silence=30.0, lease=20.0, look=0.05, nobody=3.0)
"""So that on a busy machine none is taken for lost that is only slow."""
HASTY = Terms(report=0.05, silence=0.5, lease=0.4, look=0.05, nobody=3.0)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def crowd(monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """Four workers, of which a client hears who names any scheduler."""
    crowd = Crowd("a", "b", "c", "d")

    async def open_link(_stack: AsyncExitStack, _address: str, _workers: int) -> Crowd:
        return crowd

    monkeypatch.setattr(opening, "open_link", open_link)
    monkeypatch.setattr(opening, "Terms", lambda: PATIENT)
    return crowd


@pytest.fixture
def hasty(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of which nothing is heard is soon lost: for tests that lose one."""
    monkeypatch.setattr(opening, "Terms", lambda: HASTY)
