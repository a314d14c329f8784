"""The library as users hold it, against the emulator over real sockets."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme

from noa_async import Credentials, Limits, NoaClient, RetryPolicy, Service, Settings, wire
from noa_async.emulator import Emulator
from noa_async.events import Event

WHO = Credentials("demo", "demo", source="test")


class Recorder:
    """An observer that keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event, /) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def settings_for(mirror: Emulator, *, workers: int = 4, **changes: object) -> Settings:
    """Settings that lead to the emulator, with a back-off of milliseconds."""
    service = Service(
        catalogue_url=mirror.catalogue_url,
        token_url=mirror.token_url,
        trusted_hosts=frozenset({mirror.trusted_url.partition("://")[2]}),
    )
    quick = RetryPolicy(base=0.01, cap=0.05, offline_wait=0.3)
    settings = Settings(service=service, limits=Limits(workers=workers), retry=quick)
    return replace(settings, **changes)  # type: ignore[arg-type]


def assert_right(mirror: Emulator, folder: Path, count: int) -> None:
    """Every published file is a product's, byte for byte, and there are ``count`` of them."""
    sums = {mirror.content(product.id).md5 for product in mirror.catalogue.products}
    files = [file for file in folder.iterdir() if file.is_file()]
    assert {hashlib.md5(file.read_bytes()).hexdigest() for file in files} <= sums
    assert len(files) == count


Connect = Callable[..., AbstractAsyncContextManager[NoaClient]]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def connect(recorder: Recorder) -> Connect:
    """A client of an emulator; what happens goes to ``recorder``."""

    def make(mirror: Emulator, **changes: object) -> NoaClient:
        return NoaClient(settings_for(mirror, **changes), WHO, observer=recorder)

    return make


def bring_bytes_by(path: str, patch: pytest.MonkeyPatch) -> None:
    """Bodies come past aiohttp, the small ones whole ("fast"), or nearly all by a "thread"; or as
    aiohttp's "stream".
    """
    if path == "thread":
        patch.setattr(wire, "_ROOM", 20 << 10)
    patch.setenv("NOA_FASTPATH", "0" if path == "stream" else "1")


PATHS = ("fast", "thread", "stream")
"""Those that small products have."""


@dataclass(frozen=True)
class Secure:
    """What an emulator that speaks TLS needs, and what its clients trust."""

    server: ssl.SSLContext
    ca_file: str


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Secure:
    """A certificate for 127.0.0.1."""
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return Secure(server, str(file))


@pytest.fixture(params=["thread", "stream"])
def path_of_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once by each path."""
    bring_bytes_by(request.param, monkeypatch)
