"""A file of accounts: what is read, what is refused, and that no message tells a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from noa_async import Credentials, Settings, SettingsError
from noa_async.auth.accounts import find_accounts, read_accounts

TWO = """
[[accounts]]
username = "ada"
password = "s3cret"
[[accounts]]
username = "bob"
password = "0ther"
"""


def kept(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "accounts.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_accounts_are_read_in_their_order(tmp_path: Path) -> None:
    path = kept(tmp_path, TWO)
    found = read_accounts(path)
    assert [(one.username, one.password) for one in found] == [("ada", "s3cret"), ("bob", "0ther")]
    assert {one.source for one in found} == {str(path)}
    assert "s3cret" not in repr(found)


def test_the_file_stands_before_all_else_and_is_off_unless_named(tmp_path: Path) -> None:
    environ = {"NOA_USERNAME": "eve", "NOA_PASSWORD": "pw"}
    path = kept(tmp_path, TWO)
    [alone] = find_accounts(Settings.from_env(environ), environ)
    assert alone == Credentials("eve", "pw", source="NOA_USERNAME and NOA_PASSWORD")
    environ["NOA_ACCOUNTS"] = str(path)
    assert [one.username for one in find_accounts(Settings.from_env(environ), environ)] == [
        "ada",
        "bob",
    ]


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, TWO)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_accounts(Path("~/accounts.toml"))) == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
def test_what_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = kept(tmp_path, TWO, mode)
    with pytest.raises(SettingsError, match="others than you") as caught:
        read_accounts(path)
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no file of accounts"),
        ("accounts = 3", "no file of accounts"),
        ("accounts = []", "no file of accounts"),
        (TWO + "[other]\n", "no file of accounts"),
        ('username = "ada"\npassword = "s3cret"', "no file of accounts"),
        ('password = "s3cret', "is not TOML"),
        (TWO + '[[accounts]]\nusername = "eve"', "Account 3 in .* is not complete"),
        (TWO.replace("password", "pasword", 1), "Account 1 in .* is not complete"),
        (TWO + 'client = "s3cret"', "Account 2 in .* is not complete"),
        (TWO.replace('"bob"', '""'), "Account 2 in .* has no user name"),
        (TWO.replace('"0ther"', "5"), "Account 2 in .* or no password"),
        (TWO.replace("bob", "ada"), "Account 2 in .* is there twice"),
    ],
)
def test_what_is_wrong_is_said_without_a_password(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        read_accounts(kept(tmp_path, text))
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = kept(tmp_path, "")
    path.write_bytes(b"password = '\xff'")
    with pytest.raises(SettingsError, match="is not TOML"):
        read_accounts(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read: No such file"):
        read_accounts(tmp_path / "none.toml")
