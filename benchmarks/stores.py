"""Object stores that others wrote, each a process on this machine: SeaweedFS, and rclone's own."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager

    Start = Callable[..., AbstractContextManager["StoreServer"]]

KEY, SECRET, BUCKET = "a-key", "a-secret", "products"
READER, GUEST = "reads-only", "comes-and-goes"
"""Keys that SeaweedFS knows, too."""
_START_SECONDS = 20
_FILES = ("authority", "certificate", "key")
_VOLUME_MB, _VOLUMES = 1024, 20
_ACTIONS = {
    KEY: ("Admin", "Read", "Write", "List"),
    READER: ("Read", "List"),
    GUEST: ("Read", "Write", "List"),
}
"""What a key may do; the secret of all of them is one."""


@dataclass(frozen=True)
class StoreServer:
    """A running one."""

    endpoint: str
    config: Path | None = None
    """Who may do what there; None where it knows one key alone."""
    pid: int = 0
    authority: Path | None = None
    """What vouches for it; None where it speaks without TLS."""
    scheme: ClassVar[str] = "s3"
    wrong: ClassVar[Mapping[str, str]] = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    """Variables with keys that it refuses."""

    def url(self, prefix: str, bucket: str = BUCKET) -> str:
        """As an output is named."""
        return f"{self.scheme}://{bucket}/{prefix}"

    def admit(self, *keys: str) -> None:
        """Let these in from now on, and nobody else. It takes a moment."""
        assert self.config is not None
        held = {key: [{"accessKey": key, "secretKey": SECRET}] * (key in keys) for key in _ACTIONS}
        who = [  # one that is left out altogether, SeaweedFS goes on letting in
            {"name": key, "credentials": held[key], "actions": actions}
            for key, actions in _ACTIONS.items()
        ]
        self.config.write_text(json.dumps({"identities": who}))
        if self.pid:
            os.kill(self.pid, signal.SIGHUP)

    @property
    def environ(self) -> dict[str, str]:
        """The variables that its users need."""
        trusted = {} if self.authority is None else {"SSL_CERT_FILE": str(self.authority)}
        return trusted | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def store(self, prefix: str = "") -> Any:
        """Its bucket by obstore itself, beside all code of ours."""
        return _obstore().store.S3Store(
            BUCKET,
            prefix=prefix or None,
            endpoint=self.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True, "allow_invalid_certificates": True},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
        )

    def keys(self, prefix: str = "") -> list[str]:
        """Of every object, listed anew."""
        return [one["path"] for page in _obstore().list(self.store(prefix)) for one in page]

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Every object, read back."""
        store = self.store(prefix)
        return {key: bytes(_obstore().get(store, key).bytes()) for key in self.keys(prefix)}

    def md5(self, key: str) -> str:
        """Of an object, read back."""
        digest = hashlib.md5()
        for piece in _obstore().get(self.store(), key).stream(min_chunk_size=1 << 20):
            digest.update(piece)
        return digest.hexdigest()


