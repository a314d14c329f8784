"""A server that nobody here wrote: nginx over TLS, with ranges, keep-alive and If-Range."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from noa_async import (
    ChecksumMismatch,
    Credentials,
    Limits,
    NoaClient,
    Query,
    Service,
    ServiceRefused,
    Settings,
    Status,
)

from .parts import needed

nginx = needed("nginx", "Debian's nginx-light", also_in="/usr/sbin")

ALL = Query(everything=True)
CONFIG = """
daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{}}
http {{
  log_format asked escape=none '$connection|$status|$http_range|$http_if_range';
  access_log {root}/access.log asked;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
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
      limit_rate_after 1m; limit_rate {rate};
    }}
  }}
}}
"""


class Site:
    """A catalogue of one page and its products, as nginx serves them."""

    def __init__(self, root: Path, rate: str) -> None:
        self.root = root
        (root / "bytes").mkdir()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(root / "ca.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            root / "server.pem"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (root / "nginx.conf").write_text(CONFIG.format(root=root, port=self.port, rate=rate))

    def put(self, products: dict[str, bytes]) -> None:
        for key, content in products.items():
            (self.root / "bytes" / key).write_bytes(content)
        page = {"value": [_entry(key, content) for key, content in products.items()]}
        (self.root / "page.json").write_text(json.dumps(page))

    def settings(self) -> Settings:
        base = f"https://localhost:{self.port}"
        service = Service(catalogue_url=f"{base}/Products", token_url=f"{base}/token")
        return Settings(
            service=service, limits=Limits(workers=4), ca_file=str(self.root / "ca.pem")
        )

    def log(self) -> list[list[str]]:
        """Connection, status, Range and If-Range of each request."""
        return [line.split("|") for line in self._log.read_text().splitlines()]

    @property
    def _log(self) -> Path:
        return self.root / "access.log"


def _entry(key: str, content: bytes) -> dict[str, object]:
    return {
        "Id": key,
        "Name": f"S2A_{key}.SAFE",
        "ContentLength": len(content),
        "ContentDate": {"Start": "2026-01-12T09:23:21.024Z"},
        "Checksum": [{"Algorithm": "MD5", "Value": hashlib.md5(content).hexdigest()}],
    }


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        nginx, "-e", str(site.root / "error.log"), "-p", str(site.root),
        "-c", str(site.root / "nginx.conf"),
    )  # fmt: skip
    try:
        await _until_it_answers(site.port)
        yield
    finally:
        process.terminate()
        await process.wait()


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


def client(site: Site) -> NoaClient:
    return NoaClient(site.settings(), Credentials("anybody", "anything"))


async def fetch_all(site: Site, folder: Path) -> list[Status]:
    async with client(site) as noa:
        return [outcome.status async for outcome in noa.download_all(noa.search(ALL), folder)]


async def test_many_products_over_few_connections(tmp_path: Path) -> None:
    site = Site(tmp_path, rate="0")
    products = {f"p{number}": random.randbytes(200_000 + number) for number in range(40)}
    site.put(products)
    async with serving(site):
        statuses = await fetch_all(site, tmp_path / "out")
    assert statuses == [Status.DOWNLOADED] * 40
    for key, content in products.items():
        assert (tmp_path / "out" / f"S2A_{key}.SAFE").read_bytes() == content
    log = site.log()
    assert len(log) == 42  # a token, a page, the products: each asked for once
    assert len({connection for connection, *_ in log}) <= 5


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_part_is_gone_on_with_unless_replaced(tmp_path: Path, replaced: bool) -> None:
    site = Site(tmp_path, rate="4m")
    content = random.randbytes(9_000_000)
    site.put({"one": content})
    async with serving(site):
        async with client(site) as noa:
            [product] = [each async for each in noa.search(ALL)]
            fetching = asyncio.create_task(noa.download(product, tmp_path / "out"))
            part = tmp_path / "out/.noa-async/parts/one.part"
            async with asyncio.timeout(30):
                while not (part.exists() and part.stat().st_size > 2_000_000):
                    await asyncio.sleep(0.01)
            fetching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await fetching
        held = part.stat().st_size
        if replaced:
            content = random.randbytes(9_000_000)
            (tmp_path / "bytes/one").write_bytes(content)
            os.utime(tmp_path / "bytes/one", (1, 1))  # another time: another ETag
        async with client(site) as noa:
            outcome = await noa.download(product, tmp_path / "out")
    resumed = next(line for line in site.log() if line[2] == f"bytes={held}-")
    assert resumed[3].startswith('"')
    if replaced:
        # The catalogue still tells the old checksum: the new bytes must not pass for the product.
        assert (outcome.status, resumed[1]) == (Status.FAILED, "200")
        assert isinstance(outcome.error, ChecksumMismatch)
        assert not list((tmp_path / "out").glob("S2A*"))
    else:
        assert (outcome.status, resumed[1]) == (Status.DOWNLOADED, "206")
        assert (tmp_path / "out/S2A_one.SAFE").read_bytes() == content


async def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    site = Site(tmp_path, rate="0")
    site.put({"one": b"x"})
    settings = Settings(service=site.settings().service)
    async with serving(site):
        async with NoaClient(settings, Credentials("anybody", "anything")) as noa:
            with pytest.raises(ServiceRefused, match="certificate of localhost"):
                await noa.log_in()
    assert site.log() == []
