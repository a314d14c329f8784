"""Build the catalogue's ``$filter`` from rules, an area and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from noa_async.catalogue.geometry import Area, Roi
from noa_async.catalogue.moments import TimeRange, TimeRelation, Times
from noa_async.catalogue.names import unknown_key
from noa_async.catalogue.odata import check_filters, encode_query, quote_odata
from noa_async.catalogue.rules import MissionRule, read_rules
from noa_async.catalogue.times import format_instant
from noa_async.errors import QueryError
from noa_async.excerpts import represent

__all__ = ["Clause", "Query", "encode_query", "quote_odata"]

_TIME_KEYS = ("content_start", "content_end", "pub_start", "pub_end", "relation")
_KEYS = ("roi", "time", "rules", "filter", "limit", "everything", "simplify")
_NOT_OURS = ("service", "transfer", "mirror")  # tables of a TOML file that belong to the settings


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition of a query, to be counted or explained separately."""

    label: str
    """Plain words, such as ``sensed from 2026-01-11T00:00:00.000Z``."""
    filter: str
    """The condition in OData, valid alone."""


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Query:
    """What to search for: products that match any of the rules, and the area, the times and the
    filters.

    Validated when created, before anything is sent: `QueryError` names what is wrong. Derive a
    narrower query with ``dataclasses.replace(query, published=...)``. Hashable.

    >>> query = Query(rules=[MissionRule(platform="SENTINEL-5P")], published=("2026-01-11", None))
    >>> query.filter[:53]
    '(PublicationDate ge 2026-01-11T00:00:00.000Z) and ((A'
    """

    rules: tuple[MissionRule, ...]
    """Rules, one of which must match; an empty tuple is no condition."""
    roi: Area | None
    """The area the footprint must intersect, WGS 84."""
    content: TimeRange
    """Sensing time from start to end (``ContentDate/Start``, ``ContentDate/End``), UTC."""
    time: TimeRelation
    """Which products belong to ``content``: those within it, those that overlap it, or those that
    start in it."""
    published: TimeRange
    """Publication time from start to end (``PublicationDate``), UTC."""
    raw: tuple[str, ...]
    """The user's own OData filters, not encoded; all must match."""
    limit: int | None
    """Maximum number of products; `None` is no limit."""
    everything: bool
    """Allow a query without conditions, which matches the whole catalogue."""
    simplify: bool
    """Allow an area that is too long for a URL to be replaced by a larger one with fewer points."""

    def __init__(  # noqa: PLR0913 (every argument has a default)
        self,
        *,
        rules: Sequence[MissionRule | Mapping[str, object]] = (),
        roi: Roi | None = None,
        content: TimeRange | Times = None,
        published: TimeRange | Times = None,
        raw: str | Sequence[str] = (),
        limit: int | None = None,
        everything: bool = False,
        time: TimeRelation | str = TimeRelation.WITHIN,
        simplify: bool = False,
    ) -> None:
        """Parse and validate the arguments; the fields hold the parsed values.

        ``rules``: rules, or mappings with the same keys. ``roi``: see `Area.read`. ``content``,
        ``published``: (start, end), either may be `None`; see `parse_instant`. ``time``: see
        `TimeRelation`.
        """
        put = object.__setattr__
        put(self, "rules", read_rules(rules))
        put(self, "roi", None if roi is None else Area.read(roi))
        relation = TimeRelation.read(time)
        half_open = relation is TimeRelation.STARTS
        put(self, "time", relation)
        put(self, "content", TimeRange.read(content, "content", half_open=half_open))
        put(self, "published", TimeRange.read(published, "published"))
        put(self, "raw", check_filters(raw))
        put(self, "limit", _limit(limit))
        put(self, "everything", _flag(everything, "everything"))
        put(self, "simplify", _flag(simplify, "simplify"))
        if not (self.clauses or everything):
            raise QueryError(
                "The query has no condition: it would match the whole catalogue.",
                hint="Add a rule, an area or a time, or set everything=True (--everything).",
            )

    @classmethod
    def from_reference(
        cls,
        mission_rules: Sequence[object] | None,
        roi: str | None,
        time_config: Mapping[str, str | None] | None,
        *,
        limit: int | None = None,
    ) -> Self:
        """Build a query from the reference client's ``MISSION_RULES``, ``ROI`` and ``TIME_CONFIG``.

        As in the reference client, empty values and `None` are no condition. Raise `QueryError` as
        the class does.
        """
        times = {key: moment or None for key, moment in (time_config or {}).items()}
        rules = tuple(map(_without_empties, mission_rules or ()))
        return cls(rules=rules, roi=roi or None, limit=limit, **_times(times))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, folder: Path | None = None) -> Self:
        """Build a query from a TOML document's keys: ``roi``, ``time``, ``rules``, ``filter``,
        ``limit``, ``everything``, ``simplify``.

        ``folder``: where to look for a file named in ``roi`` (default: the working directory). The
        tables ``service``, ``transfer`` and ``mirror`` are ignored here; they are settings. Raise
        `QueryError` as the class does, and for unknown keys.
        """
        for key in mapping:
            if key not in _KEYS and key not in _NOT_OURS:
                raise unknown_key("query key", key, _KEYS + _NOT_OURS, {"raw": "filter"})
        roi = mapping.get("roi")
        return cls(
            rules=mapping.get("rules", ()),
            roi=None if roi is None else Area.read(roi, folder=folder),
            raw=mapping.get("filter", ()),
            limit=mapping.get("limit"),
            everything=mapping.get("everything", False),
            simplify=mapping.get("simplify", False),
            **_times(mapping.get("time", {})),
        )

    @classmethod
    def from_toml(cls, path: str | Path, changes: Mapping[str, Any] | None = None) -> Self:
        """Read a TOML file; ``changes``, of the same form, override its values.

        A file named in ``roi`` is looked for beside the TOML file, or in the working directory if
        ``changes`` names it. Raise `QueryError` if the file cannot be read, and as `from_mapping`
        does.
        """
        changes = changes or {}
        path = Path(path)
        held = load_document(path)
        merged = {**held, **changes}
        if isinstance(held.get("time"), dict):
            merged["time"] = {**held["time"], **changes.get("time", {})}
        return cls.from_mapping(merged, folder=None if "roi" in changes else path.parent)

    @property
    def clauses(self) -> tuple[Clause, ...]:
        """The conditions, all of which must match, each with a label; joined they are the
        filter."""
        clauses = list(self._time_clauses())
        if self.rules:
            label = "the rule" if len(self.rules) == 1 else f"any of {len(self.rules)} rules"
            rules = " or ".join(rule.filter for rule in self.rules)
            clauses.append(Clause(label, f"({rules})"))
        if self.roi:
            clauses.append(Clause("area", self.roi.filter))
        clauses += [Clause(f"filter {text}", f"({text})") for text in self.raw]
        return tuple(clauses)

    @property
    def filter(self) -> str:
        """The ``$filter``, not encoded; empty if there is no condition."""
        times = len(self._time_clauses())
        parts = [clause.filter for clause in self.clauses]
        if times:  # in parentheses, as the reference client sends them
            parts[:times] = [f"({' and '.join(parts[:times])})"]
        return " and ".join(parts)

    def _time_clauses(self) -> tuple[Clause, ...]:
        first, last = self.time.comparisons
        limits = (
            ("sensed from", first, self.content.start),
            ("sensed before" if self.content.half_open else "sensed until", last, self.content.end),
            ("published from", "PublicationDate ge", self.published.start),
            ("published until", "PublicationDate le", self.published.end),
        )
        return tuple(
            Clause(f"{label} {format_instant(at)}", f"{compared} {format_instant(at)}")
            for label, compared, at in limits
            if at is not None
        )


def _without_empties(rule: object) -> Any:
    if not isinstance(rule, Mapping):
        return rule
    return {key: value for key, value in rule.items() if value not in (None, "", [], ())}


def _times(config: object) -> dict[str, Any]:
    if not isinstance(config, Mapping):
        raise QueryError(
            f"time is {represent(config)}, not a table.", hint=f"Its keys: {', '.join(_TIME_KEYS)}."
        )
    for key in config:
        if key not in _TIME_KEYS:
            raise unknown_key("time key", key, _TIME_KEYS)
    get = config.get
    return {
        "content": (get("content_start"), get("content_end")),
        "published": (get("pub_start"), get("pub_end")),
        "time": get("relation", TimeRelation.WITHIN),
    }


def _limit(limit: object) -> int | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise QueryError(
            f"limit is {represent(limit)}; it must be a number of products, 1 or more."
        )
    return limit


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise QueryError(f"{name} is {represent(value)}; it must be true or false.")
    return value


def load_document(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file. Raise QueryError if it cannot be read."""
    import tomllib  # noqa: PLC0415 (for files only)

    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise QueryError(f"Cannot read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:  # also a number with too many digits
        raise QueryError(f"{path} is not valid TOML: {error}.") from error
