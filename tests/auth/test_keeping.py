"""A netrc file gets one pair and loses nothing; a keyring holds what is found there again."""

from __future__ import annotations

import netrc
import os
import stat
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from noa_async.auth import keeping
from noa_async.auth.credentials import Credentials, find_credentials
from noa_async.auth.keeping import keep_in_keyring, keep_in_netrc, with_entry
from noa_async.errors import SettingsError

HOST = "mirror.example"
TOKEN_URL = f"https://{HOST}/token"
WHO = Credentials("ada", "s3cret")


def keep(path: Path, who: Credentials = WHO) -> Path:
    return keep_in_netrc(who, HOST, {"NETRC": str(path)})


def found(path: Path) -> tuple[str, str]:
    who = find_credentials(TOKEN_URL, {"NETRC": str(path)}, keyring=False)
    return who.username, who.password


def test_a_new_file_is_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    old = os.umask(0)
    try:
        assert keep(path) == path
    finally:
        os.umask(old)
    assert path.read_text() == "machine mirror.example login ada password s3cret\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found(path) == ("ada", "s3cret")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("machine a login b password c", "machine a login b password c\n{ours}\n"),
        ("# a remark\n\n", "# a remark\n\n{ours}\n"),
        ("{old}\n", "{ours}\n"),
        (
            "machine a login b password c\n{old} # mine\nmachine z login y password x\n",
            "machine a login b password c\n{ours} # mine\nmachine z login y password x\n",
        ),
        (
            "machine mirror.example\n\tlogin old\n\taccount kept\n\tpassword older\n",
            "machine mirror.example\n\tlogin ada\n\taccount kept\n\tpassword s3cret\n",
        ),
        ("machine mirror.example user old", "machine mirror.example password s3cret user ada"),
        (
            "machine mirror.example\nmachine b login c password d",
            "{ours}\nmachine b login c password d",
        ),
        ("default login d password e\n", "default login d password e\n{ours}\n"),
        ("macdef init\ncd /pub\nmachine mirror.example\n\n", ("macdef init\ncd /pub\nmachine "
         "mirror.example\n\n{ours}\n")),
        ('machine a login "b c" password "d\\"e"\n', ('machine a login "b c" password "d\\"e"\n'
         "{ours}\n")),
        ("# machine mirror.example login no password no\n", ("# machine mirror.example login no "
         "password no\n{ours}\n")),
        ("{old}\n{old}\n", "{ours}\n{ours}\n"),
    ],
)  # fmt: skip
def test_all_else_stays_to_the_letter(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "netrc"
    ours = f"machine {HOST} login ada password s3cret"
    path.write_text(before.format(old=f"machine {HOST} login old password older", ours=ours))
    path.chmod(0o644)
    keep(path)
    assert path.read_text() == after.format(ours=ours)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found(path) == ("ada", "s3cret")


WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
SIMPLE = st.from_regex(r"[a-z0-9.]{1,8}", fullmatch=True).filter(
    lambda word: word not in {"machine", "login"}
)
ENTRY = st.builds(
    lambda host, login, password, gap: f"machine {host}{gap}login {login}{gap}password {password}",
    SIMPLE | st.just(HOST),
    SIMPLE,
    SIMPLE,
    st.sampled_from([" ", "\n  ", "\n# a remark\n", "\t"]),
)
FILES = st.lists(ENTRY | st.sampled_from(["# a remark", "", "default login a password b"]))


@settings(deadline=None)
@given(FILES.map("\n".join), st.sampled_from(["", "\n"]), WORD, WORD)
def test_any_password_comes_back_and_no_other_is_touched(
    text: str, end: str, user: str, password: str
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "netrc")
        path.write_text(text + end)
        try:
            before = netrc.netrc(path).hosts
        except netrc.NetrcParseError:  # remarks in some places are too much for it
            reject()
        try:
            keep(path, Credentials(user, password))
        except SettingsError:  # so is a remark after a value in quotes
            assert '"' in with_entry("", HOST, user, password)
            assert "#" in text
            assert path.read_text() == text + end
            return
        after = netrc.netrc(path).hosts
        assert after.pop(HOST)[::2] == (user, password)
        before.pop(HOST, None)
        assert after == before


@pytest.mark.parametrize(
    "content",
    [b"machine mirror.example login a passwort b\n", b"\xff\xfe", b"machine a login #x password b",
     b"macdef init\nnever ends"],
    ids=["broken", "binary", "special", "macro"],
)  # fmt: skip
def test_what_cannot_be_changed_safely_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "netrc"
    path.write_bytes(content)
    if content.startswith(b"machine a"):  # which a remark could be, too
        keep(path)
        assert netrc.netrc(path).hosts["a"] == ("#x", "", "b")
        return
    with pytest.raises(SettingsError) as caught:
        keep(path)
    assert str(path) in str(caught.value)
    assert "with an editor" in caught.value.hint
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert WHO.password not in str(caught.value)


@pytest.mark.parametrize(
    "spoilt",
    ["machine a login b password other\n{ours}", "{ours}", "machine a login b password c\n"],
)
def test_what_would_change_another_entry_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str
) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine a login b password c\n")
    ours = with_entry("", HOST, WHO.username, WHO.password)
    monkeypatch.setattr(keeping, "with_entry", lambda *_: spoilt.format(ours=ours))
    with pytest.raises(SettingsError, match="was not changed"):
        keep(path)
    assert path.read_text() == "machine a login b password c\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_password_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="it is not UTF-8"):
        keep(tmp_path / "netrc", Credentials("ada", "\udc80"))
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real, link = tmp_path / "dotfiles/netrc", tmp_path / "netrc"
    real.write_text("# mine\n")
    link.symlink_to(real)
    assert keep(link) == real
    assert link.is_symlink()
    assert "s3cret" in real.read_text()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"Cannot change .*: No such file"):
        keep(tmp_path / "nowhere/netrc")


