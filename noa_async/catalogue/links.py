"""Validate the links from one catalogue page to the next. Pure."""

from __future__ import annotations

from urllib.parse import quote, unquote, urljoin, urlsplit

from noa_async.catalogue.recent import Recent
from noa_async.errors import ServiceFault
from noa_async.origins import host_of, same_origin

REMEMBERED = 20_000
_SENDABLE = "".join(map(chr, range(0x21, 0x7F)))
_FRUITLESS = 20


def next_address(url: str, link: str, home: str) -> str:
    """Return the URL to request for the link on the page at ``url``.

    | the link's origin     | the link's path  | requested                                 |
    |-----------------------|------------------|-------------------------------------------|
    | that of ``home``      | any              | the link, unchanged                       |
    | another one (a proxy  | that of ``home`` | ``home`` with the link's query, unchanged |
    | changed it)           |                  |                                           |
    | another one           | another one      | nothing: raises                           |

    ``home`` is the URL of the entity set. The query is sent byte for byte; only characters that a
    URL must not contain, such as spaces, are encoded. Raise ServiceFault for the last row, and if
    the link is not a URL.

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
            f"The catalogue's link to its next page is not a URL: {link:.100}."
        ) from None
    if parts.scheme in {"http", "https"} and _is_at(address, home):
        return address.partition("#")[0]
    own_path = unquote(urlsplit(home).path)
    if unquote(parts.path).rstrip("/") == own_path:
        _, mark, query = link.partition("#")[0].partition("?")
        return f"{home}{mark}{query}"
    raise ServiceFault(
        f"The catalogue's link to its next page leads to another host, "
        f"{host_of(address) or address:.100}, and another path than {own_path}: not followed.",
        hint="Check the catalogue address. The products listed so far are valid.",
    )


def _is_at(address: str, home: str) -> bool:
    """Return whether a URL has the origin of ``home`` and no user name in it."""
    return same_origin(address, home) and "@" not in urlsplit(address).netloc


class Links:
    """The URLs requested one after the other, to detect links that lead in a circle."""

    def __init__(self, first: str) -> None:
        self._seen = Recent(REMEMBERED, [first])
        self._fruitless = 0

    def __contains__(self, url: str) -> bool:
        return url in self._seen

    def add(self, url: str) -> bool:
        """Record a URL. Return whether it is new."""
        return self._seen.add(url)

    def lead_on(self, new: int) -> bool:
        """Return whether to follow the next link, after a page with ``new`` new products.

        A few pages without new products are accepted; after twenty in a row the list counts as
        endless.
        """
        self._fruitless = 0 if new else self._fruitless + 1
        return self._fruitless < _FRUITLESS


def endless_list() -> ServiceFault:
    """Return the error for links that lead in a circle."""
    return ServiceFault(
        "The catalogue's links from page to page lead in a circle.",
        hint="The products listed so far are valid. Query a shorter time range.",
    )
