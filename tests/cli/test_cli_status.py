"""``status``: text and JSON."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from benchmarks.ledgers import FILTER, make_ledger
from noa_async.cli.program import run

from .conftest import Open, Program

DOCS = (Path(__file__).parent.parent.parent / "docs" / "status.md").read_text()


def test_it_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_ledger(tmp_path, 2000)
    assert run(["status", str(tmp_path), "--days", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [line for line in lines if not line.startswith(" ")]
    assert titles == [
        "Products", "By mission and type", "Latest sensing days", "What failed",
        "Followed queries", "Last runs",
    ]  # fmt: skip
    assert len([line for line in lines if re.match(r"  2026-\d\d-\d\d  ", line)]) == 2
    assert any(re.fullmatch(r"  verified +1990 +\d{3} GB", line) for line in lines)
    assert "  3 failed ServiceRefused, 3 to be retried, for example" in lines
    assert any(line.endswith("Z  mirror: complete in 1 min 00 s, 2000 listed, 2000 brought")
               for line in lines)  # fmt: skip
    assert max(map(len, lines)) <= 110


def test_the_keys_are_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    make_ledger(tmp_path, 1000)
    assert run(["status", str(tmp_path), "--format", "json", "--runs", "1"]) == 0
    held = json.loads(capsys.readouterr().out)
    assert held["queries"][0]["filter"] == FILTER
    assert held["runs"][0]["started"].endswith("Z")
    documented = set(re.findall(r"^\| `(\w+(?:\.\w+)?)` \|", DOCS, re.MULTILINE))
    found = set(held)
    for key, value in held.items():
        if isinstance(value, list):
            found |= {f"{key}.{inner}" for one in value for inner in one}
    assert found == documented


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_a_store_without_its_ledger_names_the_scratch_folder(tmp_path: Path, capsys, verb: str):
    assert run([verb, "s3://bucket/a", "--scratch", str(tmp_path)]) == 5
    told = capsys.readouterr().err
    assert f"it would be in {tmp_path}/bucket-" in told
    assert "--scratch" in told
    assert "not fetched again" in told
    assert not list(tmp_path.iterdir())


def test_a_file_address_is_the_folder_itself(tmp_path: Path, capsys):
    folder = tmp_path / "an archive"
    make_ledger(folder, 10)
    assert run(["status", str(folder), "--format", "json"]) == 0
    plain = capsys.readouterr().out
    assert run(["status", folder.as_uri(), "--format", "json"]) == 0
    assert capsys.readouterr().out == plain
    assert run(["status", f"file://{tmp_path}/none"]) == 5
    assert f"{tmp_path}/none holds no archive" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--runs", "--days"])
def test_no_number_is_too_large_to_be_refused(tmp_path: Path, option: str, capsys):
    make_ledger(tmp_path, 0)
    assert run(["status", str(tmp_path), option, "9" * 20]) == 2
    assert option in capsys.readouterr().err
    assert run(["status", str(tmp_path), option, "1000000"]) == 0


async def test_an_empty_archive_and_none(open_mirror: Open):
    _, noa = await open_mirror()
    assert (await noa("status", "data")).code == 5
    assert not (noa.folder / "data").exists()
    query = ("--roi", "-10,-10,-9.9,-9.9")
    await noa("download", *query, "--output", "data", "-q")
    alone = Program(noa.folder)
    if (noa.folder / "data").exists():
        ended = await alone("status", "data")
        assert (ended.code, ended.out) == (0, "No products.\n")


async def test_after_a_download_and_a_verify(open_mirror: Open):
    _, noa = await open_mirror(products=10)
    await noa("download", "--everything", "--output", "data", "-q")
    next((noa.folder / "data").glob("*.zip")).unlink()
    assert (await noa("verify", "data", "-q")).code == 1
    ended = await Program(noa.folder)("status", "data")
    assert ended.code == 0
    assert "  1 missing, 0 to be retried, for example\n" in ended.out  # no query is followed here
    assert (
        "  pending or wrong, but not part of the current query  1\n    verify --repair" in ended.out
    )
    assert re.search(r"  verify: complete in \S+ s, 10 read, 1 wrong, ", ended.out)
    assert ".zip is missing.\n" in ended.out


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_a_million_take_a_second(tmp_path: Path):
    make_ledger(tmp_path / "data", 1_000_000)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        assert (await Program(tmp_path)("status", "data")).code == 0
        took.append(time.perf_counter() - began)
    assert min(took) < 1
