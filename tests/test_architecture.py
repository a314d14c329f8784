"""The house rules, read from the source: who imports whom, who prints.

Each rule is a function of the modules, tried on made-up ones first, then on the package.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "noa_async"
ROOT = Path(__file__).parent.parent / PACKAGE
LAYERS = (
    {"tasks"},
    {"body", "decoding", "errors", "holding", "oldest", "streams"},
    {"calls", "services"},
    {"threads", "values"},
    {"events", "headers", "disk", "settings", "excerpts", "origins", "plain", "failure"},
    {"answers", "response", "tls"},
    {"wire"},
    {"wires"},
    {"budget", "looping", "pipeline", "progress", "testing"},
    {"transport"},
    {"auth"},
    {"catalogue"},
    {"transfer"},
    {"archive", "hooks"},
    {"assembly"},
    {"transfers"},
    {"cluster"},
    {"downloads"},
    {"client"},
    {"sync"},
    {"reference"},
    {"cli", "pytest_plugin"},
)
APART = {"emulator"}
TOP = {"__init__", "__main__"}
LONGEST = 700
LOUD = {"print", "asyncio.run", "asyncio.Runner", "click.echo", "uvloop.run"}
SERVED = {"cli", "pytest_plugin"}
"""What may use the emulator."""
LOOPED = "looping"
"""The one module outside the command line that runs a loop: in a thread, for callers without one,
such as a notebook's. What is to be asynchronous for its users has no need of it."""


@dataclass(frozen=True)
class Module:
    """One file: its dotted name within the package, and its text."""

    name: str
    text: str

    @property
    def home(self) -> str:
        return self.name.partition(".")[0]

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[str]:
        """Every dotted name imported, wherever in the module; those of the package in full."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} imports relatively"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def own_imports(self) -> Iterator[str]:
        """The names within the package, without its own: ``catalogue.product.Product``."""
        for name in self.imports():
            first, _, rest = name.partition(".")
            if first == PACKAGE:
                yield rest or "__init__"


def package() -> dict[str, Module]:
    modules = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        modules[name] = Module(name, path.read_text())
    return modules


def layer(home: str) -> int:
    return next((level for level, homes in enumerate(LAYERS) if home in homes), -1)


def upward_imports(modules: Mapping[str, Module]) -> list[str]:
    """Imports that go up, sideways or to the top of the package; the emulator is for the CLI."""
    breaches = []
    for module in modules.values():
        if module.home in APART | TOP:
            continue
        for name in module.own_imports():
            home = name.partition(".")[0]
            inside = home == module.home and "." in module.name
            served = home in APART and module.home in SERVED
            if not (inside or served or 0 <= layer(home) < layer(module.home)):
                breaches.append(f"{module.name} imports {name}")
    return breaches


def strangers(modules: Mapping[str, Module]) -> list[str]:
    """Modules that have no place in the order."""
    known = APART | TOP | set().union(*LAYERS)
    return [module.name for module in modules.values() if module.home not in known]


def importers(modules: Mapping[str, Module], what: str) -> set[str]:
    return {
        module.name
        for module in modules.values()
        if any(name == what or name.startswith(f"{what}.") for name in module.imports())
    }


def emulator_breaches(modules: Mapping[str, Module]) -> list[str]:
    """What the emulator takes from outside itself that it may not."""
    breaches = []
    for module in modules.values():
        if module.home != "emulator":
            continue
        for name in module.imports():
            foreign = name.startswith(PACKAGE) and not name.startswith(f"{PACKAGE}.emulator")
            client = name.startswith("aiohttp") and not name.startswith("aiohttp.web")
            if foreign or client:
                breaches.append(f"{module.name} imports {name}")
    return breaches


def loud(modules: Mapping[str, Module]) -> list[str]:
    """Modules outside the command line, and but for `LOOPED`, that print or run an event loop."""
    breaches = []
    for module in modules.values():
        if module.home in {"cli", LOOPED}:
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            if called in LOUD:
                breaches.append(f"{module.name}:{node.lineno} calls {called}")
    return breaches


def dependencies(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Which module needs which to be imported: what stands in a function comes later."""
    graph: dict[str, set[str]] = {}
    for module in modules.values():
        needed = set()
        for name in Module(module.name, _imported_at_once(module.tree)).own_imports():
            owner = name
            while owner and owner not in modules:
                owner = owner.rpartition(".")[0]
            needed.add(owner)
        graph[module.name] = needed - {"", module.name}
    return graph


