"""Settings from values, variables and files: each key lands in its place, nonsense is named."""

from __future__ import annotations

import dataclasses
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noa_async.errors import SettingsError
from noa_async.services import SERVICES
from noa_async.settings import (
    KEYS,
    OnRemoved,
    RetryPolicy,
    Settings,
    environment_values,
    file_values,
)
from noa_async.values import byte_rate

GOOD = {
    "service": (" CDSE ", SERVICES["cdse"]),
    "catalogue_url": ("https://a.example/odata/Products/", "https://a.example/odata/Products"),
    "token_url": ("http://127.0.0.1:8080/token", "http://127.0.0.1:8080/token"),
    "client_id": ("another", "another"),
    "trusted_hosts": ("A.example b.example:8443", frozenset({"a.example", "b.example:8443"})),
    "page_size": ("200", 200),
    "max_url_length": ("16000", 16_000),
    "workers": ("8", 8),
    "listings": ("2", 2),
    "bandwidth": ("20M", 20e6),
    "retries": ("0", 0),
    "offline_wait": ("0", 0.0),
    "connect_timeout": ("5", 5.0),
    "answer_timeout": ("6.5", 6.5),
    "stall_timeout": ("7", 7.0),
    "overlap": ("12h", timedelta(hours=12)),
    "reconcile_every": ("2w", timedelta(days=14)),
    "on_removed": ("delete", OnRemoved.DELETE),
    "max_shrink": ("50%", 0.5),
    "shrink_days": ("5", 5),
    "max_delete": ("5%", 0.05),
    "attributes": ("no", False),
    "gone_listings": ("4", 4),
    "gone_for": ("2w", timedelta(days=14)),
    "keep_trash": ("0d", timedelta(0)),
    "check_files": ("no", False),
    "min_free": ("10GiB", 10 << 30),
    "archive_id": ("0a5c8f2e", "0a5c8f2e"),
    "ca_file": ("/etc/ca.pem", "/etc/ca.pem"),
    "insecure_http": ("yes", True),
    "scratch": ("/srv/scratch", "/srv/scratch"),
    "dask": ("tls://head:8786", "tls://head:8786"),
}
PLACES = {
    "service": "service",
    "catalogue_url": "service.catalogue_url",
    "token_url": "service.token_url",
    "client_id": "service.client_id",
    "trusted_hosts": "service.trusted_hosts",
    "page_size": "service.page_size",
    "max_url_length": "service.max_url_length",
    "workers": "limits.workers",
    "listings": "limits.listings",
    "bandwidth": "limits.bandwidth",
    "retries": "retry.retries",
    "offline_wait": "retry.offline_wait",
    "connect_timeout": "timeouts.connect",
    "answer_timeout": "timeouts.answer",
    "stall_timeout": "timeouts.stall",
    "overlap": "following.overlap",
    "reconcile_every": "following.reconcile_every",
    "on_removed": "following.on_removed",
    "max_shrink": "following.max_shrink",
    "shrink_days": "following.shrink_days",
    "max_delete": "following.max_delete",
    "attributes": "following.attributes",
    "gone_listings": "following.gone_listings",
    "gone_for": "following.gone_for",
    "keep_trash": "following.keep_trash",
    "check_files": "following.check_files",
    "min_free": "min_free",
    "archive_id": "archive_id",
    "ca_file": "ca_file",
    "insecure_http": "insecure_http",
    "scratch": "scratch",
    "dask": "dask",
}


def flat(settings: Settings) -> dict[str, object]:
    """Every value by its dotted place."""
    values: dict[str, object] = {}
    for name, value in dataclasses.asdict(settings).items():
        if isinstance(value, dict):
            values |= {f"{name}.{inner}": held for inner, held in value.items()}
        else:
            values[name] = value
    return values


def at(place: str, value: object) -> dict[str, object]:
    """What a value makes of the settings, by dotted place."""
    if not dataclasses.is_dataclass(value):
        return {place: value}
    held = dataclasses.asdict(value)  # type: ignore[arg-type]
    return {f"{place}.{name}": inner for name, inner in held.items()}


def test_every_key_is_tried_here():
    assert set(KEYS) == set(GOOD) == set(PLACES)


@pytest.mark.parametrize("key", KEYS)
def test_a_value_lands_in_its_place_and_changes_nothing_else(key):
    given_value, expected = GOOD[key]
    changed = flat(Settings().with_values({key: given_value}))
    assert changed == flat(Settings()) | at(PLACES[key], expected)


