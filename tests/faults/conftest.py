"""What the tests of faults share with those of the whole library, and of the command line."""

from __future__ import annotations

from ..cli.conftest import open_mirror, program
from ..integration.conftest import connect, recorder, secure

__all__ = ["connect", "open_mirror", "program", "recorder", "secure"]
