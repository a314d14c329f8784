"""Whatever sequence of faults comes: the published bytes are the product's, or nothing is."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noa_async import NoaClient, Query, RetryPolicy, Timeouts
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan

from .conftest import PATHS, WHO, bring_bytes_by, settings_for

K = FaultKind
KINDS = [
    kind for kind in K if kind.scope == "product" and kind not in {K.CONNECTION_REFUSED, K.STALL}
]
FAULTS = st.builds(
    Fault,
    kind=st.sampled_from(KINDS),
    at=st.floats(0, 1) | st.integers(0, 400_000),
    seconds=st.just(0.001),
    rate=st.just(50_000_000.0),
    retry_after=st.sampled_from([None, "0"]),
)


async def bring(faults: list[Fault], etag: str) -> None:
    """One product through these faults, an attempt each, twice: the second run is a new one."""
    plan = FaultPlan(tuple(replace(fault, first=n) for n, fault in enumerate(faults, start=1)))
    site = EmulatorSettings(products=1, mean_bytes=300_000, faults=plan, etag=etag)  # type: ignore[arg-type]
    quick = RetryPolicy(retries=3, base=0.001, cap=0.001)
    with tempfile.TemporaryDirectory() as name:
        async with Emulator(site) as mirror, asyncio.timeout(30):
            for _ in range(2):
                ours = settings_for(mirror, retry=quick, timeouts=Timeouts(stall=1.0))
                async with NoaClient(ours, WHO) as noa:
                    found = noa.search(Query(everything=True))
                    [outcome] = [each async for each in noa.download_all(found, name)]
                files = [file for file in Path(name).iterdir() if file.is_file()]
                assert len(files) <= 1
                right = mirror.content(outcome.product.id).md5
                assert {hashlib.md5(file.read_bytes()).hexdigest() for file in files} <= {right}
                assert bool(files) == outcome.ok
            assert mirror.stats.leaked_tokens == 0


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(FAULTS, max_size=6),
    st.sampled_from(["quoted", "unquoted", "none"]),
    st.sampled_from([asyncio.new_event_loop, uvloop.new_event_loop]),
    st.sampled_from(PATHS),
)
def test_any_sequence_of_faults(
    faults: list[Fault], etag: str, loop: Callable[[], asyncio.AbstractEventLoop], by: str
) -> None:
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=loop) as runner:
        bring_bytes_by(by, patch)
        runner.run(bring(faults, etag))
