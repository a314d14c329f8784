"""Into an object store: how fast bytes of nginx come to lie there, checked, beside rclone."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from benchmarks import byteraces, stores
from benchmarks.fileserver import TOKEN, FileServer, find_nginx
from benchmarks.machine import sentence
from benchmarks.programs import Command
from benchmarks.races import OURS, Contestant, Race, met, results, run_race, table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from benchmarks.stores import StoreServer

GOALS = {"rclone copy": 0.8}
CHECKED = "rclone, checked"
_PREFIX = "mirror"
_REMOTE = f":s3:{stores.BUCKET}/{_PREFIX}"
_PRODUCTS, _SIZE, _ROUNDS, _CONNECTIONS = 16, 128 << 20, 3, 4
_PACKAGE = {"PYTHONPATH": str(Path(__file__).parent.parent)}


@dataclass(frozen=True, slots=True)
class Kind:
    """A store that others wrote."""

    title: str
    suite: str
    """What its results are called."""
    program: str
    start: Callable[..., AbstractContextManager[StoreServer]]


KINDS = {
    "seaweed": Kind("SeaweedFS", "store", "weed", stores.seaweed),
    "rclone": Kind("rclone serve s3", "store-rclone", "rclone", stores.rclone),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The suite's options."""
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help=f"({_ROUNDS})")
    parser.add_argument("--products", type=int, default=_PRODUCTS, help=f"({_PRODUCTS})")
    parser.add_argument("--size", type=int, default=_SIZE, help=f"bytes each ({_SIZE})")
    parser.add_argument("--store", action="append", choices=KINDS, help="this one (repeatable)")
    parser.add_argument("--tls", action="store_true", help="stores that speak it")
    parser.add_argument(
        "--rate",
        type=int,
        default=0,
        help="bytes a second that nginx gives a connection (no limit)",
    )
    parser.add_argument("--folder", type=Path, help="where all lies; in memory by default")
    parser.add_argument("--no-write", action="store_true", help="change no file")


def run(arguments: argparse.Namespace) -> int:
    """Race into each store; 0 where the goal is met in all of them."""
    kinds = [KINDS[name] for name in arguments.store or KINDS]
    if missing := _missing(kinds):
        print(f"{', '.join(missing)}: not installed, and there is no race without.")
        return 1
    memory = byteraces.MEMORY if byteraces.MEMORY.is_dir() else None
    sizes, fast = [arguments.size] * arguments.products, True
    with tempfile.TemporaryDirectory(prefix="noa-race-", dir=arguments.folder or memory) as held:
        folder = Path(held)
        with FileServer(folder / "server", sizes, rate=arguments.rate) as source:
            for kind in kinds:
                found = _race(kind, source, folder, arguments)
                found["in_memory"] = arguments.folder is None
                title = _title(kind, sizes, arguments)
                print(f"\n{title}; {sentence(found['machine'])}\n{table(found)}\n")
                if not arguments.no_write:
                    byteraces.keep(found, title)
                fast &= met(found)
    return 0 if fast else 1


def _title(kind: Kind, sizes: list[int], arguments: argparse.Namespace) -> str:
    each = f"{len(sizes)} products of {sizes[0] >> 20} MiB"
    rate = f" of {arguments.rate / 1e6:g} MB/s each" if arguments.rate else ""
    into = f"into {kind.title}{' over TLS' if arguments.tls else ''}"
    return f"{each}, {_CONNECTIONS} connections{rate}, {into}"


def _suite(kind: Kind, arguments: argparse.Namespace) -> str:
    """What its results are called."""
    return "-".join([kind.suite, *["tls"] * arguments.tls, *["rate"] * bool(arguments.rate)])


def _missing(kinds: list[Kind]) -> list[str]:
    wanted = {"rclone", *(kind.program for kind in kinds)}
    missing = [] if find_nginx() else ["nginx"]
    missing += [] if find_spec("obstore") else ["obstore"]
    return missing + [name for name in sorted(wanted) if stores.find_program(name) is None]


