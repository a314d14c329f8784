"""The one place that knows aiohttp: sessions, TLS, proxies, redirects, and its errors made ours.

The token goes to the catalogue's own origin and to trusted hosts, over redirects too, and nowhere
else. An address is sent byte for byte as it was given.
"""

from __future__ import annotations

import asyncio
import os
import urllib.request
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from noa_async.body import suspects
from noa_async.errors import ServiceRefused, ServiceUnreachable, UsageError
from noa_async.holding import Held
from noa_async.lending import given, unread
from noa_async.origins import REDIRECTS, host_of, origin_of, redirect_target, token_may_go
from noa_async.response import LONGEST_HELD, READ_BUFFER, Response, no_answer
from noa_async.tls import system_context, tls_context
from noa_async.wires import Unplain, Wires

try:
    from aiohttp.client_proto import ResponseHandler
except ImportError:  # a newer aiohttp: what is not plain it is asked for itself
    ResponseHandler = None  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from noa_async.lending import Headed
    from noa_async.response import Intake
    from noa_async.settings import Settings, Timeouts

_BATCH = 1 << 20
"""Bytes that are gathered for a thread at most: each hand-over costs."""
_MOST_REDIRECTS = 5
_AGENT = "noa-async"


class _Streamed(Response):
    """An answer of which aiohttp has read the head."""

    __slots__ = ("_ended", "_failure", "_given", "_held", "_raw")

    def __init__(self, url: str, raw: Headed, stall: float) -> None:
        super().__init__(url, raw.status, raw.headers, stall)
        self._raw = raw
        self._held: list[bytes] = []
        """What came of it; the last piece stays here until another has come."""
        self._given = 0
        """Bytes of it that are elsewhere by now."""
        self._ended = False
        self._failure: ServiceUnreachable | None = None

    def drop(self) -> None:
        self._raw.close()

    async def pour(self, into: Intake, most: int) -> int:
        most = min(most, _BATCH)
        await self._gather(most)
        sure, doubtful = (self._held, []) if self._ended else (self._held[:-1], self._held[-1:])
        given, left = split(sure, most)
        self._held = left + doubtful
        received = sum(map(len, given))
        self._given += received
        if given:
            await into.write(given)
        elif self._failure is not None:
            raise self._failure
        return received

    async def _gather(self, size: int) -> None:
        """Have so many bytes beside the last piece, or what comes in a while."""
        clock = asyncio.get_running_loop().time
        due, here = clock() + LONGEST_HELD, sum(map(len, self._held[:-1]))
        while not self._ended and here < size and not (here and clock() > due):
            here += sum(map(len, self._held[-1:]))
            try:
                if piece := await self._next(size):
                    self._held.append(piece)
                else:
                    self._ended = True
            except ServiceUnreachable as failure:
                self._ended, self._failure = True, failure
                body = b"".join([*self._held, *unread(self._raw.content)])
                sure = max(0, len(body) - suspects(self._given + len(body)))
                self._held = [body[:sure]] if sure else []

    async def _next(self, most: int) -> bytes:
        """The next bytes; none at the end."""
        try:
            return await self._piece(self._raw.content, most)
        except TimeoutError:
            raise self.broke_off(stalled=True) from None
        except (aiohttp.ClientError, OSError):
            raise self.broke_off(stalled=False) from None

    async def pieces(self, most: int) -> AsyncGenerator[bytes]:
        try:
            while piece := await self._next(most):
                yield piece
        except ServiceUnreachable:
            for piece in unread(self._raw.content):
                yield piece
            raise

    async def _piece(self, content: aiohttp.StreamReader, most: int) -> bytes:
        """The next bytes; none at the end. Raises TimeoutError where none came for so long."""
        if content.exception() is None and (piece := content.read_nowait(most)):
            return piece
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + self._stall
            try:
                async with asyncio.timeout_at(due):
                    return await content.read(most)
            except TimeoutError:
                if clock() < due + self._stall / 4:
                    raise
                # So late a timer says that this process stood still, not the service.


async def read_on(answer: Unplain, url: str, timeouts: Timeouts) -> Response | None:
    """What aiohttp makes of an answer that another has begun to read; None where it cannot.

    Raises OSError where it is no answer, or does not come to its head in time.
    """
    async with asyncio.timeout(timeouts.answer):
        raw = await given(ResponseHandler, answer.connected, answer.begun)
    return None if raw is None else _Streamed(url, raw, timeouts.stall)


def split(pieces: Sequence[bytes], most: int) -> tuple[list[bytes], list[bytes]]:
    """The first ``most`` bytes of ``pieces``, and the others.

    >>> split([b"abc", b"de"], 4)
    ([b'abc', b'd'], [b'e'])
    """
    first, others = [], []
    for piece in pieces:
        first += [piece[:most]] if most else []
        others += [piece[most:]] if len(piece) > most else []
        most -= min(most, len(piece))
    return first, others


