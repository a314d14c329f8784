"""The mirrors that are known by name: addresses, limits and habits, as data.

No code asks which service it is; what differs from one to the next is a field here. Where each
figure is from stands in ``SOURCES``, and with it in ``docs/services.md``. None was tried against a
live service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    """

    catalogue_url: str = "https://sentinels.space.noa.gr/catalogue/odata/v1/Products"
    """The product list, ``.../Products``."""
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
    expand: str = "Attributes"
    """What ``$expand`` is given to bring a product's attributes."""
    quota: Quota = field(default_factory=Quota)
    """What it allows an account."""
    habits: Habits = field(default_factory=Habits)
    """What else is known of it."""

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
            "expand": Source.DOCUMENTED,
            "habits.token_life": Source.READ,
        },
        "cdse": {
            "catalogue_url": Source.DOCUMENTED,
            "token_url": Source.DOCUMENTED,
            "client_id": Source.DOCUMENTED,
            "download_hosts": Source.DOCUMENTED,
            "page_size": Source.OURS,
            "expand": Source.DOCUMENTED,
            "quota.connections": Source.DOCUMENTED,
            "quota.rate": Source.DOCUMENTED,
            "quota.volume": Source.DOCUMENTED,
            "quota.sessions": Source.DOCUMENTED,
            "habits.most_top": Source.DOCUMENTED,
            "habits.most_skip": Source.DOCUMENTED,
            "habits.slow_count": Source.DOCUMENTED,
            "habits.checksums": Source.DOCUMENTED,
            "habits.token_life": Source.DOCUMENTED,
            "habits.refresh_life": Source.DOCUMENTED,
        },
    }
)
"""For each service, where each figure that it has is from; by its place in ``Service``."""
