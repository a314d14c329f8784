"""What docs/first-five-minutes.md shows is what happens.

``NOA_WRITE_DOCS=1 pytest tests/test_first_five.py`` writes the transcript anew.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from noa_async.emulator import Emulator, EmulatorSettings

FILE = Path(__file__).parent.parent / "docs" / "first-five-minutes.md"
TEXT = FILE.read_text("utf-8")
BIN = Path(sys.executable).parent
WRITING = "NOA_WRITE_DOCS" in os.environ
RUN = ("$ noa-async ", "$ cat ")
_VARIES = (
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\d\d:\d\d:\d\d \w+", "12:00:00 UTC"),
    (r"20\d\d-\d\d-\d\d \d\d:\d\d(:\d\d)?( UTC|Z)?", "2026-01-20 12:00"),
    (r"in \d+\.\d s", "in 0.1 s"),
    (r"\d+(\.\d+)? [kMG]?B/s", "9.99 MB/s"),
    (r"for (4 min 59|5 min 00) s", "for 5 min 00 s"),
    (r"for (29 min 59|30 min 00) s", "for 30 min 00 s"),
)


def neutral(text: str) -> str:
    """Without what differs from run to run; products end in any order."""
    for pattern, shown in _VARIES:
        text = re.sub(pattern, shown, text)
    lines = text.splitlines()
    came = iter(sorted(line for line in lines if line.startswith("downloaded  ")))
    return "\n".join(next(came) if line.startswith("downloaded  ") else line for line in lines)


async def transcript(text: str, folder: Path) -> str:
    """The document with every command run, in order, and its output beneath it."""
    async with Emulator(EmulatorSettings()) as mirror:
        environ = os.environ | {
            "NOA_CATALOGUE_URL": mirror.catalogue_url,
            "NOA_TOKEN_URL": mirror.token_url,
            "NOA_USERNAME": "demo",
            "NOA_PASSWORD": "demo",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "TZ": "UTC",
            "COLUMNS": "100",
        }
        pieces = re.split(r"(```console\n.*?```\n)", text, flags=re.DOTALL)
        for place, piece in enumerate(pieces):
            commands = [line for line in piece.splitlines() if line.startswith("$ ")]
            if not commands or "emulator" in piece or not commands[0].startswith(RUN):
                continue
            shown = [f"{line}\n{await run(line[2:], folder, environ)}" for line in commands]
            pieces[place] = f"```console\n{''.join(shown)}```\n"
    return "".join(pieces)


async def run(command: str, folder: Path, environ: dict[str, str]) -> str:
    process = await asyncio.create_subprocess_shell(
        f"{command} 2>&1", cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, (command, out)
    return out.decode()


async def test_the_transcript_is_what_happens(tmp_path: Path) -> None:
    made = await transcript(TEXT, tmp_path)
    if WRITING:
        FILE.write_text(made, "utf-8")
    assert neutral(made) == neutral(FILE.read_text("utf-8"))
    verbs = set(re.findall(r"^\$ noa-async (\w+)", TEXT, re.MULTILINE))
    assert verbs == {"emulator", "login", "init", "explain", "download", "status"}


async def test_what_is_made_up_would_be_seen(tmp_path: Path) -> None:
    text = "```console\n$ cat query.toml\nroi = 1\n```\n"
    (tmp_path / "query.toml").write_text("roi = 2\n")
    assert neutral(await transcript(text, tmp_path)) != neutral(text)
