"""Parse the answers to the questions of ``init``. Each parser raises QueryError if it cannot."""

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
from noa_async.cli.text import shown
from noa_async.errors import QueryError

if TYPE_CHECKING:
    from datetime import date

    from noa_async.catalogue.gazetteer import Place

EVERYWHERE = "everywhere"
CLOUD_MISSION = "SENTINEL-2"
"""The mission whose products all have a cloud cover; a limit excludes products without one."""
DEFAULT_MISSION = "S2"
DEFAULT_CLOUD = "20"
_DAYS = timedelta(days=7)
_FILES = (".wkt", ".geojson", ".json")
_COORDINATES = re.compile(r"[({\[;]|^[-+.\d\s]+,")


@dataclass(frozen=True, slots=True)
class AreaAnswer:
    """The area, as written into the query file."""

    roi: str | tuple[str, ...] | None
    """A file name relative to the query file's folder, or WKT; None means everywhere."""
    words: str
    """A description of the area, on one line."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to all questions."""

    area: AreaAnswer
    platforms: tuple[str, ...]
    start: str | None
    """The validated start time, as typed; None means no limit."""
    end: str | None
    cloud_max: float | None
    """Maximum cloud cover in percent; applies to `CLOUD_MISSION` only."""


def read_area(text: str, folder: Path) -> AreaAnswer:
    """Parse an area: a place name, a file, a box or WKT.

    ``folder`` is the folder in which the query file will be written.
    """
    text = text.strip()
    if text.casefold() == EVERYWHERE:
        return AreaAnswer(None, "everywhere")
    if text.lower().endswith(_FILES):
        return _file(text, folder)
    if _COORDINATES.search(text):
        return AreaAnswer(_plain(Area.read(text).parts), "as specified")
    return _place(find_place(text))


def _file(text: str, folder: Path) -> AreaAnswer:
    Area.read(Path(text))
    path = Path(os.path.expanduser(text))  # noqa: PTH111 (as in Area.read)
    name = text if path.is_absolute() else os.path.relpath(path, folder)
    if name[0].isspace() or name[0] == "~":  # these would be stripped or expanded
        name = f"./{name}"
    try:
        name.encode()
    except UnicodeEncodeError:
        raise QueryError(
            f"The file name {name!a} is not valid UTF-8, which a query file requires.",
            hint="Rename the file.",
        ) from None
    return AreaAnswer(name, f"from the file {shown(name)}")


def _place(place: Place) -> AreaAnswer:
    parts = tuple(part for box in place.boxes for part in Area.read(box).parts)
    boxes = "its bounding box"
    if len(parts) > 1:
        boxes = f"the bounding boxes of its {len(parts)} parts, one per line"
    return AreaAnswer(_plain(parts), f"{place.name}, {boxes}")


def _plain(parts: tuple[str, ...]) -> str | tuple[str, ...]:
    return parts[0] if len(parts) == 1 else parts


def read_missions(text: str) -> tuple[str, ...]:
    """Parse mission names separated by commas or spaces; ``all`` means all four.

    >>> read_missions("s2, Sentinel-5P")
    ('SENTINEL-2', 'SENTINEL-5P')
    """
    names = [name for name in re.split(r"[,;\s]+", text.strip()) if name]
    if [name.casefold() for name in names] == ["all"]:
        return PLATFORMS
    if not names:
        raise QueryError("No mission was given.", hint=_MISSIONS)
    return tuple(dict.fromkeys(map(_mission, names)))


_MISSIONS = f"Missions: {', '.join(PLATFORMS)} (or S1, S2, S3, S5P), or all."


def _mission(name: str) -> str:
    found = re.fullmatch(r"(?:SENTINEL|S)?[-_]?([A-Z0-9]+)", name.upper())
    platform = f"SENTINEL-{found[1]}" if found else ""
    if platform not in PLATFORMS:
        raise QueryError(f"Unknown mission {name!r:.80}.", hint=_MISSIONS)
    return platform


def read_time(text: str, which: str, *, start: str | None = None) -> str | None:
    """Validate a time and return it as typed; return None for an empty answer or ``none``.

    ``which`` is ``start`` or ``end``; an end must not be before ``start``.
    """
    text = text.strip()
    if text.casefold() in {"", "none"}:
        return None
    TimeRange.read((text, None) if which == "start" else (start, text), "content")
    return text


def read_cloud(text: str) -> float | None:
    """Parse a limit in percent; return None for an empty answer, ``none`` or ``any``."""
    text = text.strip().removesuffix("%").strip()
    if text.casefold() in {"", "none", "any"}:
        return None
    return MissionRule(cloud_max=text).cloud_max  # type: ignore[arg-type] # text is parsed, too


def default_start(today: date) -> str:
    """Return the date a week ago, which gives a small first query."""
    return (today - _DAYS).isoformat()
