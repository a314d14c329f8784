"""Every snippet of ours in docs/coming-from.md runs, and brings what it says."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import noa_async
from noa_async import services
from noa_async.catalogue.rules import RULE_KEYS
from noa_async.cli.program import VERBS
from noa_async.emulator import Emulator, EmulatorSettings

from .snippets import ROOT, blocks, commands, environment, run_program, run_python

TEXT = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
SECTIONS = {part.split(maxsplit=1)[0]: part for part in re.split(r"(?m)^## ", TEXT)[1:]}
PLAYED = {"NOA's": "noa", "sentinelsat": "noa", "eodag": "cdse", "CDSETool": "cdse"}
PRINTED = {
    "NOA's": [r"S2\w_MSIL2A_\S+ True\n" * 2, r"(downloaded \S+/data/S2\S+\n){5}"],
    "sentinelsat": [r"\d+\n5 0 True\n"],
    "eodag": [r"([\d.]+ \S+/data/S2\S+\n){5}"],
    "CDSETool": [r"\d+\n(S2A_\S+ downloaded blake3:\w{64}\n){5}"],
}
AREA = {"type": "Polygon", "coordinates": [[[14, 37], [23, 37], [23, 42], [14, 42], [14, 37]]]}


@pytest.fixture
async def led(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Emulator]:
    """The mirror that a section speaks to, by the name that it uses and by the environment."""
    (tmp_path / "area.geojson").write_text(json.dumps(AREA))
    monkeypatch.chdir(tmp_path)
    name = PLAYED[request.getfixturevalue("section")]
    async with Emulator(EmulatorSettings.playing(name, mean_bytes=2000)) as mirror:
        for key, value in environment(mirror).items():
            monkeypatch.setenv(key, value)
        here = replace(
            services.SERVICES[name],
            catalogue_url=mirror.catalogue_url,
            token_url=mirror.token_url,
            download_hosts=frozenset({mirror.trusted_url.partition("://")[2]}),
        )
        monkeypatch.setattr(services, "SERVICES", {**services.SERVICES, name: here})
        yield mirror


def test_every_section_is_tried_here() -> None:
    assert list(SECTIONS) == list(PLAYED) == list(PRINTED)
    assert all(len(blocks(SECTIONS[name], "python")) == len(PRINTED[name]) for name in SECTIONS)


@pytest.mark.parametrize("section", PLAYED)
async def test_its_snippets_run(
    section: str, led: Emulator, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for source, printed in zip(blocks(SECTIONS[section], "python"), PRINTED[section], strict=True):
        await run_python(source)
        assert re.fullmatch(printed, capsys.readouterr().out)
    right = {led.content(product.id).read() for product in led.catalogue.products}
    held = [path for path in tmp_path.rglob("S2*") if path.is_file()]
    assert len(held) >= 5
    assert all(path.read_bytes() in right for path in held)


@pytest.mark.parametrize("section", [name for name in PLAYED if commands(SECTIONS[name])])
async def test_its_commands_run(section: str, led: Emulator, tmp_path: Path) -> None:
    for words in commands(SECTIONS[section]):
        assert await run_program(words, tmp_path, environment(led))
    assert len([path for path in (tmp_path / "data").iterdir() if path.is_file()]) == 5


def test_what_the_tables_name_of_ours_is_there() -> None:
    rows = [line.split("|")[2:-1] for line in TEXT.splitlines() if line.startswith("| `")]
    ours = " ".join(cell for row in rows for cell in row)
    classes = set(re.findall(r"\b([A-Z][a-z]\w+)[(.]", ours))
    assert classes >= {"NoaClient", "Query", "MissionRule", "Service", "Settings", "Limits"}
    assert classes <= set(noa_async.__all__)
    methods = set(re.findall(r"noa\.(\w+)\(", ours))
    assert methods == {"search", "count", "product", "download", "download_all"}
    assert all(hasattr(noa_async.NoaClient, name) for name in methods)
    assert set(re.findall(r"`noa-async (\w+)", ours)) <= set(VERBS)
    keys = {key for held in re.findall(r"MissionRule\(([^)]*)\)", ours)
            for key in re.findall(r"(\w+)=", held)}  # fmt: skip
    assert keys <= set(RULE_KEYS)
