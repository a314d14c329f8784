"""Describe a query in words. All functions are pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from noa_async.catalogue.moments import TimeRelation
from noa_async.catalogue.rules import RULE_KEYS
from noa_async.catalogue.times import format_instant
from noa_async.cli.text import number_of, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noa_async.catalogue.geometry import Area
    from noa_async.catalogue.moments import TimeRange
    from noa_async.catalogue.query import Query
    from noa_async.catalogue.rules import MissionRule

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def query_words(query: Query) -> list[str]:
    """Return a line per condition; a product must match all, but only one of the rules."""
    lines = [
        f"{'or ' if place else ''}{rule_words(rule)}" for place, rule in enumerate(query.rules)
    ]
    if query.roi is not None:
        lines.append(area_words(query.roi))
    if query.content:
        lines.append(sensed_words(query))
    if query.published:
        lines.append(f"published {range_words(query.published)}")
    return [*lines, *query.raw] or ["everything"]


def rule_words(rule: MissionRule) -> str:
    """Describe a rule on one line.

    >>> from noa_async.catalogue.rules import MissionRule
    >>> rule_words(MissionRule(platform="SENTINEL-2", product_type=["A", "B"], cloud_max=20))
    'SENTINEL-2, product type A or B, cloud cover up to 20 %'
    """
    texts = []
    for key in RULE_KEYS:
        value = getattr(rule, key)
        if value is None or key.startswith("cloud"):
            continue
        texts.append(key_words(key, value))
    return ", ".join([*texts, *cloud_words(rule.cloud_min, rule.cloud_max)])


def key_words(key: str, value: str | Sequence[str]) -> str:
    """Describe a key of a rule and its allowed values.

    >>> key_words("platform", "SENTINEL-2"), key_words("product_type", ["A", "B"])
    ('SENTINEL-2', 'product type A or B')
    """
    choices = value if isinstance(value, str) else " or ".join(value)
    return choices if key == "platform" else f"{key.replace('_', ' ')} {choices}"


def cloud_words(low: float | None, high: float | None) -> list[str]:
    """Describe the range of cloud cover; empty if there is none."""
    if low is None and high is None:
        return []
    if high is None:
        return [f"cloud cover from {low:g} %"]
    return [f"cloud cover up to {high:g} %" if not low else f"cloud cover {low:g} to {high:g} %"]


def area_words(area: Area) -> str:
    """Describe an area by its bounding box.

    >>> from noa_async.catalogue.geometry import Area
    >>> area_words(Area.read("22,38,23.5,39"))
    'in the area from 22 to 23.5 east, 38 to 39 north'
    """
    numbers = [float(number) for part in area.parts for number in _NUMBER.findall(part)]
    if not numbers or len(numbers) % 2 or "e" in "".join(area.parts):
        return f"in {shortened(' '.join(area.parts), 60)}"
    lons, lats = numbers[::2], numbers[1::2]
    box = f"{min(lons):g} to {max(lons):g} east, {min(lats):g} to {max(lats):g} north"
    parts = f" ({number_of(len(area.parts), 'part')})" if len(area.parts) > 1 else ""
    return f"in the area from {box}{parts}"


_SENSED = {
    TimeRelation.WITHIN: "sensed",
    TimeRelation.TOUCHES: "sensed at least in part",
    TimeRelation.STARTS: "sensing began",
}


def sensed_words(query: Query) -> str:
    """Describe the sensing time range of a query, and how products must relate to it.

    >>> from noa_async.catalogue.query import Query
    >>> sensed_words(Query(content=("2026-01-11", "2026-01-19"), time="touches"))
    'sensed at least in part from 2026-01-11 to 2026-01-19'
    """
    return f"{_SENSED[query.time]} {range_words(query.content)}"


def range_words(times: TimeRange) -> str:
    """Describe a time range; whole days are written as dates.

    >>> from noa_async.catalogue.moments import TimeRange
    >>> range_words(TimeRange.read(("2026-01-11", "2026-01-19"), "x"))
    'from 2026-01-11 to 2026-01-19'
    """
    start = format_instant(times.start).removesuffix("T00:00:00.000Z") if times.start else ""
    end = format_instant(times.end).removesuffix("T23:59:59.999Z") if times.end else ""
    to = "to"
    if times.half_open and times.end:
        day = format_instant(times.end - timedelta(milliseconds=1))
        whole = day.endswith("T23:59:59.999Z")
        to, end = ("to", day.removesuffix("T23:59:59.999Z")) if whole else ("to before", end)
    return " ".join(f"{word} {at}" for word, at in (("from", start), (to, end)) if at)
