"""What needs no process: bookkeeping, endings, forms."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from noa_async import Product
from noa_async.cli.bars import total_text
from noa_async.cli.endings import Interrupted, ending
from noa_async.cli.formats import feature, make_writer
from noa_async.cli.manner import Manner
from noa_async.cli.options import ServiceOptions, read_settings
from noa_async.cli.sentences import level_of, sentence
from noa_async.errors import ServiceUnreachable
from noa_async.events import (
    Event,
    ProductFinished,
    ProductQueued,
    ProductWaiting,
    Status,
    TokenObtained,
    TransferAdvanced,
    TransferRetried,
    TransferStarted,
)
from noa_async.progress import Progress

REPORT = "Please report it with the command, its output with -v and the version."


def after(*events: Event, **state: object) -> Progress:
    progress = Progress()
    for name, value in state.items():
        setattr(progress, name, value)
    for event in events:
        progress(event)
    return progress


QUEUED = ProductQueued("a", "A", 100)
FINISHED = ProductFinished("a", "A", Status.DOWNLOADED, "A", 100, 1, None)


def test_a_resume_is_had_but_did_not_arrive() -> None:
    progress = after(QUEUED, TransferStarted("a", "A", 1, 60, 100), TransferAdvanced("a", 10))
    assert (progress.have, progress.arrived, progress.expected) == (70, 10, 100)
    assert after(QUEUED, TransferStarted("a", "A", 1, 60, 100), FINISHED).have == 100


def test_a_restart_takes_back_what_was_had() -> None:
    progress = after(
        QUEUED,
        TransferStarted("a", "A", 1, 0, 100),
        TransferAdvanced("a", 50),
        TransferRetried("a", "A", 1, 0.5, "cut"),
    )
    assert (progress.retries, progress.running["a"].waiting) == (1, "cut")
    progress(TransferStarted("a", "A", 2, 0, 120))
    assert (progress.have, progress.arrived, progress.expected) == (0, 50, 120)


def test_what_fails_is_expected_no_more() -> None:
    failed = ProductFinished("a", "A", Status.FAILED, None, 0, 3, "no")
    progress = after(
        QUEUED,
        ProductQueued("b", "B", 30),
        TransferStarted("a", "A", 1, 0, 100),
        TransferAdvanced("a", 50),
        failed,
    )
    assert (progress.have, progress.expected, progress.finished) == (0, 30, 1)
    assert progress.running == {}


def test_what_was_there_counts_as_had() -> None:
    present = ProductFinished("a", "A", Status.PRESENT, "A", 100, 0, None)
    progress = after(QUEUED, present, complete=True)
    assert (progress.have, progress.expected, progress.arrived) == (100, 100, 0)


def test_what_is_off_line_has_no_bar_of_its_own() -> None:
    waiting = ProductWaiting("a", "A", 60.0, ordered=True)
    progress = after(QUEUED, ProductQueued("b", "B", 30), TransferStarted("b", "B", 1, 0, 30))
    progress(waiting)
    assert list(progress.running) == ["b"]
    assert list(progress.offline) == ["a"]
    assert "0/2 products, 1 offline  " in total_text(progress, 0, 1.0, 100)
    progress(waiting)
    progress(TransferStarted("a", "A", 1, 0, 100))
    assert list(progress.running) == ["b", "a"]
    assert progress.offline == {}
    progress(waiting)
    progress(ProductFinished("a", "A", Status.FAILED, None, 0, 3, "no"))
    assert (list(progress.running), progress.offline, progress.listed_bytes) == (["b"], {}, 30)


@pytest.mark.parametrize(("ordered", "words"), [(True, " and ordered"), (False, "")])
def test_a_product_that_waits_is_told(*, ordered: bool, words: str) -> None:
    event = ProductWaiting("a", "A", 45.0, ordered=ordered)
    assert (level_of(event), sentence(event)) == (0, f"retry in 45.0 s  A: it is offline{words}")


def test_the_total_is_estimated_while_the_listing_goes_on() -> None:
    progress = after(QUEUED, ProductQueued("b", "B", 300), matching=10)
    assert (progress.expected, progress.certain, progress.complete) == (2000, True, False)
    progress.complete = True
    assert progress.expected == 400
    assert not after(QUEUED).certain


def test_the_first_token_is_no_renewal() -> None:
    token = TokenObtained("password", 3.0)
    assert after(token).renewals == 0
    assert after(token, token, token).renewals == 2


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "noa-async: Interrupted.\n"),
        (Interrupted("Go on."), 130, "noa-async: Interrupted.\nGo on.\n"),
        (OSError(28, "No space left", "/x"), 5, "noa-async: /x: No space left.\n"),
        (
            ExceptionGroup("", [ValueError("x"), ServiceUnreachable("Away.\nFar", hint="Wait.")]),
            4,
            "noa-async: Away. Far\nWait.\n",
        ),
        (
            RuntimeError("\x1b[2J"),
            70,
            f"noa-async: Internal error: RuntimeError: ?[2J.\n{REPORT}\n",
        ),
    ],
)
def test_endings(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error, Manner()) == code
    assert capsys.readouterr() == ("", told)
    assert ending(error, Manner(json=True)) == code
    assert json.loads(capsys.readouterr().err)["exit_code"] == code


def test_a_traceback_only_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(error: Exception) -> None:
        raise error

    def traced(error: Exception, verbose: int) -> bool:
        with pytest.raises(type(error)) as caught:
            broken(error)
        ending(caught.value, Manner(verbose=verbose))
        return "Traceback" in capsys.readouterr().err

    assert [traced(RuntimeError("x"), verbose) for verbose in (0, 1)] == [False, True]
    assert [traced(ServiceUnreachable("x"), verbose) for verbose in (0, 1)] == [False, False]


@pytest.mark.parametrize(
    ("entry", "geometry"),
    [
        ({"GeoFootprint": {"type": "Point", "coordinates": [22, 38]}}, "Point"),
        ({"Footprint": "geography'SRID=4326;Polygon((22 38,23 38,23 39,22 38))'"}, "Polygon"),
        ({"GeoFootprint": {"type": "Point", "coordinates": ["x"]}}, None),
        ({"Footprint": "POLYGON((22 38))"}, None),
        ({}, None),
    ],
)
def test_a_feature_has_the_footprint_there_is(entry: dict[str, object], geometry: str) -> None:
    product = Product.from_entry({"Id": "a", "Name": "A", **entry})
    made = feature(product)
    assert (made["geometry"] and made["geometry"]["type"]) == geometry
    assert made["properties"]["name"] == "A"


def test_what_json_has_no_word_for_becomes_null() -> None:
    product = Product.from_entry({"Id": "a", "Name": "A", "Odd": [float("nan")]})
    stream = io.StringIO()
    writer = make_writer("json", stream, attributes=False)
    writer.write(product)
    writer.end()
    assert json.loads(stream.getvalue(), parse_constant=pytest.fail)[0]["Odd"] == [None]


def test_a_query_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    config = tmp_path / "query.toml"
    config.write_bytes(b"\xef\xbb\xbfeverything = true\n[transfer]\nworkers = 9\n")
    service = ServiceOptions(config, None, None, None, ())
    assert read_settings(service).limits.workers == 9


def test_what_was_there_is_not_named_one_by_one():
    levels = [
        level_of(ProductFinished("0a5c", "A", status, None, None, 0, None)) for status in Status
    ]
    assert dict(zip(Status, levels, strict=True)) == {
        Status.DOWNLOADED: 0, Status.PRESENT: 2, Status.UNVERIFIED: 0, Status.GONE: 0,
        Status.FAILED: -1,
    }  # fmt: skip