def _imported_at_once(tree: ast.Module) -> str:
    kept = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.unparse(ast.Module(list(kept), []))


def made_up(**texts: str) -> dict[str, Module]:
    names = {key.replace("__", "."): text for key, text in texts.items()}
    return {name: Module(name, text) for name, text in names.items()}


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("errors", "from noa_async.events import Event"),
        ("disk", "from noa_async.settings import Settings"),
        ("transport", "import noa_async.auth.tokens"),
        ("auth.tokens", "from noa_async import catalogue"),
        ("catalogue.product", "from noa_async.transfer.checksum import Hasher"),
        ("transfer.sink", "def f():\n    from noa_async.archive.names import fold"),
        ("archive.ledger", "if TYPE_CHECKING:\n    from noa_async.client import NoaClient"),
        ("client", "from noa_async.cli import main"),
        ("client", "from noa_async import NoaClient"),
        ("client", "from noa_async.emulator.app import App"),
    ],
)
def test_an_import_that_goes_up_is_seen(module, text):
    assert upward_imports({module: Module(module, text)})


def test_imports_that_go_down_are_good():
    good = "from noa_async.errors import NoaError\nfrom noa_async.catalogue.product import Product"
    assert not upward_imports(made_up(transfer__sink=good))
    assert not upward_imports(made_up(auth__tokens="from noa_async.auth.credentials import X"))
    assert not upward_imports(made_up(cli__demo="from noa_async.emulator import Emulator"))


def test_breaches_of_the_other_rules_are_seen():
    assert importers(made_up(a="import aiohttp", b="from aiohttp import web"), "aiohttp") == {
        "a",
        "b",
    }
    assert importers(made_up(a="import sqlite3.dbapi2", b="import sqlite"), "sqlite3") == {"a"}
    assert emulator_breaches(made_up(emulator__app="from noa_async.errors import NoaError"))
    assert emulator_breaches(made_up(emulator__app="import aiohttp"))
    assert emulator_breaches(made_up(emulator__app="from aiohttp import ClientSession"))
    assert not emulator_breaches(made_up(emulator__app="from aiohttp import web"))
    assert loud(made_up(client="print(1)"))
    assert loud(made_up(client="def f():\n    asyncio.run(g())"))
    assert not loud(made_up(cli__main="print(1)"))
    assert loud(made_up(reference="asyncio.run(f())"))
    assert not loud(made_up(looping="asyncio.Runner()"))
    assert strangers(made_up(helpers="")) == ["helpers"]


def test_imports_go_downward_only():
    assert upward_imports(package()) == []


def test_every_module_has_its_place():
    assert strangers(package()) == []


def test_no_modules_need_each_other():
    TopologicalSorter(dependencies(package())).prepare()


def test_one_module_knows_aiohttps_client():
    outside = {name: one for name, one in package().items() if one.home != "emulator"}
    assert importers(outside, "aiohttp") == {"transport"}


def test_one_module_knows_pytest():
    assert importers(package(), "pytest") == {"pytest_plugin"}


def test_one_module_knows_sqlite():
    assert importers(package(), "sqlite3") == {"archive.database"}


def test_the_emulator_stands_alone():
    assert emulator_breaches(package()) == []


def test_only_the_command_line_prints_and_runs_a_loop():
    assert loud(package()) == []
