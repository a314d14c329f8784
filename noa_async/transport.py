"""The one place that knows aiohttp: sessions, TLS, proxies, redirects, and its errors made ours.

The token goes to the catalogue's own origin and to trusted hosts, over redirects too, and nowhere
else. An address is sent byte for byte as it was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import urllib.request
from functools import cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from noa_async.decoding import ACCEPTED
from noa_async.errors import ServiceRefused, ServiceUnreachable, UsageError
from noa_async.holding import Held
from noa_async.origins import REDIRECTS, host_of, origin_of, redirect_target, token_may_go
from noa_async.response import READ_BUFFER, Response, Streamed, no_answer
from noa_async.tls import system_context, tls_context
from noa_async.wires import Origin, Wires

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from noa_async.settings import Settings, Timeouts

_MOST_REDIRECTS = 5
_HEAD_LIMIT = 128 << 10
"""Bytes of a header field: gateways put whole policies and traces into one."""
_MOST_FIELDS = 1000
_IDLE = 15.0
"""Seconds for which aiohttp keeps an idle connection."""
_MOST_ORIGINS = 16
"""Origins to which aiohttp keeps idle connections at a time."""
_AGENT = "noa-async"


class _Streamed(Streamed):
    """An answer of which aiohttp has read the head."""

    __slots__ = ("_raw",)

    def __init__(self, url: str, raw: aiohttp.ClientResponse, stall: float) -> None:
        super().__init__(url, raw.status, _as_latin_1(raw), stall)
        self.reason = raw.reason or ""
        self._raw = raw

    def drop(self) -> None:
        self._raw.close()

    async def _next(self, most: int) -> bytes:
        try:
            return await self._piece(self._raw.content, most)
        except TimeoutError:
            raise self.broke_off(stalled=True) from None
        except (aiohttp.ClientError, OSError):
            raise self.broke_off(stalled=False) from None

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

    def _unread(self) -> list[bytes]:
        # aiohttp has no public way to the bytes that came before a cut: once the connection is
        # lost, each of its methods raises the error ahead of them. If a version of it keeps them
        # elsewhere, they are fetched again.
        content: Any = self._raw.content
        try:
            first, *others = content._buffer  # noqa: SLF001 (see above)
            return [bytes(first[content._buffer_offset :]), *map(bytes, others)]  # noqa: SLF001
        except (AttributeError, TypeError, ValueError):  # ValueError: there are none
            return []


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
        self._kept_alive: dict[Origin, float] = {}
        """When each origin was last asked by aiohttp over a connection that is kept."""
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

    @property
    def timeouts(self) -> Timeouts:
        """How long to wait for the service."""
        return self._settings.timeouts

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
            as_sent = "Accept-Encoding" in sent
            response = await self._exchange(method, url, sent, body)
            target = response.headers.get("Location")
            if method == "POST" or response.status not in REDIRECTS or not target:
                response.had_token, response.token = "Authorization" in sent, token
                response.as_sent = as_sent
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
        try:
            return await self._ask_once(method, url, headers, body)
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
        except aiohttp.ClientHttpProxyError as error:  # its text holds the proxy's password
            raise ServiceUnreachable(
                f"No way to {host}: the proxy answered {error.status}.",
                hint="Check the proxy that the environment names.",
            ) from None
        except aiohttp.ClientResponseError as error:
            if "more than" in error.message:
                raise ServiceUnreachable(
                    f"No answer from {host}: it sent a header that is too large, more than "
                    f"{_HEAD_LIMIT >> 10} kB in one field, or more than {_MOST_FIELDS} fields.",
                    hint="The service, or a proxy in front of it, is set up wrongly; tell its "
                    "people.",
                ) from None
            raise ServiceUnreachable(
                f"No answer from {host}: what came is no well-formed HTTP.",
                hint="The address may lead to something else than a web server.",
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            number = error.errno if isinstance(error, OSError) else None
            reason = os.strerror(number) if number and number > 0 else None
            raise ServiceUnreachable(
                f"No answer from {host}: {reason or str(error) or type(error).__name__}.",
                hint="The service may be away, or a firewall or proxy is between.",
            ) from error

    async def _ask_once(
        self,
        method: str,
        url: str,
        headers: CIMultiDict[str],
        body: Mapping[str, str] | bytes | None,
    ) -> Response:
        """Raise what aiohttp does."""
        timeouts = self._settings.timeouts
        session, wires = self._open()
        if self._direct and method == "GET" and headers.get("Accept-Encoding") == "identity":
            response = await wires.ask(url, {"User-Agent": _AGENT, **headers})
            if response is not None:
                return response
        proxy = self._proxy(url) if self._proxies.keys() - {"no"} else None
        headers.setdefault("Accept-Encoding", ACCEPTED)
        fields = _encodable(headers)
        if not self._may_keep(url):
            fields["Connection"] = "close"
        try:
            async with asyncio.timeout(timeouts.answer):
                raw = await session.request(
                    method,
                    URL(url, encoded=True),
                    headers=fields,
                    data=body,
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=self._trusted(url, proxy or ""),
                )
        except aiohttp.ClientHttpProxyError:
            raise
        except aiohttp.ClientResponseError:
            # Such as a Content-Length that a gateway has doubled, which aiohttp does not take.
            tried = headers.get("Accept-Encoding") == "identity"
            if tried or not self._direct or method != "GET":
                raise
            plain = {"User-Agent": _AGENT, **headers, "Accept-Encoding": "identity"}
            response = await wires.ask(url, plain)
            if response is None:
                raise
            return response
        return _Streamed(url, raw, timeouts.stall)

    @property
    def _direct(self) -> bool:
        """Whether bytes may come past aiohttp: not if they may have to come by a proxy."""
        return self._past_aiohttp and not self._proxies.keys() - {"no"}

    def _open(self) -> tuple[aiohttp.ClientSession, Wires]:
        if self._closed:  # and what was left running, such as a listing, asks no more
            raise UsageError("This client was closed.", hint="Use what it gives while it is open.")
        if self._session is None or self._wires is None:
            timeouts, self._tls = self._settings.timeouts, tls_context(self._settings)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE),
                timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=READ_BUFFER,
                auto_decompress=False,  # ``Response`` decodes, within bounds
                headers={"User-Agent": _AGENT},
                **_head_limits(),
            )
            most_idle = 2 * self._settings.limits.workers  # of a service, and of where it sends us
            self._wires = Wires(self._tls, timeouts, most_idle=most_idle)
        return self._session, self._wires

    def _may_keep(self, url: str) -> bool:
        """Whether aiohttp may keep the connection to ``url``; it does not bound how many it keeps.

        A service may send each request to another host.
        """
        now, origin = asyncio.get_running_loop().time(), origin_of(url)
        kept = {one: last for one, last in self._kept_alive.items() if now < last + _IDLE}
        if may := origin in kept or len(kept) < _MOST_ORIGINS:
            kept[origin] = now
        self._kept_alive = kept
        return may

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
        if "://" not in proxy:
            return f"http://{proxy}"
        if (scheme := urlsplit(proxy).scheme.lower()) not in {"http", "https"}:
            raise UsageError(
                f"The environment names a proxy of the kind {scheme}:// for {host_of(url)}, which "
                "is not supported: only http:// and https:// proxies are.",
                hint="Unset ALL_PROXY, HTTP_PROXY and HTTPS_PROXY, or set them to an HTTP proxy; "
                "NO_PROXY exempts a host. A SOCKS proxy can be used through a local HTTP proxy "
                "that forwards to it, such as privoxy.",
            )
        return proxy


def _as_latin_1(raw: aiohttp.ClientResponse) -> Mapping[str, str]:
    """Return the header fields of an answer, one character a byte, so that they can be sent back.

    aiohttp decodes them as UTF-8.
    """
    if all(value.isascii() for _, value in raw.raw_headers):
        return raw.headers
    return CIMultiDict(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw.raw_headers]
    )


def _encodable(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    """Return header fields such that aiohttp, which encodes them as UTF-8, sends their own bytes.

    A field whose bytes are no UTF-8 is left out: only If-Range can be one, and without it the ETag
    of the answer is compared.
    """
    fields = CIMultiDict[str]()
    for name, value in headers.items():
        with contextlib.suppress(UnicodeError):
            fields.add(name, value if value.isascii() else value.encode("latin-1").decode())
    return fields


@cache
def _head_limits() -> dict[str, Any]:
    """Return how large a head aiohttp may read; older ones do not count its fields."""
    limits = {"max_line_size": _HEAD_LIMIT, "max_field_size": _HEAD_LIMIT}
    counted = "max_headers" in inspect.signature(aiohttp.ClientSession).parameters
    return limits | ({"max_headers": _MOST_FIELDS} if counted else {})


def _certificate_reason(error: aiohttp.ClientConnectorCertificateError) -> str:
    cause = error.certificate_error
    return getattr(cause, "verify_message", "") or str(cause)
