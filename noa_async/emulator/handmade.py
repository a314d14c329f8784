"""Products by hand, for what a made catalogue would never hold."""

import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from noa_async.emulator.content import fitting_size
from noa_async.emulator.footprint import Footprint
from noa_async.emulator.product import AttributeValue, Product

_EMPTY: Mapping[str, Any] = MappingProxyType({})


def make_product(  # noqa: PLR0913 (a product has that many sides; each has a default)
    name: str = "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE.zip",
    size: int = 20_000,
    *,
    id: str | None = None,  # noqa: A002 (the catalogue's own word)
    start: datetime = datetime(2026, 1, 12, 9, 23, 21, 24_000, tzinfo=UTC),
    end: datetime | None = None,
    published: datetime | None = None,
    footprint: str | None = "POLYGON((22 38, 23 38, 23 39, 22 39, 22 38))",
    attributes: Mapping[str, AttributeValue] = _EMPTY,
    online: bool = True,
    broken_zip: bool = False,
    entry: Mapping[str, Any] = _EMPTY,
    omit: Collection[str] = (),
) -> Product:
    """A product by hand: any Name, any entry key replaced (`entry`) or left out (`omit`).

    The size is raised where the zip's own structure needs more; `footprint` is WKT. The Id,
    where none is given, follows from the name.
    """
    published = published or start + timedelta(hours=4)
    return Product(
        id=id or str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        name=name,
        size=fitting_size(name, size),
        start=start,
        end=end or start,
        published=published,
        modified=published,
        footprint=Footprint.wkt(footprint) if footprint else None,
        attributes=dict(attributes),
        online=online,
        broken_zip=broken_zip,
        entry=dict(entry),
        omit=frozenset(omit),
    )
