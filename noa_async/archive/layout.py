"""Where a product lies under the output folder: flat, by date, or by a template of its fields."""

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
"""The fields that are told by an attribute of the catalogue, or else by the name."""
_DATES = ("year", "month", "day")
_FIELDS = (*ATTRIBUTES, *_DATES, "name")

# What the missions' names tell. Those of Sentinel-1 and 5P hold the absolute orbit, not this one.
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
    """A rule that gives each product its path; make one with ``Layout.parse``.

    >>> Layout.parse("date").template
    '{year}/{month}/{day}/{name}'
    """

    template: str
    """Folders and file name, with the fields in braces."""
    fields: tuple[str, ...]
    """The fields in it, each once."""

    @property
    def needs_attributes(self) -> bool:
        """Whether a field may need what only the catalogue's attributes tell."""
        return not ATTRIBUTES.keys().isdisjoint(self.fields)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``flat``, ``date`` or a template of fields, and check it.

        Raises SettingsError saying what cannot be.

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
            raise _cannot_be(text, "has no {name} in its last part: products would share a file")
        return cls(template, tuple(dict.fromkeys(field for part in used for field in part)))

    def path(self, product: Product, name: str) -> PurePosixPath:
        """Where ``product`` lies, from the output folder; ``name`` is its file's name.

        Every part is made safe. What is not known of the product is ``unknown``. A last part that
        grows too long is the name alone, which is never cut to make room for other fields.
        """
        return PurePosixPath(self.text(product, name))

    def text(self, product: Product, name: str) -> str:
        """``path`` as text: a path costs more than all else that is done for it."""
        values = {"name": safe_name(name, product.id)}
        if self.template == "{name}":  # flat: asked for every product, and made safe already
            return values["name"]
        for field in self.fields:
            values[field] = values.get(field) or _value(product, field) or _UNKNOWN
        filled = [part.format_map(values) for part in self.template.split("/")]
        if len(filled[-1].encode()) > LONGEST:
            filled[-1] = values["name"]
        return "/".join(safe_name(part, _UNKNOWN) for part in filled)


def _fields_of(part: str, text: str) -> list[str]:
    """The fields of one part of the template ``text``. Raises SettingsError."""
    try:
        pieces = list(string.Formatter().parse(part))
    except ValueError:
        raise _cannot_be(text, "has a brace with no partner") from None
    fields = [field for _, field, _, _ in pieces if field is not None]
    for field in fields:
        if field not in _FIELDS:
            near = difflib.get_close_matches(field.lower(), _FIELDS, n=1, cutoff=0.5)
            known = ", ".join(f"{{{name}}}" for name in _FIELDS)
            hint = f"Did you mean {{{near[0]}}}?" if near else f"There are {known}."
            raise SettingsError(f"A layout has no field {{{field}}}.", hint=hint)
    if any(spec or conversion for _, _, spec, conversion in pieces):
        raise _cannot_be(text, "formats a field: fields are written plainly")
    if not part:
        raise _cannot_be(text, "begins or ends with a slash, or has two together")
    if part.startswith("."):
        raise _cannot_be(text, f"has the part {part!r}, which begins with a dot")
    filled = "".join(literal + ("x" if field else "") for literal, field, _, _ in pieces)
    if safe_name(filled, "") != filled:
        raise _cannot_be(text, f"has the part {part!r}, which not every file system takes")
    return fields


def _cannot_be(text: str, why: str) -> SettingsError:
    return SettingsError(f"The layout {text!r} {why}.", hint=_EXAMPLE)


def _value(product: Product, field: str) -> str:
    """A field of the product, from its attributes or else its name; empty where unknown."""
    if field in _DATES:
        start = product.sensing_start
        day = start.astimezone(UTC).date().isoformat() if start else ""
        return day.split("-")[_DATES.index(field)] if day else ""
    held = product.attributes.get(ATTRIBUTES[field])
    text = "" if held is None or isinstance(held, bool) else str(held).strip()
    return _tidy(field, text or _told_by_name(product.name).get(field) or "")


def facets(product: Product) -> dict[str, str]:
    """What every field of ``ATTRIBUTES`` is for a product; empty where unknown.

    >>> from noa_async.catalogue.product import Product
    >>> facets(Product("1", "S2A_MSIL2A_20260112T092321_N0511_R093_T34SGH_20260112T131502.SAFE"))
    {'platform': 'SENTINEL-2', 'product_type': 'S2MSI2A', 'level': 'L2A', 'tile': '34SGH', \
'orbit': '093'}
    """
    return {field: _value(product, field) for field in ATTRIBUTES}


@lru_cache(maxsize=8)
def _told_by_name(name: str) -> dict[str, str | None]:
    for platform, pattern in _NAMES:
        found = pattern.match(name)
        if found:
            return found.groupdict() | {"platform": platform}
    return {}


@lru_cache(maxsize=4096)  # the same few for all products
def _tidy(field: str, text: str) -> str:
    """One way of writing what missions write differently: ``LEVEL1``, ``S2MSI2A``, ``1``, ``L1b``.

    >>> _tidy("level", "LEVEL1"), _tidy("level", "S2MSI2A"), _tidy("orbit", "7")
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
"""All products beside each other: what a folder has where nothing else was asked for."""
PLAIN = (FLAT, Layout.parse("date"))
"""Where a product is looked for when no ledger knows of it."""
