"""A query file written for people: what it asks, and beside it what else it could. Pure."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from noa_async.catalogue.known import PRODUCT_TYPES
from noa_async.cli.answers import CLOUD_MISSION
from noa_async.cli.text import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from noa_async.cli.answers import Answers, AreaAnswer

_MOST_TYPES = 8


def query_file(answers: Answers, name: str) -> str:
    """The text of the file ``name``."""
    return "\n".join([*_head(shown(shlex.quote(name))), *_area(answers.area), *_time(answers),
                      *_rules(answers)]) + "\n"  # fmt: skip


def _head(name: str) -> Iterator[str]:
    yield "# What to ask the mirror for, made by noa-async init. Change it as you like."
    yield f"#   noa-async explain --config {name}                  what it asks, how much that is"
    yield f"#   noa-async download --config {name} --output data   bring it home"
    yield ""


def _area(area: AreaAnswer) -> Iterator[str]:
    yield "# Where, in degrees of WGS 84, longitude first: WKT or a list of it, W,S,E,N, or the"
    yield "# name of a .wkt or .geojson file. A product matches where its footprint touches it."
    yield f"# Here: {area.words}."
    if area.roi is None:
        yield '# roi = "22,38,24,39"'
    elif isinstance(area.roi, str):
        yield f"roi = {toml_text(area.roi)}"
    else:
        yield "roi = ["
        yield from (f"    {toml_text(part)}," for part in area.roi)
        yield "]"
    yield ""
    yield "# At most so many products, to try."
    yield "# limit = 10"
    yield ""


def _time(answers: Answers) -> Iterator[str]:
    yield "[time]"
    yield "# Sensed from then, and until then, in UTC; a bare day as an end is all of that day."
    for key, value in (("content_start", answers.start), ("content_end", answers.end)):
        yield f'# {key} = "2026-01-31"' if value is None else f"{key} = {toml_text(value)}"
    yield "# What crosses an end of that time is left out; touches takes it, too, and starts takes"
    yield "# what begins in it, for one range after another."
    yield '# relation = "within"'
    yield "# The same for when it came into the mirror."
    yield '# pub_start = "2026-01-01"'
    yield '# pub_end = "2026-01-31"'


def _rules(answers: Answers) -> Iterator[str]:
    yield ""
    yield "# A product must match one of the rules, and of that rule every key. Other keys are"
    yield "# serial, polarisation, orbit, timeliness, instrument, level, op_mode, proc_mode."
    for platform in answers.platforms:
        yield "[[rules]]"
        yield f"platform = {toml_text(platform)}"
        kinds = PRODUCT_TYPES[platform]
        some = [kind for kind in kinds if kind.startswith("IW")] or list(kinds[:_MOST_TYPES])
        yield f"# product_type = [{', '.join(map(toml_text, some))}]"
        if platform == CLOUD_MISSION:
            held = answers.cloud_max
            yield "# cloud_max = 20" if held is None else f"cloud_max = {held!r}"


def toml_text(text: str) -> str:
    """A text as TOML writes it.

    >>> print(toml_text('a "b" \\\\ c'))
    "a \\"b\\" \\\\ c"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
