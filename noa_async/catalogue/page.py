"""Parse the body of a catalogue response into a page. Pure."""

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
    """One page of a catalogue list."""

    products: tuple[Product, ...]
    next_link: str | None
    count: int | None
    """Total number of matches, if ``$count`` was requested."""
    unreadable: tuple[str, ...] = ()
    """One sentence for each entry that could not be parsed."""

    @property
    def entries(self) -> int:
        """The number of entries on the page, including those that could not be parsed."""
        return len(self.products) + len(self.unreadable)


def read_page(body: bytes) -> Page:
    """Return the page in a response body.

    An entry that cannot be parsed does not affect the others: it is reported in
    ``Page.unreadable``. Raise ServiceFault if the body is not a page, or says that the service
    stopped with an error.
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
        raise ServiceFault("The catalogue's response has no list of products.")
    fields = {key.lower(): value for key, value in document.items() if key != "value"}
    if broken := _first(fields, _ERRORS):
        raise ServiceFault(
            f"The catalogue stopped within a list{in_brackets(sentence_of(broken))}."
        )
    link = _first(fields, _LINKS)
    count = str(_first(fields, _COUNTS))
    return Page(
        products=_products(entries, unreadable),
        next_link=link if isinstance(link, str) else None,
        count=int(count) if _COUNT.fullmatch(count) else None,
        unreadable=tuple(unreadable),
    )


def read_entry(body: bytes) -> Product:
    """Return the product in a response body. Raise ServiceFault if there is none."""
    text = decode(body)
    try:
        document = parse(text)
    except (ValueError, RecursionError):
        raise _not_json(text) from None
    if not isinstance(document, dict):
        raise _not_json(text)
    return Product.from_entry(document)


def in_brackets(said: str) -> str:
    """Return a message of the service in parentheses, to be appended to a sentence; may be empty.

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
    """Return the page with the entries that can be parsed; None if it is not a page."""
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
            unreadable.append(f"The catalogue sent an entry that is not JSON: {_shortened(item)}.")
    return document | {"value": entries} if isinstance(document, dict) else None


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first non-empty value of the fields called ``names``; None if all are empty."""
    return next((fields[name] for name in names if fields.get(name) not in (None, "")), None)


def _not_json(text: str) -> ServiceFault:
    return ServiceFault(f"The catalogue's response is not JSON: {_shortened(text)}.")


def _shortened(text: str) -> str:
    return repr(excerpt(text[:1000], 80))
