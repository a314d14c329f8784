"""nginx with a catalogue of linked pages and its products' bytes, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import trustme

from benchmarks.peers.job import Job, Wanted
from benchmarks.races import holds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TOKEN = "open-sesame"
_CONFIG = """
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; limit_rate {rate};
  ssl_protocols TLSv1.3; ssl_session_cache shared:all:8m;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{
    listen 127.0.0.1:{port}{tls};
    location = /token {{
      default_type application/json;
      return 200 '{{"access_token": "open-sesame", "expires_in": 3600}}';
    }}
    location = /Products {{
      default_type application/json;
      if ($args ~ filter=) {{ return 200 '{{"value": []}}'; }}
      alias {root}/pages/$arg_page.json;
    }}
    location ~ ^/Products\\(([0-9a-z-]+)\\)/\\$value$ {{
      if ($http_authorization != "Bearer open-sesame") {{ return 401; }}
      default_type application/octet-stream;
      alias {root}/bytes/$1;
    }}
    location /files/ {{
      if ($http_authorization != "Bearer open-sesame") {{ return 401; }}
      default_type application/octet-stream;
      autoindex on;
      alias {root}/files/;
    }}
  }}
}}
"""
_TLS = """ ssl;
    ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.pem"""
_START_SECONDS = 20
_PAGE = 50


def find_nginx() -> str | None:
    """The program; None where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass(frozen=True, slots=True)
class _Product:
    key: str
    name: str
    size: int
    md5: str


class FileServer:
    """Serves ``sizes`` of random bytes, one product each; by its name too, below ``files``.

    Resources: a context manager; nginx ends with it, the files are its caller's to delete.
    """

    def __init__(
        self, root: Path, sizes: Iterable[int], *, tls: bool = False, rate: int = 0
    ) -> None:
        """``rate``: the most bytes a second for each connection; 0 is as many as can be.

        Raises RuntimeError where nginx is not installed.
        """
        nginx = find_nginx()
        if nginx is None:
            raise RuntimeError("nginx is not installed; on Debian: apt-get install nginx-light")
        self._nginx = nginx
        self.root = root
        self.tls = tls
        self.rate = rate
        self.port = _free_port()
        self.authority = root / "ca.pem"
        (root / "bytes").mkdir(parents=True)
        self._products = [_make(root / "bytes", at, size) for at, size in enumerate(sizes)]
        (root / "files").mkdir()
        for each in self._products:
            (root / "files" / each.name).hardlink_to(root / "bytes" / each.key)
        self._write()

    def _write(self) -> None:
        if self.tls:
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.authority)
            certificate = authority.issue_cert("localhost", "127.0.0.1")
            certificate.private_key_and_cert_chain_pem.write_to_path(self.root / "server.pem")
        tls = _TLS.format(root=self.root) if self.tls else ""
        (self.root / "nginx.conf").write_text(
            _CONFIG.format(root=self.root, port=self.port, tls=tls, rate=self.rate)
        )
        (self.root / "pages").mkdir()
        for start in range(0, max(1, len(self._products)), _PAGE):
            some = self._products[start : start + _PAGE]
            page: dict[str, object] = {"value": [_entry(product) for product in some]}
            if start + _PAGE < len(self._products):
                page["@odata.nextLink"] = f"{self.base}/Products?page={start // _PAGE + 1}"
            name = str(start // _PAGE) if start else ""
            (self.root / "pages" / f"{name}.json").write_text(json.dumps(page))

    @property
    def base(self) -> str:
        return f"http{'s' if self.tls else ''}://localhost:{self.port}"

    @property
    def bytes(self) -> int:
        """Of all products."""
        return sum(product.size for product in self._products)

    @property
    def files(self) -> str:
        """The address of a listing (HTML) of all products by their names."""
        return f"{self.base}/files/"

    @property
    def sums(self) -> dict[str, str]:
        """The MD5 of each product, by its name."""
        return {each.name: each.md5 for each in self._products}

    def job(self, output: Path, connections: int) -> Job:
        """What a peer is to fetch."""
        return Job(
            tuple(
                Wanted(f"{self.base}/Products({each.key})/$value", each.name, each.md5)
                for each in self._products
            ),
            str(output),
            connections,
            f"Bearer {TOKEN}",
            str(self.authority) if self.tls else None,
        )

    def environment(self) -> dict[str, str]:
        """The variables that lead noa-async here."""
        found = {
            "NOA_CATALOGUE_URL": f"{self.base}/Products",
            "NOA_TOKEN_URL": f"{self.base}/token",
            "NOA_USERNAME": "anybody",
            "NOA_PASSWORD": "anything",
            "no_proxy": "*",
        }
        return found | ({"NOA_CA_FILE": str(self.authority)} if self.tls else {})

    def is_whole(self, output: Path) -> bool:
        """Whether every product is in ``output``, byte for byte, and no other file."""
        return holds(output, self.sums)

    def __enter__(self) -> Self:
        log, config = self.root / "error.log", self.root / "nginx.conf"
        words = (self._nginx, "-e", str(log), "-p", str(self.root), "-c", str(config))
        self._process = subprocess.Popen(words)
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise RuntimeError(f"nginx did not start: {log.read_text()}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _make(folder: Path, number: int, size: int) -> _Product:
    """Random bytes, in a file that the page cache holds by now."""
    key = f"{number:08x}-0000-4000-8000-000000000000"
    digest = hashlib.md5()
    with (folder / key).open("wb") as file:
        for start in range(0, size, 1 << 20):
            block = os.urandom(min(1 << 20, size - start))
            digest.update(block)
            file.write(block)
    return _Product(
        key, f"S2A_MSIL2A_20260112T092321_N0511_{number:06}.SAFE", size, digest.hexdigest()
    )


def _entry(product: _Product) -> dict[str, object]:
    return {
        "Id": product.key,
        "Name": product.name,
        "ContentLength": product.size,
        "ContentDate": {"Start": "2026-01-12T09:23:21.024Z"},
        "Checksum": [{"Algorithm": "MD5", "Value": product.md5}],
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