def find_program(name: str) -> str | None:
    """The program beside this Python, else the system's; None where it is not installed."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


class PortTaken(RuntimeError):
    """Another process took a port between its choice and its use."""


def patiently(start: Start) -> Start:
    """``start``, with other ports in an emptied folder, where one was taken: twice at the most."""

    @wraps(start)
    @contextmanager
    def started(folder: Path, *words: Any, **more: Any) -> Generator[StoreServer]:
        with ExitStack() as stack:
            for tries_left in (2, 1, 0):
                try:
                    server = stack.enter_context(start(folder, *words, **more))
                    break
                except PortTaken:
                    if not tries_left:
                        raise
                    shutil.rmtree(folder)
                    folder.mkdir()
            yield server

    return started


@patiently
@contextmanager
def seaweed(folder: Path, program: str, *, tls: bool = False) -> Generator[StoreServer]:
    """SeaweedFS, all its servers in one process, with its files in ``folder``."""
    ports = [free_port() for _ in range(8)]
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    command = [program, "server", f"-dir={folder}", "-s3", f"-s3.config={folder / 's3.json'}",
               "-ip=127.0.0.1", f"-volume.max={_VOLUMES}",
               f"-master.volumeSizeLimitMB={_VOLUME_MB}",
               "-s3.port.iceberg=0", "-s3.port.lance=0"]  # fmt: skip
    for name, port, grpc in zip(names, ports[:4], ports[4:], strict=True):
        command += [f"-{name}={port}", f"-{name}.grpc={grpc}"]
    server = StoreServer(f"http://127.0.0.1:{ports[3]}", folder / "s3.json")
    if tls:
        server, (certificate, key) = _certified(server, folder)
        command += [f"-s3.cert.file={certificate}", f"-s3.key.file={key}"]
    server.admit(*_ACTIONS)
    with running(command, folder, server, lambda: _make_bucket(ports[2])) as pid:
        yield replace(server, pid=pid)


@patiently
@contextmanager
def rclone(
    folder: Path, program: str, *, keys: bool = True, tls: bool = False
) -> Generator[StoreServer]:
    """``rclone serve s3`` of ``folder``; without ``keys``, it lets anybody in."""
    (folder / BUCKET).mkdir()
    port = free_port()
    command = [program, "serve", "s3", f"--addr=127.0.0.1:{port}", "--config=", str(folder)]
    command += [f"--auth-key={KEY},{SECRET}"] * keys
    server = StoreServer(f"http://127.0.0.1:{port}")
    if tls:
        server, (certificate, key) = _certified(server, folder)
        command += [f"--cert={certificate}", f"--key={key}"]
    with running(command, folder, server, lambda: None):
        yield server


def _certified(server: StoreServer, folder: Path) -> tuple[StoreServer, tuple[Path, Path]]:
    """The server as it is over TLS, and the files of its certificate and key, beside ``folder``."""
    authority = trustme.CA()
    trusted, certificate, key = (folder.with_name(f"{folder.name}-{what}.pem") for what in _FILES)
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(trusted)
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    endpoint = server.endpoint.replace("http:", "https:")
    return replace(server, endpoint=endpoint, authority=trusted), (certificate, key)


@contextmanager
def running(
    command: list[str],
    folder: Path,
    server: StoreServer,
    prepare: Callable[[], object],
    **environ: str,
) -> Generator[int]:
    """Its process id, once it is ready: when it takes an object, after ``prepare``."""
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, cwd=folder, env=_quiet() | environ
        )
    try:
        _await_ready(server, process, log, prepare)
        yield process.pid
    finally:
        process.kill()  # SeaweedFS takes its time to end in order
        process.wait()


def _obstore() -> Any:
    import obstore  # noqa: PLC0415 (an extra: other suites do without)

    return obstore


def _quiet() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _await_ready(
    server: StoreServer, process: subprocess.Popen[bytes], log: Path, prepare: Callable[[], object]
) -> None:
    """Until the bucket is there and takes an object."""
    obstore, deadline = _obstore(), time.monotonic() + _START_SECONDS
    while True:
        try:
            prepare()
            store = server.store()
            obstore.put(store, "ready", b"1")
            obstore.delete(store, "ready")
        except Exception as error:
            text = log.read_text()
            if "address already in use" in text:  # which SeaweedFS may outlive for long
                raise PortTaken(text[-2000:]) from error
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(text[-2000:]) from error
            time.sleep(0.1)
        else:
            return


def _make_bucket(filer: int) -> None:
    """The folder that SeaweedFS serves as the bucket: obstore has no call for that."""
    address = f"http://127.0.0.1:{filer}/buckets/{BUCKET}/"
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=5).close()
    except urllib.error.HTTPError as error:
        if error.code != 409:  # it is there already
            raise


def free_port() -> int:
    """A port that no connection going out takes before the server has it."""
    while True:
        port = random.randrange(15_000, 32_000)
        with closing(socket.socket()) as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
