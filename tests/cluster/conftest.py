"""What the tests of a cluster share."""

from __future__ import annotations

import pytest

from ..integration.conftest import Recorder


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()
