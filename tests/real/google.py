"""Google's XML interface to its object store, in front of ``rclone serve s3``.

No emulator that can be had speaks what obstore asks of ``gs://``: fake-gcs-server and
gcp-storage-emulator know the JSON interface, and of the other one not the uploads in pieces. Google
made it after S3's, with other names in the headers, so those are translated here, and tokens are
checked as Google does: signed with a service account's key. What only Google's own servers do is
not shown by it.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import obstore
from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from yarl import URL

from benchmarks.stores import BUCKET, StoreServer, free_port, running

ROOT = Path(__file__).parents[2]
_NO_RETRIES = {"max_retries": 0, "retry_timeout": timedelta(seconds=5)}
_DROPPED = {"transfer-encoding", "content-encoding", "authorization", "host"}


@dataclass(frozen=True)
class Google(StoreServer):
    """A running one; ``config`` is the file of its service account."""

    scheme: ClassVar[str] = "gs"
    wrong: ClassVar[dict[str, str]] = {"GOOGLE_BEARER_TOKEN": "wrong"}

    @property
    def environ(self) -> dict[str, str]:
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.config),
            "GOOGLE_BASE_URL": self.endpoint,
        }

    def store(self, prefix: str = "") -> Any:
        return obstore.store.GCSStore(
            BUCKET,
            prefix=prefix or None,
            application_credentials=str(self.config),
            base_url=self.endpoint,
            client_options={"allow_http": True},
            retry_config=_NO_RETRIES,  # type: ignore[arg-type]
        )


@contextmanager
def google(folder: Path, behind: StoreServer) -> Iterator[Google]:
    """A stand-in that keeps all in ``behind``, which asks for no keys."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "account.json").write_text(json.dumps({
        "type": "service_account", "project_id": "none", "private_key_id": "1",
        "private_key": secret.decode(), "client_email": "noa@none.iam.gserviceaccount.com",
    }))  # fmt: skip
    (folder / "public.pem").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    port = free_port()
    server = Google(f"http://127.0.0.1:{port}", folder / "account.json")
    command = [sys.executable, "-m", __name__, str(port), behind.endpoint, f"{folder}/public.pem"]
    with running(command, folder, server, lambda: None, PYTHONPATH=str(ROOT)):
        yield server


def translated(name: str, ours: str, theirs: str) -> str:
    """A header's name, where it is one of theirs.

    >>> translated("X-Goog-Meta-noa-id", "x-goog-", "x-amz-")
    'x-amz-meta-noa-id'
    """
    return name.lower().replace(ours, theirs, 1) if name.lower().startswith(ours) else name


class _Front:
    def __init__(self, behind: str, public: Path, session: aiohttp.ClientSession) -> None:
        self._behind = behind
        self._key: Any = serialization.load_pem_public_key(public.read_bytes())
        self._session = session

    def _admits(self, header: str) -> bool:
        """Whether the account's key has signed a token."""
        claims, _, signature = header.removeprefix("Bearer ").rpartition(".")
        try:
            self._key.verify(
                base64.urlsafe_b64decode(signature + "=="),
                claims.encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except (InvalidSignature, ValueError):
            return False
        return True

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        if not self._admits(request.headers.get("Authorization", "")):
            text = "<Error><Code>AuthenticationRequired</Code><Message>No.</Message></Error>"
            return web.Response(status=401, text=text, content_type="application/xml")
        headers = {
            translated(name, "x-goog-", "x-amz-"): value
            for name, value in request.headers.items()
            if name.lower() not in _DROPPED
        }
        address = URL(f"{self._behind}{request.raw_path}", encoded=True)
        async with self._session.request(
            request.method,
            address,
            headers=headers,
            data=io.BytesIO(body) if body else None,
            allow_redirects=False,
        ) as got:
            kept = {
                translated(name, "x-amz-", "x-goog-"): value
                for name, value in got.headers.items()
                if name.lower() not in _DROPPED
            }
            return web.Response(status=got.status, headers=kept, body=await got.read())


async def _serve(port: str, behind: str, public: str) -> None:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        front = _Front(behind, Path(public), session)
        runner = web.ServerRunner(web.Server(front.answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port)).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