def test_an_entry_that_is_right_is_written_once() -> None:
    once = with_entry("", HOST, "ada", "x")
    assert with_entry(once, HOST, "ada", "x") == once


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    held: dict[str, dict[str, str]] = {}
    module = ModuleType("keyring")

    def get(service: str, _user: None) -> SimpleNamespace | None:
        pairs = held.get(service)
        if not pairs:
            return None
        user = next(iter(pairs))
        return SimpleNamespace(username=user, password=pairs[user])

    module.errors = SimpleNamespace(KeyringError=type("KeyringError", (Exception,), {}))  # type: ignore[attr-defined]
    module.get_credential = get  # type: ignore[attr-defined]
    module.set_password = (  # type: ignore[attr-defined]
        lambda service, user, password: held.setdefault(service, {}).update({user: password})
    )
    module.delete_password = lambda service, user: held[service].pop(user)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", module)
    return SimpleNamespace(module=module, held=held)


def test_the_keyring_holds_one_pair_that_is_found_again(keyring, tmp_path: Path) -> None:
    environ = {"NETRC": str(tmp_path / "none")}
    keep_in_keyring(Credentials("old", "x"), HOST)
    keep_in_keyring(WHO, HOST)
    keep_in_keyring(WHO, HOST)
    assert keyring.held == {f"noa-async:{HOST}": {"ada": "s3cret"}}
    who = find_credentials(TOKEN_URL, environ)
    assert (who.username, who.password) == ("ada", "s3cret")


def test_no_keyring_is_said(monkeypatch: pytest.MonkeyPatch, keyring) -> None:
    def refuse(*_: str) -> None:
        raise keyring.module.errors.KeyringError("No recommended backend was available.\nInstall")

    keyring.module.set_password = refuse
    with pytest.raises(SettingsError, match=r"\(No recommended backend was available\)") as caught:
        keep_in_keyring(WHO, HOST)
    assert "--keep netrc" in caught.value.hint
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match="no keyring is installed"):
        keep_in_keyring(WHO, HOST)
