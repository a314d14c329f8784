"""Write a query file with comments that explain it and show further options. Pure functions."""

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
    """Return the text of the query file ``name``."""
    return "\n".join([*_head(shown(shlex.quote(name))), *_area(answers.area), *_time(answers),
                      *_rules(answers)]) + "\n"  # fmt: skip


def _head(name: str) -> Iterator[str]:
    yield "# A query for noa-async, written by noa-async init. Edit it as needed."
    yield f"#   noa-async explain --config {name}                  describe it, count products"
    yield f"#   noa-async download --config {name} --output data   download the products"
    yield ""


def _area(area: AreaAnswer) -> Iterator[str]:
    yield "# Area in WGS 84 degrees, longitude first: WKT or a list of WKT, W,S,E,N, or the name"
    yield "# of a .wkt or .geojson file. A product matches if its footprint intersects the area."
    yield f"# Area: {area.words}."
    if area.roi is None:
        yield '# roi = "22,38,24,39"'
    elif isinstance(area.roi, str):
        yield f"roi = {toml_text(area.roi)}"
    else:
        yield "roi = ["
        yield from (f"    {toml_text(part)}," for part in area.roi)
        yield "]"
    yield ""
    yield "# Maximum number of products."
    yield "# limit = 10"
    yield ""


def _time(answers: Answers) -> Iterator[str]:
    yield "[time]"
    yield "# Earliest and latest sensing time (UTC); a date as the end includes the whole day."
    for key, value in (("content_start", answers.start), ("content_end", answers.end)):
        yield f'# {key} = "2026-01-31"' if value is None else f"{key} = {toml_text(value)}"
    yield "# Which products match: within (sensed entirely in that range), touches (at least"
    yield "# partly), or starts (sensing begins in it, so that adjacent ranges share no product)."
    yield '# relation = "within"'
    yield "# Earliest and latest publication time."
    yield '# pub_start = "2026-01-01"'
    yield '# pub_end = "2026-01-31"'


def _rules(answers: Answers) -> Iterator[str]:
    yield ""
    yield "# A product must match all keys of at least one rule. Other keys are"
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
    """Return a text as a TOML string.

    >>> print(toml_text('a "b" \\\\ c'))
    "a \\"b\\" \\\\ c"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
