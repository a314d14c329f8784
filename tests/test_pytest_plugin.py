"""The fixtures for users' own tests, used as users use them: in a run of pytest of its own."""

from __future__ import annotations

import pytest

pytest_plugins = "pytester"
ALONE = ("-p", "no:asyncio", "-p", "no:hypothesispytest", "-p", "no:timeout")
"""Without our other plugins: users need none of them."""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Runs pytest on a test file's text, in a process of its own."""
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)

    def start(text: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyprojecttoml('[tool.pytest.ini_options]\nfilterwarnings = ["error"]\n')
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("--strict-markers", *ALONE, *arguments)

    return start


def test_an_emulator_for_a_test(run) -> None:
    run(
        """
        from pathlib import Path
        from noa_async import NoaClient, Query, SyncNoaClient
        import asyncio, hashlib

        def test_sync(noa_emulator, tmp_path):
            with SyncNoaClient(noa_emulator.settings, noa_emulator.credentials) as noa:
                [product] = noa.search(Query(everything=True, limit=1))
                outcome = noa.download(product, tmp_path)
            right = noa_emulator.emulator.content(product.id).md5
            assert hashlib.md5(outcome.path.read_bytes()).hexdigest() == right
            assert noa_emulator.emulator.stats.token_logins == 1

        def test_async(noa_environment):
            async def count():
                async with NoaClient.from_env() as noa:
                    return await noa.count(Query(everything=True))
            assert asyncio.run(count()) == 20
        """
    ).assert_outcomes(passed=2)


def test_what_it_holds_and_what_goes_wrong_is_said_by_a_marker(run) -> None:
    run(
        """
        import pytest
        from noa_async import Query, SyncNoaClient
        from noa_async.emulator import Fault, FaultKind, FaultPlan, make_product

        BROKEN = FaultPlan((Fault(FaultKind.TOO_MANY, retry_after="30"),))

        @pytest.mark.noa_emulator(make_product("S2A_X.SAFE.zip"), quota=2, faults=BROKEN)
        def test_marked(noa_environment, noa_testing, tmp_path):
            assert noa_environment.emulator.settings.quota == 2
            with SyncNoaClient.from_env() as noa:
                [product] = noa.search(Query(everything=True))
                assert product.name == "S2A_X.SAFE.zip"
                assert noa.download(product, tmp_path).attempts == 2
                noa_environment.emulator.outage = True
                with pytest.raises(Exception, match="503"):
                    noa.count(Query(everything=True))
            noa_environment.run(noa_environment.emulator.refuse_connections(0.01))
            noa_environment.run(noa_environment.emulator.reopened())

        @pytest.mark.noa_emulator(product=1)
        def test_misspelt(noa_emulator): ...
        """
    ).assert_outcomes(passed=1, errors=1)


def test_the_environment_is_as_before(run) -> None:
    run(
        """
        import os
        from noa_async import is_testing
        BEFORE = dict(os.environ)

        def test_within(noa_environment, noa_testing):
            assert os.environ["NOA_CATALOGUE_URL"] == noa_environment.emulator.catalogue_url
            assert "http_proxy" not in os.environ and "ESA_PASSWORD" not in os.environ
            assert is_testing()

        def test_after():
            now = dict(os.environ)
            now.pop("PYTEST_CURRENT_TEST"), BEFORE.pop("PYTEST_CURRENT_TEST", None)
            assert now == BEFORE and not is_testing()
        """
    ).assert_outcomes(passed=2)


@pytest.mark.parametrize("given", [(), ("-p", "no:noa_async")])
def test_whoever_does_not_use_it_pays_nothing(run, given: tuple[str, ...]) -> None:
    """No module that takes long is there; without the plugin, none at all."""
    result = run(
        f"""
        import sys
        HEAVY = ["aiohttp", "noa_async.emulator", "noa_async.client", "asyncio", "shapely"]
        OURS = {{"noa_async", "noa_async.pytest_plugin"}}

        def test_modules():
            assert not [name for name in HEAVY if name in sys.modules]
            ours = {{name for name in sys.modules if name.startswith("noa_async")}}
            assert ours == (set() if {bool(given)} else OURS)
        """,
        *given,
    )
    result.assert_outcomes(passed=1)


def test_its_fixtures_are_listed_with_what_they_are(run) -> None:
    result = run("", "--fixtures")
    for name in ("noa_emulator", "noa_environment", "noa_testing"):
        result.stdout.re_match_lines([rf"{name} -- .*"])
    run("", "--markers").stdout.fnmatch_lines(["@pytest.mark.noa_emulator(*"])
