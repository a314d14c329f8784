"""Look up the bounding boxes of Greek regions and of countries by name."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from noa_async.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees; a box with west greater than east crosses the
antimeridian."""

_MOST_NEAR = 4
_SHORTEST_PIECE = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A region or a country."""

    names: tuple[str, ...]
    """The English name, the Greek name, then any other names."""
    boxes: tuple[Box, ...]
    """The largest first; parts far from each other have boxes of their own."""

    @property
    def name(self) -> str:
        """The English and the Greek name."""
        return f"{self.names[0]} ({self.names[1]})"


def find_place(name: str) -> Place:
    """Return the place with a name in Latin or Greek letters, or with a country code.

    Letter case, accents and punctuation are ignored. Raise `QueryError`, which suggests similar
    names, for an unknown name.

    >>> find_place("κρητη").name, find_place("CRETE").boxes
    ('Crete (Κρήτη)', ((23.5, 34.75, 26.35, 35.7),))
    """
    places = _places()
    found = places.get(_key(name))
    if found is None:
        near = _near(_key(name), places)
        hint = (
            f"Did you mean {' or '.join(near)}?"
            if near
            else "It contains the 13 regions of Greece, such as Crete, and all countries."
        )
        raise QueryError(f"The gazetteer does not contain {name!r:.80}.", hint=hint)
    return found


def places() -> tuple[Place, ...]:
    """Return all places: the regions of Greece, then the countries by name."""
    return tuple(dict.fromkeys(_places().values()))


@cache
def _places() -> Mapping[str, Place]:
    text = resources.files(__package__).joinpath("gazetteer.json").read_text("utf-8")
    document = json.loads(text)
    found: dict[str, Place] = {}
    for names, boxes in document["regions"] + document["countries"]:
        place = Place(tuple(names), tuple(map(tuple, boxes)))
        for each in names:
            found.setdefault(_key(each), place)
    return found


def _key(name: str) -> str:
    """Return a name in the form in which names are compared.

    >>> _key("The Côte d'Ivoire"), _key("ΝΟΤΙΟ ΑΙΓΑΙΟ") == _key("Νότιο Αιγαίο")
    ('cote divoire', True)
    """
    plain = unicodedata.normalize("NFKD", name.casefold())
    kept = (sign if sign.isalnum() else " " if sign not in "'’." else "" for sign in plain
            if not unicodedata.combining(sign))  # fmt: skip
    return " ".join("".join(kept).split()).removeprefix("the ")


def _near(key: str, places: Mapping[str, Place]) -> list[str]:
    """Return the names that contain ``key`` at the start of a word, then those spelt similarly."""
    from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

    long = len(key) >= _SHORTEST_PIECE
    holding = [other for other in places if long and f" {key}" in f" {other}"]
    near = dict.fromkeys([*holding, *get_close_matches(key, places, cutoff=0.7)])
    return list(dict.fromkeys(places[other].names[0] for other in near))[:_MOST_NEAR]
