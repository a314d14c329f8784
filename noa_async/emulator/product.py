"""A product of the catalogue, and the entry that the catalogue shows for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from noa_async.emulator.footprint import Footprint

AttributeValue = str | bool | int | float | datetime

_TYPES = {
    str: "String",
    bool: "Boolean",
    int: "Integer",
    float: "Double",
    datetime: "DateTimeOffset",
}


@dataclass(frozen=True, slots=True)
class Product:
    """One product: what its entry says and what its bytes are made from."""

    id: str
    name: str
    size: int
    """Bytes, as HTTP sends them."""
    start: datetime
    end: datetime
    published: datetime
    modified: datetime
    footprint: Footprint | None
    attributes: Mapping[str, AttributeValue]
    index: int = -1
    """Place of arrival in the catalogue, from 0."""
    revision: int = 0
    """Counts replacements: other revision, other bytes."""
    online: bool = True
    broken_zip: bool = False
    """The zip is broken at its source: right checksum, wrong CRC inside."""
    entry: Mapping[str, Any] = field(default_factory=dict)
    """Entry keys given by hand; they win over the made ones."""
    omit: frozenset[str] = frozenset()
    """Entry keys that are left out."""

    @property
    def raw(self) -> bool:
        """Whether the bytes are one plain file and no zip."""
        return self.name.endswith(".nc")

    @property
    def content_type(self) -> str:
        """The media type of the bytes."""
        return "application/x-netcdf" if self.raw else "application/zip"


@lru_cache(maxsize=4096)  # products of one pass share theirs
def instant(moment: datetime) -> str:
    """An instant as the catalogue writes it: UTC, milliseconds, Z."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def make_entry(
    product: Product, checksums: list[dict[str, str]], *, online: bool, attributes: bool
) -> dict[str, Any]:
    """The product as the catalogue's JSON shows it."""
    modified = instant(product.modified)
    entry: dict[str, Any] = {
        "@odata.mediaContentType": product.content_type,
        "Id": product.id,
        "Name": product.name,
        "ContentType": product.content_type,
        "ContentLength": product.size,
        "OriginDate": instant(product.published - timedelta(minutes=25)),
        "PublicationDate": instant(product.published),
        "ModificationDate": modified,
        "Online": online,
        "EvictionDate": None,
        "Checksum": [{**one, "ChecksumDate": modified} for one in checksums],
        "ContentDate": {"Start": instant(product.start), "End": instant(product.end)},
        "Footprint": product.footprint.literal if product.footprint else None,
        "GeoFootprint": product.footprint.geojson if product.footprint else None,
    }
    if attributes:
        entry["Attributes"] = [attribute(*pair) for pair in product.attributes.items()]
    entry.update(product.entry)
    for key in product.omit:
        entry.pop(key, None)
    return entry


def attribute(name: str, value: AttributeValue) -> dict[str, Any]:
    """One attribute in the form of OData.CSC."""
    kind = _TYPES[type(value)]
    shown = instant(value) if isinstance(value, datetime) else value
    return {
        "@odata.type": f"#OData.CSC.{kind}Attribute",
        "Name": name,
        "ValueType": kind,
        "Value": shown,
    }
