"""Programs that a test needs and nobody here wrote."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]


def needed(program: str, package: str, also_in: str = "") -> str:
    """The program's path. Skips the test module by name where it is missing.

    With NOA_REQUIRE_PARTS set, as in .ci/run, a missing part is a failure.
    """
    found = shutil.which(program) or shutil.which(program, path=also_in)
    if found is None:
        _missing(f"{program} is not installed ({package})")
    return found


def needed_module(name: str, package: str) -> ModuleType:
    """The module that comes with an extra; where it is missing, as above."""
    try:
        return importlib.import_module(name)
    except ImportError:
        _missing(f"{name} is not installed ({package})")


def needed_keycloak() -> Path:
    """The folder into which scripts/keycloak brought Keycloak; where it is missing, as above."""
    needed("java", "Debian's default-jre-headless")
    folder = _folder_of("scripts/keycloak")
    if not (folder / "bin/kc.sh").exists():
        _missing(f"Keycloak is not in {folder} (scripts/keycloak brings it)")
    return folder


def needed_azurite() -> str:
    """The program that scripts/azurite brought; where it is missing, as above.

    With ``NOA_WITHOUT=azurite`` that is no failure either way.
    """
    folder = _folder_of("scripts/azurite")
    program = folder / "node_modules/.bin/azurite-blob"
    if not program.exists() or shutil.which("node") is None:
        reason = f"Azurite is not in {folder} (scripts/azurite brings it), or node is missing"
        if os.environ.get("NOA_WITHOUT") == "azurite":
            pytest.skip(reason, allow_module_level=True)
        _missing(reason)
    return str(program)


def _folder_of(script: str) -> Path:
    """Where a script of ours puts the part that it brings."""
    asked = [ROOT / script, "--folder"]
    return Path(subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout[:-1])


def _missing(reason: str) -> NoReturn:
    if os.environ.get("NOA_REQUIRE_PARTS"):
        raise RuntimeError(reason)
    pytest.skip(reason, allow_module_level=True)