@pytest.mark.parametrize("key", KEYS)
def test_a_variable_does_the_same(key):
    given_value, expected = GOOD[key]
    settings = Settings.from_env({f"NOA_{key.upper()}": given_value, "PATH": "/bin"})
    assert flat(settings) == flat(Settings()) | at(PLACES[key], expected)


def test_the_defaults_are_noas():
    service = Settings().service
    assert service.catalogue_url == "https://sentinels.space.noa.gr/catalogue/odata/v1/Products"
    assert service.token_url == (
        "https://sentinels.space.noa.gr/auth/realms/mirror/protocol/openid-connect/token"
    )
    assert service.client_id == "mirror-client"
    assert service.trusted_hosts == frozenset()
    assert Settings().limits.workers == 4
    assert Settings().retry.retries == 8
    assert Settings().timeouts.stall == 60


def test_none_leaves_a_value_as_it_is():
    assert Settings().with_values(dict.fromkeys(KEYS)) == Settings()


def test_empty_variables_count_as_absent():
    assert environment_values({"NOA_WORKERS": "", "NOA_RETRIES": "3"}) == {"retries": "3"}


@pytest.mark.parametrize("order", [1, -1])
def test_a_single_value_stands_in_for_the_named_services(order):
    values = {"service": "cdse", "catalogue_url": "http://a.example/x", "page_size": 7}
    service = Settings().with_values(dict(list(values.items())[::order])).service
    assert (service.catalogue_url, service.page_size) == ("http://a.example/x", 7)
    assert service.token_url == SERVICES["cdse"].token_url
    assert service.quota == SERVICES["cdse"].quota


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cdes", "Did you mean cdse?"),
        ("nao", "Did you mean noa?"),
        ("x", "Known services: noa, cdse."),
    ],
)
def test_a_service_that_is_none_is_named(name, hint):
    with pytest.raises(SettingsError, match=f"Unknown service '{name}'.") as caught:
        Settings().with_values({"service": name})
    assert caught.value.hint.startswith(hint)
    with pytest.raises(SettingsError, match="service is 5: it must be a string"):
        Settings().with_values({"service": 5})


@pytest.mark.parametrize(
    "document",
    [
        {"service": "cdse"},
        {"service": {"name": "cdse"}},
        {"service": {"service": "cdse"}},
    ],
)
def test_a_file_names_a_service(document):
    assert file_values(document) == {"service": "cdse"}
    with_more = {"service": {"name": "cdse", "client_id": "x"}}
    assert file_values(with_more) == {"service": "cdse", "client_id": "x"}


def test_the_environment_is_read_where_none_is_given(monkeypatch):
    monkeypatch.setenv("NOA_WORKERS", "7")
    assert Settings.from_env().limits.workers == 7


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().ca_file = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("catalogue_url", "sentinels.space.noa.gr", "https://host/path"),
        ("catalogue_url", "ftp://a.example/x", "https://host/path"),
        ("catalogue_url", "https:///x", "https://host/path"),
        ("catalogue_url", "https://[::1/x", "catalogue_url"),
        ("catalogue_url", "https://a.example:99999/x", "catalogue_url"),
        ("token_url", "file:///etc/passwd", "https://host/path"),
        ("trusted_hosts", "https://a.example", "without scheme or path"),
        ("trusted_hosts", "a.example/x", "without scheme or path"),
        ("trusted_hosts", "*.example", "without scheme or path"),
        ("page_size", "0", "from 1 to 1000"),
        ("page_size", "1001", "from 1 to 1000"),
        ("workers", "0", "from 1 to 256"),
        ("workers", "257", "from 1 to 256"),
        ("workers", 2.5, "whole number"),
        ("workers", "two", "workers is 'two'"),
        ("retries", "-1", "from 0 to 1000"),
        ("bandwidth", "0", "greater than zero"),
        ("bandwidth", "fast", "20M or 500KiB"),
        ("bandwidth", "1.2.3M", "bandwidth"),
        ("bandwidth", math.nan, "greater than zero"),
        ("offline_wait", "-1", "zero or greater"),
        ("offline_wait", "inf", "zero or greater"),
        ("stall_timeout", "0", "greater than zero"),
        ("stall_timeout", "inf", "greater than zero"),
        ("stall_timeout", "-1", "greater than zero"),
        ("connect_timeout", "nan", "greater than zero"),
    ],
)
def test_nonsense_is_named(key, value, said):
    with pytest.raises(SettingsError) as caught:
        Settings().with_values({key: value})
    assert said in str(caught.value)
    assert key in str(caught.value)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [[5], {"a": 1}, 5.5, object()], ids=["list", "table", "5.5", "x"])
