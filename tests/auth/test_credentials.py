"""Where the user name and password come from, and that no message ever holds the password."""

from __future__ import annotations

import sys
import traceback
from types import ModuleType, SimpleNamespace

import pytest

from noa_async.auth.credentials import Credentials, find_credentials
from noa_async.errors import CredentialsMissing, NoaError, SettingsError

TOKEN_URL = "https://mirror.example:8443/auth/token"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)


@pytest.fixture
def netrc(tmp_path):
    """Writes a netrc file; gives the environment that names it."""

    def write(content: str | bytes) -> dict[str, str]:
        path = tmp_path / "netrc"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return {"NETRC": str(path)}

    return write


@pytest.fixture
def keyring(monkeypatch):
    """A keyring that holds what the test puts into it."""
    module = ModuleType("keyring")
    module.errors = SimpleNamespace(KeyringError=type("KeyringError", (Exception,), {}))
    module.held = {}
    module.get_credential = lambda service, user: module.held.get(service)
    monkeypatch.setitem(sys.modules, "keyring", module)
    return module


def pair(found: Credentials) -> tuple[str, str]:
    return found.username, found.password


def test_the_mirrors_own_variables_come_first(netrc):
    environ = netrc(f"machine mirror.example login net password {SECRET}") | {
        "NOA_USERNAME": "noa",
        "NOA_PASSWORD": "n",
        "ESA_USERNAME": "esa",
        "ESA_PASSWORD": "e",
    }
    assert find_credentials(TOKEN_URL, environ) == Credentials(
        "noa", "n", "NOA_USERNAME and NOA_PASSWORD"
    )


def test_then_the_references_variables(netrc):
    environ = netrc(f"machine mirror.example login net password {SECRET}") | {
        "NOA_USERNAME": "",
        "NOA_PASSWORD": "",
        "ESA_USERNAME": "esa",
        "ESA_PASSWORD": "e",
    }
    assert find_credentials(TOKEN_URL, environ) == Credentials(
        "esa", "e", "ESA_USERNAME and ESA_PASSWORD"
    )


def test_then_netrc(netrc, keyring):
    keyring.held["noa-async:mirror.example"] = SimpleNamespace(username="ring", password="r")
    environ = netrc(f"machine mirror.example login net password {SECRET}")
    found = find_credentials(TOKEN_URL, environ)
    assert pair(found) == ("net", SECRET)
    assert found.source == environ["NETRC"]


def test_then_the_keyring(tmp_path, keyring):
    keyring.held["noa-async:mirror.example"] = SimpleNamespace(username="ring", password="r")
    found = find_credentials(TOKEN_URL, {"NETRC": str(tmp_path / "none")})
    assert found == Credentials("ring", "r", "keyring")


def test_the_keyring_is_left_alone_where_it_is_not_wanted(tmp_path, keyring):
    keyring.held["noa-async:mirror.example"] = SimpleNamespace(username="ring", password="r")
    with pytest.raises(CredentialsMissing):
        find_credentials(TOKEN_URL, {"NETRC": str(tmp_path / "none")}, keyring=False)


def test_a_locked_keyring_is_no_credentials(tmp_path, keyring):
    def refuse(service: str, user: str | None) -> None:
        raise keyring.errors.KeyringError("locked")

    keyring.get_credential = refuse
    with pytest.raises(CredentialsMissing):
        find_credentials(TOKEN_URL, {"NETRC": str(tmp_path / "none")})


def test_line_ends_are_dropped_wherever_they_come_from(netrc, keyring, tmp_path):
    keyring.held["noa-async:mirror.example"] = SimpleNamespace(username="ring\n", password="r\r\n")
    found = find_credentials(TOKEN_URL, {"NETRC": str(tmp_path / "none")})
    assert pair(found) == ("ring", "r")
    environ = netrc(f'machine mirror.example login net password "{SECRET}\n"')
    assert pair(find_credentials(TOKEN_URL, environ)) == ("net", SECRET)
    environ = {"NOA_USERNAME": "\ufeffada\n", "NOA_PASSWORD": f" {SECRET} \r\n"}
    assert pair(find_credentials(TOKEN_URL, environ)) == ("ada", f" {SECRET} ")


@pytest.mark.parametrize("entry", [("", "r"), ("ring", ""), ("ring", None), ("ring", "\n")])
def test_half_a_keyring_entry_is_none(tmp_path, keyring, entry):
    keyring.held["noa-async:mirror.example"] = SimpleNamespace(username=entry[0], password=entry[1])
    with pytest.raises(CredentialsMissing):
        find_credentials(TOKEN_URL, {"NETRC": str(tmp_path / "none")})


