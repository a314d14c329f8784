"""One rule of a query: the conditions on the products of a mission."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Self

from noa_async.catalogue.names import split_rule, unknown_key
from noa_async.catalogue.odata import check_text, number_clause, string_clause
from noa_async.errors import QueryError
from noa_async.excerpts import represent

STRING_ATTRIBUTES: Mapping[str, str] = {
    "platform": "platformShortName",
    "serial": "platformSerialIdentifier",
    "product_type": "productType",
    "polarisation": "polarisationChannels",
    "orbit": "orbitDirection",
    "timeliness": "timeliness",
    "instrument": "instrumentShortName",
    "level": "processingLevel",
    "op_mode": "operationalMode",
    "proc_mode": "processingMode",
}
"""Rule key to catalogue attribute, in the order of the clauses."""
_CLOUD = "cloudCover"

Values = str | Sequence[str] | None
"""One value, several values one of which must match, or no condition."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MissionRule:
    """Conditions on products, all of which must match; `None` is no condition.

    Strings are compared exactly; of a list, one value must match. Validated when created: raises
    `QueryError` for empty values and lists, wrong types, a cloud cover outside 0 to 100, or no
    condition.

    >>> MissionRule(platform="SENTINEL-2", cloud_max=20).clauses[1][-12:]
    'Value le 20)'
    """

    platform: Values = None
    """Mission, such as ``SENTINEL-2`` (``platformShortName``)."""
    serial: Values = None
    """Satellite of the mission, such as ``A`` (``platformSerialIdentifier``)."""
    product_type: Values = None
    """Product type, such as ``S2MSI2A`` (``productType``)."""
    polarisation: Values = None
    """Polarisation, such as ``VV,VH``, one value with a comma (``polarisationChannels``)."""
    orbit: Values = None
    """Orbit direction, ``ASCENDING`` or ``DESCENDING`` (``orbitDirection``)."""
    timeliness: Values = None
    """Timeliness, such as ``NRT-3h`` (``timeliness``)."""
    instrument: Values = None
    """Instrument, such as ``OLCI`` (``instrumentShortName``)."""
    level: Values = None
    """Processing level, such as ``2`` or ``L2`` (``processingLevel``)."""
    op_mode: Values = None
    """Operational mode, such as ``IW`` (``operationalMode``)."""
    proc_mode: Values = None
    """Processing mode, such as ``OFFL`` (``processingMode``)."""
    cloud_min: float | None = None
    """Minimum cloud cover, percent (``cloudCover``)."""
    cloud_max: float | None = None
    """Maximum cloud cover, percent (``cloudCover``)."""

    def __post_init__(self) -> None:
        for key in STRING_ATTRIBUTES:
            object.__setattr__(self, key, _values(key, getattr(self, key)))
        for key in ("cloud_min", "cloud_max"):
            object.__setattr__(self, key, _percent(key, getattr(self, key)))
        low, high = self.cloud_min, self.cloud_max
        if low is not None and high is not None and low > high:
            raise QueryError(
                f"cloud_min {low} is greater than cloud_max {high}: nothing can match.",
                hint="Swap the two.",
            )
        if not self.clauses:
            raise QueryError(
                "A rule with no condition matches everything.",
                hint='Add one, such as platform = "SENTINEL-2", or leave the rule out.',
            )

    def __repr__(self) -> str:
        held = ((key, getattr(self, key)) for key in RULE_KEYS)
        return f"MissionRule({', '.join(f'{k}={v!r}' for k, v in held if v is not None)})"

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object]) -> Self:
        """Build a rule from a mapping, as in the reference client or a TOML file.

        Raise `QueryError` as the class does, and for unknown keys.
        """
        if not isinstance(mapping, Mapping):
            raise QueryError(
                f"A rule must be a table of keys and values, not {represent(mapping)}.",
                hint='Such as {"platform": "SENTINEL-2", "cloud_max": 20}.',
            )
        for key in mapping:
            if key not in RULE_KEYS:
                raise unknown_key("rule key", key, RULE_KEYS, _OTHER_NAMES)
        empty = [key for key, value in mapping.items() if value is None]
        if empty:
            raise QueryError(f"{empty[0]} is None.", hint="Leave it out, or give it a value.")
        return cls(**mapping)  # type: ignore[arg-type]  # checked in __post_init__

    @classmethod
    def parse(cls, text: str) -> Self:
        r"""Parse ``key=value,key=value|value``; write ``\,`` ``\|`` ``\\`` for the characters
        themselves.

        Raise `QueryError` as the class does, and for text of another form.

        >>> MissionRule.parse(r"platform=SENTINEL-1,polarisation=VV\,VH|HH").polarisation
        ('VV,VH', 'HH')
        """
        return cls.from_mapping(split_rule(text))

    @property
    def clauses(self) -> tuple[str, ...]:
        """The conditions in OData, one per key, in the reference client's order."""
        held = [(name, getattr(self, key)) for key, name in STRING_ATTRIBUTES.items()]
        clauses = [string_clause(name, value) for name, value in held if value is not None]
        if self.cloud_min is not None:
            clauses.append(number_clause(_CLOUD, "ge", self.cloud_min))
        if self.cloud_max is not None:
            clauses.append(number_clause(_CLOUD, "le", self.cloud_max))
        return tuple(clauses)

    @property
    def filter(self) -> str:
        """The conditions joined with ``and``, in parentheses."""
        return f"({' and '.join(self.clauses)})"


RULE_KEYS = tuple(item.name for item in fields(MissionRule))
"""The keys of a rule."""
_OTHER_NAMES = {name: key for key, name in STRING_ATTRIBUTES.items()} | {
    _CLOUD: "cloud_max",
    "mission": "platform",
    "satellite": "platform",
    "polarization": "polarisation",
}


def read_rules(rules: object) -> tuple[MissionRule, ...]:
    """Return the rules in what a user gives: a list of rules or mappings, or a single one."""
    if isinstance(rules, Mapping | MissionRule):
        rules = [rules]  # a single rule, or [rules] in a TOML file in place of [[rules]]
    if not isinstance(rules, list | tuple):
        raise QueryError(
            f"rules is {represent(rules)}, not a list of rules.",
            hint='Such as [MissionRule(platform="SENTINEL-2")].',
        )
    made: list[MissionRule] = []
    for number, rule in enumerate(rules, start=1):
        try:
            made.append(rule if isinstance(rule, MissionRule) else MissionRule.from_mapping(rule))
        except QueryError as error:
            if len(rules) == 1:
                raise
            raise QueryError(f"Rule {number}: {error.message}", hint=error.hint) from None
    return tuple(made)


def _values(key: str, value: object) -> str | tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if not value:
            raise QueryError(f"{key} is an empty list.", hint="Leave it out, or give it a value.")
        return tuple(_value(key, item) for item in value)
    return _value(key, value)


def _value(key: str, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        value = str(value)  # level = 2
    if not isinstance(value, str):
        raise QueryError(
            f"{key} is {represent(value)}, which is not a string.",
            hint='Write a string, or a list: ["A", "B"].',
        )
    return check_text(value, key)


def _percent(key: str, value: object) -> float | None:
    if value is None:
        return None
    number: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str):
        try:
            number = int(value) if value.strip().isdigit() and len(value) < 9 else float(value)
        except ValueError:
            number = None
    if number is None or not 0 <= number <= 100:
        raise QueryError(
            f"{key} is {represent(value)}; cloud cover must be a number from 0 to 100.",
            hint=f"Write {key} = 20 for 20 percent.",
        )
    return number
