"""What the questions of ``init`` are answered with. Each reader raises QueryError for nonsense."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async.catalogue.gazetteer import find_place
from noa_async.catalogue.geometry import Area
from noa_async.catalogue.known import PLATFORMS
from noa_async.catalogue.moments import TimeRange
from noa_async.catalogue.rules import MissionRule
from noa_async.cli.text import number_of, shown
from noa_async.errors import QueryError

if TYPE_CHECKING:
    from datetime import date

    from noa_async.catalogue.gazetteer import Place

EVERYWHERE = "everywhere"
CLOUD_MISSION = "SENTINEL-2"
"""Of what it makes, all has a cloud cover; a limit on it drops all products that have none."""
DEFAULT_MISSION = "S2"
DEFAULT_CLOUD = "20"
_DAYS = timedelta(days=7)
_FILES = (".wkt", ".geojson", ".json")
_COORDINATES = re.compile(r"[({\[;]|^[-+.\d\s]+,")


@dataclass(frozen=True, slots=True)
class AreaAnswer:
    """Where, as it is written into the file."""

    roi: str | tuple[str, ...] | None
    """A file's name from the query file's folder, or WKT; None is everywhere."""
    words: str
    """What it is, on one line."""


@dataclass(frozen=True, slots=True)
class Answers:
    """All that was asked."""

    area: AreaAnswer
    platforms: tuple[str, ...]
    start: str | None
    """As it was given, and good; None is no limit."""
    end: str | None
    cloud_max: float | None
    """Percent; for `CLOUD_MISSION` alone."""


def read_area(text: str, folder: Path) -> AreaAnswer:
    """An area: a place's name, a file, a box, WKT; ``folder`` is where the query file will be."""
    text = text.strip()
    if text.casefold() == EVERYWHERE:
        return AreaAnswer(None, "everywhere")
    if text.lower().endswith(_FILES):
        return _file(text, folder)
    if _COORDINATES.search(text):
        return AreaAnswer(_plain(Area.read(text).parts), "as it was given")
    return _place(find_place(text))


def _file(text: str, folder: Path) -> AreaAnswer:
    Area.read(Path(text))
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (as in Area.read)
    name = text if path.is_absolute() else os.path.relpath(path, folder)
    if name[0].isspace() or name[0] == "~":  # which are not taken as they are
        name = f"./{name}"
    try:
        name.encode()
    except UnicodeEncodeError:
        raise QueryError(
            f"The name of {name!a} is not UTF-8, which a query file has to be.",
            hint="Give the file another name.",
        ) from None
    return AreaAnswer(name, f"from the file {shown(name)}")


def _place(place: Place) -> AreaAnswer:
    parts = tuple(part for box in place.boxes for part in Area.read(box).parts)
    boxes = "the box around it"
    if len(parts) > 1:
        boxes = f"{number_of(len(parts), 'box', 'boxes')} around its parts, a line each"
    return AreaAnswer(_plain(parts), f"{place.name}, {boxes}")


def _plain(parts: tuple[str, ...]) -> str | tuple[str, ...]:
    return parts[0] if len(parts) == 1 else parts


def read_missions(text: str) -> tuple[str, ...]:
    """Platforms, from names in a list with commas or spaces; ``all`` is all four.

    >>> read_missions("s2, Sentinel-5P")
    ('SENTINEL-2', 'SENTINEL-5P')
    """
    names = [name for name in re.split(r"[,;\s]+", text.strip()) if name]
    if [name.casefold() for name in names] == ["all"]:
        return PLATFORMS
    if not names:
        raise QueryError("No mission was named.", hint=_MISSIONS)
    return tuple(dict.fromkeys(map(_mission, names)))


_MISSIONS = f"There are {', '.join(PLATFORMS)}; S1, S2, S3, S5P for short, and all."


def _mission(name: str) -> str:
    found = re.fullmatch(r"(?:SENTINEL|S)?[-_]?([A-Z0-9]+)", name.upper())
    platform = f"SENTINEL-{found[1]}" if found else ""
    if platform not in PLATFORMS:
        raise QueryError(f"There is no mission {name!r:.80} here.", hint=_MISSIONS)
    return platform


def read_time(text: str, which: str, *, start: str | None = None) -> str | None:
    """A time as it was given, where it is one; None for nothing, or ``none``.

    ``which`` is ``start`` or ``end``; an end must not lie before ``start``.
    """
    text = text.strip()
    if text.casefold() in {"", "none"}:
        return None
    TimeRange.read((text, None) if which == "start" else (start, text), "content")
    return text


def read_cloud(text: str) -> float | None:
    """A limit in percent; None for nothing, ``none`` or ``any``."""
    text = text.strip().removesuffix("%").strip()
    if text.casefold() in {"", "none", "any"}:
        return None
    return MissionRule(cloud_max=text).cloud_max  # type: ignore[arg-type] # a text is read, too


def default_start(today: date) -> str:
    """A week ago: enough to see something, and little enough to try."""
    return (today - _DAYS).isoformat()
