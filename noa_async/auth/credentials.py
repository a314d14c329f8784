"""User name and password: from the environment, netrc or the keyring; never an argument."""

from __future__ import annotations

import netrc
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noa_async.errors import CredentialsMissing, SettingsError
from noa_async.excerpts import excerpt

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = (("NOA_USERNAME", "NOA_PASSWORD"), ("ESA_USERNAME", "ESA_PASSWORD"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password; the password is in no repr.

    Line ends at their end are dropped, and a byte order mark before them: a file that holds a
    secret has them, and no password does.

    >>> Credentials("ada", "secret", source="example")
    Credentials(username='ada', source='example')
    """

    username: str
    """As the mirror knows it."""
    password: str = field(repr=False)
    """Sent to the token service alone."""
    source: str = "arguments"
    """Where they were found, for messages."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "username", _bare(self.username))
        object.__setattr__(self, "password", _bare(self.password))


def find_credentials(
    token_url: str, environ: Mapping[str, str] | None = None, *, keyring: bool = True
) -> Credentials:
    """The first pair found: ``NOA_*``, ``ESA_*``, netrc (the token host's entry), the keyring.

    Raise CredentialsMissing if there is none, or the keyring cannot be used; SettingsError if half
    of a pair is given, or the netrc file cannot be read or can be read by others.
    """
    host = urlsplit(token_url).hostname or ""
    environ = os.environ if environ is None else environ
    if found := _from_environment(environ) or _from_netrc(host, environ):
        return found
    trouble = ""
    if keyring:
        try:
            if found := _from_keyring(host):
                return found
        except Exception as error:  # noqa: BLE001 (a backend raises errors of its own libraries)
            if type(error).__name__ != "NoKeyringError":  # the system has none
                trouble = f" The keyring cannot be used: {first_line(error)}."
    raise CredentialsMissing(
        f"No user name and password were found.{trouble}",
        hint="Set NOA_USERNAME and NOA_PASSWORD, or add "
        f"'machine {host} login USER password SECRET' to ~/.netrc.",
    )


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    for user_key, password_key in _VARIABLES:
        user, password = _bare(environ.get(user_key, "")), _bare(environ.get(password_key, ""))
        if user and password:
            return Credentials(user, password, source=f"{user_key} and {password_key}")
        if user or password:
            given, absent = (user_key, password_key) if user else (password_key, user_key)
            raise SettingsError(f"{given} is set, but {absent} is not.", hint="Set both, or none.")
    return None


def netrc_path(environ: Mapping[str, str]) -> Path | None:
    """Where the netrc file is, or would be; None for a user with no home."""
    try:
        return Path(environ.get("NETRC") or "~/.netrc").expanduser()
    except RuntimeError:
        return None


def keyring_service(host: str) -> str:
    """Under which name the keyring holds the pair for a token host."""
    return f"noa-async:{host}"


def _from_netrc(host: str, environ: Mapping[str, str]) -> Credentials | None:
    path = netrc_path(environ)
    if path is None:
        return None
    try:
        entry = netrc.netrc(path).hosts.get(host)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        message = f"{path} cannot be understood: it is not UTF-8."
        raise SettingsError(message, hint="Mend that file.") from None
    except netrc.NetrcParseError as error:
        # The parser's own message quotes the line it stumbled over, which may hold a password.
        where = f" (line {error.lineno})" if error.lineno else ""
        message = f"{path} cannot be understood{where}."
        raise SettingsError(message, hint="Mend that entry.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    who = None if entry is None else _whole(entry[0], entry[2], str(path))
    if who is not None:
        _check_private(path)
    return who


def _check_private(path: Path) -> None:
    """Raise SettingsError if every user of this machine can read the file."""
    if path.stat().st_mode & stat.S_IROTH:
        raise SettingsError(
            f"{path} holds a password and can be read by every user of this machine.",
            hint=f"Make it yours alone: chmod 600 {path}",
        )


def _from_keyring(host: str) -> Credentials | None:
    """Return the pair in the keyring. Raise whatever its backend does."""
    try:
        import keyring  # noqa: PLC0415 (an extra, and slow to import)
    except ModuleNotFoundError as error:
        if error.name == "keyring":
            return None
        raise
    entry = keyring.get_credential(keyring_service(host), None)
    return None if entry is None else _whole(entry.username, entry.password, "keyring")


def _whole(username: str | None, password: str | None, source: str) -> Credentials | None:
    """A pair; None if half of it is empty."""
    who = Credentials(username or "", password or "", source)
    return who if who.username and who.password else None


def _bare(text: str) -> str:
    return text.removeprefix("\ufeff").rstrip("\r\n")


def first_line(error: BaseException) -> str:
    """An error of another library, in part of a line.

    >>> first_line(RuntimeError("No bus.\\nTry this.")), first_line(KeyError("bus"))
    ('No bus', "KeyError: 'bus'")
    """
    said = excerpt(next(iter(str(error).splitlines()), "")).rstrip(".")
    kind = type(error).__name__
    return said if " " in said else f"{kind}: {said}" if said else kind
