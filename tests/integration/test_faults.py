"""Every fault of this family of servers ends in the whole product, or in a clear error."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
import uvloop

from noa_async import Outcome, Query, RetryPolicy, ServiceAway, Status, Timeouts
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan

from .conftest import PATHS, Connect, Secure, assert_right, bring_bytes_by

ALL = Query(everything=True)
K = FaultKind
WHOLE, FAILED = Status.DOWNLOADED, Status.FAILED


@dataclass(frozen=True)
class Case:
    """A fault, and how a product ends that meets it at every attempt."""

    for_good: Status
    error: str = ""
    """Words of the error where it fails for good."""
    once: Status = WHOLE
    """How a product ends that meets it once."""
    after_a_cut: bool = False
    """It concerns the answer to a Range, so a cut comes first."""
    quarantined: bool = False


CASES = {
    K.CUT: Case(FAILED, "broke off"),
    K.RESET: Case(FAILED, "broke off"),
    K.STALL: Case(FAILED, "no byte came"),
    K.THROTTLE: Case(WHOLE),
    K.WRONG_BYTES: Case(FAILED, "the catalogue says md5:", quarantined=True),
    K.SHORT_BODY: Case(FAILED, "The body ended after"),
    K.WRONG_RANGE: Case(WHOLE, after_a_cut=True),
    K.LYING_RANGE: Case(WHOLE, after_a_cut=True),
    K.IGNORED_RANGE: Case(WHOLE, after_a_cut=True),
    K.RANGE_FROM_ZERO: Case(WHOLE, after_a_cut=True),
    K.OK_WITH_CONTENT_RANGE: Case(WHOLE, after_a_cut=True),
    K.INJECTED_ERROR: Case(FAILED),
    K.QUOTA_TEXT: Case(FAILED, "The service said: Max session number"),
    K.ERROR_PAGE: Case(FAILED, "Text came in place of the product"),
    K.EMPTY_202: Case(FAILED, "not on line yet"),
    K.QUOTA_403: Case(FAILED, "concurrent flows"),
    K.FORBIDDEN: Case(FAILED, "403: Access denied", once=FAILED),
    K.NOT_FOUND: Case(FAILED, "404"),
    K.TOO_MANY: Case(FAILED, "429"),
    K.SERVER_ERROR: Case(FAILED, "503"),
    K.REDIRECT_TRUSTED: Case(WHOLE),
    K.REDIRECT_FOREIGN: Case(WHOLE),
    K.REPLACED: Case(WHOLE),
    K.NEW_ETAG: Case(WHOLE, after_a_cut=True),
    K.NO_ETAG: Case(WHOLE, after_a_cut=True),
    K.GZIP: Case(FAILED, "compressed"),
    K.CHUNKED: Case(WHOLE),
    K.REVOKED_TOKEN: Case(FAILED, "401"),
    K.SLOW_FIRST_BYTE: Case(WHOLE),
}
"""Every fault of one product; CONNECTION_REFUSED concerns the whole service, further down."""


def test_the_table_knows_every_fault_of_the_emulator() -> None:
    assert set(CASES) == {kind for kind in K if kind.scope == "product"} - {K.CONNECTION_REFUSED}


def plan(kind: FaultKind, times: int | None) -> FaultPlan:
    seconds, at = (30.0, 0.9) if kind is K.STALL else (0.05, 0.5)  # few attempts: each waits
    fault = Fault(kind, times=times, seconds=seconds, at=at, rate=400_000)
    if CASES[kind].after_a_cut:
        return FaultPlan((Fault(K.CUT, at=0.5), replace(fault, first=2)))
    return FaultPlan((fault,))


@dataclass(frozen=True)
class Way:
    """How the bytes come."""

    path: str
    loop: str
    tls: bool

    def __str__(self) -> str:
        return f"{self.path}-{self.loop}-{'https' if self.tls else 'http'}"

    @property
    def usual(self) -> bool:
        """Whether the command line takes that loop for such a service."""
        return self.tls == (self.loop == "asyncio")


WAYS = [
    pytest.param(way, id=str(way), marks=[] if way.usual else pytest.mark.soak)
    for way in (Way(*each) for each in product(PATHS, ("asyncio", "uvloop"), (False, True)))
]
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@dataclass(frozen=True)
class Scene:
    """Three products, and a client that brings them on one of the ways."""

    connect: Connect
    folder: Path
    way: Way
    secure: Secure

    def outcomes(self, faults: FaultPlan, stall: float) -> tuple[Emulator, list[Outcome]]:
        """What comes of them, and the emulator as it was left."""
        settings = EmulatorSettings(
            products=3,
            mean_bytes=100_000,
            faults=faults,
            tls=self.secure.server if self.way.tls else None,
        )
        ca_file = self.secure.ca_file if self.way.tls else None

        async def bring() -> tuple[Emulator, list[Outcome]]:
            timeouts = Timeouts(stall=stall)
            async with Emulator(settings) as mirror:
                async with self.connect(mirror, timeouts=timeouts, ca_file=ca_file) as noa:
                    found = noa.download_all(noa.search(ALL), self.folder)
                    return mirror, [each async for each in found]

        with asyncio.Runner(loop_factory=LOOPS[self.way.loop]) as runner:
            return runner.run(bring())


@pytest.fixture(params=WAYS)
def scene(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    connect: Connect,
    tmp_path: Path,
    secure: Secure,
) -> Scene:
    """The whole matrix; what the command line would not do with ``-m soak``."""
    bring_bytes_by(request.param.path, monkeypatch)
    return Scene(connect, tmp_path, request.param, secure)


def patience(kind: FaultKind) -> float:
    """Seconds without a byte, after which a connection is given up."""
    return 0.1 if kind is K.STALL else 0.3


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.value)
def test_a_fault_that_passes(scene: Scene, kind: FaultKind) -> None:
    mirror, outcomes = scene.outcomes(plan(kind, 1), patience(kind))
    assert {each.status for each in outcomes} == {CASES[kind].once}
    assert_right(mirror, scene.folder, 3 if CASES[kind].once is WHOLE else 0)
    assert mirror.stats.faults >= 3
    assert mirror.stats.leaked_tokens == 0


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.value)
def test_a_fault_for_good(scene: Scene, kind: FaultKind) -> None:
    case = CASES[kind]
    mirror, outcomes = scene.outcomes(plan(kind, None), patience(kind))
    assert {each.status for each in outcomes} == {case.for_good}
    assert_right(mirror, scene.folder, 3 if case.for_good is WHOLE else 0)
    assert all(case.error in str(each.error) for each in outcomes)
    aside = list(scene.folder.glob(".noa-async/quarantine/*"))
    if case.error:
        assert bool(aside) == case.quarantined


async def test_refused_connections_are_waited_for(connect: Connect, tmp_path: Path) -> None:
    faults = FaultPlan((Fault(K.CONNECTION_REFUSED, index=3, seconds=0.5),))
    settings = EmulatorSettings(products=12, mean_bytes=100_000, faults=faults)
    patient = RetryPolicy(base=0.1, cap=0.5)
    async with Emulator(settings) as mirror, connect(mirror, retry=patient) as noa:
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        assert {each.status for each in outcomes} == {WHOLE}
        assert_right(mirror, tmp_path, 12)


async def test_a_dead_service_ends_the_run(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(EmulatorSettings(products=500, mean_bytes=20_000)) as mirror:
        async with connect(mirror, workers=4) as noa:
            products = [each async for each in noa.search(ALL)]
            outcomes = []
            with pytest.raises(ServiceAway, match="The service is away") as caught:
                async for outcome in noa.download_all(products, tmp_path):
                    outcomes.append(outcome)
                    mirror.outage = len(outcomes) >= 100
        assert caught.value.exit_code == 4
        failed = [each for each in outcomes if not each.ok]
        assert len(failed) == 0
        assert 100 <= len(outcomes) < 200


async def test_dead_downloads_beside_a_living_catalogue_end_the_run(
    connect: Connect, tmp_path: Path
) -> None:
    faults = FaultPlan((Fault(K.SERVER_ERROR, times=None),))
    settings = EmulatorSettings(products=200, mean_bytes=20_000, faults=faults)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        outcomes = []
        with pytest.raises(ServiceAway, match="10 products in a row"):
            async for outcome in noa.download_all(noa.search(ALL), tmp_path):
                outcomes.append(outcome)
        assert len(outcomes) < 15


@pytest.mark.parametrize("style", ["429", "403"])
async def test_a_quota_of_four_is_found_and_held(
    connect: Connect, tmp_path: Path, style: str
) -> None:
    size, rate = 300_000, 1_000_000
    settings = EmulatorSettings(
        products=80, mean_bytes=size, rate=rate, quota=4, quota_style=style, retry_after="0"
    )  # type: ignore[arg-type]
    async with Emulator(settings) as mirror, connect(mirror, workers=16) as noa:
        started = time.monotonic()
        outcomes = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
        took = time.monotonic() - started
        assert {each.status for each in outcomes} == {WHOLE}
        assert mirror.stats.quota_refusals < 30
        assert mirror.stats.downloads_peak <= 4
        # By how full the mirror saw its four slots: a busy machine stretches a time, not this.
        assert mirror.stats.download_seconds > 4 * took / 1.5
