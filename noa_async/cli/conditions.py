"""A query taken apart into its conditions, and which of them empties its answer. Pure."""

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
    """One condition of a query, and what of it is counted."""

    words: str
    filter: str
    """OData that stands alone."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many products a condition leaves."""

    condition: Condition
    alone: int
    without: int
    """All others hold, and it does not have to."""


def conditions(query: Query) -> tuple[Condition, ...]:
    """What must all hold: a single rule by its keys, several rules as one condition."""
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
    """The query in which these conditions hold, and no others."""
    return Query(raw=[part.filter for part in parts], everything=not parts)


def findings(found: Sequence[Found]) -> list[str]:
    """Each condition's counts as a table, where there are several, and a sentence on them."""
    if len(found) == 1:
        return [f"Nothing in the mirror matches {found[0].condition.words!r}."]
    rows = [("condition", "alone", "all but it")]
    rows += [
        (shortened(each.condition.words, _WIDEST), str(each.alone), str(each.without))
        for each in found
    ]
    return [*table(rows), "", *_sentences(found)]


def _sentences(found: Sequence[Found]) -> Iterator[str]:
    """What empties the answer.

    | alone it matches | without it there is | it is told as                     |
    |------------------|---------------------|-----------------------------------|
    | nothing          | something           | what empties the answer           |
    | nothing          | nothing             | one of several that do            |
    | something        | something           | what empties it with the others   |
    | something        | nothing             | no reason                         |
    """
    empty = [each for each in found if not each.alone]
    for each in empty:
        left = f"without it {_match(each.without)}"
        if not each.without:
            left = "nor is there a product for the other conditions"
        yield f"Nothing in the mirror matches {each.condition.words!r}; {left}."
    if empty:
        return
    together = [each for each in found if each.without]
    if len(together) == 1:
        [each] = together
        yield (
            f"It is {each.condition.words!r} that empties the answer: without it "
            f"{_match(each.without)}."
        )
    elif together:
        ways = ", ".join(f"{each.without} without {each.condition.words!r}" for each in together)
        yield f"Each condition matches something, but not all together. There would be {ways}."
    else:
        yield (
            "Each condition matches something, but no one of them is enough to drop: widen two "
            "or more."
        )


def _match(count: int) -> str:
    return f"{number_of(count, 'product')} {'matches' if count == 1 else 'match'}"
