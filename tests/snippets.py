"""The snippets of a page of the documentation, run as a reader would run them."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from noa_async.emulator import Emulator

ROOT = Path(__file__).parent.parent


def blocks(text: str, language: str) -> list[str]:
    """The blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[list[str]]:
    """The words behind ``noa-async`` of every command that stands alone on its line."""
    lines = re.findall(r"^\$ (noa-async [^>&\n]*)$", text, re.MULTILINE)
    return [shlex.split(line)[1:] for line in lines]


def environment(mirror: Emulator) -> dict[str, str]:
    """What leads a program, or the library, to a mirror."""
    own_host = mirror.trusted_url.partition("://")[2] if mirror.settings.download_host else ""
    return {
        "NOA_SERVICE": mirror.settings.service,
        "NOA_CATALOGUE_URL": mirror.catalogue_url,
        "NOA_TOKEN_URL": mirror.token_url,
        "NOA_TRUSTED_HOSTS": own_host,
        "NOA_USERNAME": "demo",
        "NOA_PASSWORD": "demo",
    }


async def run_python(source: str) -> None:
    """Run a snippet in a thread, as a program of its own would: with or without a loop."""
    if re.search(r"\b(await|async)\b", source):
        source = "async def snippet():\n" + textwrap.indent(source, "    ")
    names: dict[str, object] = {}
    code = compile(source, "snippet", "exec")

    def run() -> None:
        exec(code, names)
        if "snippet" in names:
            asyncio.run(names["snippet"]())  # type: ignore[operator]

    await asyncio.to_thread(run)


async def run_program(words: list[str], folder: Path, environ: Mapping[str, str]) -> str:
    """Run ``noa-async`` to a good end; what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "noa_async", *words),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, (words, out.decode())
    return out.decode()
