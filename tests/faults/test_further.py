"""Faults met beside the rows of the list: what one odd answer, file or row must not do."""

from __future__ import annotations

import pytest

from noa_async import Query
from noa_async.answers import Meaning, classify
from noa_async.emulator import Emulator, EmulatorSettings
from noa_async.emulator.errors import RefusedError

from ..integration.conftest import Connect

ALL = Query(everything=True)

# Answers


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, b'{"error": {"message": "The value of $skip, 10050, exceeds the limit of 10000."}}'),
        (400, b'{"detail": "Maximum number of requested products is 1000 ($top)"}'),
        (400, b'{"error": {"message": "The query exceeds the maximum number of nodes"}}'),
        (422, b'{"detail": [{"loc": ["query", "$top"], "msg": "exceeds maximum number"}]}'),
        (414, b"<title>414</title>The request URI exceeds the limit of 8192 bytes"),
        (431, b"Too many request headers"),
    ],
)
def test_a_limit_of_queries_is_no_quota(status: int, said: bytes) -> None:
    assert classify(status, {}, said, json_due=True).meaning is Meaning.PERMANENT


async def test_a_list_goes_on_by_time_past_a_skip_that_exceeds_a_limit(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(status: int, _: str) -> RefusedError:
        return RefusedError(status, "The value of $skip exceeds the limit of 100.")

    monkeypatch.setattr("noa_async.emulator.options.RefusedError", refused)
    settings = EmulatorSettings(products=700, mean_bytes=1000, max_skip=100, refused_links=True)
    async with Emulator(settings) as mirror, connect(mirror) as noa:
        assert len({product.id async for product in noa.search(ALL)}) == 700
