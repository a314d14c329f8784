"""Named services, and sites given by their addresses, from the command line."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from noa_async.cli.options import ServiceOptions, read_settings
from noa_async.cli.program import run
from noa_async.cli.remarks import remarks
from noa_async.emulator import Emulator
from noa_async.emulator.profiles import PROFILES
from noa_async.services import SERVICES
from noa_async.settings import Settings

from .conftest import PASSWORD, Open, Program

CDSE: dict[str, Any] = {"service": "cdse", **PROFILES["cdse"], "products": 12}
ADDRESSES = ("NOA_CATALOGUE_URL", "NOA_TOKEN_URL")
QUOTA = "allows most accounts 4 connections: some of the 8 workers may be refused and wait.\n"


def arguments(mirror: Emulator) -> tuple[str, ...]:
    return ("--catalogue-url", mirror.catalogue_url, "--token-url", mirror.token_url)


def download_host(mirror: Emulator) -> str:
    return mirror.trusted_url.partition("://")[2]


def check(mirror: Emulator, folder: Path) -> None:
    """Every product is in the folder, with the mirror's bytes."""
    products = mirror.catalogue.products
    names = {one.name.removesuffix(".zip") + ("" if one.raw else ".zip") for one in products}
    assert {path.name for path in folder.iterdir() if path.is_file()} == names
    for product in products:
        [path] = folder.glob(f"{product.name}*")
        assert path.read_bytes() == mirror.content(product.id).read()


