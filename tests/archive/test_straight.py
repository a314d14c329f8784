"""Which products go straight up: by how fast those before passed, and whether they were zips."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from noa_async import Product
from noa_async.archive.archive import Archive
from noa_async.archive.destination import Label
from noa_async.archive.keeper import Keeper
from noa_async.archive.straight import SECONDS, Straight
from noa_async.catalogue.product import Checksum
from noa_async.errors import ServiceFault
from noa_async.events import TransferRetried
from noa_async.threads import Threads
from noa_async.transfer.fetching import Fetched, Whole
from noa_async.transfer.passing import NotPassed, PassageShut

from .products import product

LEAST = 1000
CHECKSUM = Checksum("md5", "0" * 32)


@dataclass
class Way:
    """A passage that is only looked at."""

    path: str
    label: Label
    is_zip: bool
    drops: int = 0

    def begin(self) -> None: ...
    def write(self, piece: bytes | memoryview) -> None: ...
    def drop(self) -> None:
        self.drops += 1


@dataclass
class World:
    """A source and a place that are as fast as the test says."""

    archive: Archive
    now: float = 0.0
    coming: float = 1.0
    going: float = 0.0
    is_zip: bool = True
    error: Exception | None = None
    """What befalls the next that goes straight."""
    ways: list[Way] = field(default_factory=list)
    took: list[Way | None] = field(default_factory=list)
    told: list[object] = field(default_factory=list)

    def way(self, path: str, label: Label, *, is_zip: bool) -> Way:
        self.ways.append(Way(path, label, is_zip))
        return self.ways[-1]

    async def fetch(
        self,
        product: Product,
        _: Path,
        admit: Callable[[Fetched], Awaitable[str]],
        *,
        fresh: bool,
        passage: Way | None = None,
    ) -> str:
        assert fresh or passage is None
        self.took.append(passage)
        if passage is not None:
            assert self.archive.places.owner(passage.path) == product.id
            if self.error is not None:
                error, self.error = self.error, None
                raise error
        self.now += self.coming
        whole = Whole(product, CHECKSUM, True, 1, self.is_zip)
        return await admit(Fetched(whole, hand_over, passage))

    async def admit(self, fetched: Fetched) -> str:
        self.now += self.going
        return fetched.whole.product.id

    def straight(self) -> Straight:
        keeper = Keeper(self.archive, self, None, None)  # type: ignore[arg-type]
        return Straight(
            self.archive,
            keeper._admission,
            self,  # type: ignore[arg-type]
            self.told.append,
            lambda: self.now,
        )

    async def goes(
        self, straight: Straight, number: int, *, fresh: bool = True, **how: Any
    ) -> bool:
        """Whether a product goes straight."""
        how = {"size": LEAST, "name": f"{number}.SAFE", "checksums": (CHECKSUM,)} | how
        one = product(f"id-{number}", **how)
        assert await straight.fetch(one, Path("none"), self.admit, fresh=fresh) == one.id
        return self.took[-1] is not None


async def hand_over(*_: object, **__: object) -> None:
    raise AssertionError


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Threads(1) as pool:
        async with Archive(tmp_path, None, pool) as archive:
            monkeypatch.setattr(archive.folder, "least_straight", LEAST)
            one = World(archive)
            monkeypatch.setattr(archive.folder, "passage", one.way)
            yield one


async def test_the_first_tells_how_fast_and_the_next_goes_straight(world: World) -> None:
    straight = world.straight()
    assert [await world.goes(straight, number) for number in range(3)] == [False, True, True]
    assert [way.path for way in world.ways] == ["1.SAFE.zip", "2.SAFE.zip"]
    assert [way.label.checksum for way in world.ways] == [str(CHECKSUM)] * 2
    assert [way.drops for way in world.ways] == [1, 1]
    assert world.archive.places.owner("1.SAFE.zip") is None


@pytest.mark.parametrize(
    ("how", "straight"),
    [
        ({}, True),
        ({"size": LEAST - 1}, False),
        ({"size": None}, False),
        ({"size": LEAST * int(SECONDS)}, True),
        ({"size": LEAST * int(SECONDS) + 1}, False),
        ({"checksums": ()}, False),
        ({"checksums": (Checksum("crc7", "00"),)}, False),
        ({"name": "other.nc"}, False),
        ({"fresh": False}, False),
    ],
)
async def test_what_goes_straight(world: World, how: dict[str, Any], *, straight: bool) -> None:
    one = world.straight()
    await world.goes(one, 0)
    assert await world.goes(one, 1, **how) is straight


@pytest.mark.parametrize("slow", ["coming", "going"])
async def test_what_takes_long_gathers_in_the_scratch(world: World, slow: str) -> None:
    """Also where it is the store that takes long; a few fast ones later do not change that."""
    setattr(world, slow, SECONDS + 1)
    straight = world.straight()
    assert [await world.goes(straight, number) for number in range(2)] == [False, False]
    setattr(world, slow, 1.0)
    later = [await world.goes(straight, number) for number in range(2, 30)]
    assert later == sorted(later)
    assert later[-1]


async def test_small_ones_tell_nothing(world: World) -> None:
    straight = world.straight()
    await world.goes(straight, 0, size=LEAST - 1)
    assert [await world.goes(straight, number) for number in (1, 2)] == [False, True]


async def test_the_path_is_by_what_those_before_were(world: World) -> None:
    straight = world.straight()
    world.is_zip = False
    await world.goes(straight, 0, name="0.nc")
    world.is_zip = True
    await world.goes(straight, 1, name="1.SAFE")
    await world.goes(straight, 2, name="2.nc")
    await world.goes(straight, 3, name="3.SAFE")
    assert [(way.path, way.is_zip) for way in world.ways] == [("2.nc", False), ("3.SAFE.zip", True)]


async def test_who_is_stopped_fetches_nothing_more(world: World) -> None:
    """Although the store refused at the same moment."""
    straight = world.straight()
    await world.goes(straight, 0)
    fetch = world.fetch

    async def stopped_meanwhile(*given: Any, **how: Any) -> str:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return await fetch(*given, **how)

    world.fetch = stopped_meanwhile  # type: ignore[method-assign]
    world.error = PassageShut("The store is full.")
    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(world.goes(straight, 1))
    assert [way is not None for way in world.took] == [False, True]
    assert [way.drops for way in world.ways] == [1]


async def test_what_was_partly_here_does_not_tell_how_fast(world: World) -> None:
    straight = world.straight()
    await world.goes(straight, 0, fresh=False)
    assert [await world.goes(straight, number) for number in (1, 2)] == [False, True]


async def test_a_place_is_kept_until_the_product_has_ended(world: World) -> None:
    """Also where its first try to be published fails."""
    straight = world.straight()
    await world.goes(straight, 0)
    places = world.archive.places

    async def fails(fetched: Fetched) -> str:
        with suppress(NotPassed), places.claimed("1.SAFE.zip", fetched.whole.product.id):
            raise NotPassed("not yet")
        assert places.owner("1.SAFE.zip") == fetched.whole.product.id
        return fetched.whole.product.id

    world.admit = fails  # type: ignore[method-assign]
    assert await world.goes(straight, 1)
    assert places.owner("1.SAFE.zip") is None


async def test_two_of_one_name_go_to_two_places(world: World) -> None:
    """While the first is under way, the second comes."""
    straight = world.straight()
    await world.goes(straight, 0)
    admit = world.admit

    async def second_meanwhile(fetched: Fetched) -> str:
        world.admit = admit  # type: ignore[method-assign]
        await world.goes(straight, 2, name="1.SAFE")
        return await admit(fetched)

    world.admit = second_meanwhile  # type: ignore[method-assign]
    await world.goes(straight, 1)
    first, second = (way.path for way in world.ways)
    assert first == "1.SAFE.zip"
    assert second != first


async def test_what_does_not_come_through_goes_by_the_scratch_as_all_that_follow(
    world: World,
) -> None:
    straight = world.straight()
    await world.goes(straight, 0)
    world.error = PassageShut("The store is full.")
    assert not await world.goes(straight, 1)
    assert [way is not None for way in world.took] == [False, True, False]
    [told] = world.told
    assert isinstance(told, TransferRetried)
    assert "The store is full." in told.reason
    assert not await world.goes(straight, 2)
    assert [way.drops for way in world.ways] == [1]


@pytest.mark.parametrize("error", [ServiceFault("503"), NotPassed("It is no zip.")])
async def test_what_one_product_fails_by_shuts_no_way(world: World, error: Exception) -> None:
    straight = world.straight()
    await world.goes(straight, 0)
    world.error = error
    with suppress(ServiceFault):
        await world.goes(straight, 1)
    assert await world.goes(straight, 2)
    assert [way.drops for way in world.ways] == [1, 1]
