"""Programs that a test needs and nobody here wrote."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(program: str, package: str, also_in: str = "") -> str:
    """The program's path. Skips the test module by name where it is missing.

    With NOA_REQUIRE_PARTS set, as in .ci/run, a missing part is a failure.
    """
    found = shutil.which(program) or shutil.which(program, path=also_in)
    if found is None:
        reason = f"{program} is not installed ({package})"
        if os.environ.get("NOA_REQUIRE_PARTS"):
            raise RuntimeError(reason)
        pytest.skip(reason, allow_module_level=True)
    return found