def test_a_value_of_another_kind_is_never_a_traceback(key, value):
    """A configuration file can hold anything."""
    try:
        Settings().with_values({key: value})
    except SettingsError as error:
        assert key in str(error)  # noqa: PT017 (some of these are good values)


@pytest.mark.parametrize("key", ["workers", "page_size", "retries", "bandwidth", "stall_timeout"])
def test_true_is_no_number(key):
    with pytest.raises(SettingsError):
        Settings().with_values({key: True})


@pytest.mark.parametrize("key", ["catalogue_url", "token_url"])
def test_a_password_in_an_address_is_refused_and_not_shown(key):
    with pytest.raises(SettingsError) as caught:
        Settings().with_values({key: "https://ada:hunter2@a.example/x"})
    assert "must not contain credentials" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_typo_is_answered_with_the_nearest_key():
    with pytest.raises(SettingsError) as caught:
        Settings().with_values({"worker": 4})
    assert "Did you mean workers?" in str(caught.value)


def test_an_unlike_key_is_answered_with_all():
    with pytest.raises(SettingsError) as caught:
        Settings().with_values({"zzz": 4})
    assert all(key in str(caught.value) for key in KEYS)


def test_a_file_has_two_tables():
    document = {
        "roi": "POINT(1 2)",
        "service": {"page_size": 20},
        "transfer": {"workers": 6, "trusted_hosts": ["a.example"]},
    }
    values = file_values(document)
    assert values == {"page_size": 20, "workers": 6, "trusted_hosts": ["a.example"]}
    settings = Settings().with_values(values)
    assert settings.service.trusted_hosts == frozenset({"a.example"})


def test_a_file_with_nothing_of_ours_gives_nothing():
    assert file_values({"rules": []}) == {}


def test_a_files_typo_is_found_before_its_values():
    with pytest.raises(SettingsError, match="Did you mean workers"):
        file_values({"transfer": {"wrokers": 4}})


def test_a_table_must_be_one():
    with pytest.raises(SettingsError, match=r"\[transfer\]"):
        file_values({"transfer": "4"})
    with pytest.raises(SettingsError, match=r"\[service\]"):
        file_values({"service": ["cdse"]})


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1000", 1e3),
        ("1k", 1e3),
        ("1K", 1e3),
        ("1KiB", 1024.0),
        ("1 kB/s", 1e3),
        ("2.5M", 2.5e6),
        ("1MiB/s", 2.0**20),
        ("1Gbps", 1e9),
        ("1Ti", 2.0**40),
        ("500B", 500.0),
        (12.5, 12.5),
    ],
)
def test_rates(text, rate):
    assert byte_rate(text) == rate


@pytest.mark.parametrize("text", ["", "M", "1x", "1 M M", "-5M", "1e6", "."])
def test_no_rates(text):
    with pytest.raises(ValueError, match=r".+"):
        byte_rate(text)


def test_waits_double_and_are_capped():
    policy = RetryPolicy(base=1, cap=60)
    waits = [policy.delay(failures, draw=lambda: 1.0) for failures in range(1, 9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert policy.delay(10_000, draw=lambda: 1.0) == 60


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e6))
def test_a_wait_is_never_less_than_asked_nor_more_than_the_cap(failures, drawn, asked):
    policy = RetryPolicy()
    delay = policy.delay(failures, asked=asked, draw=lambda: drawn)
    assert delay >= (asked or 0.0)
    assert delay <= max(policy.cap, asked or 0.0)
    if asked is not None and asked >= 1 and failures <= 3:
        assert delay == asked
    else:
        assert delay >= drawn * min(policy.cap, policy.base * 2.0 ** min(failures - 1, 6))


def test_the_whole_range_of_a_wait_is_drawn_from():
    policy = RetryPolicy(base=1, cap=60)
    assert policy.delay(5, draw=lambda: 0.0) == 0
    assert policy.delay(5, draw=lambda: 0.25) == 4


def test_tries_are_counted():
    policy = RetryPolicy(retries=2)
    assert [policy.allows(failures) for failures in (1, 2, 3)] == [True, True, False]
    assert not RetryPolicy(retries=0).allows(1)


def test_a_wait_that_is_too_long_is_not_waited_for():
    policy = RetryPolicy(longest_wait=10)
    assert policy.allows(1, asked=10)
    assert not policy.allows(1, asked=10.5)