@pytest.mark.parametrize(
    ("given_key", "absent_key"),
    [
        ("NOA_USERNAME", "NOA_PASSWORD"),
        ("NOA_PASSWORD", "NOA_USERNAME"),
        ("ESA_USERNAME", "ESA_PASSWORD"),
        ("ESA_PASSWORD", "ESA_USERNAME"),
    ],
)
def test_half_a_pair_is_said(tmp_path, given_key, absent_key):
    environ = {"NETRC": str(tmp_path / "none"), given_key: SECRET}
    with pytest.raises(SettingsError) as caught:
        find_credentials(TOKEN_URL, environ)
    assert f"{given_key} is set, but {absent_key} is not." in str(caught.value)
    assert_no_secret(caught.value)


def test_half_of_the_first_pair_is_not_made_up_for_by_the_second(tmp_path):
    environ = {"NOA_USERNAME": "noa", "ESA_USERNAME": "esa", "ESA_PASSWORD": SECRET}
    with pytest.raises(SettingsError, match="NOA_PASSWORD is not"):
        find_credentials(TOKEN_URL, environ | {"NETRC": str(tmp_path / "none")})


def test_nothing_found_says_what_to_do(tmp_path):
    with pytest.raises(CredentialsMissing) as caught:
        find_credentials(TOKEN_URL, {"NETRC": str(tmp_path / "none")})
    for part in ("NOA_USERNAME", "NOA_PASSWORD", "machine mirror.example login"):
        assert part in str(caught.value)


def test_netrc_is_found_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text(f"machine mirror.example login net password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert pair(find_credentials(TOKEN_URL, {})) == ("net", SECRET)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing but a remark\n",
        "machine other.example login net password hunter2",
        "default login anybody password hunter2",
        "machine mirror.example password hunter2",
        "machine mirror.example login net",
    ],
    ids=["empty", "remark", "other host", "default", "no login", "no password"],
)
def test_a_netrc_without_our_pair_is_passed_over(netrc, content):
    with pytest.raises(CredentialsMissing):
        find_credentials(TOKEN_URL, netrc(content))


@pytest.mark.parametrize(
    "content",
    [
        "machine mirror.example\n  login net\n  account x\n  password hunter2\n",
        "machine a.example login b password c\nmachine mirror.example login net password hunter2",
        "machine mirror.example login net password hunter2\nmachine z.example login b password c",
        'machine mirror.example login net password "hunter2"',
        "machine mirror.example login net password hunter2 # ours\n",
        "default login d password d\nmachine mirror.example login net password hunter2",
    ],
    ids=["lines", "second", "first", "quoted", "remark", "default first"],
)
def test_a_netrc_entry_in_any_form(netrc, content):
    assert pair(find_credentials(TOKEN_URL, netrc(content))) == ("net", SECRET)


@pytest.mark.parametrize(
    "content",
    [
        f"machine mirror.example login net passwort {SECRET}",
        f"machine mirror.example login net password {SECRET}\n{SECRET} more",
        f"{SECRET}",
        f"machine mirror.example login net password {SECRET} \xe9".encode("latin-1"),
        f"machine mirror.example login net password {SECRET}\0\xff".encode("latin-1"),
    ],
    ids=["typo", "stray words", "only a word", "latin-1", "binary"],
)
def test_a_netrc_that_cannot_be_read_is_said_without_its_content(netrc, content):
    environ = netrc(content)
    with pytest.raises(SettingsError) as caught:
        find_credentials(TOKEN_URL, environ)
    assert environ["NETRC"] in str(caught.value)
    assert_no_secret(caught.value)


def test_a_folder_in_place_of_netrc_is_said(tmp_path):
    with pytest.raises(SettingsError, match="Cannot read"):
        find_credentials(TOKEN_URL, {"NETRC": str(tmp_path)})


def test_no_repr_shows_the_password():
    one = Credentials("ada", SECRET)
    assert SECRET not in repr(one)
    assert SECRET not in str(one)
    assert SECRET not in f"{one} {[one]} { ({'who': one}) }"


def assert_no_secret(error: NoaError) -> None:
    """Neither the error nor anything that a traceback shows with it holds the password."""
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert SECRET not in shown
    chain: BaseException | None = error
    while chain is not None:
        if not chain.__suppress_context__ or chain.__cause__ is not None:
            assert SECRET not in repr(chain.args)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
