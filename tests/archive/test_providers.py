"""Where each kind of store gets its keys from, and what its errors are said to mean."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from noa_async.archive.providers import azure_options, google_options, plain, provider_of
from noa_async.archive.targets import SCHEMES
from noa_async.errors import SettingsError

PAGE = Path(__file__).parents[2] / "docs/howto/object-store.md"
KEY = "YS1rZXk="
NAMED = {"AZURE_STORAGE_ACCOUNT_NAME": "a"}


def connection(text: str) -> dict[str, str]:
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


@pytest.mark.parametrize(
    ("environ", "options"),
    [
        (NAMED, {"account_name": "a"}),
        (
            {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_KEY": KEY},
            {"account_name": "a", "account_key": KEY},
        ),
        (NAMED | connection(f"AccountName=b;AccountKey={KEY}"), {"account_name": "a"}),
        (
            connection(f"AccountName=b;AccountKey={KEY};EndpointSuffix=core.example"),
            {
                "account_name": "b",
                "account_key": KEY,
                "endpoint": "https://b.blob.core.example",
            },
        ),
        (
            connection("BlobEndpoint=https://c.blob.example/;SharedAccessSignature=sig=1"),
            {"account_name": "c", "sas_key": "sig=1", "endpoint": "https://c.blob.example/"},
        ),
        (connection("UseDevelopmentStorage=true"), {"use_emulator": "true"}),
        ({"AZURE_STORAGE_USE_EMULATOR": "true"}, {}),
    ],
)
def test_an_azure_account(environ, options):
    assert azure_options(environ) == options


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "needs the storage account"),
        (NAMED | {"AZURE_STORAGE_ACCOUNT_KEY": "a-secret cut"}, "not base64"),
        (connection("a-secret"), "has no account name"),
        (connection(""), "needs the storage account"),
    ],
)
def test_no_azure_account(environ, said):
    with pytest.raises(SettingsError, match=said) as caught:
        azure_options(environ)
    assert "a-secret" not in f"{caught.value} {caught.value.hint}"


def test_a_file_of_google_keys(tmp_path):
    file = tmp_path / "keys.json"
    with pytest.raises(SettingsError, match=f"GOOGLE_SERVICE_ACCOUNT is {file}"):
        google_options({"GOOGLE_SERVICE_ACCOUNT": str(file)})
    file.write_text(json.dumps({"gcs_base_url": "http://here"}))
    options = google_options({"GOOGLE_SERVICE_ACCOUNT": str(file)})
    assert options == {"base_url": "http://here"}
    assert plain(options)
    assert google_options({}) == {}


NO_KEYS = {
    "s3": "Error performing PUT http://169.254.169.254/latest/api/token - 403 Forbidden",
    "gs": "Error performing token request: http://metadata.google.internal/computeMetadata",
    "az": "Error performing token request: Error performing GET http://169.254.169.254/metadata",
}
NAMES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("text", "code", "kind", "word", "does"),
    [
        ("", "ExpiredToken", "GenericError", "ExpiredToken", "renew them"),
        ("", "AuthenticationFailed", "GenericError", "AuthenticationFailed", "renew them"),
        ("", "Generic", "UnauthenticatedError", "Generic", "renew them"),
        ("Error performing token request: 400", "Generic", "", "Generic", "renew them"),
        ("", "AccessDenied", "PermissionDeniedError", "AccessDenied", "must be allowed to list"),
        ("", "ContainerNotFound", "GenericError", "ContainerNotFound", "first, or check"),
        ("HTTP error: error sending request", "Generic", "", "does not answer", "Check"),
        ("", "ServerBusy", "GenericError", "ServerBusy", "kept in the scratch"),
        (None, "403", "GenericError", "no keys were found", "this machine provides none"),
    ],
)
def test_what_an_error_means(scheme, text, code, kind, word, does):
    said, hint = provider_of(scheme).refusal(NO_KEYS[scheme] if text is None else text, code, kind)
    assert word in said
    assert does in hint
    others = {name for kind, name in NAMES.items() if kind != scheme}
    assert not any(name in hint for name in others)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_names_what_a_hint_names(scheme):
    [line] = [one for one in PAGE.read_text().splitlines() if one.startswith(f"| `{scheme}://`")]
    provider = provider_of(scheme)
    for name in [*provider.keys.split(", "), provider.address]:
        assert f"`{name}`" in line
