"""The services known by name: URLs, limits and characteristics, as data.

No code depends on the name of a service; every difference is a field here. ``SOURCES`` records the
source of each value, and ``docs/services.md`` lists them. None was tested against a live service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


_SERVICE_ROOT = re.compile(r"(?P<root>.*/odata/v[0-9]+(?:\.[0-9]+)?)(?P<rest>/.*)?", re.IGNORECASE)
_ENTITY_SET = re.compile(r"(?P<root>.*)/+products(?:\([^()/]*\)(?:/.*)?|/+\$[^/]*)?", re.IGNORECASE)
_NOTHING_BELOW = re.compile(r"/*(?:\$metadata)?", re.IGNORECASE)
_QUOTED_SIGN = re.compile(r"%2[4789]")


def catalogue_address(url: str) -> str:
    """Return the URL of the entity set ``Products`` for any URL of the OData service.

    | URL                                                      | result                        |
    |----------------------------------------------------------|-------------------------------|
    | the service root ``.../odata/v1``, with or without ``/`` | root + ``/Products``          |
    | its ``$metadata``                                        | root + ``/Products``          |
    | the entity set in any letter case, with or without ``/`` | the entity set                |
    | one of its products, ``$value`` or ``$count``            | the entity set                |
    | any of these with a query or fragment                    | the same, without these       |
    | any other path, such as another entity set               | unchanged, without these      |

    >>> catalogue_address("https://mirror.example/odata/v1/")
    'https://mirror.example/odata/v1/Products'
    >>> catalogue_address("https://mirror.example/odata/v1/products?$top=1#x")
    'https://mirror.example/odata/v1/Products'
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # such as an unmatched bracket: the first request reports it
        return url
    path = _QUOTED_SIGN.sub(lambda found: unquote(found[0]), parts.path).rstrip("/")
    below_root = _SERVICE_ROOT.fullmatch(path)
    if below_root is not None:
        root, rest = below_root["root"], below_root["rest"] or ""
        if _NOTHING_BELOW.fullmatch(rest) or _ENTITY_SET.fullmatch(rest):
            path = f"{root}/Products"
    elif (entity_set := _ENTITY_SET.fullmatch(path)) is not None:
        path = f"{entity_set['root'].rstrip('/')}/Products"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The published quota of a service per account; None if not published."""

    connections: int | None = None
    """Concurrent downloads. With more workers a remark says that some may be refused."""
    rate: float | None = None
    """Bytes per second and connection."""
    volume: float | None = None
    """Bytes per 30 days."""
    sessions: int | None = None
    """Concurrent sessions. A run uses one and refreshes its token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Known characteristics of a service, for information only: no run relies on them.

    None or empty means unknown.
    """

    most_top: int | None = None
    """The maximum ``$top``."""
    most_skip: int | None = None
    """The maximum ``$skip``; listings are split by date long before it."""
    slow_count: bool | None = None
    """Whether ``$count`` slows down a page request."""
    spellings: tuple[tuple[str, str, str], ...] = ()
    """Values that it spells differently: the rule key, the value at NOA, the value here. They are
    suggested if a query matches nothing, and never substituted automatically."""
    checksums: tuple[str, ...] = ()
    """Checksum algorithms of its entries, as in ``Checksum.algorithm``; the strongest is used."""
    token_life: float | None = None
    """Lifetime of access tokens in seconds; each token response states it."""
    refresh_life: float | None = None
    """Lifetime of refresh tokens in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service: its URLs, client id and limits. The defaults are NOA's.

    Select another one by name (``Service.named``) or specify its URLs. Change single fields of a
    named service with ``dataclasses.replace``.

    >>> Service(catalogue_url="https://mirror.example/odata/v1").catalogue_url
    'https://mirror.example/odata/v1/Products'
    """

    catalogue_url: str = "https://sentinels.space.noa.gr/catalogue/odata/v1/Products"
    """URL of the products in the catalogue, ``.../Products``. The service root, ``.../odata/v1``,
    is accepted, too: see ``catalogue_address``."""
    token_url: str = (
        "https://sentinels.space.noa.gr/auth/realms/mirror/protocol/openid-connect/token"  # noqa: S105 (an address)
    )
    """URL of Keycloak's token endpoint, which includes the realm."""
    client_id: str = "mirror-client"
    """OAuth client id."""
    download_hosts: frozenset[str] = frozenset()
    """Hosts of the service to which downloads are redirected and which need the token."""
    trusted_hosts: frozenset[str] = frozenset()
    """Further hosts, set by the user, that receive the token after a redirect (``host[:port]``)."""
    page_size: int = 50
    """Entries per page; larger pages are slower at NOA."""
    order_ties: bool = True
    """Whether listings are also sorted by ``Id`` if times are equal; if the service rejects that,
    the request is repeated without it."""
    max_url_length: int = 8000
    """Maximum length of a URL in bytes; a query that needs a longer one is rejected before anything
    is sent. Web servers accept about 8 kB by default."""
    expand: str = "Attributes"
    """The value of ``$expand`` that requests the attributes of products."""
    quota: Quota = field(default_factory=Quota)
    """The quota per account."""
    habits: Habits = field(default_factory=Habits)
    """Other known characteristics."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "catalogue_url", catalogue_address(self.catalogue_url))

    @property
    def token_hosts(self) -> frozenset[str]:
        """Hosts, besides that of the catalogue, that receive the token after a redirect."""
        return self.download_hosts | self.trusted_hosts

    @classmethod
    def named(cls, name: str) -> Service:
        """Return the service of ``SERVICES`` with this name, ignoring case.

        Raise SettingsError if there is none.

        >>> Service.named("cdse").client_id
        'cdse-public'
        """
        if not isinstance(name, str):
            raise TypeError("it must be a string")
        service = SERVICES.get(name.strip().lower())
        if service is not None:
            return service
        from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

        near = get_close_matches(name.strip().lower(), SERVICES, n=1)
        known = f"Did you mean {near[0]}?" if near else f"Known services: {', '.join(SERVICES)}."
        raise SettingsError(
            f"Unknown service {name!r:.40}.",
            hint=f"{known} Specify any other service by its catalogue and token URLs.",
        )


SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "noa": Service(habits=Habits(token_life=300.0)),
        "cdse": Service(
            catalogue_url="https://catalogue.dataspace.copernicus.eu/odata/v1/Products",
            token_url="https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",  # noqa: S106 (an address)
            client_id="cdse-public",
            download_hosts=frozenset({"download.dataspace.copernicus.eu"}),
            page_size=200,
            quota=Quota(connections=4, rate=20e6, volume=12e12, sessions=100),
            habits=Habits(
                most_top=1000,
                most_skip=10_000,
                slow_count=True,
                spellings=(("polarisation", "VV,VH", "VV&VH"), ("polarisation", "HH,HV", "HH&HV")),
                checksums=("md5", "blake3"),
                token_life=600.0,
                refresh_life=3600.0,
            ),
        ),
    }
)
"""The known services by name; the first is the default."""


class Source(StrEnum):
    """The source of a value."""

    READ = "R"
    """Read in NOA's own reference client or its README."""
    DOCUMENTED = "C"
    """Published by the service or the developers of its software."""
    OURS = "ours"
    """Chosen here."""


