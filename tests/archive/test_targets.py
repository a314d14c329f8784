"""What an output names, and what of it is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from noa_async.archive.awsfiles import s3_options
from noa_async.archive.objects import ObjectFolder
from noa_async.archive.targets import StoreUrl, state_of, target_of
from noa_async.errors import SettingsError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3:/bucket/x", "lost a slash"),
        ("ftp://host/x", "no output that is known"),
        ("s3://key:secret@bucket/x", "do not belong"),
        ("s3://", "no bucket and prefix"),
        ("s3://bucket/x?y=1", "no bucket and prefix"),
        ("s3://bucket/../x", "'..'"),
        ("file://data", "no folder here"),
    ],
)
def test_what_names_no_output(text, said):
    with pytest.raises(SettingsError) as caught:
        target_of(text)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_each_address_has_a_scratch_of_its_own(tmp_path):
    one, same, other = (target_of(url, tmp_path) for url in ("s3://b/x", "s3://b//x/", "s3://b/xy"))
    assert isinstance(one, StoreUrl)
    assert one == same
    assert state_of(one) != state_of(other)
    assert state_of(one).parent == tmp_path


def test_obstore_is_loaded_for_an_object_store_alone():
    code = (
        "import sys, noa_async, noa_async.cli.download, noa_async.client, pathlib\n"
        "from noa_async.archive.archive import destination_of\n"
        "destination_of(pathlib.Path('data'))\n"
        "print([name for name in sys.modules if 'obstore' in name or 'objects' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_without_obstore_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)
    target = target_of("s3://b/x", tmp_path)
    assert isinstance(target, StoreUrl)
    with pytest.raises(SettingsError, match=r"pip install 'noa-async\[s3\]'"):
        ObjectFolder(target).open()


def test_a_profile_of_the_aws_files(tmp_path):
    aws = tmp_path / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text("[night]\naws_access_key_id = k\naws_secret_access_key = s%\n")
    (aws / "config").write_text("[profile night]\nregion = eu-south-1\nendpoint_url = http://x\n")
    home = {"HOME": str(tmp_path), "AWS_PROFILE": "night"}
    keys = {"access_key_id": "k", "secret_access_key": "s%"}
    there = {"region": "eu-south-1", "endpoint": "http://x", "checksum_algorithm": "SHA256"}
    assert s3_options(home) == keys | there
    assert s3_options(home | {"AWS_ACCESS_KEY_ID": "other"}) == there
    assert s3_options(home | {"AWS_ENDPOINT_URL": "http://y"})["endpoint"] == "http://y"
    with pytest.raises(SettingsError, match="no AWS profile 'day'"):
        s3_options(home | {"AWS_PROFILE": "day"})
    (aws / "credentials").unlink()
    with pytest.raises(SettingsError, match="has no keys"):
        s3_options(home)


TLS, HTTP = {"AWS_ENDPOINT_URL": "https://a.store"}, {"AWS_ENDPOINT_URL": "http://a.store"}
UNSIGNED, CHECKSUM = {"unsigned_payload": "true"}, {"checksum_algorithm": "SHA256"}


@pytest.mark.parametrize(
    ("environ", "options"),
    [
        ({}, UNSIGNED),
        (TLS, UNSIGNED),
        (TLS | {"AWS_CHECKSUM_ALGORITHM": "crc64nvme"}, UNSIGNED),
        (TLS | {"AWS_UNSIGNED_PAYLOAD": "false"}, {}),
        (HTTP, CHECKSUM),
        ({"AWS_ENDPOINT": "http://a.store"}, CHECKSUM),
        ({"AWS_ENDPOINT_URL_S3": "HTTP://A.STORE"}, CHECKSUM),
        (HTTP | {"AWS_CHECKSUM_ALGORITHM": "crc64nvme"}, {}),
        (HTTP | {"AWS_UNSIGNED_PAYLOAD": "true"}, {}),
        (HTTP | {"AWS_UNSIGNED_PAYLOAD": "false"}, {}),
    ],
)
def test_bytes_are_hashed_if_no_tls_protects_them_and_no_variable_chooses(
    tmp_path, environ, options
):
    found = s3_options({"HOME": str(tmp_path)} | environ)
    assert {name: found[name] for name in found if name not in {"region", "endpoint"}} == options
