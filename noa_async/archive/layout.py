"""Compute the path of a product in the output folder: flat, by date, or from a template of
fields."""

from __future__ import annotations

import difflib
import re
import string
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Self

from noa_async.archive.names import LONGEST, safe_name
from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from noa_async.catalogue.product import Product

_PRESETS = {"flat": "{name}", "date": "{year}/{month}/{day}/{name}"}
_EXAMPLE = "Write it as {platform}/{year}/{month}/{name}."
_UNKNOWN = "unknown"
ATTRIBUTES = {
    "platform": "platformShortName",
    "product_type": "productType",
    "level": "processingLevel",
    "tile": "tileId",
    "orbit": "relativeOrbitNumber",
}
"""Fields taken from an attribute of the catalogue, or else from the product's name."""
_DATES = ("year", "month", "day")
_FIELDS = (*ATTRIBUTES, *_DATES, "name")

# What the names contain by mission. Names of Sentinel-1 and 5P have the absolute orbit, not the
# relative one.
_CONVENTIONS = {
    "SENTINEL-1": r"S1[A-Z]_"
    r"(?:(?P<product_type>[A-Z0-9]{2}_[A-Z]{3}[A-Z_]_(?P<level>\d)[A-Z])[A-Z]{2}_)?",
    "SENTINEL-2": r"S2[A-Z]_(?:(?P<product_type>MSI(?P<level>L\d[A-Z]))_)?"
    r"(?:\d{8}T\d{6}_N\d{4}_R(?P<orbit>\d{3})_T(?P<tile>\d{2}[A-Z]{3})_)?",
    "SENTINEL-3": r"S3[A-Z_]_(?:(?P<product_type>[A-Z]{2}_(?P<level>\d)_[A-Z0-9_]{6})_)?"
    r"(?:(?:\d{8}T\d{6}_){3}\d{4}_\d{3}_(?P<orbit>\d{3})_)?",
    "SENTINEL-5P": r"S5P_"
    r"(?:[A-Z]{4}_(?P<product_type>(?P<level>L\d[A-Z]?)_{1,2}[A-Z0-9_]{6})_\d{8}T)?",
}
_NAMES = [(platform, re.compile(pattern)) for platform, pattern in _CONVENTIONS.items()]
_LEVEL = re.compile(r"(?:LEVEL-?|S2MSI|L)?(\d[A-Z]{0,2})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """A rule for the path of each product; create one with ``Layout.parse``.

    >>> Layout.parse("date").template
    '{year}/{month}/{day}/{name}'
    """

    template: str
    """Folders and file name, with the fields in braces."""
    fields: tuple[str, ...]
    """The fields used, without repetitions."""

    @property
    def needs_attributes(self) -> bool:
        """Whether a field may need attributes of the catalogue."""
        return not ATTRIBUTES.keys().isdisjoint(self.fields)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse and validate ``flat``, ``date`` or a template of fields.

        Raise SettingsError, which says what is wrong.

        >>> Layout.parse("{platfrom}/{name}")
        Traceback (most recent call last):
        noa_async.errors.SettingsError: A layout has no field {platfrom}. Did you mean {platform}?
        """
        template = _PRESETS.get(text, text)
        if "{" not in template and "}" not in template:
            near = difflib.get_close_matches(text, _PRESETS, n=1)
            raise SettingsError(
                f"The layout {text!r} is neither flat, date nor a template.",
                hint=f"Did you mean {near[0]}?" if near else _EXAMPLE,
            )
        used = [_fields_of(part, text) for part in template.split("/")]
        if "name" not in used[-1]:
            raise _invalid(text, "has no {name} in its last part: products would share a file")
        return cls(template, tuple(dict.fromkeys(field for part in used for field in part)))

    def path(self, product: Product, name: str) -> PurePosixPath:
        """Return the path of ``product`` relative to the output folder; ``name`` is its file name.

        Every part is made a safe file name. Unknown fields become ``unknown``. If the last part
        gets too long, it is the name alone, which is never truncated to make room for other fields.
        """
        return PurePosixPath(self.text(product, name))

    def text(self, product: Product, name: str) -> str:
        """Return ``path`` as text, because creating a path object is slow."""
        values = {"name": safe_name(name, product.id)}
        if self.template == "{name}":  # flat; already made safe
            return values["name"]
        for field in self.fields:
            values[field] = values.get(field) or _value(product, field) or _UNKNOWN
        filled = [part.format_map(values) for part in self.template.split("/")]
        if len(filled[-1].encode()) > LONGEST:
            filled[-1] = values["name"]
        return "/".join(safe_name(part, _UNKNOWN) for part in filled)


def _fields_of(part: str, text: str) -> list[str]:
    """Return the fields of one part of the template ``text``. Raise SettingsError if it is
    invalid."""
    try:
        pieces = list(string.Formatter().parse(part))
    except ValueError:
        raise _invalid(text, "has an unmatched brace") from None
    fields = [field for _, field, _, _ in pieces if field is not None]
    for field in fields:
        if field not in _FIELDS:
            near = difflib.get_close_matches(field.lower(), _FIELDS, n=1, cutoff=0.5)
            known = ", ".join(f"{{{name}}}" for name in _FIELDS)
            hint = f"Did you mean {{{near[0]}}}?" if near else f"The fields are {known}."
            raise SettingsError(f"A layout has no field {{{field}}}.", hint=hint)
    if any(spec or conversion for _, _, spec, conversion in pieces):
        raise _invalid(text, "has a field with a format: write the name of the field only")
    if not part:
        raise _invalid(text, "begins or ends with a slash, or has two slashes in a row")
    if part.startswith("."):
        raise _invalid(text, f"has the part {part!r}, which begins with a dot")
    filled = "".join(literal + ("x" if field else "") for literal, field, _, _ in pieces)
    if safe_name(filled, "") != filled:
        raise _invalid(text, f"has the part {part!r}, which not every file system supports")
    return fields


def _invalid(text: str, why: str) -> SettingsError:
    return SettingsError(f"The layout {text!r} {why}.", hint=_EXAMPLE)


def _value(product: Product, field: str) -> str:
    """Return a field of the product, from its attributes or else its name; empty if unknown."""
    if field in _DATES:
        start = product.sensing_start
        day = start.astimezone(UTC).date().isoformat() if start else ""
        return day.split("-")[_DATES.index(field)] if day else ""
    held = product.attributes.get(ATTRIBUTES[field])
    text = "" if held is None or isinstance(held, bool) else str(held).strip()
    return _normalized(field, text or _fields_in_name(product.name).get(field) or "")


def facets(product: Product) -> dict[str, str]:
    """Return the value of every field of ``ATTRIBUTES`` for a product; empty if unknown.

    >>> from noa_async.catalogue.product import Product
    >>> facets(Product("1", "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE"))
    {'platform': 'SENTINEL-2', 'product_type': 'S2MSI2A', 'level': 'L2A', 'tile': '34SGH', \
'orbit': '093'}
    """
    return {field: _value(product, field) for field in ATTRIBUTES}


@lru_cache(maxsize=8)
def _fields_in_name(name: str) -> dict[str, str | None]:
    for platform, pattern in _NAMES:
        found = pattern.match(name)
        if found:
            return found.groupdict() | {"platform": platform}
    return {}


@lru_cache(maxsize=4096)  # few distinct values for all products
def _normalized(field: str, text: str) -> str:
    """Return the normal form of values that missions write differently, such as ``LEVEL1`` and
    ``L1b``.

    >>> _normalized("level", "LEVEL1"), _normalized("level", "S2MSI2A"), _normalized("orbit", "7")
    ('L1', 'L2A', '007')
    """
    if field == "level" and (found := _LEVEL.fullmatch(text)):
        return f"L{found[1].upper()}"
    if field == "product_type" and text.startswith("MSIL"):
        return f"S2MSI{text[4:]}"
    if field == "tile":
        return re.sub(r"\AT(?=\d{2}[A-Z]{3}\Z)", "", text)
    if field == "orbit" and re.fullmatch(r"[0-9]+(?:\.0)?", text):
        return text.removesuffix(".0").zfill(3)
    return text


FLAT = Layout.parse("flat")
"""The default layout: all products in one folder."""
PLAIN = (FLAT, Layout.parse("date"))
"""The layouts tried when looking for a product without a ledger."""
