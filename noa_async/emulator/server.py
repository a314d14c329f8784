"""The emulator itself: what starts, stops and is asked by tests."""

import asyncio
import ipaddress
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

from aiohttp import web

from noa_async.emulator.catalogue import Catalogue
from noa_async.emulator.content import Content
from noa_async.emulator.faults import FaultPlan
from noa_async.emulator.listening import Door
from noa_async.emulator.mirror import Mirror
from noa_async.emulator.missions import make_long_products, make_products
from noa_async.emulator.routes import mirror_answer, store_answer
from noa_async.emulator.settings import EmulatorSettings
from noa_async.emulator.stats import Stats
from noa_async.emulator.tokens import TokenIssuer

_TURNS = 3
"""Of the loop: what has just come gets its transport. A connection that has none when its server is
closed is lost to Python 3.11, and stays open."""
_STOP_SECONDS = 0.1
_MAX_LINE = 64 * 1024

Handler = Callable[[web.BaseRequest], "asyncio.Future[web.StreamResponse]"]


class Emulator:
    """A NOA Sentinels Mirror on loopback.

    Resources: three listening sockets and no file; all go with `stop`, which takes less than
    a second even with downloads under way.

    Error handling: `start` raises OSError where the port is taken.
    """

    def __init__(
        self,
        settings: EmulatorSettings | None = None,
        *,
        catalogue: Catalogue | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`catalogue` in the place of a made one; `clock` tells when tokens expire."""
        self.settings = settings or EmulatorSettings()
        self.stats = Stats()
        self.catalogue = catalogue if catalogue is not None else made_catalogue(self.settings)
        self._mirror = Mirror(
            settings=self.settings,
            catalogue=self.catalogue,
            issuer=TokenIssuer(self.settings, self.stats, clock),
            stats=self.stats,
            clock=clock,
            refuse=self._refuse,
            faults=self.settings.faults,
        )
        self._servers: list[web.Server] = []
        self._doors: list[Door] = []
        self._reopening: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> Self:
        """Listen on all three hosts."""
        self._add(partial(mirror_answer, self._mirror), self.settings.port)
        self._add(partial(store_answer, self._mirror, trusted=True))
        self._add(partial(store_answer, self._mirror, trusted=False))
        for door in self._doors:
            await door.open()
        urls = [door.url for door in self._doors]
        self._mirror.base_url, self._mirror.trusted_url, self._mirror.foreign_url = urls
        return self

    async def stop(self) -> None:
        """Refuse what comes, drop what is under way."""
        self._stopped = True
        if self._reopening is not None:
            self._reopening.cancel()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for door in self._doors:
            door.close()
        await asyncio.gather(*(server.shutdown(_STOP_SECONDS) for server in self._servers))
        self._doors.clear()
        self._servers.clear()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """Scheme, host and port of the mirror."""
        return self._mirror.base_url

    @property
    def catalogue_url(self) -> str:
        """The address of the product list."""
        return f"{self.base_url}{self.settings.base_path}/Products"

    @property
    def token_url(self) -> str:
        """The address of the token endpoint."""
        return f"{self.base_url}/auth/realms/{self.settings.realm}/protocol/openid-connect/token"

    @property
    def trusted_url(self) -> str:
        """A store host of another origin that needs the token; the download host, where there is
        one."""
        return self._mirror.trusted_url

    @property
    def foreign_url(self) -> str:
        """A store host of another origin that answers 400 to a token."""
        return self._mirror.foreign_url

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead ``noa-async`` and ``NoaClient.from_env`` here."""
        plain = self.settings.tls is None and not _is_loopback(self.settings.host)
        own_host = self.trusted_url.partition("://")[2] if self.settings.download_host else ""
        return ({"NOA_INSECURE_HTTP": "1"} if plain else {}) | {
            "NOA_CATALOGUE_URL": self.catalogue_url,
            "NOA_TOKEN_URL": self.token_url,
            "NOA_USERNAME": self.settings.username,
            "NOA_PASSWORD": self.settings.password,
            "NOA_SERVICE": self.settings.service,
            "NOA_CLIENT_ID": self.settings.client_id,
            "NOA_TRUSTED_HOSTS": own_host,
        }

    def content(self, product_id: str) -> Content:
        """The bytes behind an Id as they are now. Raises KeyError."""
        return self.catalogue.content(product_id)

    @property
    def faults(self) -> FaultPlan:
        """The fault plan; a new one counts attempts from the beginning."""
        return self._mirror.faults

    @faults.setter
    def faults(self, plan: FaultPlan) -> None:
        self._mirror.faults = plan
        self._mirror.attempts.clear()

    @property
    def outage(self) -> bool:
        """While true, every answer is 503."""
        return self._mirror.outage

    @outage.setter
    def outage(self, value: bool) -> None:
        self._mirror.outage = value

    @property
    def maintenance(self) -> int | None:
        """While set, every answer has this status, and is a page or a redirect to one."""
        return self._mirror.maintenance

    @maintenance.setter
    def maintenance(self, status: int | None) -> None:
        self._mirror.maintenance = status

    @property
    def sessions(self) -> int:
        """How many sessions are open."""
        return len(self._mirror.issuer.sessions)

    def revoke_tokens(self, *, refresh: bool = False) -> None:
        """No access token so far holds any more; with `refresh`, no refresh token either."""
        self._mirror.issuer.revoke(refresh=refresh)

    async def refuse_connections(self, seconds: float) -> None:
        """Refuse new connections from now on for so long; returns at once.

        Open connections close after the answer they are at.
        """
        self._refuse(seconds)

    async def reopened(self) -> None:
        """Wait until connections are accepted again."""
        if self._reopening is not None:
            await asyncio.wait([self._reopening])

    def _refuse(self, seconds: float) -> None:
        if self._stopped or (self._reopening is not None and not self._reopening.done()):
            return
        self._doors[0].shut()
        for connection in self._servers[0].connections:
            if connection in self._mirror.busy:
                connection.close()  # once its present answer is out
            else:
                connection.force_close()
        self._reopening = asyncio.create_task(self._reopen(seconds))

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._doors[0].open()

    def _add(
        self,
        handler: Callable[[web.BaseRequest], object],
        port: int = 0,
    ) -> None:
        server: web.Server = web.Server(
            handler,  # type: ignore[arg-type]
            handler_cancellation=True,
            access_log=None,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_LINE,
        )
        self._servers.append(server)
        self._doors.append(Door(server, self.settings.host, port, self.settings.tls))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def made_catalogue(settings: EmulatorSettings) -> Catalogue:
    """The catalogue that these settings describe."""
    products = make_products(
        settings.seed, settings.products, settings.mean_bytes, settings.start, settings.end
    )
    if settings.long_products:
        products += make_long_products(settings.seed, settings.start, settings.end)
    return Catalogue(products, seed=settings.seed)
