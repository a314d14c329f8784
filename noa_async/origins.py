"""Addresses: which belong together, and where a token may go. Pure."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from functools import lru_cache
from urllib.parse import SplitResult, urljoin, urlsplit

from noa_async.errors import ServiceRefused

REDIRECTS = frozenset({301, 302, 303, 307, 308})
"""Answers that lead elsewhere."""


def token_may_go(url: str, home: tuple[str, str, int], trusted: frozenset[str]) -> bool:
    """Whether a token that belongs to origin ``home`` may be sent to ``url``.

    >>> home = ("https", "mirror.example", 443)
    >>> token_may_go("https://mirror.example:443/x", home, frozenset())
    True
    >>> token_may_go("https://store.example/x", home, frozenset({"store.example"}))
    True
    >>> token_may_go("http://store.example/x", home, frozenset({"store.example"}))
    False
    """
    scheme, host, port = origin_of(url)
    if (scheme, host, port) == home:
        return True
    if home[0] == "https" and scheme != "https":
        return False
    name = f"[{host}]" if ":" in host else host
    default = 443 if scheme == "https" else 80
    return f"{name}:{port}" in trusted or (name in trusted and port == default)


def same_origin(one: str, other: str) -> bool:
    """Whether two absolute addresses share scheme, host and port."""
    return origin_of(one) == origin_of(other)


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; -1 where the port is none."""
    return _origin(_root(url))


@lru_cache(maxsize=64)
def _origin(root: str) -> tuple[str, str, int]:
    parts = urlsplit(root)
    return parts.scheme, (parts.hostname or "").lower(), _port(parts)


def _root(url: str) -> str:
    """Scheme and authority, which many addresses share: they need not be taken apart each time."""
    return "/".join(url.split("/", 3)[:3])


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        return -1
    return port or (443 if parts.scheme == "https" else 80)


def host_of(url: str) -> str:
    """Host and port as they stand, for messages."""
    return urlsplit(_root(url)).netloc.rpartition("@")[2]


def is_loopback(url: str) -> bool:
    """Return whether an address is on this machine, as far as its text says so.

    >>> is_loopback("http://127.0.0.1:8080/x"), is_loopback("http://localhost.evil.example")
    (True, False)
    """
    host = (urlsplit(_root(url)).hostname or "").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def redirect_target(url: str, location: str) -> str:
    """Return the address that a redirect of ``url`` leads to, as it can be sent.

    ``location`` is Latin-1, one character a byte. Spaces and bytes that are not ASCII are escaped,
    as browsers do. Raise ServiceRefused if it is no web address.

    >>> redirect_target("http://mirror.example/x", "/a b/" + "é".encode().decode("latin-1"))
    'http://mirror.example/a%20b/%C3%A9'
    """
    with contextlib.suppress(ValueError):
        target = urljoin(url, _UNSENDABLE.sub(_escaped, location.strip()))
        if urlsplit(target).scheme in {"http", "https"}:
            return target
    raise ServiceRefused(f"{host_of(url)} redirects to no web address.")


_UNSENDABLE = re.compile(r"[^!-~]")


def _escaped(character: re.Match[str]) -> str:
    return f"%{ord(character[0]):02X}"
