"""Links from one page of the catalogue to the next. Pure."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

from noa_async.catalogue.recent import Recent
from noa_async.errors import ServiceFault
from noa_async.origins import host_of, same_origin

REMEMBERED = 20_000
_SENDABLE = "".join(map(chr, range(0x21, 0x7F)))
_FRUITLESS = 20


def next_address(url: str, link: str, home: str) -> str:
    """Return the address that the link of the page at ``url`` leads to.

    | the link leads to                              | asked is                                |
    |------------------------------------------------|-----------------------------------------|
    | the origin of the entity set ``home``          | the link, as it is                      |
    | another, with the entity set's own path: a     | its query, as it is, of the entity set  |
    | proxy in front changes scheme, port or name    |                                         |
    | another, with another path                     | nothing                                 |

    The query is sent byte for byte; only what no address may hold, such as a space, is encoded.
    Raise ServiceFault for the last row, and if the link is no address.

    >>> home = "https://mirror.example/odata/v1/Products"
    >>> next_address(home + "?$top=50", "http://inner:8080/odata/v1/Products?$skip=50&a='b'", home)
    "https://mirror.example/odata/v1/Products?$skip=50&a='b'"
    >>> next_address(home + "?$top=50", "?$skip=50", home)
    'https://mirror.example/odata/v1/Products?$skip=50'
    """
    link = quote(link.strip(), safe=_SENDABLE)
    try:
        address = urljoin(url, link)
        parts = urlsplit(address)
    except ValueError:
        raise ServiceFault(
            f"The catalogue's link to its next page is no address: {link:.100}."
        ) from None
    if parts.scheme in {"http", "https"} and _is_at(address, home):
        return address.partition("#")[0]
    own_path = unquote(urlsplit(home).path)
    if unquote(parts.path).rstrip("/") == own_path:
        _, mark, query = link.partition("#")[0].partition("?")
        return f"{home}{mark}{query}"
    raise ServiceFault(
        f"The catalogue's next page is on another host, {host_of(address) or address:.100}, and "
        f"not at {own_path}: it is not asked for.",
        hint="Check the catalogue's address; what was listed before is right.",
    )


def _is_at(address: str, home: str) -> bool:
    """Return whether an address is on the origin of ``home``, and names no account."""
    return same_origin(address, home) and "@" not in urlsplit(address).netloc


class Links:
    """The addresses asked for one after the other, so that none leads in a circle."""

    def __init__(self, first: str) -> None:
        self._met = Recent(REMEMBERED, [first])
        self._fruitless = 0

    def __contains__(self, url: str) -> bool:
        return url in self._met

    def add(self, url: str) -> bool:
        """Return whether an address is new, and remember it."""
        return self._met.add(url)

    def lead_on(self, new: int) -> bool:
        """Return whether to follow the next link, after a page with ``new`` new products.

        A few pages that hold nothing new may be followed by others that do; twenty in a row are
        an endless list.
        """
        self._fruitless = 0 if new else self._fruitless + 1
        return self._fruitless < _FRUITLESS


def endless_list() -> ServiceFault:
    """Return the error for pages that lead nowhere."""
    return ServiceFault(
        "The catalogue's pages lead in a circle.",
        hint="What was listed before is right. Ask for a shorter time.",
    )
