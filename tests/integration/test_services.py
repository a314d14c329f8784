"""A service whose products lie on a host of its own, from the library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from noa_async import NoaClient, ProductUnavailable, Query, RetryPolicy, Service, Settings, Status
from noa_async.emulator import Emulator, EmulatorSettings

from .conftest import WHO

CDSE = EmulatorSettings.playing("cdse", products=6, mean_bytes=20_000)


def settings_of(mirror: Emulator, **changes: frozenset[str]) -> Settings:
    service = replace(
        Service.named("cdse"),
        catalogue_url=mirror.catalogue_url,
        token_url=mirror.token_url,
        **changes,
    )
    return Settings(service=service, retry=RetryPolicy(base=0.01, cap=0.05))


@pytest.mark.parametrize("field", ["download_hosts", "trusted_hosts"])
async def test_its_own_hosts_get_the_token_as_trusted_ones_do(tmp_path: Path, field: str) -> None:
    async with Emulator(CDSE) as mirror:
        hosts = frozenset({mirror.trusted_url.partition("://")[2]})
        async with NoaClient(settings_of(mirror, **{field: hosts}), WHO) as noa:
            query = Query(everything=True)
            outcomes = [each async for each in noa.download_all(noa.search(query), tmp_path)]
        assert {each.status for each in outcomes} == {Status.DOWNLOADED}
        assert {str(each.checksum).partition(":")[0] for each in outcomes} == {"blake3"}
        for each in outcomes:
            assert each.path is not None
            assert each.path.read_bytes() == mirror.content(each.product.id).read()
        assert mirror.stats.token_logins == 1
        assert len(outcomes) == 6


async def test_others_do_not_and_are_named_at_once(tmp_path: Path) -> None:
    async with Emulator(CDSE) as mirror:
        host = mirror.trusted_url.partition("://")[2]
        async with NoaClient(settings_of(mirror), WHO) as noa:
            [product] = [each async for each in noa.search(Query(everything=True, limit=1))]
            outcome = await noa.download(product, tmp_path)
        assert isinstance(outcome.error, ProductUnavailable)
        assert f"redirects to {host}, which wants the token" in str(outcome.error)
        assert outcome.attempts == 1


async def test_a_client_that_is_entered_again_keeps_its_log_in(tmp_path: Path) -> None:
    async with Emulator(CDSE) as mirror:
        noa = NoaClient(settings_of(mirror), WHO, keep_session=True)
        for _ in range(3):
            async with noa:
                [product] = [each async for each in noa.search(Query(everything=True, limit=1))]
                assert await noa.product(product.id) == product
                assert await noa.product("of-nothing") is None
        assert (mirror.stats.token_logins, mirror.stats.token_refreshes) == (1, 0)
        mirror.revoke_tokens(refresh=True)
        async with noa:
            assert await noa.count(Query(everything=True)) == 6  # its pages ask for no token
