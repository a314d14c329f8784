"""A page of the catalogue, read from the body of an answer. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noa_async.answers import sentence_of
from noa_async.catalogue.json_text import decode, parse, split_list
from noa_async.catalogue.product import Product
from noa_async.errors import NoaError, ServiceFault
from noa_async.excerpts import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LINKS = ("@odata.nextlink", "odata.nextlink", "@nextlink")
_COUNTS = ("@odata.count", "odata.count", "@count")
_ERRORS = ("@odata.error", "odata.error", "@error", "error")
_COUNT = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the catalogue."""

    products: tuple[Product, ...]
    next_link: str | None
    count: int | None
    """All matches, if ``$count`` was asked for."""
    unreadable: tuple[str, ...] = ()
    """A sentence for each entry that is no product."""

    @property
    def entries(self) -> int:
        """How many entries the service put on the page."""
        return len(self.products) + len(self.unreadable)


def read_page(body: bytes) -> Page:
    """Return the page in a body.

    An entry that is no product costs none of the others: it is in ``Page.unreadable``. Raise
    ServiceFault if the body is no page, or if the service says within it that it broke off.
    """
    text = decode(body)
    unreadable: list[str] = []
    try:
        document = parse(text)
    except (ValueError, RecursionError):
        document = _parse_by_entry(text, unreadable)
    if not isinstance(document, dict):
        raise _not_json(text)
    entries = document.get("value")
    if not isinstance(entries, list):
        raise ServiceFault("The catalogue's answer has no list of products.")
    fields = {key.lower(): value for key, value in document.items() if key != "value"}
    if broken := _first(fields, _ERRORS):
        raise ServiceFault(f"The catalogue broke off its list{in_brackets(sentence_of(broken))}.")
    link = _first(fields, _LINKS)
    count = str(_first(fields, _COUNTS))
    return Page(
        products=_products(entries, unreadable),
        next_link=link if isinstance(link, str) else None,
        count=int(count) if _COUNT.fullmatch(count) else None,
        unreadable=tuple(unreadable),
    )


def read_entry(body: bytes) -> Product:
    """Return the product in a body. Raise ServiceFault if there is none."""
    text = decode(body)
    try:
        document = parse(text)
    except (ValueError, RecursionError):
        raise _not_json(text) from None
    if not isinstance(document, dict):
        raise _not_json(text)
    return Product.from_entry(document)


def in_brackets(said: str) -> str:
    """Return a service's own words, ready to be put behind a sentence of ours; may be empty.

    >>> in_brackets("Too many requests."), in_brackets("")
    (' (Too many requests)', '')
    """
    words = excerpt(said).rstrip(".")
    return f" ({words})" if words else ""


def _products(entries: Iterable[Any], unreadable: list[str]) -> tuple[Product, ...]:
    entries = list(entries)
    try:
        return tuple(map(Product.from_entry, entries))
    except NoaError:
        pass
    products = []
    for entry in entries:
        try:
            products.append(Product.from_entry(entry))
        except NoaError as error:
            unreadable.append(error.message)
    return tuple(products)


def _parse_by_entry(text: str, unreadable: list[str]) -> Any:
    """Return the page with the entries that can be parsed; None if it is no page."""
    parts = split_list(text, "value")
    if parts is None:
        return None
    without, items = parts
    try:
        document = parse(without)
    except (ValueError, RecursionError):
        return None
    entries = []
    for item in items:
        try:
            entries.append(parse(item))
        except (ValueError, RecursionError):
            unreadable.append(f"The catalogue sent an entry that is not JSON: {_start(item)}.")
    return document | {"value": entries} if isinstance(document, dict) else None


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the value of the first of these fields that has one."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _not_json(text: str) -> ServiceFault:
    return ServiceFault(f"The catalogue's answer is not JSON: {_start(text)}.")


def _start(text: str) -> str:
    return repr(excerpt(text[:1000], 80))
