"""A catalogue of one page and its products, served by nginx."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from noa_async import Credentials, Limits, NoaClient, Query, Service, Settings, Status

ALL = Query(everything=True)
CONFIG = """
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{}}
http {{
  log_format asked escape=none
    '$connection|$status|$http_range|$http_if_range|$uri|$request_time|$body_bytes_sent';
  access_log {root}/access.log asked;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  limit_conn_zone $http_authorization zone=user:1m;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {root}/server.pem; ssl_certificate_key {root}/server.pem;
    location = /token {{
      default_type application/json;
      return 200 '{{"access_token": "open-sesame", "expires_in": 300}}';
    }}
    location = /Products {{ default_type application/json; alias {root}/page.json; }}
    location ~ ^/Products\\(([0-9a-z-]+)\\)/\\$value$ {{
      if ($http_authorization != "Bearer open-sesame") {{ return 401; }}
      default_type application/octet-stream;
      alias {root}/bytes/$1;
      {limits}
    }}
  }}
}}
"""


@dataclass(frozen=True)
class Asked:
    """A line of the access log: one request."""

    connection: str
    status: int
    range: str
    if_range: str
    path: str
    seconds: float
    sent: int


class Site:
    """A catalogue of one page and its products; ``limits`` are nginx's own words on the bytes."""

    def __init__(self, root: Path, limits: str = "") -> None:
        self.root = root
        self.port = free_port()
        (root / "bytes").mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(root / "ca.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            root / "server.pem"
        )
        (root / "nginx.conf").write_text(CONFIG.format(root=root, port=self.port, limits=limits))

    def put(self, products: dict[str, bytes]) -> None:
        for key, content in products.items():
            (self.root / "bytes" / key).write_bytes(content)
        page = {
            "@odata.count": len(products),
            "value": [_entry(key, content) for key, content in products.items()],
        }
        (self.root / "page.json").write_text(json.dumps(page))

    def settings(self, *, workers: int = 4) -> Settings:
        base = f"https://localhost:{self.port}"
        service = Service(catalogue_url=f"{base}/Products", token_url=f"{base}/token")
        authority = str(self.root / "ca.pem")
        return Settings(service=service, limits=Limits(workers=workers), ca_file=authority)

    def client(self, *, workers: int = 4) -> NoaClient:
        return NoaClient(self.settings(workers=workers), Credentials("anybody", "anything"))

    async def fetch_all(self, folder: Path, *, workers: int = 4) -> list[Status]:
        async with self.client(workers=workers) as noa:
            return [outcome.status async for outcome in noa.download_all(noa.search(ALL), folder)]

    def log(self) -> list[Asked]:
        """The requests, in the order in which they ended."""
        lines = (self.root / "access.log").read_text().splitlines()
        return [_asked(*line.split("|")) for line in lines]

    @asynccontextmanager
    async def served_by(self, nginx: str) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            nginx, "-e", str(self.root / "error.log"), "-p", str(self.root),
            "-c", str(self.root / "nginx.conf"),
        )  # fmt: skip
        try:
            await _until_it_answers(self.port)
            yield
        finally:
            process.terminate()
            await process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _entry(key: str, content: bytes) -> dict[str, object]:
    return {
        "Id": key,
        "Name": f"S2A_{key}.SAFE",
        "ContentLength": len(content),
        "ContentDate": {"Start": "2026-01-12T09:23:21.024Z"},
        "Checksum": [{"Algorithm": "MD5", "Value": hashlib.md5(content).hexdigest()}],
    }


def _asked(
    connection: str, status: str, range_: str, if_range: str, path: str, seconds: str, sent: str
) -> Asked:
    return Asked(connection, int(status), range_, if_range, path, float(seconds), int(sent))


async def _until_it_answers(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
