"""The real program with a real Dask cluster: a scheduler and four worker processes, some of which
are killed on the way, or their coordinator is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from noa_async.emulator import Emulator, EmulatorSettings

from ..integration.conftest import assert_right
from ..real import stores
from .crowd import until

pytest.importorskip("distributed")
pytestmark = pytest.mark.timeout(100)
Process = asyncio.subprocess.Process


@dataclass
class Cluster:
    """A scheduler and its workers, each a process."""

    address: str
    workers: list[Process] = field(default_factory=list)


async def start(folder: Path, *command: str, **environ: str) -> Process:
    with (folder / f"{command[1]}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *command,
            cwd=folder,
            env=os.environ | environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


@pytest.fixture
async def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cluster]:
    workers = getattr(request, "param", 4)
    file = tmp_path / "scheduler.json"
    where = ("--scheduler-file", str(file), "--no-dashboard")
    processes = [await start(tmp_path, "dask", "scheduler", "--port", "0", *where)]
    try:
        await until(lambda: file.exists() and file.read_text().rstrip().endswith("}"), 60)
        running = Cluster(json.loads(file.read_text())["address"])
        alone = ("--nthreads", "1", "--no-nanny")
        for _ in range(workers):
            running.workers.append(await start(tmp_path, "dask", "worker", *where, *alone))
        processes += running.workers
        log = tmp_path / "worker.log"
        await until(lambda: log.read_text().count("Registered to:") == workers, 60)
        yield running
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run(mirror: Emulator, folder: Path, *arguments: str, **environ: str) -> Process:
    return await start(
        folder,
        "noa_async",
        *arguments,
        "--everything",
        "--no-progress",
        NOA_CATALOGUE_URL=mirror.catalogue_url,
        NOA_TOKEN_URL=mirror.token_url,
        NOA_USERNAME="demo",
        NOA_PASSWORD="demo",
        **environ,
    )


async def begun(mirror: Emulator, process: Process, products: int) -> None:
    """Wait until more than so many products were asked for, or there is nothing to wait for."""
    await until(
        lambda: len(mirror.stats.downloads) > products or process.returncode is not None, 60
    )


def told(folder: Path) -> str:
    return "\n".join(file.read_text()[-3000:] for file in folder.glob("*.log"))


def whole(mirror: Emulator) -> int:
    """How many products the service gave whole, in one answer or several, and once."""
    return sum(
        sum(one.bytes_sent for one in answers) == mirror.content(product).size
        for product, answers in mirror.stats.downloads.items()
    )


async def test_two_of_four_workers_are_killed_and_all_products_come_once(
    tmp_path: Path, cluster: Cluster
) -> None:
    settings = EmulatorSettings(products=500, mean_bytes=20_000, quota=4, latency=0.02)
    async with Emulator(settings) as mirror:
        ways = ("--dask", cluster.address, "--output", "data", "--report", "report.json")
        process = await run(mirror, tmp_path, "download", *ways)
        await begun(mirror, process, 100)
        for worker in cluster.workers[:2]:
            worker.send_signal(signal.SIGKILL)
        assert await process.wait() == 0, told(tmp_path)
        assert_right(mirror, tmp_path / "data", 500)
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.quota_refusals == 0
        assert mirror.stats.token_logins == 1
        assert whole(mirror) >= 490  # those that the dead had may have been sent twice
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"]["downloaded"] == 500
    assert len({product["id"] for product in report["products"]}) == 500
    assert not list(tmp_path.glob("data/.noa-async/parts/*"))


@pytest.mark.soak
@pytest.mark.parametrize("cluster", [3], indirect=True)
async def test_a_worker_that_stands_still_is_done_without_and_harms_nothing_when_it_goes_on(
    tmp_path: Path, cluster: Cluster
) -> None:
    """Its connection stays open: the service may refuse, for it counts that one too."""
    settings = EmulatorSettings(products=40, mean_bytes=4_000_000, rate=2_000_000, quota=3)
    async with Emulator(settings) as mirror:
        ways = ("--dask", cluster.address, "--output", "data", "--report", "report.json")
        process = await run(mirror, tmp_path, "download", *ways)
        await begun(mirror, process, 6)
        still = cluster.workers[0]
        still.send_signal(signal.SIGSTOP)
        await begun(mirror, process, 30)
        still.send_signal(signal.SIGCONT)
        assert await process.wait() == 0, told(tmp_path)
        assert_right(mirror, tmp_path / "data", 40)
        assert mirror.stats.downloads_peak <= 3
        assert whole(mirror) >= 36
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["counts"]["downloaded"] == 40
    assert not list(tmp_path.glob("data/.noa-async/parts/*"))


@pytest.mark.parametrize("cluster", [2], indirect=True)
async def test_a_coordinator_is_killed_and_its_mirror_started_anew(
    tmp_path: Path, cluster: Cluster
) -> None:
    settings = EmulatorSettings(products=12, mean_bytes=4_000_000, rate=4_000_000, quota=4)
    async with Emulator(settings) as mirror:
        ways = ("--dask", cluster.address, "--output", "data")
        process = await run(mirror, tmp_path, "mirror", *ways)
        needed = sum(mirror.content(product.id).size for product in mirror.catalogue.products)
        await until(
            lambda: mirror.stats.bytes_sent > needed / 2 or process.returncode is not None, 60
        )
        assert process.returncode is None, told(tmp_path)
        process.kill()
        await process.wait()
        assert await (await run(mirror, tmp_path, "mirror", *ways)).wait() == 0, told(tmp_path)
        assert_right(mirror, tmp_path / "data", 12)
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.bytes_sent < 1.3 * needed
    assert not list(tmp_path.glob("data/.noa-async/parts/*"))


@pytest.mark.parametrize("cluster", [1], indirect=True)
async def test_no_password_and_no_token_is_in_what_the_cluster_writes(
    tmp_path: Path, cluster: Cluster
) -> None:
    async with Emulator(EmulatorSettings(products=4)) as mirror:
        ways = ("--dask", cluster.address, "--output", "data")
        process = await run(mirror, tmp_path, "download", *ways)
        assert await process.wait() == 0, told(tmp_path)
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("scheduler", "worker"))
    assert "token" not in logs.lower()
    assert "Bearer" not in logs


@pytest.fixture
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[stores.StoreServer]:
    """An object store of which everything started here knows, with keys that are right or not."""
    (tmp_path / "weed").mkdir()
    with stores.seaweed(tmp_path / "weed") as server:
        for name, value in (server.environ | getattr(request, "param", {})).items():
            monkeypatch.setenv(name, value)
        yield server


async def test_workers_that_are_killed_leave_an_object_store_right(
    tmp_path: Path, store: stores.StoreServer, cluster: Cluster
) -> None:
    settings = EmulatorSettings(products=24, mean_bytes=1_000_000, quota=4, rate=4_000_000)
    async with Emulator(settings) as mirror:
        ways = ("--dask", cluster.address, "--output", f"s3://{stores.BUCKET}/a", "--scratch", "s")
        process = await run(mirror, tmp_path, "download", *ways)
        await begun(mirror, process, 10)
        for worker in cluster.workers[:2]:
            worker.send_signal(signal.SIGKILL)
        assert await process.wait() == 0, told(tmp_path)
        held = store.contents("a")
        assert sorted(hashlib.md5(one).hexdigest() for one in held.values()) == sorted(
            mirror.content(product.id).md5 for product in mirror.catalogue.products
        )
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.token_logins == 1
    assert not list(tmp_path.glob("s/**/*.part"))


@pytest.mark.parametrize("cluster", [1], indirect=True)
@pytest.mark.parametrize("store", [{"AWS_SECRET_ACCESS_KEY": "another"}], indirect=True)
async def test_a_worker_whose_keys_are_wrong_is_named(
    tmp_path: Path, store: stores.StoreServer, cluster: Cluster
) -> None:
    async with Emulator(EmulatorSettings(products=2)) as mirror:
        ways = ("--dask", cluster.address, "--output", f"s3://{stores.BUCKET}/b", "--scratch", "s")
        process = await run(mirror, tmp_path, "download", *ways, **store.environ)
        assert await process.wait() == 5, told(tmp_path)
    assert "SignatureDoesNotMatch" in told(tmp_path)
    assert "on the worker tcp://" in told(tmp_path)


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
async def test_what_is_no_scheduler_is_refused_before_anything_is_sent(
    dry: tuple[str, ...], tmp_path: Path
) -> None:
    async with Emulator(EmulatorSettings(products=1)) as mirror:
        process = await run(mirror, tmp_path, "download", *dry, "--dask", "scheduler")
        assert await process.wait() == 2, told(tmp_path)
        assert "a scheduler's address, such as tcp://head:8786" in told(tmp_path)
        assert mirror.stats.requests == 0


async def test_a_scheduler_that_does_not_answer(tmp_path: Path) -> None:
    async with Emulator(EmulatorSettings(products=1)) as mirror:
        process = await run(mirror, tmp_path, "download", "--dask", "tcp://127.0.0.1:9")
        assert await process.wait() == 4, told(tmp_path)
        assert "No Dask scheduler answers at tcp://127.0.0.1:9" in told(tmp_path)
        assert mirror.stats.downloads == {}
