"""pytest fixtures with an emulated service, for the tests of programs that use this library.

pytest loads this module at start-up if noa-async is installed, so it imports the library only when
a fixture is used.
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
    """An emulated service that runs on loopback in a separate thread, and how to connect to it."""

    emulator: Emulator
    """The emulator: its products, request statistics (``stats``) and fault plan (``faults``)."""
    settings: Settings
    """Settings with which a client connects to it."""
    credentials: Credentials
    """Valid credentials."""
    _loop: LoopThread

    @property
    def environ(self) -> dict[str, str]:
        """Environment variables with which ``NoaClient.from_env`` and the command line use it."""
        return self.emulator.environ

    def run(self, work: Coroutine[Any, Any, object]) -> object:
        """Run a coroutine in its event loop and return the result.

        For example: ``noa_emulator.run(noa_emulator.emulator.reopened())``.
        """
        return self._loop.run(work)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "noa_emulator(*products, **settings): products and settings of the fixture noa_emulator; "
        "settings as in noa_async.emulator.EmulatorSettings.",
    )


@pytest.fixture
def noa_emulator(request: pytest.FixtureRequest) -> Iterator[EmulatedMirror]:
    """An emulated service with 20 small products; configure it with a ``noa_emulator`` mark."""
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
    """The service of ``noa_emulator``, with environment variables that select only this one."""
    for name in list(os.environ):
        if name.upper().startswith(("NOA_", "ESA_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in noa_emulator.environ.items():
        monkeypatch.setenv(name, value)
    return noa_emulator


@pytest.fixture
def noa_testing() -> Iterator[None]:
    """Retries without delays, see ``noa_async.set_testing``."""
    from noa_async.testing import set_testing  # noqa: PLC0415

    with set_testing(True):
        yield
