"""``login``: typed once, sent once, kept where it was asked to be."""

from __future__ import annotations

import pytest

from .conftest import PASSWORD, Open, Program
from .conversation import converse


def forget(noa: Program) -> None:
    """No credentials in the environment."""
    for name in ("NOA_USERNAME", "NOA_PASSWORD"):
        del noa.environ[name]


async def test_what_is_typed_is_tried_and_kept_in_netrc(open_mirror: Open) -> None:
    mirror, noa = await open_mirror()
    forget(noa)
    netrc = noa.folder / "netrc"
    netrc.write_text("machine other.example login a password b\n")
    noa.environ["NETRC"] = str(netrc)
    code, shown = await converse(noa, ["login", "--keep", "netrc"], ["demo", PASSWORD])
    assert code == 0, shown
    assert "User name at 127.0.0.1: " in shown
    assert "The credentials of demo are accepted." in shown
    assert f"Stored in {netrc}." in shown
    assert PASSWORD not in shown
    assert netrc.read_text() == (
        "machine other.example login a password b\n"
        f"machine 127.0.0.1 login demo password {PASSWORD}\n"
    )
    assert netrc.stat().st_mode & 0o777 == 0o600
    ended = await noa("login")
    assert ended.out.startswith(f"The credentials of demo are accepted (found in {netrc}).\n")
    assert mirror.stats.token_logins == 2


async def test_a_password_that_is_refused_is_sent_once_and_not_kept(open_mirror: Open) -> None:
    mirror, noa = await open_mirror()
    forget(noa)
    code, shown = await converse(noa, ["login", "--keep", "netrc"], ["demo", "wrong"])
    assert code == 3
    assert "The service rejects the credentials of 'demo' (from the terminal)" in shown
    assert mirror.stats.wrong_passwords == 1
    assert not (noa.folder / "no-netrc").exists()
    assert "Stored" not in shown


async def test_what_is_found_is_not_asked_for_unless_told(open_mirror: Open) -> None:
    _, noa = await open_mirror()
    code, shown = await converse(noa, ["login"], [])
    assert (code, "User name" in shown) == (0, False)
    code, shown = await converse(noa, ["login", "--ask"], ["demo", PASSWORD])
    assert code == 0
    assert "They were not stored: use --keep netrc or --keep keyring." in shown
    ended = await noa("login", "--ask")
    assert (ended.code, ended.out) == (2, "")
    assert "--ask requires a terminal" in ended.err


async def test_without_a_terminal_nothing_is_asked(open_mirror: Open) -> None:
    mirror, noa = await open_mirror()
    forget(noa)
    ended = await noa("login", "--keep", "netrc")
    assert (ended.code, ended.out) == (3, "")
    assert mirror.stats.requests == 0


async def test_it_says_who_is_found_before_what_is_kept(open_mirror: Open) -> None:
    _, noa = await open_mirror()
    noa.environ |= {"NETRC": str(noa.folder / "netrc")}
    ended = await noa("login", "--keep", "netrc")
    assert ended.code == 0
    assert ended.err == ""
    forget(noa)
    noa.environ |= {"ESA_USERNAME": "e", "ESA_PASSWORD": "f"}
    code, shown = await converse(noa, ["login", "--ask", "--keep", "netrc"], ["demo", PASSWORD])
    assert code == 0
    assert "Warning: other credentials, in ESA_USERNAME and ESA_PASSWORD, take precedence" in shown


async def test_a_keyring_that_is_not_there_is_said(open_mirror: Open) -> None:
    _, noa = await open_mirror()
    noa.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    ended = await noa("login", "--keep", "keyring")
    assert ended.code == 2
    assert ended.out.startswith("The credentials of demo are accepted")
    assert "noa-async: The password was not stored: " in ended.err
    assert "--keep netrc" in ended.err


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"issue_refresh": False}, "Renewal requires the password."),
        ({"refresh_life": 90.0}, "for 1 min 30 s."),
    ],
)
async def test_it_says_how_long_the_log_in_can_be_renewed(open_mirror, settings, told) -> None:
    _, noa = await open_mirror(**settings)
    assert (await noa("login")).out.splitlines()[2].endswith(told)