async def test_a_named_service_from_end_to_end(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(**CDSE)
    for name in ADDRESSES:
        del noa.environ[name]
    where = ("--service", "cdse", *arguments(mirror), "--trusted-host", download_host(mirror))
    ended = await noa("login", *where)
    assert ended.code == 0
    assert "for 10 min" in ended.out
    ended = await noa(
        "download", "--everything", *where, "--output", "data", "--workers", "8",
        "--report", "report.json",
    )  # fmt: skip
    assert ended.code == 0
    assert ended.err.count(QUOTA) == 1
    check(mirror, noa.folder / "data")
    products = json.loads((noa.folder / "report.json").read_text())["products"]
    assert {each["status"] for each in products} == {"downloaded"}
    assert {each["checksum"].partition(":")[0] for each in products} == {"blake3"}
    assert mirror.stats.downloads_peak <= 4
    assert mirror.stats.token_logins == 2  # a run is one session
    assert mirror.stats.leaked_tokens == 0


@pytest.mark.parametrize("way", ["variable", "short", "table"])
async def test_a_name_comes_from_a_variable_or_the_query_file(open_mirror: Open, way: str) -> None:
    _, noa = await open_mirror(**CDSE)
    assert (await noa("count", "--everything")).code == 3  # it is not NOA's client that it knows
    lines = {"variable": "", "short": 'service = "cdse"\n', "table": '[service]\nname = "cdse"\n'}
    (noa.folder / "query.toml").write_text("everything = true\n" + lines[way])
    if way == "variable":
        noa.environ["NOA_SERVICE"] = "cdse"
    ended = await noa("count", "--config", "query.toml")
    assert ended.code == 0
    assert ended.out.startswith("12 products")


async def test_listings_stay_whole_past_a_services_page_limits(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(**CDSE | {"products": 900, "mean_bytes": 2000, "max_skip": 400})
    noa.environ["NOA_SERVICE"] = "cdse"
    ended = await noa("search", "--everything", "--format", "jsonl")
    assert ended.code == 0
    found = [json.loads(line)["Id"] for line in ended.out.splitlines()]
    assert sorted(found) == sorted(product.id for product in mirror.catalogue.products)


async def test_a_site_by_its_addresses_alone(open_mirror: Open) -> None:
    site = {"base_path": "/gss/odata/v1", "realm": "site", "client_id": "site-client"}
    mirror, noa = await open_mirror(products=5, **site)
    for name in ADDRESSES:
        del noa.environ[name]
    where = (*arguments(mirror), "--client-id", "site-client")
    ended = await noa("download", "--everything", *where, "--output", "data", "--workers", "8")
    assert ended.code == 0
    assert "connections" not in ended.err  # of a site that nobody described nothing is known
    check(mirror, noa.folder / "data")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--service", "cdes"), "Unknown service 'cdes'.\nDid you mean cdse?"),
        (("--service", "xyz"), "Unknown service 'xyz'.\nKnown services: noa, cdse."),
        (
            ("--catalogue-url", "http://a.example/Products"),
            "catalogue_url is at a.example, but token_url is still at sentinels.space.noa.gr.\n",
        ),
        (
            ("--service", "cdse", "--token-url", "http://a.example/token"),
            "token_url is at a.example, but catalogue_url is still at catalogue.dataspace.",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.setenv("NOA_USERNAME", "ada")
    monkeypatch.setenv("NOA_PASSWORD", PASSWORD)
    assert run(("count", "--everything", *given)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"noa-async: {told}")
    assert ("Specify --" in err) is ("is still" in told)


def test_one_address_may_change_on_the_services_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    home = "https://sentinels.space.noa.gr/other/Products"
    monkeypatch.setenv("NOA_CATALOGUE_URL", home)
    assert read_settings(ServiceOptions(None, None, None, None, ())).service.catalogue_url == home


async def test_a_download_host_that_is_not_trusted_is_named(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(**CDSE | {"products": 1})
    noa.environ |= {"NOA_SERVICE": "cdse", "NOA_RETRIES": "0"}
    ended = await noa("download", "--everything", "--output", "data")
    assert ended.code == 1
    assert f"--trusted-host {download_host(mirror)}" in ended.err


def test_remarks() -> None:
    def said(
        name: str | None, values: dict[str, object], environ: dict[str, str], *, workers: bool
    ) -> list[str]:
        options = ServiceOptions(None, None, None, None, (), name)
        return list(remarks(options, Settings().with_values(values), environ, workers=workers))

    eight = {"service": "cdse", "workers": 8}
    [told] = said("cdse", eight, {}, workers=True)
    assert told == f"catalogue.dataspace.copernicus.eu {QUOTA}".rstrip()
    assert said("cdse", eight, {}, workers=False) == []
    assert said("cdse", {"service": "cdse", "workers": 4}, {}, workers=True) == []
    assert said("noa", {"workers": 64}, {}, workers=True) == []
    elsewhere = {"service": "cdse", "catalogue_url": "http://a.example/Products"}
    [told] = said("cdse", elsewhere, {"NOA_SERVICE": "noa"}, workers=False)
    assert (
        "The catalogue URL of cdse is http://a.example/Products, set by NOA_CATALOGUE_URL or"
        in told
    )
    assert said("cdse", elsewhere, {"NOA_SERVICE": "cdse"}, workers=False) == []


async def test_the_emulator_leads_to_the_service_that_it_plays(program: Program) -> None:
    process = await program.start("emulator", "--service", "cdse", "--products", "3")
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while "NOA_TRUSTED_HOSTS" not in program.environ:
                [pair] = shlex.split((await process.stdout.readline()).decode()[7:])
                name, _, value = pair.partition("=")
                program.environ[name] = value
        assert program.environ["NOA_CATALOGUE_URL"].endswith("/odata/v1/Products")
        assert program.environ["NOA_TRUSTED_HOSTS"] not in program.environ["NOA_CATALOGUE_URL"]
        for words in ((), ("--service", "cdse")):  # naming it once more changes nothing
            ended = await program("download", "--everything", *words, "--output", "data")
            assert ended.code == 0
            assert "NOA_CATALOGUE_URL" not in ended.err
    finally:
        process.terminate()
        await process.communicate()
    ended = await program("emulator", "--service", "cdes")
    assert ended.code == 2
    assert "'cdes' is none of noa, cdse" in ended.err


@pytest.mark.parametrize("verb", ["search", "count", "download", "mirror", "verify", "login"])
def test_the_help_tells_the_names(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run((verb, "--help")) == 0
    told = f"--service NAME       A known service: {' or '.join(SERVICES)}"
    assert told in capsys.readouterr().out
    assert run(("--help",)) == 0
    told = f"give --service NAME (NOA_SERVICE), one of {', '.join(SERVICES)}, or"
    assert told in capsys.readouterr().out
