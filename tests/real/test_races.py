"""The races of the benchmarks, small: what counts as whole, and what is kept of them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from benchmarks import byteraces
from benchmarks.__main__ import main
from benchmarks.fileserver import FileServer
from benchmarks.programs import Command
from benchmarks.races import OURS, Contestant, Race, installed, met, results, run_race, table
from benchmarks.store import KINDS, Bucket

from .parts import needed, needed_module

needed("nginx", "Debian's nginx-light", also_in="/usr/sbin")
VERSION = (sys.executable, "--version")


@pytest.mark.parametrize("suite", ["large", "tls", "small"])
def test_a_small_race_of_ours_alone_is_whole(capsys, suite):
    sizes = ("--size", "200000", "--products", "60")
    alone = ("--tool", "nobody", "--rounds", "1", "--no-write")
    assert main([suite, *sizes, *alone]) == 0
    assert "NOT WHOLE" not in capsys.readouterr().out


def test_a_small_race_into_a_store_is_whole_and_reads_every_object_back(capsys):
    needed_module("obstore", "noa-async[s3]")
    small = ("--size", "6000000", "--products", "3", "--rounds", "1", "--no-write")
    assert main(["store", "--store", "rclone", *small]) in {0, 1}
    said = capsys.readouterr().out
    assert said.count("into rclone serve s3") == 1
    assert said.count("noa-async") >= 2
    assert "NOT WHOLE" not in said


def test_an_object_that_is_wrong_missing_or_too_many_is_seen(tmp_path):
    obstore = needed_module("obstore", "noa-async[s3]")
    with Bucket(KINDS["rclone"], tmp_path / "store") as bucket:
        store = bucket.anew().store("mirror")
        sums = {"a": hashlib.md5(b"right").hexdigest()}
        assert not bucket.holds(sums)
        obstore.put(store, "a", b"right")
        assert bucket.holds(sums)
        obstore.put(store, "b", b"right")
        assert not bucket.holds(sums)
        obstore.delete(store, "b")
        obstore.put(store, "a", b"wrong")
        assert not bucket.holds(sums)
        assert bucket.anew().keys() == []


def test_memory_and_restart_are_measured(capsys):
    assert main(["restart", "--products", "120", "--rounds", "2", "--no-write"]) == 0
    assert "present: {120}" in capsys.readouterr().out
    assert main(["memory", "--few", "10", "--many", "60", "--rounds", "1", "--no-write"]) == 0


def writing(text: str) -> object:
    """A contestant's command that leaves one file."""
    code = f"import sys; open(sys.argv[1], 'w').write({text!r})"
    return lambda output: Command((sys.executable, "-c", code, str(output / "a")))


def test_who_leaves_something_wrong_is_not_whole(capsys, tmp_path):
    def is_right(output: Path) -> bool:
        return (output / "a").read_text() == "right"

    there = (
        Contestant(OURS, VERSION, writing("right")),
        Contestant("other", VERSION, writing("wrong")),
    )
    race = Race("made up", there, 5, 1, is_right, rounds=2)
    found = results(race, run_race(race, tmp_path / "work"), {"other": 0.01})
    assert [found["medians"][name]["whole"] for name in (OURS, "other")] == [True, False]
    assert capsys.readouterr().out.count("NOT WHOLE") == 3
    assert "NOT WHOLE" in table(found)
    assert not met(found)  # a peer that brought something else has no speed to be compared with
    assert met(found | {"goals": {}})


def test_a_peer_that_is_missing_is_named_and_left_out(capsys):
    there = Contestant(OURS, VERSION, writing("right"))
    missing = Contestant("a peer", ("no-such-program", "--version"), writing("right"))
    assert installed([missing, there]) == (there,)
    assert capsys.readouterr().out == "a peer is not installed: it is left out.\n"


def test_a_goal_is_met_or_missed_unrounded(tmp_path):
    there = (
        Contestant(OURS, VERSION, writing("right")),
        Contestant("other", VERSION, writing("right")),
    )
    race = Race("made up", there, 5, 1, lambda _: True, rounds=2)
    found = results(race, run_race(race, tmp_path / "work"), {"other": 0.01})
    assert met(found)
    assert not met(found | {"goals": {"other": 1000.0}})
    ratio = {"other": {"median": 1.695, "all": [1.695]}}
    assert not met(found | {"goals": {"other": 1.7}, "ratios": ratio})


def test_a_byte_too_many_or_another_is_seen(tmp_path):
    server = FileServer(tmp_path / "server", [1000, 2000])
    output = tmp_path / "out"
    output.mkdir()
    for wanted in server.job(output, 1).wanted:
        key = wanted.url.partition("(")[2].partition(")")[0]
        (output / wanted.name).write_bytes((tmp_path / "server/bytes" / key).read_bytes())
    assert server.is_whole(output)
    (output / "more").touch()
    assert not server.is_whole(output)
    (output / "more").unlink()
    (output / server.job(output, 1).wanted[1].name).write_bytes(bytes(2000))
    assert not server.is_whole(output)


def test_what_is_kept_is_a_table_and_a_plot(tmp_path, monkeypatch):
    monkeypatch.setattr(byteraces, "RESULTS", tmp_path)
    assert main(["large", "--size", "100000", "--tool", "reference", "--rounds", "1"]) in {0, 1}
    assert (tmp_path / "large.json").exists()
    assert f">{OURS}</text>" in (tmp_path / "large.svg").read_text()
