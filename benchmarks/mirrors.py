"""The emulator in a process of its own, so that it takes no time from what is measured."""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import signal
import urllib.parse
import urllib.request
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from noa_async.emulator import Catalogue, Emulator, EmulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from types import TracebackType

    from noa_async.emulator import Product

_T = TypeVar("_T")
_START_SECONDS = 60
_ANSWER_SECONDS = 600
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a mirror's parts are."""

    catalogue: str
    token: str
    trusted_host: str

    def product(self, product_id: str) -> str:
        """The address of a product's bytes."""
        return f"{self.catalogue}({product_id})/$value"


class MirrorProcess:
    """An emulated mirror in another process.

    Resources: a context manager; the process ends with it, or with ours.
    """

    def __init__(self, settings: EmulatorSettings, products: Sequence[Product] = ()) -> None:
        """``products`` in the place of the catalogue that ``settings`` describe."""
        self.settings = settings
        context = multiprocessing.get_context("spawn")
        self._connection, self._theirs = context.Pipe()
        arguments = (self._theirs, settings, list(products))
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.addresses: Addresses = self._receive(_START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def ask(self, question: Callable[[Emulator], _T]) -> _T:
        """What ``question``, a function that can be pickled, says of the emulator."""
        self._connection.send(question)
        answer: _T = self._receive(_ANSWER_SECONDS)
        return answer

    def token(self) -> str:
        """An access token, as a script asks for one."""
        form = {
            "grant_type": "password",
            "client_id": self.settings.client_id,
            "username": self.settings.username,
            "password": self.settings.password,
        }
        body = urllib.parse.urlencode(form).encode()
        with _DIRECT.open(self.addresses.token, body, timeout=30) as answer:
            return str(json.load(answer)["access_token"])

    def environment(self) -> dict[str, str]:
        """The variables that lead noa-async here."""
        return {
            "NOA_CATALOGUE_URL": self.addresses.catalogue,
            "NOA_TOKEN_URL": self.addresses.token,
            "NOA_USERNAME": self.settings.username,
            "NOA_PASSWORD": self.settings.password,
        }

    def _receive(self, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            raise TimeoutError(f"the emulator did not answer within {seconds} s")
        return self._connection.recv()


def _serve(connection: Connection, settings: EmulatorSettings, products: list[Product]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the pipe
    logging.getLogger("aiohttp.server").addFilter(_is_no_hang_up)
    asyncio.run(_answer(connection, settings, products))


def _is_no_hang_up(record: logging.LogRecord) -> bool:
    """A tool that leaves in the middle of an answer is no news here."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


async def _answer(
    connection: Connection, settings: EmulatorSettings, products: list[Product]
) -> None:
    catalogue = Catalogue(products, seed=settings.seed) if products else None
    ended = asyncio.Event()
    async with Emulator(settings, catalogue=catalogue) as mirror:
        trusted = mirror.trusted_url.partition("://")[2]
        connection.send(Addresses(mirror.catalogue_url, mirror.token_url, trusted))
        loop = asyncio.get_running_loop()
        loop.add_reader(connection.fileno(), partial(_asked, connection, mirror, ended))
        await ended.wait()
        loop.remove_reader(connection.fileno())


def _asked(connection: Connection, mirror: Emulator, ended: asyncio.Event) -> None:
    try:
        connection.send(connection.recv()(mirror))
    except (EOFError, ConnectionError):
        ended.set()
