"""``verify``: lines, JSON, exit codes, and what ``--repair`` mends."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from noa_async.archive.database import Database
from noa_async.archive.destination import ledger_of
from noa_async.archive.folder import LocalFolder
from noa_async.cli.program import run
from noa_async.cli.verify import read_share, read_since
from noa_async.emulator import Fault, FaultKind, FaultPlan
from noa_async.errors import QueryError, SettingsError

from .conftest import Open, Program, until

DOWNLOAD = ("download", "--everything", "--output", "data", "-q")


def files(folder: Path) -> list[Path]:
    return sorted(one for one in (folder / "data").iterdir() if one.is_file())


def spoil(folder: Path) -> dict[str, str]:
    """Spoil some files in all ways; name and condition of each."""
    flipped, short, grown, gone, replaced, linked, touched = files(folder)[:7]
    with flipped.open("r+b") as file:
        file.write(b"X")
    os.truncate(short, 100)
    with grown.open("ab") as file:
        file.write(b"X")
    gone.unlink()
    replaced.unlink()
    replaced.mkdir()
    linked.unlink()
    os.mkfifo(linked)
    os.utime(touched, ns=(5, 5))
    damaged = dict.fromkeys((flipped.name, short.name, grown.name), "damaged")
    return damaged | dict.fromkeys((gone.name, replaced.name, linked.name), "missing")


async def test_all_is_right(open_mirror: Open):
    _, noa = await open_mirror()
    await noa(*DOWNLOAD)
    alone = Program(noa.folder)  # no mirror, no account
    ended = await alone("verify", "data")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("40 products intact\nRead ")
    quiet = await alone("verify", "data", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    (noa.folder / "data" / "mine.txt").touch()
    ended = await alone("verify", "data")
    assert (ended.code, ended.out) == (0, "foreign  mine.txt\n")
    logged = await alone("verify", "data", "-q", "--format", "json")
    held = json.loads(logged.out)
    assert set(held) == {*("version", "folder", "findings", "counts", "bytes", "seconds", "repair")}
    assert held["counts"] == {
        "right": 40, "damaged": 0, "missing": 0, "unreadable": 0, "foreign": 1,
    }  # fmt: skip
    assert held["bytes"] == sum(one.stat().st_size for one in files(noa.folder))
    told = await alone("--log-format", "json", "verify", "data", "--no-progress")
    assert json.loads(told.err)["event"] == "verify_finished"


async def test_a_foreign_name_that_is_no_text(open_mirror: Open):
    _, noa = await open_mirror(products=2)
    await noa(*DOWNLOAD)
    (noa.folder / "data" / "caf\udce9.txt").touch()
    ended = await noa("verify", "data")
    assert (ended.code, ended.out) == (0, "foreign  caf?.txt\n")
    ended = await noa("verify", "data", "--format", "json")
    [found] = json.loads(ended.out)["findings"]
    assert found["path"] == r"caf\xe9.txt"


async def test_what_is_wrong_is_told_and_repaired(open_mirror: Open):
    mirror, noa = await open_mirror()
    await noa(*DOWNLOAD)
    before = {one.name: one.read_bytes() for one in files(noa.folder)}
    wrong = spoil(noa.folder)
    ended = await noa("verify", "data")
    assert ended.code == 1
    found = dict(line.split("  ")[::-1] for line in ended.out.splitlines())
    assert {path.split(": ")[0]: condition for path, condition in found.items()} == wrong
    assert "34 products intact, 3 damaged, 3 missing\n" in ended.err

    mirror.stats.reset()
    ended = await noa("verify", "data", "--format", "json", "--repair", "--workers", "2")
    assert ended.code == 0
    held = json.loads(ended.out)
    assert {one["path"]: one["condition"] for one in held["findings"]} == wrong
    assert held["repair"]["products"] == 6
    assert held["repair"]["failed"] == 0
    assert len(mirror.stats.downloads) == 6
    assert {one.name: one.read_bytes() for one in files(noa.folder)} == before
    ended = await noa("verify", "data")
    assert (ended.code, ended.out) == (0, "")


async def test_products_with_no_checksum_are_compared_with_our_own(open_mirror: Open):
    _, noa = await open_mirror(checksums=(), products=10)
    await noa(*DOWNLOAD)
    wrong = spoil(noa.folder)
    ended = await noa("verify", "data")
    assert (ended.code, len(ended.out.splitlines())) == (1, len(wrong))
    assert "its blake3 is " in ended.out
    assert (await noa("verify", "data", "--repair")).code == 0
    assert (await noa("verify", "data")).out == ""


async def test_what_a_check_leaves_in_a_journal(open_mirror: Open):
    """As docs/service.md has it: findings as text, then one JSON object."""
    _, noa = await open_mirror(products=3)
    await noa(*DOWNLOAD)
    [gone, *_] = files(noa.folder)
    gone.unlink()
    journal = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    process = await noa.start("verify", "data", "--log-format", "json", **journal)
    told, _ = await process.communicate()
    found, *more, last = told.decode().splitlines()
    assert (found, more) == (f"missing  {gone.name}", [])
    assert json.loads(last)["event"] == "verify_finished"


async def test_what_cannot_be_repaired_is_an_error_then_and_later(open_mirror: Open):
    mirror, noa = await open_mirror(products=5)
    await noa(*DOWNLOAD)
    [gone, *_] = files(noa.folder)
    gone.unlink()
    mirror.faults = FaultPlan((Fault(FaultKind.FORBIDDEN, times=None),))
    ended = await noa("verify", "data", "--repair")
    assert ended.code == 1
    assert "1 product failed:" in ended.err
    ended = await noa("verify", "data")
    assert (ended.code, ended.out) == (1, f"missing  {gone.name}\n")


async def test_repair_needs_an_account_before_hours_are_spent(open_mirror: Open):
    _, noa = await open_mirror(products=3)
    await noa(*DOWNLOAD)
    ended = await Program(noa.folder)("verify", "data", "--repair")
    assert ended.code == 3
    assert "intact" not in ended.err


async def test_what_was_found_is_whole_json_whatever_ends_the_repair(open_mirror: Open):
    _, noa = await open_mirror(products=5)
    await noa(*DOWNLOAD)
    [gone, *_] = files(noa.folder)
    gone.unlink()
    noa.environ["NOA_PASSWORD"] = "another"
    ended = await noa("verify", "data", "--repair", "--format", "json")
    assert ended.code == 3
    held = json.loads(ended.out)
    assert [one["path"] for one in held["findings"]] == [gone.name]
    assert held["counts"]["missing"] == 1
    assert held["repair"] == {"products": 0, "bytes": 0, "failed": 0}


async def test_a_check_that_ends_early_says_why(open_mirror: Open):
    _, noa = await open_mirror(products=5)
    await noa(*DOWNLOAD)
    garbled = "UPDATE products SET published = 'x' WHERE path = ?"
    database = Database(ledger_of(noa.folder / "data"))
    database.write([(garbled, [(files(noa.folder)[3].name,)])])
    database.close()
    assert (await noa("verify", "data")).code == 5
    told = (await noa("status", "data")).out
    assert "  verify: The ledger " in told
    assert "is damaged: a row is none of ours" in told


async def test_samples_and_ages(open_mirror: Open):
    _, noa = await open_mirror(products=20)
    await noa(*DOWNLOAD)
    [gone, *_] = files(noa.folder)
    gone.unlink()
    told = [await noa("verify", "data", "--sample", "25%") for _ in range(4)]
    assert sorted(one.code for one in told) == [0, 0, 0, 1]
    assert sum(int(one.err.split()[0]) for one in told) == 19
    assert (await noa("verify", "data", "--since", "7d")).code == 1
    future = await noa("verify", "data", "--since", "2999-01-01")
    assert (future.code, future.err.splitlines()[0]) == (0, "0 products intact")


@pytest.mark.parametrize(
    "options",
    [
        ("--sample", "1"),
        ("--sample", "0%"),
        ("--sample", "101%"),
        ("--since", "soon"),
        ("--since", "999999999w"),
        ("--since", "36526d"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, options: tuple[str, str], capsys):
    assert run(["verify", str(tmp_path), *options]) == 2
    assert options[0] in capsys.readouterr().err


def test_shares_and_ages():
    assert read_share("1 %") == 0.01
    assert read_share("100%") == 1
    for text in ("", "5", "-1%", "1e2%", "%"):
        with pytest.raises(SettingsError):
            read_share(text)
    assert read_since("30m", 1800.0) == 0
    assert read_since("1.5w", 0.0) == -1.5 * 7 * 86400
    assert read_since("2026-01-11", 0.0) == 1768089600
    with pytest.raises(QueryError):
        read_since("7 moons", 0.0)


async def test_no_archive_is_made(program: Program):
    (program.folder / "empty").mkdir()
    for name in ("empty", "none"):
        ended = await program("verify", name)
        assert ended.code == 5
        assert "holds no archive" in ended.err
        assert "--output" in ended.err
    assert not list((program.folder / "empty").iterdir())
    assert not (program.folder / "none").exists()


def without_sources(ledger: Path) -> Path:
    """A ledger with nothing beside it from which it could be made again."""
    shutil.rmtree(ledger.with_name("copies"))
    ledger.with_name("manifest.jsonl").unlink()
    return ledger


async def test_an_archive_whose_ledger_is_lost_is_not_passed(open_mirror: Open):
    """Its files are no foreign ones: nobody knows what they should be, without copy or manifest."""
    _, noa = await open_mirror()
    query = ("--everything", "--output", "data")
    await noa("mirror", *query, "-q")
    ledger = ledger_of(noa.folder / "data")
    without_sources(ledger)
    data = bytearray(ledger.read_bytes())
    data[2 * 4096 : 8 * 4096] = random.Random(3).randbytes(6 * 4096)
    ledger.write_bytes(data)
    lock = ledger.with_name("lock")
    lock.write_text("1\n")  # the last run was killed
    for _ in range(2):
        ended = await noa("verify", "data")
        assert (ended.code, ended.out) == (5, "")
        assert "Run noa-async mirror" in ended.err
    assert lock.read_bytes()
    assert not list(ledger.parent.glob("*damaged*"))

    ended = await noa("mirror", *query)
    assert ended.code == 0
    [aside] = ledger.parent.glob("ledger.sqlite3.damaged-*")
    [told] = [line for line in ended.err.splitlines() if "The ledger is damaged" in line]
    assert str(aside) in told
    assert (await noa("verify", "data")).code == 0

    ledger.unlink()
    ended = await noa("--log-format", "json", "mirror", *query)
    [told] = [line for line in ended.err.splitlines() if "ledger_set_aside" in line]
    assert json.loads(told)["path"] is None


async def test_an_archive_whose_ledger_knows_nothing_yet_is_not_passed(open_mirror: Open):
    mirror, noa = await open_mirror(products=5)
    query = ("--everything", "--output", "data", "-q")
    await noa("mirror", *query)
    without_sources(ledger_of(noa.folder / "data")).unlink()
    mirror.faults = FaultPlan((Fault(FaultKind.PAGE_ERROR, times=None),))
    assert (await noa("mirror", *query, "--retries", "0")).code == 4
    ended = await noa("verify", "data")
    assert (ended.code, ended.out) == (5, "")
    assert "has no product" in ended.err


async def test_a_query_that_nothing_matches_yet_is_no_lost_ledger(open_mirror: Open):
    _, noa = await open_mirror(products=5)
    await noa("mirror", "--roi", "-10,-10,-9.9,-9.9", "--output", "data", "-q")
    (noa.folder / "data" / "mine.txt").touch()
    ended = await noa("verify", "data")
    assert (ended.code, ended.out) == (0, "foreign  mine.txt\n")


async def test_a_folder_in_use(open_mirror: Open):
    _, noa = await open_mirror(products=3)
    await noa(*DOWNLOAD)
    folder = LocalFolder(noa.folder / "data").open()
    try:
        ended = await noa("verify", "data", "--format", "json")
    finally:
        folder.close()
    assert (ended.code, ended.out) == (5, "")
    assert "in use" in ended.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_an_end_in_the_middle_is_harmless(open_mirror: Open, number: signal.Signals):
    _, noa = await open_mirror(products=6)
    await noa(*DOWNLOAD)
    large = files(noa.folder)[0]
    os.truncate(large, 0)  # sparse: minutes to read, nothing on disk
    os.truncate(large, 200 << 30)
    _set_size(noa.folder / "data", large)
    process = await noa.start("verify", "data")
    try:
        lock = noa.folder / "data" / ".noa-async" / "lock"
        await until(lambda: _reads(process.pid, large))
        assert _is_locked(lock)
        process.send_signal(number)
        async with asyncio.timeout(20):
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == (130 if number is signal.SIGINT else -9)
    assert number is signal.SIGKILL or b"--sample continues" in err
    told = (await noa("status", "data")).out
    ending = "interrupted in" if number is signal.SIGINT else "still running, or was killed"
    assert f"  verify: {ending}" in told
    large.unlink()
    ended = await noa("verify", "data", "--repair")
    assert ended.out == f"missing  {large.name}\n"
    assert ended.code == 0


def _set_size(folder: Path, file: Path) -> None:
    database = Database(ledger_of(folder))
    update = "UPDATE products SET size = ? WHERE path = ?"
    database.write([(update, [(file.stat().st_size, file.name)])])
    database.close()


def _reads(pid: int, file: Path) -> bool:
    try:
        held = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return str(file) in held


def _is_locked(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