SOURCES: Mapping[str, Mapping[str, Source]] = MappingProxyType(
    {
        "noa": {
            "catalogue_url": Source.READ,
            "token_url": Source.READ,
            "client_id": Source.READ,
            "page_size": Source.READ,
            "order_ties": Source.OURS,
            "max_url_length": Source.OURS,
            "expand": Source.DOCUMENTED,
            "habits.token_life": Source.READ,
        },
        "cdse": {
            "catalogue_url": Source.DOCUMENTED,
            "token_url": Source.DOCUMENTED,
            "client_id": Source.DOCUMENTED,
            "download_hosts": Source.DOCUMENTED,
            "page_size": Source.OURS,
            "order_ties": Source.OURS,
            "max_url_length": Source.OURS,
            "expand": Source.DOCUMENTED,
            "quota.connections": Source.DOCUMENTED,
            "quota.rate": Source.DOCUMENTED,
            "quota.volume": Source.DOCUMENTED,
            "quota.sessions": Source.DOCUMENTED,
            "habits.most_top": Source.DOCUMENTED,
            "habits.most_skip": Source.DOCUMENTED,
            "habits.slow_count": Source.DOCUMENTED,
            "habits.spellings": Source.DOCUMENTED,
            "habits.checksums": Source.DOCUMENTED,
            "habits.token_life": Source.DOCUMENTED,
            "habits.refresh_life": Source.DOCUMENTED,
        },
    }
)
"""For each service, the source of each value, by the field path in ``Service``."""
