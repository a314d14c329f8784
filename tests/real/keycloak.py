"""Keycloak on loopback, as the mirror has it before its catalogue, and its administrator's view."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp

from noa_async import Credentials

from .site import free_port

ADMIN = {"username": "admin", "password": "admin"}
PASSWORD = "correct horse & báttery"
LIFE = 4
"""Seconds that an access token of ``short-lived`` holds."""
START_UP = 120
GUARD = '{ "$@" </dev/null; kill -KILL 0; } & read -r _; kill -KILL 0'
"""Ends Keycloak with us, even where we are killed: the pipe that it reads from ends then."""
EVENTS = ("LOGIN", "LOGIN_ERROR", "REFRESH_TOKEN", "REFRESH_TOKEN_ERROR", "LOGOUT")


def _client(name: str, *, password_grant: bool = True, **attributes: str) -> dict[str, Any]:
    return {
        "clientId": name,
        "publicClient": True,
        "directAccessGrantsEnabled": password_grant,
        "attributes": attributes,
    }


REALM = {
    "realm": "mirror",
    "enabled": True,
    "sslRequired": "none",
    "accessTokenLifespan": 300,
    "ssoSessionIdleTimeout": 1800,
    "revokeRefreshToken": True,
    "refreshTokenMaxReuse": 0,
    "bruteForceProtected": True,
    "failureFactor": 3,
    "eventsEnabled": True,
    "enabledEventTypes": EVENTS,
    "clients": [
        _client("mirror-client"),
        _client("short-lived", **{"access.token.lifespan": str(LIFE)}),
        _client("no-refresh", **{"use.refresh.tokens": "false"}),
        _client("no-password-grant", password_grant=False),
    ],
}


@dataclass
class Keycloak:
    """A running Keycloak with the realm ``mirror``."""

    base: str

    @property
    def realm(self) -> str:
        return f"{self.base}/realms/mirror"

    @property
    def token_url(self) -> str:
        return f"{self.realm}/protocol/openid-connect/token"

    @property
    def guarded(self) -> str:
        """An address that answers 200 to a token that holds, 401 to any other."""
        return f"{self.realm}/account/"

    async def user(self, **changes: object) -> User:
        """A new user, so that tests do not meet."""
        name = f"user-{uuid4()}"
        profile = {"firstName": "Ada", "lastName": "Byron", "email": f"{name}@example.org"}
        secret = {"type": "password", "value": PASSWORD, "temporary": False}
        entry = {"username": name, "enabled": True, **profile, "credentials": [secret], **changes}
        await self.administer("POST", "users", json=entry)
        [found] = await self.administer("GET", f"users?exact=true&username={name}")
        return User(self, found["id"], Credentials(name, PASSWORD, source="test"))

    async def limit_sessions(self, most: int) -> None:
        """Refuse further sessions of a user from now on, by Keycloak's own authenticator."""
        flows = "authentication/flows"
        name = {"newName": "limited"}
        await self.administer("POST", f"{flows}/direct%20grant/copy", json=name)
        provider = {"provider": "user-session-limits"}
        await self.administer("POST", f"{flows}/limited/executions/execution", json=provider)
        executions = await self.administer("GET", f"{flows}/limited/executions")
        [limit] = [one for one in executions if one.get("providerId") == provider["provider"]]
        limit["requirement"] = "REQUIRED"
        await self.administer("PUT", f"{flows}/limited/executions", json=limit)
        config = {"userRealmLimit": str(most), "behavior": "Deny new session"}
        await self.administer(
            "POST",
            f"authentication/executions/{limit['id']}/config",
            json={"alias": "limit", "config": config},
        )
        await self.administer("PUT", "", json={"directGrantFlow": "limited"})

    async def refused_refreshes(self) -> int:
        """How many refresh tokens Keycloak has refused, whoever sent them."""
        return len(await self.administer("GET", "events?type=REFRESH_TOKEN_ERROR&max=1000"))

    async def administer(self, method: str, path: str, **options: Any) -> Any:
        """The answer of the realm's REST API to its administrator."""
        form = {"client_id": "admin-cli", "grant_type": "password", **ADMIN}
        master = f"{self.base}/realms/master/protocol/openid-connect/token"
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with session.post(master, data=form) as answer:
                bearer = {"Authorization": f"Bearer {(await answer.json())['access_token']}"}
            url = f"{self.base}/admin/realms/mirror/{path}"
            async with session.request(method, url, headers=bearer, **options) as answer:
                body = await answer.read()
        return json.loads(body) if body else None

    async def post(self, endpoint: str, **form: str) -> tuple[int, dict[str, Any]]:
        """The status and the answer to a form sent beside our own code."""
        url = f"{self.realm}/protocol/openid-connect/{endpoint}"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=form) as answer:
                body = await answer.read()
                return answer.status, json.loads(body) if body else {}


@dataclass
class User:
    keycloak: Keycloak
    id: str
    credentials: Credentials

    async def events(self) -> list[str]:
        """What Keycloak noted of this user, oldest first."""
        events = await self.keycloak.administer("GET", f"events?user={self.id}&max=1000")
        return [event["type"] for event in sorted(events, key=lambda event: event["time"])]

    async def wrong_passwords(self) -> int:
        """What the guard against brute force has counted."""
        path = f"attack-detection/brute-force/users/{self.id}"
        return (await self.keycloak.administer("GET", path))["numFailures"]

    async def sessions(self) -> int:
        """How many sessions this user has."""
        return len(await self.keycloak.administer("GET", f"users/{self.id}/sessions"))

    async def log_out(self) -> None:
        """End all sessions of this user, as an administrator does."""
        await self.keycloak.administer("POST", f"users/{self.id}/logout")


@contextmanager
def running(folder: Path, home: Path) -> Iterator[Keycloak]:
    """Keycloak from ``folder``, with what it writes in ``home``; ended for sure at the end."""
    (home / "data/import").mkdir(parents=True)
    (home / "data/import/mirror-realm.json").write_text(json.dumps(REALM))
    for name in ("lib", "conf", "providers", "themes"):
        (home / name).symlink_to(folder / name)
    keycloak = Keycloak(f"http://127.0.0.1:{(port := free_port())}")
    command = [
        "/bin/sh", "-c", GUARD, "guard", folder / "bin/kc.sh",
        f"-Dkc.home.dir={home}", f"-Djava.io.tmpdir={home}",
        "start", "--optimized", "--import-realm", "--cache=local",
        "--http-enabled=true", "--http-host=127.0.0.1", f"--http-port={port}",
        "--hostname-strict=false",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "KC_BOOTSTRAP_ADMIN_USERNAME": ADMIN["username"],
        "KC_BOOTSTRAP_ADMIN_PASSWORD": ADMIN["password"],
        "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
        "JAVA_OPTS_APPEND": "-XX:TieredStopAtLevel=1",
    }
    log = home / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(keycloak.realm, process, log)
        yield keycloak
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + START_UP
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError):
            direct.open(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"Keycloak did not start:\n{log.read_text()[-4000:]}")
