"""As many products as asked for, drawn from what the missions would have sensed."""
# ruff: noqa: S311 (a seed that repeats is the point)

import random
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache

from noa_async.emulator.content import fitting_size
from noa_async.emulator.missions import sentinel1, sentinel2, sentinel3, sentinel5p
from noa_async.emulator.missions.draft import Draft
from noa_async.emulator.product import Product

_Maker = Callable[[random.Random, datetime, datetime, int], Iterator[Draft]]
_SHARES: tuple[tuple[_Maker, float], ...] = (
    (sentinel2.drafts, 0.66),
    (sentinel1.drafts, 0.18),
    (sentinel3.drafts, 0.08),
    (sentinel5p.drafts, 0.08),
)
_FEW = 1000
"""Products that are kept in mind: tests ask for the same few by the hundred, and all that a period
holds is drawn for them."""


def make_products(
    seed: int, count: int, mean_bytes: int, start: datetime, end: datetime
) -> list[Product]:
    """`count` products sensed between `start` and `end`, in the order of their publication."""
    made = _made if count <= _FEW else _made.__wrapped__
    return list(made(seed, count, mean_bytes, start, end))


@lru_cache(maxsize=16)
def _made(
    seed: int, count: int, mean_bytes: int, start: datetime, end: datetime
) -> tuple[Product, ...]:
    draw = random.Random(seed)
    drafts: list[Draft] = []
    for maker, share in _SHARES[1:]:
        drafts += _drawn(draw, maker, int(count * share), start, end)
    drafts += _drawn(draw, _SHARES[0][0], count - len(drafts), start, end)
    drafts.sort(key=lambda one: (one.published, one.name))
    mean = sum(one.weight for one in drafts) / max(1, len(drafts))
    made = (_product(draw, each, place, mean_bytes / mean) for place, each in enumerate(drafts))
    return tuple(made)


def _drawn(
    draw: random.Random, maker: _Maker, count: int, start: datetime, end: datetime
) -> list[Draft]:
    """`count` drafts: whole turns of the mission's output, and a sample of the last one."""
    found: list[Draft] = []
    turn = 0
    while len(found) < count:
        batch = [one for one in maker(draw, start, end, turn) if start <= one.start < end]
        if not batch and turn > 3:
            raise ValueError("the period is too short: no pass over the Mediterranean in it")
        room = count - len(found)
        found += batch if len(batch) <= room else draw.sample(batch, room)
        turn += 1
    return found


def _product(draw: random.Random, draft: Draft, place: int, unit: float) -> Product:
    size = int(draft.weight * unit * draw.uniform(0.85, 1.15))
    return Product(
        id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
        name=draft.name,
        size=fitting_size(draft.name, size),
        start=draft.start,
        end=draft.end,
        published=draft.published,
        modified=draft.published,
        footprint=draft.footprint,
        attributes=draft.attributes,
        index=place,
    )
