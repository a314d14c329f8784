"""Azurite, Microsoft's own stand-in for an Azure storage account, as another store to test with."""

from __future__ import annotations

import base64
import hmac
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlencode, urlsplit

import obstore

from benchmarks.stores import BUCKET, StoreServer, free_port, running

ACCOUNT, KEY = "anaccount", base64.b64encode(b"a-key").decode()
_VERSION = "2021-08-06"
_NO_RETRIES = {"max_retries": 0, "retry_timeout": timedelta(seconds=5)}


@dataclass(frozen=True)
class Azurite(StoreServer):
    """A running one."""

    scheme: ClassVar[str] = "az"
    wrong: ClassVar[dict[str, str]] = {"AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}

    @property
    def account(self) -> str:
        """The account's address: here its name is in the path, and in no host's name."""
        return f"{self.endpoint}/{ACCOUNT}"

    @property
    def environ(self) -> dict[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": self.account,
        }

    def store(self, prefix: str = "") -> Any:
        return obstore.store.AzureStore(
            BUCKET,
            prefix=prefix or None,
            account_name=ACCOUNT,
            account_key=KEY,
            endpoint=self.account,
            client_options={"allow_http": True},
            retry_config=_NO_RETRIES,  # type: ignore[arg-type]
        )

    def ask(self, method: str, path: str, query: dict[str, str]) -> str:
        """What obstore has no call for."""
        now = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": now, "x-ms-version": _VERSION}
        address = f"{self.account}/{quote(path)}"
        named = "".join(f"{name}:{value}\n" for name, value in headers.items())
        asked = "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        where = f"/{ACCOUNT}{urlsplit(address).path}"
        headers["Authorization"] = f"SharedKey {ACCOUNT}:" + _signed(
            method + "\n" * 12 + named + where + asked
        )
        request = urllib.request.Request(
            f"{address}?{urlencode(query)}", headers=headers, method=method
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return str(answer.read().decode())

    def sas(self, rights: str = "racwdl") -> str:
        """A shared access signature for the container, good for an hour."""
        until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = [rights, "", until, f"/blob/{ACCOUNT}/{BUCKET}", "", "", "", _VERSION, "c"]
        signature = _signed("\n".join([*said, *[""] * 7]))
        return urlencode({"sp": rights, "se": until, "sv": _VERSION, "sr": "c", "sig": signature})


@contextmanager
def azurite(folder: Path, program: str) -> Iterator[Azurite]:
    """Azurite's blobs, with its files in ``folder``, and the container made."""
    port = free_port()
    server = Azurite(f"http://127.0.0.1:{port}")
    command = [program, f"--blobPort={port}", f"--location={folder}", "--silent",
               "--disableTelemetry", "--skipApiVersionCheck"]  # fmt: skip

    def make() -> None:
        try:
            server.ask("PUT", BUCKET, {"restype": "container"})
        except urllib.error.HTTPError as error:
            if error.code != 409:  # it is there already
                raise

    with running(command, folder, server, make, AZURITE_ACCOUNTS=f"{ACCOUNT}:{KEY}"):
        yield server


def _signed(text: str) -> str:
    digest = hmac.digest(base64.b64decode(KEY), text.encode(), "sha256")
    return base64.b64encode(digest).decode()
