"""Split a query into conditions and find those that exclude all products. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.catalogue.query import Query
from noa_async.catalogue.rules import RULE_KEYS, MissionRule
from noa_async.catalogue.times import format_instant
from noa_async.cli.text import number_of, shortened, table
from noa_async.cli.words import area_words, cloud_words, key_words, range_words, sensed_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from noa_async.catalogue.moments import TimeRange

_WIDEST = 60


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a query, in words and as a filter that can be counted."""

    words: str
    filter: str
    """A complete OData filter."""


@dataclass(frozen=True, slots=True)
class Found:
    """Product counts for one condition of a query."""

    condition: Condition
    alone: int
    without: int
    """Products that match all other conditions."""


def conditions(query: Query) -> tuple[Condition, ...]:
    """Return the conditions of a query: each key of a single rule, or several rules as one."""
    return tuple(_conditions(query))


def _conditions(query: Query) -> Iterator[Condition]:
    if len(query.rules) == 1:
        yield from _keys(query.rules[0])
    elif query.rules:
        label = f"one of the {len(query.rules)} rules"
        yield Condition(label, f"({' or '.join(rule.filter for rule in query.rules)})")
    if query.roi is not None:
        yield Condition(area_words(query.roi), query.roi.filter)
    if query.content:
        yield _range(query.content, query.time.comparisons, sensed_words(query))
    if query.published:
        words = f"published {range_words(query.published)}"
        yield _range(query.published, ("PublicationDate ge", "PublicationDate le"), words)
    for text in query.raw:
        yield Condition(f"the filter {text}", f"({text})")


def _keys(rule: MissionRule) -> Iterator[Condition]:
    clouds = {key: getattr(rule, key) for key in ("cloud_min", "cloud_max")}
    for key in RULE_KEYS:
        value = getattr(rule, key)
        if value is not None and key not in clouds:
            yield Condition(key_words(key, value), MissionRule(**{key: value}).filter)
    if any(value is not None for value in clouds.values()):
        [words] = cloud_words(*clouds.values())
        yield Condition(words, MissionRule(**clouds).filter)


def _range(times: TimeRange, compared: tuple[str, str], words: str) -> Condition:
    limits = zip(compared, (times.start, times.end), strict=True)
    clauses = [f"{comparison} {format_instant(at)}" for comparison, at in limits if at is not None]
    return Condition(words, f"({' and '.join(clauses)})")


def asking(parts: Sequence[Condition]) -> Query:
    """Return a query with exactly these conditions."""
    return Query(raw=[part.filter for part in parts], everything=not parts)


def findings(found: Sequence[Found]) -> list[str]:
    """Return a table of the counts of each condition, if there are several, and an explanation."""
    if len(found) == 1:
        return [f"No product matches {found[0].condition.words!r}."]
    rows = [("condition", "alone", "all others")]
    rows += [
        (shortened(each.condition.words, _WIDEST), str(each.alone), str(each.without))
        for each in found
    ]
    return [*table(rows), "", *_sentences(found)]


def _sentences(found: Sequence[Found]) -> Iterator[str]:
    """Explain which condition excludes all products.

    | products that match it | products that match the others | reported as               |
    |------------------------|--------------------------------|---------------------------|
    | none                   | some                           | the cause                 |
    | none                   | none                           | one of several causes     |
    | some                   | some                           | a cause with the others   |
    | some                   | none                           | not a cause               |
    """
    empty = [each for each in found if not each.alone]
    for each in empty:
        left = f"without it {_match(each.without)}"
        if not each.without:
            left = "no product matches the other conditions either"
        yield f"No product matches {each.condition.words!r}; {left}."
    if empty:
        return
    together = [each for each in found if each.without]
    if len(together) == 1:
        [each] = together
        yield (
            f"{each.condition.words!r} excludes every product that matches the other conditions: "
            f"without it {_match(each.without)}."
        )
    elif together:
        ways = ", ".join(f"{each.without} without {each.condition.words!r}" for each in together)
        yield f"Each condition matches some products, but no product matches all: {ways}."
    else:
        yield (
            "Each condition matches some products, but dropping a single one is not enough: widen "
            "two or more."
        )


def _match(count: int) -> str:
    return f"{number_of(count, 'product')} {'matches' if count == 1 else 'match'}"
