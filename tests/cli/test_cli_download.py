"""``download``: files, reports, lines, exit codes."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from noa_async.cli.program import run
from noa_async.emulator import Emulator, Fault, FaultKind, FaultPlan, make_product

from .conftest import PASSWORD, Open, Program

ALL = ("download", "--everything", "--output", "data")
STATUSES = {"downloaded", "present", "unverified", "gone", "failed"}


def check_report(report: dict[str, Any], folder: Path, mirror: Emulator) -> None:
    """The schema of the design, and that it tells the truth."""
    keys = {"version", "filter", "started", "finished", "bytes", "counts", "products"}
    assert set(report) == keys
    assert report["version"] == 1
    started, finished = (datetime.fromisoformat(report[key]) for key in ("started", "finished"))
    assert started <= finished
    assert started.utcoffset() is not None
    assert set(report["counts"]) == STATUSES
    assert sum(report["counts"].values()) == len(report["products"])
    brought = 0
    for product in report["products"]:
        assert set(product) == {
            *("id", "name", "path", "status", "bytes", "checksum", "attempts", "error")
        }
        if product["status"] == "failed":
            assert (product["path"], product["bytes"]) == (None, 0)
            assert product["error"]
            continue
        content = (folder / product["path"]).read_bytes()
        assert product["error"] is None
        assert product["bytes"] == len(content)
        assert mirror.content(product["id"]).md5 == hashlib.md5(content).hexdigest()
        if product["status"] != "unverified":
            assert product["checksum"] == f"md5:{hashlib.md5(content).hexdigest()}"
        brought += product["bytes"] if product["attempts"] else 0
    assert report["bytes"] == brought


async def test_a_file_address_is_the_folder_itself(open_mirror: Open) -> None:
    mirror, noa = await open_mirror()
    where = (noa.folder / "data").as_uri()
    ended = await noa("download", "--everything", "--output", where, "--limit", "3")
    assert ended.code == 0
    assert len(list((noa.folder / "data").iterdir())) == 3 + len([".noa-async"])
    served = mirror.stats.bytes_sent
    assert (await noa("download", "--everything", "--output", "data", "--limit", "3")).code == 0
    assert mirror.stats.bytes_sent == served
    assert (await noa("verify", where, "-q")).code == 0


async def test_what_matches_comes_home_and_stays(open_mirror: Open) -> None:
    mirror, noa = await open_mirror()
    first = await noa(*ALL, "--report", "first.json")
    assert (first.code, first.out) == (0, "")
    report = json.loads((noa.folder / "first.json").read_text())
    check_report(report, noa.folder / "data", mirror)
    assert report["counts"] == {
        "downloaded": 40,
        "present": 0,
        "unverified": 0,
        "gone": 0,
        "failed": 0,
    }
    assert first.err.count("\ndownloaded  ") == 39  # a line for each product, no bars
    assert "40 products in " in first.err
    assert first.err.endswith("They are in data.\n")

    again = await noa(*ALL, "--report", "-", "-q")
    assert (again.code, again.err) == (0, "")
    report = json.loads(again.out)
    check_report(report, noa.folder / "data", mirror)
    assert (report["bytes"], report["counts"]["present"]) == (0, 40)
    assert not list(noa.folder.glob(".*"))


async def test_one_failure_is_told_and_ends_nothing(open_mirror: Open) -> None:
    plan = FaultPlan((Fault(FaultKind.FORBIDDEN, index=3, times=None),))
    mirror, noa = await open_mirror(faults=plan)
    ended = await noa(*ALL, "--report", "report.json", "-q")
    assert ended.code == 1
    head, reason = ended.err.splitlines()
    assert head == "1 product failed:"
    assert "403" in reason
    report = json.loads((noa.folder / "report.json").read_text())
    check_report(report, noa.folder / "data", mirror)
    assert (report["counts"]["failed"], report["counts"]["downloaded"]) == (1, 39)


async def test_many_failures_are_capped(open_mirror: Open) -> None:
    plan = FaultPlan((Fault(FaultKind.FORBIDDEN, times=None),))
    _, noa = await open_mirror(products=25, faults=plan)
    ended = await noa(*ALL, "-q")
    assert ended.code == 1
    assert ended.err.count(" 403") == 10
    assert ended.err.endswith("and 15 more; --report FILE lists them all\n")


async def test_without_a_checksum_the_report_says_so(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=5, checksums=())
    ended = await noa(*ALL, "--report", "report.json")
    assert ended.code == 0
    report = json.loads((noa.folder / "report.json").read_text())
    check_report(report, noa.folder / "data", mirror)
    assert {product["status"] for product in report["products"]} == {"unverified"}
    assert {product["checksum"] for product in report["products"]} == {None}
    assert "  unverified  5" in ended.err


async def test_a_dry_run_touches_nothing(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=12)
    ended = await noa(*ALL, "--dry-run")
    assert ended.code == 0
    assert ended.out.count("fetch  ") == 12
    assert "12 products to download" in ended.err
    assert not list(noa.folder.iterdir())
    assert not mirror.stats.downloads

    await noa(*ALL, "--limit", "5", "--layout", "{year}/{platform}/{name}")
    before = sorted(noa.folder.rglob("*"))
    ended = await noa(*ALL, "--dry-run", "--layout", "{year}/{platform}/{name}")
    assert (ended.out.count("present  "), ended.out.count("fetch  ")) == (5, 7)
    assert sorted(noa.folder.rglob("*")) == before
    assert (await noa(*ALL, "--dry-run", "--report", "x.json")).code == 2


async def test_json_logs_tell_every_event_and_the_end(open_mirror: Open) -> None:
    plan = FaultPlan((Fault(FaultKind.CUT, index=2),))
    _, noa = await open_mirror(products=5, faults=plan)
    noa.environ["NOA_RETRIES"] = "3"
    ended = await noa(*ALL, "--log-format", "json")
    assert ended.code == 0
    events = [json.loads(line) for line in ended.err.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("product_finished") == 5
    assert kinds.count("transfer_started") == 6
    assert kinds.count("transfer_retried") == 1
    assert kinds[-1] == "run_finished"
    assert events[-1]["counts"]["downloaded"] == 5
    assert events[-1]["retries"] == 1
    assert "transfer_advanced" not in kinds


async def test_the_query_of_the_report_is_the_filter(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=3)
    rule = ("--rule", "platform=SENTINEL-2", "--rule", r"polarisation=VV\,VH|HH")
    ended = await noa("download", *rule, "--filter", "Online eq true", "--report", "-")
    assert ended.code == 0
    query = json.loads(ended.out)["filter"]
    assert "Value eq 'SENTINEL-2'" in query
    assert "Value in ('VV,VH', 'HH')" in query
    assert query.endswith("(Online eq true)")
    assert (noa.folder / "noa-data").is_dir()


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        (("search", "--colour"), {}, "No such option"),
        (("serach",), {}, "Did you mean search?"),
        (("search",), {}, "--everything"),
        (("search", "--everything", "--limit", "0"), {}, "limit is 0"),
        (("search", "--rule", "platfrom=X"), {}, "Did you mean platform?"),
        (("search", "--rule", "cloud_min=30,cloud_max=20"), {}, "Swap the two."),
        (("search", "--roi", "POLYGON((1 1, 2 2, 3"), {}, "area"),
        (("search", "--config", "none.toml"), {}, "Cannot read none.toml"),
        (("download", "--everything", "--workers", "0"), {}, "workers is '0'"),
        (("download", "--everything", "--layout", "{nmae}"), {}, "Did you mean {name}?"),
        (("download", "--everything"), {"NOA_WORKERS": "many"}, "workers is 'many'"),
        (("login", "--catalogue-url", "ftp://x"), {}, "catalogue_url is 'ftp://x'"),
        (("login",), {"NOA_USERNAME": "ada"}, "NOA_PASSWORD is not"),
        (("emulator", "--faults", "none.json"), {}, "Cannot read none.json"),
        (("emulator", "--mean-bytes", "big"), {}, "not a number of bytes"),
        (("demo", "--output", "."), {}, "is not an empty folder"),
    ],
)
def test_wrong_usage_ends_with_two(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    environ: dict[str, str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "something").touch()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.startswith("noa-async: ")
    assert len(err.splitlines()) <= 2


async def test_credentials_missing_and_refused_end_with_three(
    open_mirror: Open, program: Program
) -> None:
    ended = await program("search", "--everything")
    assert ended.code == 3
    for hint in ("NOA_USERNAME and NOA_PASSWORD", "noa-async demo"):
        assert hint in ended.err
    mirror, noa = await open_mirror()
    noa.environ["NOA_PASSWORD"] = "wr0ng-Passw0rd"
    for verb in (("login",), ALL):
        ended = await noa(*verb)
        assert ended.code == 3
        assert "rejects the credentials of 'demo'" in ended.err
        assert "wr0ng" not in ended.err + ended.out
    assert mirror.stats.wrong_passwords == 2


async def test_a_service_that_is_not_there_ends_with_four(open_mirror: Open) -> None:
    mirror, noa = await open_mirror()
    noa.environ["NOA_RETRIES"] = "0"
    ended = await noa("search", "--filter", "Name eq 'x'")
    assert ended.code == 4
    assert "The service rejects the filter" in ended.err
    mirror.outage = True
    ended = await noa(*ALL, "--report", "report.json")
    assert ended.code == 4
    assert json.loads((noa.folder / "report.json").read_text())["products"] == []
    await mirror.stop()
    ended = await noa("count", "--everything")
    assert ended.code == 4
    assert len(ended.err.splitlines()) <= 2


async def test_a_destination_that_cannot_be_written_ends_with_five(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=3)
    (noa.folder / "data").touch()
    for arguments in (ALL, ("download", "--everything", "--report", "no/where.json")):
        ended = await noa(*arguments)
        assert ended.code == 5
        assert ended.err.startswith("noa-async: ")
    ended = await noa("download", "--everything", "--output", "x", "--report", ".")
    assert ended.code == 5
    if Path("/dev/full").exists():
        full = os.open("/dev/full", os.O_WRONLY)
        process = await noa.start("search", "--everything", stdout=full)
        os.close(full)
        assert await process.wait() == 5


async def test_an_argument_beats_the_environment_beats_the_file(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(make_product())
    nowhere = "http://127.0.0.1:9/odata"
    addresses = {key: noa.environ[key] for key in ("NOA_CATALOGUE_URL", "NOA_TOKEN_URL")}

    def write(url: str) -> None:
        table = f'[service]\ncatalogue_url = "{url}"\ntoken_url = "{mirror.token_url}"\n'
        (noa.folder / "f.toml").write_text(f"everything = true\n{table}[transfer]\nretries = 0\n")

    write(nowhere)  # the environment's address beats it
    assert (await noa("search", "--config", "f.toml")).code == 0
    noa.environ["NOA_CATALOGUE_URL"] = nowhere
    argument = ("--catalogue-url", addresses["NOA_CATALOGUE_URL"])
    assert (await noa("search", "--config", "f.toml", *argument)).code == 0
    ended = await noa("search", "--config", "f.toml")  # the file's retries hold: it ends at once
    assert ended.code == 4
    for key in addresses:
        del noa.environ[key]
    assert (await noa("search", "--config", "f.toml")).code == 4
    write(mirror.catalogue_url)
    assert (await noa("search", "--config", "f.toml")).code == 0


async def test_esa_variables_and_netrc_are_found(open_mirror: Open) -> None:
    _, noa = await open_mirror()
    for key in ("USERNAME", "PASSWORD"):
        noa.environ[f"ESA_{key}"] = noa.environ.pop(f"NOA_{key}")
    assert "ESA_USERNAME and ESA_PASSWORD" in (await noa("login")).out
    for key in ("USERNAME", "PASSWORD"):
        del noa.environ[f"ESA_{key}"]
    netrc = noa.folder / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login demo password {PASSWORD}\n")
    netrc.chmod(0o600)
    noa.environ["NETRC"] = str(netrc)
    ended = await noa("login")
    assert (ended.code, str(netrc) in ended.out) == (0, True)


async def test_what_is_off_line_is_waited_for_and_given_up(open_mirror: Open) -> None:
    tape = make_product("TAPE.zip", online=False)
    _, noa = await open_mirror(tape, make_product("DISK.zip"), retrieval_time=3600.0)
    ended = await noa(*ALL, "--offline-wait", "0.2")
    assert ended.code == 1
    assert "retry in 0.2 s  TAPE.zip: it is offline and ordered\n" in ended.err
    assert "It is ordered; this run waits no longer, a later one goes on with it." in ended.err
    assert (noa.folder / "data" / "DISK.zip").exists()

    noa.environ["NOA_OFFLINE_WAIT"] = "0"
    again = await noa(*ALL)
    assert again.code == 1
    assert "retry in" not in again.err


async def test_what_was_off_line_comes_home(open_mirror: Open) -> None:
    tape = make_product("TAPE.zip", online=False)
    _, noa = await open_mirror(tape, retrieval_time=0.1)
    ended = await noa(*ALL, "--offline-wait", "0.5")
    assert ended.code == 0
    assert (noa.folder / "data" / "TAPE.zip").exists()
