"""The mirrors that are known by name: addresses, limits and habits, as data.

No code asks which service it is; what differs from one to the next is a field here. Where each
figure is from stands in ``SOURCES``, and with it in ``docs/services.md``. None was tried against a
live service.
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
    """Return the address of the entity set ``Products``, from any address of the service.

    | given                                                       | taken as               |
    |-------------------------------------------------------------|------------------------|
    | the service's root, ``.../odata/v1``, with ``/`` or without | ``.../odata/v1`` + set |
    | its ``$metadata``                                           | the same               |
    | the entity set in any letter case, with ``/`` or without    | the set                |
    | a product of it, its ``$value``, its ``$count``             | the set                |
    | any of these with a query or fragment                       | without them           |
    | any other path, such as another entity set                  | as it is, without them |

    >>> catalogue_address("https://mirror.example/odata/v1/")
    'https://mirror.example/odata/v1/Products'
    >>> catalogue_address("https://mirror.example/odata/v1/products?$top=1#x")
    'https://mirror.example/odata/v1/Products'
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # such as a bracket without its pair: the first request says so
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
    """What a service allows an account, as far as it is published; None is not published."""

    connections: int | None = None
    """Downloads at the same time. More workers are told that the service may refuse some."""
    rate: float | None = None
    """Bytes a second of each connection."""
    volume: float | None = None
    """Bytes in the last 30 days."""
    sessions: int | None = None
    """Log-ins that are open at the same time. A run is one: it refreshes its token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What is known of a service and decides nothing here: no run relies on it.

    None or empty is not known.
    """

    most_top: int | None = None
    """The largest ``$top``."""
    most_skip: int | None = None
    """The largest ``$skip``; listings are cut by date long before it."""
    slow_count: bool | None = None
    """Whether ``$count`` slows a page down."""
    spellings: tuple[tuple[str, str, str], ...] = ()
    """Values that it writes in its own way: a rule's key, the value at NOA, and here. They are
    offered where a query matches nothing, and not sent unasked."""
    checksums: tuple[str, ...] = ()
    """Algorithms of an entry's checksums, as in ``Checksum.algorithm``; the strongest is taken."""
    token_life: float | None = None
    """Seconds; the service says it with each token."""
    refresh_life: float | None = None
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A mirror: where it is, what it calls us, what it allows. NOA's own by default.

    Another one is named (``Service.named``), or given by its addresses alone; of a named one single
    fields can be replaced (``dataclasses.replace``).

    >>> Service(catalogue_url="https://mirror.example/odata/v1").catalogue_url
    'https://mirror.example/odata/v1/Products'
    """

    catalogue_url: str = "https://sentinels.space.noa.gr/catalogue/odata/v1/Products"
    """The product list, ``.../Products``. The service's root, ``.../odata/v1``, is taken too: see
    ``catalogue_address``."""
    token_url: str = (
        "https://sentinels.space.noa.gr/auth/realms/mirror/protocol/openid-connect/token"  # noqa: S105 (an address)
    )
    """Keycloak's token endpoint; the realm is a part of it."""
    client_id: str = "mirror-client"
    """What the token service calls programs such as this one."""
    download_hosts: frozenset[str] = frozenset()
    """Hosts of the service's own that products are redirected to and that need the token."""
    trusted_hosts: frozenset[str] = frozenset()
    """Further hosts, the user's, that get the token after a redirect (``host[:port]``)."""
    page_size: int = 50
    """Entries asked for at once; larger pages are slower at NOA."""
    order_ties: bool = True
    """Whether lists are asked for by ``Id`` too where instants are equal; a service that refuses
    that is asked without."""
    max_url_length: int = 8000
    """Bytes of the longest address that is sent; a query that needs a longer one is refused before
    anything is sent. Web servers take some 8 kB, unless they are set up for more."""
    expand: str = "Attributes"
    """What ``$expand`` is given to bring a product's attributes."""
    quota: Quota = field(default_factory=Quota)
    """What it allows an account."""
    habits: Habits = field(default_factory=Habits)
    """What else is known of it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "catalogue_url", catalogue_address(self.catalogue_url))

    @property
    def token_hosts(self) -> frozenset[str]:
        """Hosts beside the catalogue's own that get the token after a redirect."""
        return self.download_hosts | self.trusted_hosts

    @classmethod
    def named(cls, name: str) -> Service:
        """One of ``SERVICES`` by its name; letter case does not matter.

        Raises SettingsError for a name that is none.

        >>> Service.named("cdse").client_id
        'cdse-public'
        """
        if not isinstance(name, str):
            raise TypeError("it must be a text")
        service = SERVICES.get(name.strip().lower())
        if service is not None:
            return service
        from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

        near = get_close_matches(name.strip().lower(), SERVICES, n=1)
        known = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(SERVICES)}."
        raise SettingsError(
            f"There is no service {name!r:.40}.",
            hint=f"{known} Any other is given by its catalogue and token addresses.",
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
"""By name; the first is the default."""


class Source(StrEnum):
    """Where a figure is from."""

    READ = "R"
    """Read in NOA's own reference client or its README."""
    DOCUMENTED = "C"
    """Published by the service, or by the makers of its software."""
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
"""For each service, where each figure that it has is from; by its place in ``Service``."""
