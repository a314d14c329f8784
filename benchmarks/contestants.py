"""Who takes part in a race for bytes, each at its best flags for a server that works."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.programs import Command
from benchmarks.races import OURS, Contestant

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers.job import Job


class Source(Protocol):
    """What serves the bytes."""

    @property
    def tls(self) -> bool: ...
    @property
    def authority(self) -> Path: ...
    def job(self, output: Path, connections: int) -> Job: ...
    def environment(self) -> dict[str, str]: ...


_ROOT = Path(__file__).parent.parent
_PACKAGE = {"PYTHONPATH": str(_ROOT)}
_LIBRARIES = ("parfive", "pypdl", "obstore")


def contestants(server: Source, connections: int) -> tuple[Contestant, ...]:
    """All of them; those that are not installed too."""
    made = partial(_contestant, server, connections)
    libraries = (made(one, library_words(one), partial(_script, one)) for one in _LIBRARIES)
    return (
        made(OURS, (sys.executable, "-m", "noa_async", "--version"), _noa_async),
        made("aria2c", ("aria2c", "--version"), _aria2c),
        made("curl + md5sum", ("curl", "--version"), _curl),
        made("rclone + md5sum", (_rclone(), "version"), _rclone_copy),
        *libraries,
        made("reference", library_words("requests"), partial(_script, "reference")),
    )


def _contestant(
    server: Source,
    connections: int,
    name: str,
    version_words: tuple[str, ...],
    command: Callable[[Source, int, Path], Command],
) -> Contestant:
    return Contestant(name, version_words, partial(command, server, connections))


def _noa_async(server: Source, connections: int, output: Path) -> Command:
    words = (sys.executable, "-m", "noa_async", "download", "--everything", "--no-progress", "-q")
    where = ("--output", str(output), "--workers", str(connections))
    return Command((*words, *where), server.environment() | _PACKAGE)


def _aria2c(server: Source, connections: int, output: Path) -> Command:
    job = server.job(output, connections)
    listed = output.with_name("aria2.txt")
    listed.write_text(
        "".join(
            f"{each.url}\n  out={each.name}\n  checksum=md5={each.md5}\n" for each in job.wanted
        )
    )
    trust = (f"--ca-certificate={job.authority}",) if job.authority else ()
    return Command(
        (
            *("aria2c", "--no-conf", "-q", "-i", str(listed), "-d", job.output),
            *(f"-j{connections}", "-x1", "--file-allocation=none", *trust),
            f"--header=Authorization: {job.authorization}",
        )
    )


def _curl(server: Source, connections: int, output: Path) -> Command:
    job = server.job(output, connections)
    listed, sums = output.with_name("curl.txt"), _sums(server, output)
    listed.write_text(
        "".join(f'url = "{each.url}"\noutput = "{output / each.name}"\n' for each in job.wanted)
    )
    trust = f"--cacert {job.authority}" if job.authority else ""
    header = shlex.quote(f"Authorization: {job.authorization}")
    return _shell(
        f"curl -q -sf -Z --parallel-max {connections} {trust} -H {header} -K {listed}"
        f" && cd {output} && md5sum -c --quiet {sums}"
    )


def _rclone_copy(server: Source, connections: int, output: Path) -> Command:
    job = server.job(output, connections)
    listed, sums = output.with_name("rclone.csv"), _sums(server, output)
    listed.write_text("".join(f"{each.url},{each.name}\n" for each in job.wanted))
    trust = f"--ca-cert {job.authority}" if job.authority else ""
    header = shlex.quote(f"Authorization: {job.authorization}")
    return _shell(
        f"{_rclone()} copyurl --config '' --urls {trust} --header {header} {listed} {output}"
        f" --transfers {connections} && cd {output} && md5sum -c --quiet {sums}"
    )


def _script(name: str, server: Source, connections: int, output: Path) -> Command:
    job = server.job(output, connections).write(output.with_name("job.json"))
    trust = {"SSL_CERT_FILE": str(server.authority)} if server.tls else {}
    words = (sys.executable, "-m", f"benchmarks.peers.{name}", str(job))
    return Command(words, _PACKAGE | trust | {"no_proxy": "*"})


def _sums(server: Source, output: Path) -> Path:
    sums = output.with_name("sums.txt")
    job = server.job(output, 1)
    sums.write_text("".join(f"{each.md5}  {each.name}\n" for each in job.wanted))
    return sums


def _shell(line: str) -> Command:
    return Command(("sh", "-c", line), {"no_proxy": "*"})


def _rclone() -> str:
    """The one beside this Python, else the system's."""
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else "rclone"


def library_words(library: str) -> tuple[str, ...]:
    """A program that says a library's version, and nothing where it is not there."""
    asked = f"from importlib.metadata import version; print(version('{library}'))"
    return (sys.executable, "-c", asked)
