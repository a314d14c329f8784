"""A cluster whose output is an object store: workers fetch onto their own disks, and send it up."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from noa_async import NoaClient, Outcome, Query
from noa_async.archive.providers import metadata_name
from noa_async.cluster import parts, worker
from noa_async.cluster.messages import Setup
from noa_async.cluster.worker import Desk
from noa_async.emulator import Emulator, EmulatorSettings, Fault, FaultKind, FaultPlan
from noa_async.errors import DestinationError
from noa_async.events import FilePutAside

from ..integration.conftest import WHO, Recorder, settings_for
from ..real import stores
from ..real.stores import StoreServer
from ..real.storing import right
from .crowd import Crowd, until

obstore = pytest.importorskip("obstore")
ALL = Query(everything=True)
SLOW = EmulatorSettings(products=8, mean_bytes=3_000_000, rate=3_000_000, quota=4)


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreServer]:
    start = getattr(stores, getattr(request, "param", "seaweed"))
    with start(tmp_path_factory.mktemp("store")) as one:
        yield one


@pytest.fixture
def store(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[StoreServer]:
    for name, value in server.environ.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "workers").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "workers"))
    yield server
    assert list((tmp_path / "workers").iterdir()) == []


def client(mirror: Emulator, recorder: Recorder, tmp_path: Path) -> NoaClient:
    scratch = str(tmp_path / "scratch")
    settings = settings_for(mirror, scratch=scratch, dask="tcp://nowhere:1")
    return NoaClient(settings, WHO, observer=recorder)


async def bring(mirror: Emulator, recorder: Recorder, tmp_path: Path, url: str) -> list[Outcome]:
    async with client(mirror, recorder, tmp_path) as noa:
        return [one async for one in noa.download_all(noa.search(ALL), url)]


def assert_stored(mirror: Emulator, server: StoreServer, prefix: str, count: int) -> None:
    """Every object is a product's, byte for byte, and there are ``count`` of them."""
    contents = [mirror.content(product.id) for product in mirror.catalogue.products]
    held = server.contents(prefix)
    assert len(held) == count
    assert {len(one) for one in held.values()} <= {one.size for one in contents}
    sums = {one.md5 for one in contents}
    assert {hashlib.md5(one).hexdigest() for one in held.values()} <= sums


@pytest.mark.parametrize("server", ["seaweed", "azurite"], indirect=True, scope="module")
async def test_workers_send_what_they_fetched_and_nothing_goes_by_the_coordinator(
    tmp_path: Path, store: StoreServer, crowd: Crowd, recorder: Recorder
) -> None:
    async with Emulator(EmulatorSettings(products=30, mean_bytes=30_000, quota=4)) as mirror:
        outcomes = await bring(mirror, recorder, tmp_path, store.url("all"))
        assert all(one.ok for one in outcomes), [one.error for one in outcomes]
        assert_stored(mirror, store, "all", 30)
        assert mirror.stats.downloads_peak <= 4
        assert mirror.stats.token_logins == 1
        again = await bring(mirror, recorder, tmp_path, store.url("all"))
        assert [one.status.value for one in again] == ["present"] * 30
        assert sum(map(len, mirror.stats.downloads.values())) == 30
    first = outcomes[0]
    label = obstore.get(store.store("all"), str(first.key), options={"head": True}).attributes
    label = {metadata_name(name): value for name, value in label.items()}
    assert label["noa-id"] == first.product.id
    assert label["noa-checksum"] == first.checksum


@asynccontextmanager
async def under_way(
    mirror: Emulator, recorder: Recorder, tmp_path: Path, url: str
) -> AsyncGenerator[asyncio.Task[list[Outcome]]]:
    """A run that has begun; it is waited for at the end."""
    task = asyncio.create_task(bring(mirror, recorder, tmp_path, url))
    await until(lambda: mirror.stats.bytes_sent > 1_000_000 or task.done())
    yield task
    await task


@pytest.mark.usefixtures("hasty")
async def test_what_is_gone_with_a_worker_is_fetched_by_others(
    tmp_path: Path, store: StoreServer, crowd: Crowd, recorder: Recorder
) -> None:
    lost = {}
    async with Emulator(SLOW) as mirror:
        async with under_way(mirror, recorder, tmp_path, "s3://products/lost") as task:
            for name in "ab":
                lost[name] = crowd.desks.pop(name)
            crowd.desks["e"] = Desk()
        assert all(one.ok for one in task.result())
        assert_stored(mirror, store, "lost", 8)
        assert mirror.stats.downloads_peak <= 4
    assert ("e", "begin") in crowd.asked
    for desk in lost.values():
        assert await desk.report("s3://products/lost", "another", None, 0.0) is None  # type: ignore[arg-type]


