"""Shell completion of rules, layouts and places. Pure functions; fast to import."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from noa_async.catalogue.known import PLATFORMS, PRODUCT_TYPES, VALUES

if TYPE_CHECKING:
    import click

_LAST_PIECE = re.compile(r"(?:[^\\,]|\\.)*$", re.DOTALL)
_KEYS = (*VALUES, "product_type", "level", "cloud_min", "cloud_max")


def rules(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Complete a rule: a key followed by ``=``, or a value of the key.

    >>> rules(None, None, "platform=SENTINEL-2,product_type=S2MSI2")
    ['platform=SENTINEL-2,product_type=S2MSI2A']
    >>> rules(None, None, "or"), rules(None, None, "orbit=ASCENDING|D")
    (['orbit='], ['orbit=ASCENDING|DESCENDING'])
    """
    found = _LAST_PIECE.search(word)
    assert found is not None  # it may be empty
    before, piece = word[: found.start()], found[0]
    key, equals, value = piece.partition("=")
    if not equals:
        taken = re.findall(r"(?:^|,)(\w+)=", before)
        offered = [f"{each}=" for each in _KEYS if each not in taken]
    else:
        chosen = value.rpartition("|")[0]
        lead = f"{key}={chosen}|" if chosen else f"{key}="
        offered = [lead + each.replace(",", "\\,") for each in _values(key, before)]
    return [before + each for each in offered if each.startswith(piece)]


def _values(key: str, before: str) -> tuple[str, ...]:
    if key != "product_type":
        return VALUES.get(key, ())
    named = re.search(r"(?:^|,)platform=([^,]*)", before)
    asked = named[1].split("|") if named else PLATFORMS
    return tuple(kind for one in asked for kind in PRODUCT_TYPES.get(one, ()))


def layouts(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Complete the name of a layout, or the next field of a template."""
    from noa_async.archive.layout import ATTRIBUTES  # noqa: PLC0415 (not for other words)

    before, brace, begun = word.rpartition("{")
    if brace and "}" not in begun:
        fields = (*ATTRIBUTES, "year", "month", "day", "name")
        return [f"{before}{{{field}}}" for field in fields if field.startswith(begun)]
    return [name for name in ("flat", "date") if name.startswith(word)]


def places(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Complete a place name of the gazetteer, in Greek if the word contains Greek letters."""
    from noa_async.catalogue.gazetteer import places as all_of_them  # noqa: PLC0415

    greek = not word.isascii()
    names = [place.names[1 if greek else 0] for place in all_of_them()]
    begun = word.casefold()
    return [name for name in ["everywhere", *names] if name.casefold().startswith(begun)]


def missions(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Complete a comma-separated list of missions.

    >>> missions(None, None, "S1,S2")
    ['S1,S2']
    """
    before, comma, begun = word.rpartition(",")
    short = [f"S{platform.rpartition('-')[2]}" for platform in PLATFORMS]
    offered = short if comma else [*short, "all"]
    return [f"{before}{comma}{name}" for name in offered if name.startswith(begun)]


def removals(_context: click.Context, _parameter: click.Parameter, word: str) -> list[str]:
    """Complete the value of --on-removed."""
    return [name for name in ("keep", "delete") if name.startswith(word)]
