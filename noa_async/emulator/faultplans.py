"""Where fault plans come from: a table, a file, or a seed."""
# ruff: noqa: S311 (a seed that repeats is the point)

import json
import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from noa_async.emulator.faults import Fault, FaultKind

_KEYS = frozenset(field.name for field in fields(Fault))


def plan_fields(data: Mapping[str, Any]) -> tuple[tuple[Fault, ...], int]:
    """The faults and the seed of a plan given as a table."""
    unknown = set(data) - {"seed", "faults"}
    if unknown:
        raise ValueError(f"a fault plan has no {min(unknown)!r}; it has seed and faults")
    return tuple(_fault(one) for one in data.get("faults", ())), int(data.get("seed", 0))


def _fault(data: Mapping[str, Any]) -> Fault:
    unknown = set(data) - _KEYS
    if unknown:
        raise ValueError(f"a fault has no {min(unknown)!r}; it has {sorted(_KEYS)}")
    if "kind" not in data:
        raise ValueError("a fault needs its kind")
    values = dict(data)
    values["kind"] = FaultKind(values["kind"])
    # TOML has no null: a fault that stays is written times = 0.
    if values.get("times") == 0:
        values["times"] = None
    return Fault(**values)


def read_plan(path: str | Path) -> dict[str, Any]:
    """The table in a TOML or JSON file."""
    source = Path(path)
    text = source.read_text(encoding="utf-8")
    data = json.loads(text) if source.suffix == ".json" else tomllib.loads(text)
    if not isinstance(data, dict):
        raise ValueError(f"{source}: a fault plan is a table")  # noqa: TRY004
    return data


def random_faults(
    seed: int,
    products: Sequence[str],
    kinds: Sequence[FaultKind],
    per_product: int,
    seconds: float,
) -> tuple[Fault, ...]:
    """Up to `per_product` faults for each product, one an attempt, then clean ones."""
    draw = random.Random(seed)
    return tuple(
        Fault(
            draw.choice(kinds),
            product=product,
            first=attempt,
            at=draw.random(),
            seconds=seconds * draw.random(),
            rate=draw.uniform(200_000, 2_000_000),
            retry_after=draw.choice((None, "0", "date")),
        )
        for product in products
        for attempt in range(1, draw.randint(0, per_product) + 1)
    )