async def test_what_a_worker_could_not_send_it_sends_again(
    tmp_path: Path,
    store: StoreServer,
    crowd: Crowd,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send = worker.ObjectFolder.send
    failed: list[str] = []

    def fail_once(*arguments: object) -> object:
        if not failed:
            failed.append(str(arguments[2]))
            raise RuntimeError("once")
        return send(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(worker.ObjectFolder, "send", fail_once)
    async with Emulator(EmulatorSettings(products=4, mean_bytes=3_000_000)) as mirror:
        names = {product.name for product in mirror.catalogue.products}
        for name in names:
            obstore.put(store.store("once"), name, b"foreign")
        outcomes = await bring(mirror, recorder, tmp_path, "s3://products/once")
        assert all(one.ok for one in outcomes), [one.error for one in outcomes]
        held = store.contents("once")
        asides = [key for key in held if key.startswith(".noa-async/")]
        assert [held.pop(key) for key in asides] == [b"foreign"] * 4
        assert right(mirror, held)
        assert sum(map(len, mirror.stats.downloads.values())) == 4
    told = [event.path for event in recorder.of(FilePutAside)]  # also the one of the first try
    assert sorted(told) == sorted(names)


@pytest.mark.usefixtures("hasty")
async def test_what_a_store_refuses_a_worker_ends_the_run_whatever_others_still_send(
    tmp_path: Path,
    store: StoreServer,
    crowd: Crowd,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, another, over = threading.Lock(), threading.Event(), threading.Event()

    def refuse(*_: object) -> object:
        if first.acquire(blocking=False):
            another.wait(10)
        else:
            another.set()
            over.wait(60)
        raise DestinationError("These keys may not do that.")

    monkeypatch.setattr(worker.ObjectFolder, "send", refuse)
    async with Emulator(EmulatorSettings(products=6, mean_bytes=30_000)) as mirror:
        try:
            with pytest.raises(DestinationError, match="These keys may not"):
                async with asyncio.timeout(10):
                    await bring(mirror, recorder, tmp_path, "s3://products/refused")
        finally:
            over.set()
        await until(lambda: not list((tmp_path / "workers").iterdir()), 10)  # by themselves
    assert store.contents("refused") == {}


async def test_wrong_bytes_are_in_no_store(
    tmp_path: Path, store: StoreServer, crowd: Crowd, recorder: Recorder
) -> None:
    faults = FaultPlan((Fault(FaultKind.WRONG_BYTES, index=1, times=None),))
    settings = EmulatorSettings(products=4, mean_bytes=30_000, faults=faults)
    async with Emulator(settings) as mirror:
        outcomes = await bring(mirror, recorder, tmp_path, "s3://products/wrong")
        assert_stored(mirror, store, "wrong", 3)
    [failed] = [one for one in outcomes if not one.ok]
    assert "The bytes were not kept." in str(failed.error)


def test_the_folder_of_a_worker_that_was_killed_is_dropped_by_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = "from noa_async.cluster.parts import make_own_folder; print(make_own_folder())"
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    left = Path(run.stdout.strip())
    assert left.is_dir()
    others = [tmp_path / "noa-async-worker-x-y", tmp_path / f"noa-async-worker-{os.getpid()}-z"]
    for other in others:
        other.mkdir()
    mine = parts.make_own_folder()
    assert set(tmp_path.iterdir()) == {mine, *others}


async def test_a_worker_of_another_version_or_without_obstore_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def setup(version: str) -> Setup:
        return Setup(
            session="s",
            output="s3://bucket",
            version=version,
            settings=None,  # type: ignore[arg-type]
            folder=None,
            witness="",
            lease=1.0,
            cut=True,
        )

    assert "the coordinator has 0.0.0" in str(await Desk().hello(setup("0.0.0")))
    monkeypatch.setattr(worker, "find_spec", lambda _name: None)
    assert "no obstore" in str(await Desk().hello(setup(worker.own_version())))
