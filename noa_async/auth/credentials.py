"""User name and password: from the environment, netrc or the keyring; never an argument."""

from __future__ import annotations

import netrc
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noa_async.errors import CredentialsMissing, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLES = (("NOA_USERNAME", "NOA_PASSWORD"), ("ESA_USERNAME", "ESA_PASSWORD"))


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name and a password; the password is in no repr.

    >>> Credentials("ada", "secret", source="example")
    Credentials(username='ada', source='example')
    """

    username: str
    """As the mirror knows it."""
    password: str = field(repr=False)
    """Sent to the token service alone."""
    source: str = "arguments"
    """Where they were found, for messages."""


def find_credentials(
    token_url: str, environ: Mapping[str, str] | None = None, *, keyring: bool = True
) -> Credentials:
    """The first pair found: ``NOA_*``, ``ESA_*``, netrc (the token host's entry), the keyring.

    Raises CredentialsMissing where there is none, SettingsError where a pair is half given or the
    netrc file cannot be read.
    """
    host = urlsplit(token_url).hostname or ""
    environ = os.environ if environ is None else environ
    found = (
        _from_environment(environ)
        or _from_netrc(host, environ)
        or (_from_keyring(host) if keyring else None)
    )
    if found is None:
        raise CredentialsMissing(
            "No user name and password were found.",
            hint="Set NOA_USERNAME and NOA_PASSWORD, or add "
            f"'machine {host} login USER password SECRET' to ~/.netrc.",
        )
    return found


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    for user_key, password_key in _VARIABLES:
        user, password = environ.get(user_key, ""), environ.get(password_key, "")
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
    if entry is None or not entry[0] or not entry[2]:
        return None
    return Credentials(entry[0], entry[2], source=str(path))


def _from_keyring(host: str) -> Credentials | None:
    try:
        import keyring  # noqa: PLC0415 (an extra, and slow to import)
    except ImportError:
        return None
    with suppress(keyring.errors.KeyringError):
        entry = keyring.get_credential(keyring_service(host), None)
        if entry is not None and entry.username and entry.password:
            return Credentials(entry.username, entry.password, source="keyring")
    return None
