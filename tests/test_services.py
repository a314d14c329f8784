"""The services known by name: their figures, where each is from, and that no code asks for a name.

The figures stand here a second time, as the services publish them.
"""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import noa_async
from noa_async import services
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.emulator.profiles import PROFILES
from noa_async.origins import origin_of, token_may_go
from noa_async.services import SERVICES, SOURCES, Service, Source

from .snippets import blocks, commands, environment, run_program, run_python

PACKAGE = Path(noa_async.__file__).parent
DATA = {PACKAGE / "services.py", PACKAGE / "emulator" / "profiles.py"}
FIGURES = {
    "noa": {
        "catalogue_url": "https://sentinels.space.noa.gr/catalogue/odata/v1/Products",
        "token_url": "https://sentinels.space.noa.gr/auth/realms/mirror/protocol/openid-connect/token",
        "client_id": "mirror-client",
        "page_size": 50,
        "order_ties": True,
        "max_url_length": 8000,
        "expand": "Attributes",
        "habits.token_life": 300,
    },
    "cdse": {
        "catalogue_url": "https://catalogue.dataspace.copernicus.eu/odata/v1/Products",
        "token_url": "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
        "client_id": "cdse-public",
        "download_hosts": {"download.dataspace.copernicus.eu"},
        "page_size": 200,
        "order_ties": True,
        "max_url_length": 8000,
        "expand": "Attributes",
        "quota.connections": 4,
        "quota.rate": 20_000_000,
        "quota.volume": 12_000_000_000_000,
        "quota.sessions": 100,
        "habits.most_top": 1000,
        "habits.most_skip": 10_000,
        "habits.slow_count": True,
        "habits.spellings": (
            ("polarisation", "VV,VH", "VV&VH"),
            ("polarisation", "HH,HV", "HH&HV"),
        ),
        "habits.checksums": ("md5", "blake3"),
        "habits.token_life": 600,
        "habits.refresh_life": 3600,
    },
}
_ABSENT = (None, (), frozenset())


def figures(service: Service) -> dict[str, object]:
    """What a service has, by its place; what is not known is left out."""
    found: dict[str, object] = {}
    for name, value in dataclasses.asdict(service).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": held for inner, held in value.items()}
        else:
            found[name] = value
    return {place: value for place, value in found.items() if value not in _ABSENT}


@pytest.mark.parametrize("name", SERVICES)
def test_the_figures_are_the_published_ones(name):
    assert figures(SERVICES[name]) == FIGURES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_every_figure_says_where_it_is_from(name):
    assert set(SOURCES[name]) == set(figures(SERVICES[name]))


def test_the_first_is_the_default():
    assert next(iter(SERVICES)) == "noa"
    assert dataclasses.replace(SERVICES["noa"], habits=Service().habits) == Service()


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        SERVICES["x"] = Service()  # type: ignore[index]


@pytest.mark.parametrize("name", SERVICES)
def test_its_own_download_hosts_get_the_token_over_tls_alone(name):
    service = SERVICES[name]
    home = origin_of(service.catalogue_url)
    for host in service.download_hosts:
        assert token_may_go(f"https://{host}/x", home, service.download_hosts)
        assert not token_may_go(f"http://{host}/x", home, service.download_hosts)
        assert not token_may_go(f"https://{host}.example/x", home, service.download_hosts)


def test_the_emulator_plays_each_and_by_the_same_figures():
    assert list(PROFILES) == list(SERVICES)
    for name, service in SERVICES.items():
        played, habits = EmulatorSettings.playing(name), service.habits
        assert played.service == name
        assert service.client_id == played.client_id
        assert f"/auth/realms/{played.realm}/protocol/openid-connect/token" in service.token_url
        assert service.catalogue_url.endswith(f"{played.base_path}/Products")
        assert played.download_host is bool(service.download_hosts)
        assert service.page_size <= played.max_top
        for known, here in (
            (service.quota.connections, played.quota),
            (habits.most_top, played.max_top),
            (habits.most_skip, played.max_skip),
            (habits.token_life, played.token_life),
            (habits.refresh_life, played.refresh_life),
            (habits.checksums or None, tuple(one.lower() for one in played.checksums)),
        ):
            assert known in (None, here)


