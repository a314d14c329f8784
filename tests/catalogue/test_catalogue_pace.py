"""How many pages at once: the steps up and down, and places dealt out by them."""

from __future__ import annotations

import asyncio

import pytest

from noa_async.answers import classify
from noa_async.catalogue.pace import Pace, Places, is_strain
from noa_async.catalogue.refusals import catalogue_error
from noa_async.errors import CredentialsRefused, NoaError, ServiceFault, ServiceUnreachable

HOME = "https://mirror.example/odata/v1/Products"


def refused(status: int, body: bytes = b"") -> NoaError:
    return catalogue_error(classify(status, {}, body, had_token=True), HOME, home=HOME)


@pytest.mark.parametrize(("most", "first"), [(1, 1), (3, 3), (4, 4), (8, 4), (64, 4)])
def test_it_begins_at_four_or_at_the_most(most, first):
    assert Pace(most).limit == first


@pytest.mark.parametrize(
    ("most", "what", "limit"),
    [
        (8, "." * 7, 4),
        (8, "." * 8, 5),
        (8, "." * 32, 8),
        (8, "." * 1000, 8),
        (2, "." * 1000, 2),
        (8, "!", 2),
        (8, "!!", 1),
        (8, "!!!!!", 1),
        (8, "." * 32 + "!", 4),
        (8, "." * 7 + "!" + "." * 7, 2),
        (8, "!" + "." * 8, 3),
        (1, "!", 1),
    ],
)
def test_it_grows_by_one_and_is_halved(most, what, limit):
    pace = Pace(most)
    for each in what:
        if each == ".":
            pace.went_well()
        else:
            pace.in_trouble(pace.epoch)
    assert pace.limit == limit


def test_trouble_of_requests_sent_together_counts_once():
    pace = Pace(8)
    sent = pace.epoch
    for _ in range(4):
        pace.in_trouble(sent)
    assert pace.limit == 2
    pace.in_trouble(pace.epoch)
    assert pace.limit == 1


@pytest.mark.parametrize(
    ("error", "strain"),
    [
        (refused(429), True),
        (refused(503), True),
        (refused(504), True),
        (refused(403, b"Max session number 4 exceeded"), True),
        (refused(200, b"<html>Too many requests</html>"), True),
        (refused(500), False),
        (refused(400), False),
        (refused(401), False),
        (ServiceFault(""), False),
        (ServiceUnreachable(""), True),
        (CredentialsRefused(""), False),
    ],
)
def test_what_says_that_the_service_is_asked_too_much(error, strain):
    assert is_strain(error) is strain


async def test_places_follow_the_pace():
    places, gate, most = Places(8), asyncio.Event(), 0

    async def hold() -> None:
        nonlocal most
        async with places.one():
            most = max(most, places.taken)
            await gate.wait()
            await asyncio.sleep(0)

    async def round_of(number: int) -> int:
        nonlocal most
        most = 0
        gate.clear()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(hold())
            while places.taken < places.pace.limit:
                await asyncio.sleep(0)
            gate.set()
        assert places.taken == 0
        return most

    assert await round_of(20) == 4
    for _ in range(8):
        places.pace.went_well()
    assert await round_of(20) == 5
    places.pace.in_trouble(places.pace.epoch)
    assert await round_of(20) == 2


async def test_who_stops_waiting_takes_no_place():
    places = Places(1)
    async with places.one():
        waiting = asyncio.create_task(places.one().__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert places.taken == 1
    async with asyncio.timeout(10), places.one():
        assert places.taken == 1
