"""Several accounts at one service: read from a file that nobody else may read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noa_async.auth.credentials import Credentials, find_credentials
from noa_async.errors import CredentialsRefused, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from noa_async.auth.tokens import TokenManager
    from noa_async.settings import Settings

_FORM = "It holds [[accounts]] tables, each with a username and a password."


def find_accounts(
    settings: Settings, environ: Mapping[str, str] | None = None
) -> tuple[Credentials, ...]:
    """The accounts of the file that ``settings`` name; else the one that is found elsewhere.

    Raises SettingsError, CredentialsMissing.
    """
    if settings.accounts is None:
        return (find_credentials(settings.service.token_url, environ),)
    return read_accounts(Path(settings.accounts))


def read_accounts(path: Path) -> tuple[Credentials, ...]:
    """The accounts in a TOML file, in its order; no message quotes what is in it.

    Raises SettingsError where the file is not there, is others' to read, or is not such a file.
    """
    import tomllib  # noqa: PLC0415 (few have several accounts)

    try:
        path = path.expanduser()
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if mode & 0o077:
                raise SettingsError(
                    f"{path} holds passwords, and others than you may read or change it.",
                    hint=f"chmod 600 {path}",
                )
            document = tomllib.load(stream)
    except RuntimeError:
        raise SettingsError(f"{path} is nowhere: this user has no home folder.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:  # whose text may quote a password
        raise SettingsError(f"{path} is not TOML.", hint=_FORM) from None
    return _accounts(document, path)


def _accounts(document: Mapping[str, Any], path: Path) -> tuple[Credentials, ...]:
    tables = document.get("accounts")
    if not isinstance(tables, list) or not tables or len(document) > 1:
        raise SettingsError(f"{path} is no file of accounts.", hint=_FORM)
    found: list[Credentials] = []
    for number, table in enumerate(tables, 1):
        if not isinstance(table, dict) or set(table) != {"username", "password"}:
            raise SettingsError(f"Account {number} in {path} is not complete.", hint=_FORM)
        user, password = table["username"], table["password"]
        if not (isinstance(user, str) and isinstance(password, str) and user and password):
            raise SettingsError(
                f"Account {number} in {path} has no user name, or no password.", hint=_FORM
            )
        if any(user == other.username for other in found):
            raise SettingsError(f"Account {number} in {path} is there twice.")
        found.append(Credentials(user, password, source=str(path)))
    return tuple(found)


class FirstTokens:
    """The tokens of the first account that is not refused.

    Error handling: as the token manager; CredentialsRefused where none is left.
    """

    def __init__(self, managers: Sequence[TokenManager]) -> None:
        self._managers = managers

    async def token(self) -> str:
        """A token that holds now."""
        *others, last = [one for one in self._managers if not one.refused] or self._managers[:1]
        for manager in others:
            try:
                return await manager.token()
            except CredentialsRefused:
                pass
        return await last.token()

    def reject(self, access: str) -> None:
        """The service answered 401 to ``access``: whose it was gets a new one."""
        for manager in self._managers:
            manager.reject(access)