def names_in(source: str) -> list[str]:
    """Service names among a module's texts; its docstrings are not code."""
    tree = ast.parse(source)
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]
    rare = "|".join(name for name in SERVICES if name != "noa")
    return [
        text
        for text in texts
        if text.lower() in SERVICES or re.search(rf"\b({rare})\b|dataspace", text, re.IGNORECASE)
    ]


def test_a_name_in_code_is_seen():
    assert names_in("if service == 'cdse': pass") == ["cdse"]
    assert names_in("x = {'noa': 1}") == ["noa"]
    assert names_in("if 'dataspace.copernicus.eu' in url: pass")
    assert names_in('def f():\n    """As cdse does."""\n    return "noa-async"') == []


def test_no_code_asks_which_service_it_is():
    modules = set(PACKAGE.rglob("*.py"))
    assert modules >= DATA
    found = {path.name: names_in(path.read_text()) for path in modules - DATA}
    assert {name: texts for name, texts in found.items() if texts} == {}


DOC = (PACKAGE.parent / "docs" / "services.md").read_text("utf-8")


def shown(place: str, value: object) -> str:
    """A figure as the table writes it."""
    if place == "habits.spellings":
        value = [there for _, _, there in value]  # type: ignore[attr-defined]
    if place == "quota.rate":
        return f"{value / 1e6:g} MB/s"  # type: ignore[operator]
    if place == "quota.volume":
        return f"{value / 1e12:g} TB"  # type: ignore[operator]
    if place.endswith("_life"):
        return f"{value:g} s"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f"`{value}`"
    return " ".join(f"`{each}`" for each in value) if isinstance(value, Iterable) else f"{value}"


def test_the_page_has_every_figure_and_its_source():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOC.split("| Field of `Service` |")[1].split("\n\n")[0].splitlines()[2:]
    ]
    known = {name: figures(service) for name, service in SERVICES.items()}
    places = dict.fromkeys(place for held in known.values() for place in held)
    assert sorted(row[0] for row in rows) == sorted(f"`{place}`" for place in places)
    assert "| `noa` | `cdse` |\n" in DOC
    for field, meaning, *cells in rows:
        place = field.strip("`")
        assert meaning
        assert cells == [
            f"{shown(place, held[place])} [{SOURCES[name][place]}]" if place in held else "-"
            for name, held in known.items()
        ]
    assert all(f"**[{source}]**" in DOC for source in Source)
    assert "None of it was tried against a live service" in DOC


async def test_the_snippets_of_the_page_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    [source] = blocks(DOC, "python")
    [table] = blocks(DOC, "toml")
    (tmp_path / "query.toml").write_text(f"everything = true\nlimit = 5\n{table}")
    async with Emulator(EmulatorSettings.playing("cdse", products=20)) as mirror:
        environ = environment(mirror)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        here = dataclasses.replace(
            SERVICES["cdse"], catalogue_url=mirror.catalogue_url, token_url=mirror.token_url
        )
        monkeypatch.setattr(services, "SERVICES", {"cdse": here})
        await run_python(source)
        assert float(capsys.readouterr().out) == pytest.approx(600, abs=5)
        where = iter((mirror.catalogue_url, mirror.token_url))
        for words in commands(DOC):
            filled = [next(where) if word == "URL" else word for word in words]
            filled = ["cdse-public" if word == "ID" else word for word in filled]
            limit = words[words.index("--limit") + 1]
            assert f"\n{limit} products" in await run_program(filled, tmp_path, environ)
        words = ["search", "--config", "query.toml"]
        del environ["NOA_SERVICE"]
        assert "\n5 products" in await run_program(words, tmp_path, environ)
