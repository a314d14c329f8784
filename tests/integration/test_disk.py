"""What disks do: full, read-only, gone, in the way."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from noa_async import DestinationError, DestinationFull, ProductTooLarge, Query, Status
from noa_async.emulator import Emulator, EmulatorSettings, make_product

from .conftest import Connect, assert_right

ALL = Query(everything=True)
MOUNT = shutil.which("mount")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if MOUNT is None or os.geteuid() != 0 or subprocess.run(mounting, check=False).returncode:
        reason = "mount is not allowed here (root is needed for a small disk)"
        if os.environ.get("NOA_REQUIRE_PARTS"):
            raise RuntimeError(reason)
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def files(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()]


async def test_room_is_checked_before_a_product_is_asked_for(
    connect: Connect, small_disk: Path
) -> None:
    settings = EmulatorSettings(products=0)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        mirror.catalogue.add(make_product("big.SAFE.zip", size=30_000_000))
        [outcome] = [each async for each in noa.download_all(noa.search(ALL), small_disk)]
        assert isinstance(outcome.error, ProductTooLarge)
        assert re.search(
            rf"No room in {small_disk} for big\.SAFE\.zip: it needs 30\.0 MB more, "
            r"2\d\.\d MB are free, of which 16\.8 MB stay free",
            str(outcome.error),
        )
        assert mirror.stats.downloads == {}


async def test_a_full_disk_ends_the_run_and_the_next_goes_on(
    connect: Connect, small_disk: Path
) -> None:
    # All begin while there is room for each, and fill the disk together.
    async with Emulator(EmulatorSettings(products=0, rate=4_000_000)) as mirror:
        for number in range(6):
            size = 1_000_000 if number < 3 else 6_000_000
            product = make_product(f"{number}.SAFE.zip", size=size, omit=("ContentLength",))
            mirror.catalogue.add(product)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(7_000_000))
        with pytest.raises(DestinationFull, match="No room for") as caught:
            async with connect(mirror, workers=6) as noa:
                _ = [each async for each in noa.download_all(noa.search(ALL), small_disk / "out")]
        assert caught.value.exit_code == 5
        done = len(files(small_disk / "out"))
        assert done < 6
        assert_right(mirror, small_disk / "out", done)

        ballast.unlink()
        async with connect(mirror) as noa:
            outcomes = [
                each async for each in noa.download_all(noa.search(ALL), small_disk / "out")
            ]
        assert sorted(each.status for each in outcomes) == (
            [Status.DOWNLOADED] * (6 - done) + [Status.PRESENT] * done
        )
        assert_right(mirror, small_disk / "out", 6)


async def test_a_read_only_disk_is_named(connect: Connect, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    async with Emulator(EmulatorSettings(products=3, mean_bytes=2000)) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(DestinationError, match="Read-only file system") as caught:
                _ = [each async for each in noa.download_all(noa.search(ALL), small_disk / "out")]
        assert str(small_disk / "out") in str(caught.value)
        assert mirror.stats.downloads == {}


async def test_a_file_in_place_of_the_folder_is_named(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    async with Emulator(EmulatorSettings(products=3, mean_bytes=2000)) as mirror:
        async with connect(mirror) as noa:
            with pytest.raises(DestinationError, match="a file is in the way"):
                _ = [each async for each in noa.download_all(noa.search(ALL), tmp_path / "file")]
    assert (tmp_path / "file").read_text() == "mine"


async def test_a_folder_that_vanishes_ends_the_run(connect: Connect, tmp_path: Path) -> None:
    async with Emulator(EmulatorSettings(products=300, mean_bytes=20_000)) as mirror:
        # Closing the client fails, too: the last products cannot be written down.
        with pytest.raises(DestinationError) as caught:
            async with connect(mirror) as noa, asyncio.timeout(20):
                count = 0
                async for _ in noa.download_all(noa.search(ALL), tmp_path / "out"):
                    count += 1
                    if count == 20:
                        (tmp_path / "out").rename(tmp_path / "elsewhere")
        assert caught.value.exit_code == 5


HOSTILE = [
    "../../escape.SAFE.zip",
    "/etc/passwd",
    "..",
    ".noa-async",
    "nul\0byte.zip",
    "line\nbreak\x1b[31m.zip",
    "x" * 300 + ".SAFE.zip",
    "CON",
    "aux.zip",
    "Same.SAFE.zip",
    "same.safe.ZIP",
    "a\\b.zip",
    "\u202egpj.zip",
    "   ",
]


async def test_hostile_names_stay_inside_and_readable(connect: Connect, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "out"
    async with Emulator(EmulatorSettings(products=0)) as mirror, connect(mirror) as noa:
        names = [name for name in HOSTILE if name.strip()]
        for name in names:
            key = f"{len(mirror.catalogue.products):08d}-hostile"
            entry = {"Name": name}
            mirror.catalogue.add(make_product("S.SAFE.zip", id=key, entry=entry, size=20_000))
        outcomes = [each async for each in noa.download_all(noa.search(ALL), folder)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert_right(mirror, folder, len(names))
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert len({each.path.name.casefold() for each in outcomes if each.path}) == len(names)
    for file in files(folder):
        assert file.name.isprintable()
        assert len(file.name.encode()) <= 255
        assert not file.stat().st_mode & 0o022


async def test_modes_are_private_where_they_must_be(connect: Connect, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with Emulator(EmulatorSettings(products=3, mean_bytes=2000)) as mirror:
            async with connect(mirror) as noa:
                _ = [each async for each in noa.download_all(noa.search(ALL), tmp_path)]
    finally:
        os.umask(before)
    state = tmp_path / ".noa-async"
    assert state.stat().st_mode & 0o077 == 0
    for file in state.iterdir():
        if file.is_file():
            assert file.stat().st_mode & 0o777 == 0o600, file
    for file in files(tmp_path):
        assert file.stat().st_mode & 0o777 == 0o644


async def test_a_folder_whose_links_lead_in_a_circle_is_named(
    connect: Connect, tmp_path: Path
) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    async with Emulator(EmulatorSettings(products=1)) as mirror, connect(mirror) as noa:
        with pytest.raises(DestinationError, match=r"circle|Too many levels"):
            _ = [each async for each in noa.download_all(noa.search(ALL), circle)]