class Transport:
    """Connections to the service, kept and used again.

    Resources: use as an async context manager, or call ``close``. Safe for many tasks at once.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = origin_of(settings.service.catalogue_url)
        self._session: aiohttp.ClientSession | None = None
        self._wires: Wires | None = None
        self._tls: ssl.SSLContext | None = None
        self._proxies = urllib.request.getproxies()
        self._closed = False
        self._past_aiohttp = os.environ.get("NOA_FASTPATH") != "0"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
        if self._wires is not None:
            self._wires.close()
            self._wires = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    def may_carry_token(self, url: str) -> bool:
        """Whether ``url`` is the catalogue's origin, or a trusted host as safe as that."""
        return token_may_go(url, self._home, self._settings.service.token_hosts)

    def request(self, method: str, url: str, **more: Any) -> Held[Response]:
        """As ``ask``, for an ``async with``."""
        return Held(self.ask(method, url, **more))

    async def ask(
        self,
        method: str,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a request and give the head of its answer; redirects of a GET are followed.

        ``form`` or ``body`` goes with a POST; a redirect of that is an answer like any other.
        ``headers`` that set ``Accept-Encoding`` get the body as it was sent, undecoded.
        Raises ServiceUnreachable, ServiceRefused (TLS, redirects) and, later, what ``Response``
        raises. A status of 400 and above is an answer like any other.
        """
        return await self._send(method, url, token, headers or {}, form if body is None else body)

    async def _send(
        self,
        method: str,
        url: str,
        token: str | None,
        headers: Mapping[str, str],
        body: Mapping[str, str] | bytes | None,
    ) -> Response:
        for _ in range(_MOST_REDIRECTS + 1):
            sent = CIMultiDict(headers)
            if token is not None and self.may_carry_token(url):
                sent["Authorization"] = f"Bearer {token}"
            response = await self._exchange(method, url, sent, body)
            target = response.headers.get("Location")
            if method == "POST" or response.status not in REDIRECTS or not target:
                response.had_token = "Authorization" in sent
                return response
            response.drop()
            url = redirect_target(url, target)
        raise ServiceRefused(f"{host_of(url)} redirects more than {_MOST_REDIRECTS} times.")

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: CIMultiDict[str],
        body: Mapping[str, str] | bytes | None,
    ) -> Response:
        timeouts = self._settings.timeouts
        host = host_of(url)
        session, wires = self._open()
        try:
            if self.wired and method == "GET" and headers.get("Accept-Encoding") == "identity":
                response = await self._wired(wires, url, headers)
                if response is not None:
                    return response
            proxy = self._proxy(url) if self._proxies.keys() - {"no"} else None
            async with asyncio.timeout(timeouts.answer):
                raw = await session.request(
                    method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=body,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=self._trusted(url, proxy or ""),
                    auto_decompress="Accept-Encoding" not in headers,
                )
            wires.answered(url)
            return _Streamed(url, raw, timeouts.stall)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ServiceRefused(
                f"The certificate of {host} is not trusted: {_certificate_reason(error)}.",
                hint="Check the clock and the address; for a private authority name its file in "
                "NOA_CA_FILE.",
            ) from error
        except aiohttp.ClientConnectorDNSError as error:
            raise ServiceUnreachable(
                f"The host name {host} is not known here.",
                hint="Check the network connection and the address of the service.",
            ) from error
        except (ValueError, aiohttp.NonHttpUrlClientError) as error:
            raise ServiceRefused(f"{host} was named by an address that cannot be asked.") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise ServiceUnreachable(
                f"No connection to {host} within {timeouts.connect:g} s."
            ) from error
        except TimeoutError as error:
            raise no_answer(host, timeouts.answer) from error
        except aiohttp.ClientResponseError as error:  # its text holds the proxy's password
            raise ServiceUnreachable(
                f"No way to {host}: the proxy answered {error.status}.",
                hint="Check the proxy that the environment names.",
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = os.strerror(number) if number and number > 0 else None
            raise ServiceUnreachable(
                f"No answer from {host}: {reason or str(error) or type(error).__name__}.",
                hint="The service may be away, or a firewall or proxy is between.",
            ) from error

    @property
    def wired(self) -> bool:
        """Whether bytes as they are come past aiohttp: not where a proxy may be between."""
        return self._past_aiohttp and not self._proxies.keys() - {"no"}

    async def _wired(self, wires: Wires, url: str, headers: Mapping[str, str]) -> Response | None:
        """The answer to a request past aiohttp; None where aiohttp is to ask."""
        answer = await wires.ask(url, {"User-Agent": _AGENT, **headers})
        if not isinstance(answer, Unplain):
            return answer
        return await read_on(answer, url, self._settings.timeouts)

    def _open(self) -> tuple[aiohttp.ClientSession, Wires]:
        if self._closed:  # and what was left running, such as a listing, asks no more
            raise UsageError("This client was closed.", hint="Use what it gives while it is open.")
        if self._session is None or self._wires is None:
            timeouts, self._tls = self._settings.timeouts, tls_context(self._settings)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=READ_BUFFER,
                headers={"User-Agent": _AGENT},
            )
            self._wires = Wires(self._tls, timeouts)
        return self._session, self._wires

    def _trusted(self, *addresses: str) -> ssl.SSLContext | bool:
        """Whom to trust on the way to ``addresses``; True where none is asked over TLS."""
        if all(urlsplit(address).scheme != "https" for address in addresses):
            return True
        if self._tls is None:  # a redirect or a proxy: neither was foreseen
            self._tls = system_context()
        return self._tls

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        proxy = self._proxies.get(parts.scheme) or self._proxies.get("all")
        if proxy is None or urllib.request.proxy_bypass(parts.netloc):
            return None
        return proxy if "://" in proxy else f"http://{proxy}"


def _certificate_reason(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return getattr(cause, "verify_message", "") or str(cause)