def _race(
    kind: Kind, source: FileServer, folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    with Bucket(kind, folder / "store", tls=arguments.tls) as bucket:
        there = (
            Contestant(
                OURS,
                (sys.executable, "-m", "noa_async", "--version"),
                partial(_noa_async, source, bucket),
            ),
            *(
                Contestant(name, (_program("rclone"), "version"), partial(way, source, bucket))
                for name, way in (("rclone copy", _rclone), (CHECKED, _rclone_checked))
            ),
        )
        race = Race(
            _suite(kind, arguments),
            there,
            source.bytes,
            len(source.sums),
            lambda _: bucket.holds(source.sums),
            rounds=arguments.rounds,
        )
        found = results(race, run_race(race, folder / "work"), GOALS)
    told = {"store": kind.title, "connections": _CONNECTIONS, "rate": arguments.rate or None}
    return found | told


class Bucket:
    """A store that begins empty for every lap.

    Resources: a context manager; the server of the last lap ends with it.
    """

    def __init__(self, kind: Kind, folder: Path, *, tls: bool = False) -> None:
        self._kind = kind
        self._folder = folder
        self._tls = tls
        self._running = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def anew(self) -> StoreServer:
        """A server with an empty bucket, in place of the one before."""
        self._running.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        started = self._kind.start(self._folder, _program(self._kind.program), tls=self._tls)
        self.server = self._running.enter_context(started)
        return self.server

    def holds(self, sums: dict[str, str]) -> bool:
        """Whether it has every object of ``sums`` (key to MD5), byte for byte, and no other."""
        keys = {f"{_PREFIX}/{name}": md5 for name, md5 in sums.items()}
        there = set(self.server.keys())
        return there == keys.keys() and all(self.server.md5(key) == keys[key] for key in keys)


def _noa_async(source: FileServer, bucket: Bucket, output: Path) -> Command:
    words = (sys.executable, "-m", "noa_async", "download", "--everything", "--no-progress", "-q")
    where = ("--output", f"s3://{stores.BUCKET}/{_PREFIX}", "--scratch", str(output))
    environment = source.environment() | bucket.anew().environ | _PACKAGE
    return Command((*words, *where, "--workers", str(_CONNECTIONS)), environment)


def _rclone(source: FileServer, bucket: Bucket, output: Path) -> Command:
    """As users run it; that the bucket is there, it is told, which saves a request."""
    server = bucket.anew()
    there = ("copy", ":http:", _REMOTE, "--http-url", source.files)
    token = ("--http-headers", f"Authorization,Bearer {TOKEN}")
    return _as_rclone(server, output, *there, *token, "--transfers", str(_CONNECTIONS))


def _rclone_checked(source: FileServer, bucket: Bucket, output: Path) -> Command:
    """The same, and then every object is read back and compared with what the catalogue says."""
    copied = _rclone(source, bucket, output)
    sums = output / "sums"
    sums.write_text("".join(f"{md5}  {name}\n" for name, md5 in source.sums.items()))
    check = ("checksum", "md5", str(sums), _REMOTE, "--download", "--checkers")
    checked = _as_rclone(bucket.server, output, *check, str(_CONNECTIONS))
    both = " && ".join(shlex.join(one.words) for one in (copied, checked))
    return Command(("sh", "-c", both), copied.environment)


def _as_rclone(server: StoreServer, output: Path, *words: str) -> Command:
    trust = () if server.authority is None else ("--ca-cert", str(server.authority))
    where = ("--s3-endpoint", server.endpoint, "--s3-region", "us-east-1")
    how = ("--s3-provider", "Other", "--s3-env-auth", "--s3-no-check-bucket", "-q")
    command = (_program("rclone"), *words, *where, *how, *trust)
    return Command((*command, "--config", str(output / "none")), server.environ | {"no_proxy": "*"})


def _program(name: str) -> str:
    found = stores.find_program(name)
    assert found is not None  # as was asked before
    return found
