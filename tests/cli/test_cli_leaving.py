"""How the process ends: quickly, with all said and its code kept, and nothing that waits left out.

The other tests ask for warnings, and have those of the interpreter's own end, too.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from .conftest import Open

GONE = "class Gone:\n    def __del__(self): print('taken apart')\n\ngone = Gone()\n"
"""Says that the interpreter was taken apart."""
BEGUN = "import sys; sys.argv = ['noa-async', '--version']\nfrom noa_async.cli import main\n"


def ended(code: str, *options: str) -> str:
    """What a process prints that runs ``code``, and then the program."""
    command = [sys.executable, *options, "-c", f"{GONE}{BEGUN}{code}main()\n"]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stderr == ""
    return process.stdout.partition("\n")[2]  # past the version


@pytest.fixture(autouse=True)
def _no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)


def test_the_interpreter_is_not_taken_apart() -> None:
    assert ended("") == ""


def test_it_is_for_whoever_asked_for_warnings() -> None:
    assert ended("", "-W", "error") == "taken apart\n"


def test_what_was_registered_for_the_end_is_done() -> None:
    assert ended("import atexit; atexit.register(print, 'registered')\n") == "registered\n"


def test_a_thread_that_runs_is_waited_for() -> None:
    code = "import threading\n"
    code += "def wait():\n    threading.main_thread().join()\n    print('waited for')\n\n"
    assert ended(code + "threading.Thread(target=wait).start()\n") == "waited for\ntaken apart\n"


async def test_every_line_and_the_code_arrive(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=400)
    del noa.environ["PYTHONWARNINGS"]
    listed = await noa("search", "--everything", "-q", "--format", "jsonl")
    assert (listed.code, len(listed.out.splitlines()), listed.err) == (0, 400, "")
    assert listed.out.endswith("}\n")
    wrong = await noa("serach")
    assert (wrong.code, wrong.out) == (2, "")
    assert "Did you mean search?" in wrong.err


async def test_nobody_reading_is_told_by_the_code(open_mirror: Open) -> None:
    _, noa = await open_mirror(products=400)
    del noa.environ["PYTHONWARNINGS"]
    process = await noa.start("search", "--everything", "-q", "--format", "jsonl")
    assert process.stdout is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined] # only it closes our end
    async with asyncio.timeout(20):
        assert await process.wait() == 141
