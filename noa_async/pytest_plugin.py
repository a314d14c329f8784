"""Fixtures for pytest: an emulated mirror, for the tests of programs that use this library.

pytest loads this module at its start wherever noa-async is installed: so it imports nothing else
until a fixture is asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from noa_async.auth.credentials import Credentials
    from noa_async.emulator import Emulator
    from noa_async.looping import LoopThread
    from noa_async.settings import Settings

_SMALL = {"products": 20, "mean_bytes": 20_000}


@dataclass(frozen=True, slots=True)
class EmulatedMirror:
    """A mirror on loopback that runs in a thread of its own, and how to reach it."""

    emulator: Emulator
    """Its products and bytes, what it has seen (``stats``), what is to go wrong (``faults``)."""
    settings: Settings
    """Lead a client to it."""
    credentials: Credentials
    """It accepts them."""
    _loop: LoopThread

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead ``NoaClient.from_env`` and the command line to it."""
        return self.emulator.environ

    def run(self, work: Coroutine[Any, Any, object]) -> object:
        """Do what has to be awaited: ``noa_emulator.run(noa_emulator.emulator.reopened())``."""
        return self._loop.run(work)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "noa_emulator(*products, **settings): what the mirror of the fixture noa_emulator holds and"
        " is like; settings as in noa_async.emulator.EmulatorSettings.",
    )


@pytest.fixture
def noa_emulator(request: pytest.FixtureRequest) -> Iterator[EmulatedMirror]:
    """An emulated mirror of 20 small products; ``@pytest.mark.noa_emulator(...)`` changes it."""
    from noa_async.auth.credentials import Credentials  # noqa: PLC0415 (see above; so are these)
    from noa_async.emulator import Catalogue, Emulator, EmulatorSettings  # noqa: PLC0415
    from noa_async.looping import LoopThread  # noqa: PLC0415
    from noa_async.settings import Settings  # noqa: PLC0415

    marker = request.node.get_closest_marker("noa_emulator")
    products, changes = (marker.args, marker.kwargs) if marker else ((), {})
    made = EmulatorSettings(**_SMALL | changes)
    catalogue = Catalogue(products, seed=made.seed) if products else None
    emulator = Emulator(made, catalogue=catalogue)
    with LoopThread() as loop:
        loop.run(emulator.start())
        try:
            settings = Settings.from_env(emulator.environ)
            credentials = Credentials(made.username, made.password, source="noa_emulator")
            yield EmulatedMirror(emulator, settings, credentials, loop)
        finally:
            loop.run(emulator.stop())


@pytest.fixture
def noa_environment(
    noa_emulator: EmulatedMirror, monkeypatch: pytest.MonkeyPatch
) -> EmulatedMirror:
    """The mirror of ``noa_emulator``, with an environment that leads there and nowhere else."""
    for name in list(os.environ):
        if name.upper().startswith(("NOA_", "ESA_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in noa_emulator.environ.items():
        monkeypatch.setenv(name, value)
    return noa_emulator


@pytest.fixture
def noa_testing() -> Iterator[None]:
    """No waits between attempts, see ``noa_async.set_testing``."""
    from noa_async.testing import set_testing  # noqa: PLC0415

    with set_testing(True):
        yield
