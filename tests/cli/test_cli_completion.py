"""Completion, by real shells at a terminal: what stands on the line after a tab."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import shutil
import sys
from pathlib import Path

import pytest

from noa_async.catalogue.known import VALUES
from noa_async.catalogue.rules import RULE_KEYS
from noa_async.cli.completing import _KEYS
from noa_async.cli.completion import SCRIPTS, answers
from noa_async.cli.program import VERBS

BIN = Path(sys.executable).parent
_SHOW = {
    "bash": r"""PS1='READY> '; bind 'set bell-style none'
bind -x '"\C-x\C-p": printf "\n<%s>\n" "$READLINE_LINE"'
""",
    "zsh": r"""PS1='READY> '; unsetopt beep; autoload -Uz compinit; compinit -u -D
show() { print -r -- "<$BUFFER>" }
zle -N show; bindkey '^X^P' show
""",
    "fish": r"""function fish_prompt; echo -n 'READY> '; end
function fish_greeting; end
bind \cx\cp 'printf "<%s>" (commandline)'
""",
}
"""Each shell shows its line, as it is now, on Ctrl-X Ctrl-P."""
_START = {
    "bash": ("--norc", "--noprofile", "--init-file", "rc"),
    "zsh": ("-d", "-i"),
    "fish": ("--private", "-C", "source rc"),
}


class Shell:
    """An interactive shell that knows our script."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder
        self._seen = b""

    async def __aenter__(self) -> Shell:
        script = SCRIPTS[self._name]
        for rc in ("rc", ".zshrc"):
            (self._folder / rc).write_text(f"{_SHOW[self._name]}{script}")
        self._leader, follower = pty.openpty()
        arguments = [word for word in _START[self._name] if word != "--norc"]
        self._process = await asyncio.create_subprocess_exec(
            *(self._name, *arguments),
            cwd=self._folder,
            env={
                "PATH": f"{BIN}:/usr/bin:/bin",
                "HOME": str(self._folder),
                "ZDOTDIR": str(self._folder),
                "XDG_CONFIG_HOME": str(self._folder),
                "TERM": "dumb",
                "LC_ALL": "C.UTF-8",
            },
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )
        os.close(follower)
        await self._read_until(rb"READY> ")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._process.kill()
        await self._process.wait()
        os.close(self._leader)

    async def completed(self, typed: str) -> str:
        """The line after ``typed`` and a tab."""
        self._seen = b""
        os.write(self._leader, typed.encode() + b"\t\x18\x10")
        found = await self._read_until(rb"<(noa-async[^>\r\n]*)>")
        self._seen = b""
        os.write(self._leader, b"\x15")  # the line is cleared
        return found[1].decode()

    async def _read_until(self, pattern: bytes) -> re.Match[bytes]:
        async with asyncio.timeout(30):
            while not (found := re.search(pattern, self._seen)):
                self._seen += await asyncio.to_thread(os.read, self._leader, 1 << 16)
        return found


CASES = [
    ("noa-async sea", "noa-async search "),
    ("noa-async search --rul", "noa-async search --rule "),
    ("noa-async search --rule plat", "noa-async search --rule platform="),
    (
        "noa-async search --rule platform=SENTINEL-5",
        "noa-async search --rule platform=SENTINEL-5P ",
    ),
    (
        "noa-async search --rule platform=SENTINEL-2,product_type=S2MSI2",
        "noa-async search --rule platform=SENTINEL-2,product_type=S2MSI2A ",
    ),
    (
        "noa-async search --rule platform=SENTINEL-2,orb",
        "noa-async search --rule platform=SENTINEL-2,orbit=",
    ),
    ("noa-async search --format geo", "noa-async search --format geojson "),
    ("noa-async export --format geop", "noa-async export --format geoparquet "),
    ("noa-async download --layout fl", "noa-async download --layout flat "),
    ("noa-async mirror --on-removed del", "noa-async mirror --on-removed delete "),
    ("noa-async init --area Pelo", "noa-async init --area Peloponnese "),
    ("noa-async login --keep net", "noa-async login --keep netrc "),
    ("noa-async completion fi", "noa-async completion fish "),
    ("noa-async search --config my-qu", "noa-async search --config my-query.toml "),
]


@pytest.mark.parametrize("name", SCRIPTS)
async def test_a_shell_completes(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        reason = f"{name} is not installed"
        if os.environ.get("NOA_REQUIRE_PARTS"):
            raise RuntimeError(reason)
        pytest.skip(reason)
    (tmp_path / "my-query.toml").touch()
    async with Shell(name, tmp_path) as shell:
        done = {typed: await shell.completed(typed) for typed, _ in CASES}
        assert {typed: line.rstrip() for typed, line in done.items()} == {
            typed: line.rstrip() for typed, line in CASES
        }
        for typed, line in CASES:  # behind an equals sign the word goes on
            assert done[typed].endswith("=") == line.endswith("=")
        quoted = await shell.completed("noa-async count --rule 'platform=SENTINEL-2|SENTINEL-5")
        assert quoted.startswith("noa-async count --rule 'platform=SENTINEL-2|SENTINEL-5P")
        spaced = await shell.completed("noa-async init --area 'South Ae")
        assert spaced.startswith("noa-async init --area 'South Aegean")


def test_every_verb_and_key_is_offered() -> None:
    assert [item.value for item in answers([], "")] == list(VERBS)
    assert sorted(_KEYS) == sorted(RULE_KEYS)
    assert set(VALUES) < set(RULE_KEYS)
    keys = [item.value for item in answers(["count", "--rule"], "")]
    assert sorted(keys) == sorted(f"{key}=" for key in RULE_KEYS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_completed(verb: str) -> None:
    assert "--help" in {item.value for item in answers([verb], "--")}


@pytest.mark.parametrize(
    ("before", "word", "offered"),
    [
        (["search", "--rule"], "platform=SENTINEL-1|SENTINEL-2,product_type=IW_S",
         ["platform=SENTINEL-1|SENTINEL-2,product_type=IW_SLC__1S"]),
        (["search", "--rule"], r"polarisation=VV\,", [r"polarisation=VV\,VH"]),
        (["search", "--rule"], "platform=SENTINEL-2,pla", []),
        (["search", "--rule"], "level=", []),
        (["download", "--layout"], "{platform}/{y", ["{platform}/{year}"]),
        (["init", "--area"], "Κρ", ["Κροατία", "Κρήτη"]),
        (["init", "--missions"], "S1,S5", ["S1,S5P"]),
        (["serach"], "--", []),
        (["search", "--config=x.toml", "--format"], "j", ["json", "jsonl"]),
    ],
)  # fmt: skip
def test_what_a_word_may_become(before: list[str], word: str, offered: list[str]) -> None:
    assert sorted(item.value for item in answers(before, word)) == sorted(offered)
