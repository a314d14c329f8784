"""The listing suite: a small run of it, and what the kept run has to show."""

from __future__ import annotations

import json

from benchmarks import listing
from benchmarks.__main__ import main


def test_a_small_run_finds_each_product_once_both_ways(capsys, monkeypatch):
    monkeypatch.setattr(listing, "LATENCY", 0.0)
    small = ("--products", "1100", "--few", "300", "--rounds", "1", "--no-write")
    main(["listing", *small])  # its goals are not those of a listing that waits for nothing
    output = capsys.readouterr().out
    assert output.count("each once") == len(listing.WAYS) == 2
    assert "NOT" not in output


def test_in_the_kept_run_nothing_was_lost_and_time_was_won():
    results = json.loads(listing.JSON.read_text())
    assert results["products"] == 100_000
    assert len(results["ratios"]) == 3
    assert min(results["ratios"]) >= 3
    assert all(each["each_once"] for each in results["runs"])
    most = {each["way"]: each["most_at_once"] for each in results["runs"]}
    assert most == {"one_by_one": 1, "windows": 4}
