"""Parse a catalogue entry into a `Product`; only an id and a name are required."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, Self, TypeGuard

from noa_async.catalogue.footprint import read_footprint
from noa_async.catalogue.times import read_instant
from noa_async.errors import ServiceFault

_SAFE_ID = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}")
_HEX = re.compile(r"[0-9a-f]{8,128}")
_ALGORITHM = re.compile(r"[a-z0-9][a-z0-9._/-]{0,31}")
_NOT_ALNUM = re.compile(r"[^a-z0-9]")
_LARGEST = 2**63 - 1  # what a file system, HTTP header or SQLite column can hold
_LARGEST_SIZE = 1 << 50
"""Bytes: no product has a petabyte, and sums of many sizes must stay within what SQLite adds up."""

_HEX_DIGITS = {
    "md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128,
    "sha3-224": 56, "sha3-256": 64, "sha3-384": 96, "sha3-512": 128,
    "blake2s": 64, "blake2b": 128, "blake3": 64,
}  # fmt: skip
_BY_LETTERS = {_NOT_ALNUM.sub("", name): name for name in _HEX_DIGITS}

_SCALARS = frozenset({str, int, bool})
_LISTS = (list, tuple)

AttributeValue = str | float | int | bool


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum in a form that can be compared.

    >>> str(Checksum.read("SHA-256", "AB" * 32))[:13]
    'sha256:ababab'
    """

    algorithm: str
    """``md5``, ``sha1``, ``sha256``, ``sha512``, ``sha3-256``, ``blake3``, ...; lower case."""
    value: str
    """Lower-case hexadecimal digits, of the length that the algorithm has."""

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    @classmethod
    def read(cls, algorithm: object, value: object) -> Self | None:
        """Parse a checksum as a server writes it. Return ``None`` if nothing can be compared with
        it."""
        if not isinstance(algorithm, str) or not isinstance(value, str):
            return None
        name, digits = _algorithm(algorithm), value.strip().lower()
        length = len(digits)
        right_length = name and length == _HEX_DIGITS.get(name, length) and length % 2 == 0
        return cls(name, digits) if right_length and _HEX.fullmatch(digits) else None


@dataclass(frozen=True, slots=True)
class Product:
    """One product of the catalogue. Times are aware and in UTC; ``None`` means that the service
    does not say.

    >>> product = Product.from_entry({"Id": "0a5c8f2e", "Name": "S2A.SAFE", "ContentLength": "12"})
    >>> product.size, product.checksums, product.online
    (12, (), True)
    """

    id: str
    """The catalogue's key (``Id``); safe as a file name."""
    name: str
    """The server's name, unchanged (``Name``). Sanitize it before you use it as a file name."""
    size: int | None = None
    """Size in bytes by the catalogue; HTTP may say otherwise (``ContentLength``; 0, or more than a
    petabyte, counts as unknown)."""
    checksums: tuple[Checksum, ...] = ()
    """The checksums that can be compared, in the server's order (``Checksum`` or ``Checksums``)."""
    content_type: str | None = None
    """Media type (``ContentType``, else ``@odata.mediaContentType``)."""
    online: bool = True
    """Whether it can be downloaded now; true if the server does not say (``Online``)."""
    published: datetime | None = None
    """When it was added to the catalogue (``PublicationDate``)."""
    modified: datetime | None = None
    """When the catalogue last changed it (``ModificationDate``)."""
    sensing_start: datetime | None = None
    """Start of the measurement (``ContentDate/Start``)."""
    sensing_end: datetime | None = None
    """End of the measurement (``ContentDate/End``)."""
    evicted: datetime | None = None
    """When the server deletes it; ``None`` also for the year 9999, which means never
    (``EvictionDate``)."""
    footprint: str | None = None
    """WKT in degrees, longitude first (``Footprint``, else ``GeoFootprint``)."""
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict, hash=False)
    """Attributes by name, values unchanged (``Attributes``; present with
    ``$expand=Attributes``)."""
    entry: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The whole entry, as the server sent it."""

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Self:
        """Parse one item of a page's ``value`` list.

        Raise `ServiceFault` if there is no usable ``Id`` or ``Name``. Any other field that is
        missing or malformed is left out.
        """
        if not _is_object(entry):
            raise ServiceFault(f"The catalogue sent {_shown(entry)} in place of a product.")
        get = entry.get
        key, name = get("Id"), get("Name")
        if type(key) is int:
            key = str(key) if 0 <= key <= _LARGEST else None
        if not isinstance(key, str) or not _SAFE_ID.fullmatch(key):
            raise ServiceFault(f"The catalogue sent a product with an unusable Id: {_shown(key)}.")
        if not isinstance(name, str) or not name.strip():
            raise ServiceFault(f"The catalogue sent product {key} with no Name: {_shown(name)}.")
        sensing = get("ContentDate")
        if not _is_object(sensing):
            sensing = {}
        evicted = read_instant(get("EvictionDate"))
        return cls(
            id=key,
            name=name,
            size=_size(get("ContentLength")),
            checksums=_checksums(get("Checksum"), get("Checksums")),
            content_type=_text(get("ContentType")) or _text(get("@odata.mediaContentType")),
            online=_online(get("Online")),
            published=read_instant(get("PublicationDate")),
            modified=read_instant(get("ModificationDate")),
            sensing_start=read_instant(sensing.get("Start")),
            sensing_end=read_instant(sensing.get("End")),
            evicted=None if evicted and evicted.year == 9999 else evicted,
            footprint=read_footprint(get("Footprint")) or read_footprint(get("GeoFootprint")),
            attributes=_attributes(get("Attributes")),
            entry=entry,
        )


@lru_cache(maxsize=64)
def _algorithm(text: str) -> str:
    name = text.strip().lower()
    name = _BY_LETTERS.get(_NOT_ALNUM.sub("", name), name)
    return name if _ALGORITHM.fullmatch(name) else ""


def _shown(value: object) -> str:
    if isinstance(value, str | int | float | None):
        text = ascii(value[:80] if isinstance(value, str) else value)
        return text if len(text) <= 100 else f"{text[:97]}..."
    return f"a {type(value).__name__}"


def _text(value: object) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def _size(value: object) -> int | None:
    if isinstance(value, str):
        digits = value.strip()
        value = int(digits) if len(digits) < 20 and digits.isascii() and digits.isdigit() else None
    elif isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= _LARGEST_SIZE else None


def _online(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in {"false", "0", "no"}
    return value is None or bool(value)


def _is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    return type(value) is dict or isinstance(value, Mapping)  # the first test is much faster


def _items(value: object) -> Iterable[Mapping[str, Any]]:
    if value is None:
        return ()
    if isinstance(value, _LISTS):
        return [item for item in value if _is_object(item)]
    return (value,) if _is_object(value) else ()


def _checksums(*sources: object) -> tuple[Checksum, ...]:
    read = [
        checksum
        for source in sources
        for item in _items(source)
        if (checksum := Checksum.read(item.get("Algorithm"), item.get("Value")))
    ]
    return tuple(read) if len(read) < 2 else tuple(dict.fromkeys(read))


def _attributes(value: object) -> dict[str, AttributeValue]:
    read: dict[str, AttributeValue] = {}
    for item in _items(value):
        name, held = item.get("Name"), item.get("Value")
        kind = type(held)
        if type(name) is str and (kind in _SCALARS or (kind is float and math.isfinite(held))):  # type: ignore[arg-type]
            read[name] = held  # type: ignore[assignment]
    return read
