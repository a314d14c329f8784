"""Find the user name and password in the environment, netrc or the keyring; never in arguments."""

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
    """A user name and a password; the repr does not contain the password.

    A byte order mark at the start and line ends at the end are dropped: files that hold a secret
    often have them, and passwords do not.

    >>> Credentials("ada", "secret", source="example")
    Credentials(username='ada', source='example')
    """

    username: str
    """The user name at the service."""
    password: str = field(repr=False)
    """The password; sent to the token endpoint only."""
    source: str = "arguments"
    """Where the credentials were found, for messages."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "username", _bare(self.username))
        object.__setattr__(self, "password", _bare(self.password))


def find_credentials(
    token_url: str, environ: Mapping[str, str] | None = None, *, keyring: bool = True
) -> Credentials:
    """Return the first pair found: ``NOA_*``, ``ESA_*``, netrc (the token host's entry), the
    keyring.

    Raise CredentialsMissing if there is none or the keyring fails; SettingsError if only one half
    of a pair is set, or the netrc file is unreadable or readable by other users.
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
        except Exception as error:  # noqa: BLE001 (a backend raises the errors of its own libraries)
            if type(error).__name__ != "NoKeyringError":  # the system has no keyring
                trouble = f" The keyring failed: {first_line(error)}."
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
            raise SettingsError(
                f"{given} is set, but {absent} is not.", hint="Set both or neither."
            )
    return None


def netrc_path(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the netrc file, which may not exist; None if the user has no home
    directory."""
    try:
        return Path(environ.get("NETRC") or "~/.netrc").expanduser()
    except RuntimeError:
        return None


def keyring_service(host: str) -> str:
    """Return the service name under which the keyring holds the credentials for a token host."""
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
        message = f"Cannot parse {path}: it is not UTF-8."
        raise SettingsError(message, hint="Save the file as UTF-8.") from None
    except netrc.NetrcParseError as error:
        # The parser's own message quotes the line in error, which may contain a password.
        where = f" (line {error.lineno})" if error.lineno else ""
        message = f"Cannot parse {path}{where}."
        raise SettingsError(message, hint="Correct that entry.") from None
    except OSError as error:
        raise SettingsError(f"Cannot read {path}: {error.strerror}.") from error
    who = None if entry is None else _complete(entry[0], entry[2], str(path))
    if who is not None:
        _check_private(path)
    return who


def _check_private(path: Path) -> None:
    """Raise SettingsError if every user of this machine can read the file."""
    if path.stat().st_mode & stat.S_IROTH:
        raise SettingsError(
            f"{path} contains a password, and every user of this machine can read it.",
            hint=f"Restrict it to you: chmod 600 {path}",
        )


def _from_keyring(host: str) -> Credentials | None:
    """Return the credentials in the keyring. Raises the errors of the keyring's backend."""
    try:
        import keyring  # noqa: PLC0415 (an extra, and slow to import)
    except ModuleNotFoundError as error:
        if error.name == "keyring":
            return None
        raise
    entry = keyring.get_credential(keyring_service(host), None)
    return None if entry is None else _complete(entry.username, entry.password, "keyring")


def _complete(username: str | None, password: str | None, source: str) -> Credentials | None:
    """Return the credentials; None if either half is empty."""
    who = Credentials(username or "", password or "", source)
    return who if who.username and who.password else None


def _bare(text: str) -> str:
    return text.removeprefix("\ufeff").rstrip("\r\n")


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, shortened.

    >>> first_line(RuntimeError("No bus.\\nTry this.")), first_line(KeyError("bus"))
    ('No bus', "KeyError: 'bus'")
    """
    said = excerpt(next(iter(str(error).splitlines()), "")).rstrip(".")
    kind = type(error).__name__
    return said if " " in said else f"{kind}: {said}" if said else kind
