"""Store the user name and password in the keyring or a netrc file.

Only the host's entry in a netrc file is changed. The new file is parsed before it replaces the old
one, and discarded if any other entry would differ.
"""

from __future__ import annotations

import netrc
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async.auth.credentials import first_line, keyring_service, netrc_path
from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from noa_async.auth.credentials import Credentials

_ADD_MANUALLY = "Add the entry with an editor, or store the password elsewhere."
_PLAIN = re.compile(r'[^\s"\\#][^\s"\\]*')
"""A value that needs no quotes."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|(?:[^\s\\]|\\.)+', re.DOTALL)


def keep_in_keyring(who: Credentials, host: str) -> str:
    """Store the credentials in the system's keyring. Return a name of the keyring, for messages.

    Raise SettingsError if there is no keyring, or it rejects the credentials.
    """
    service = keyring_service(host)
    try:
        import keyring  # noqa: PLC0415 (an extra, and slow to import)

        held = keyring.get_credential(service, None)
        if held is not None and held.username != who.username:
            keyring.delete_password(service, held.username)  # else the old entry might be found
        keyring.set_password(service, who.username, who.password)
    except Exception as error:  # noqa: BLE001 (a backend raises errors of its own libraries)
        if isinstance(error, ModuleNotFoundError) and error.name == "keyring":
            raise SettingsError(
                "The password was not stored: no keyring is installed.",
                hint="Install it with pip install 'noa-async[keyring]', or use --keep netrc.",
            ) from None
        raise SettingsError(
            f"The password was not stored: the keyring failed ({first_line(error)}).",
            hint="The keyring may be missing or locked; --keep netrc uses a file.",
        ) from None
    return "the system's keyring"


def keep_in_netrc(who: Credentials, host: str, environ: Mapping[str, str] | None = None) -> Path:
    """Store the credentials in the netrc file, readable by this user only. Return the file's path.

    Raise SettingsError if the file cannot be parsed or written; it is then unchanged.
    """
    path = netrc_path(os.environ if environ is None else environ)
    if path is None:
        raise SettingsError("The password was not stored: this user has no home directory.")
    try:
        path = path.resolve()  # keep a symbolic link
        before = path.read_bytes().decode() if path.exists() else ""
        after = with_entry(before, host, who.username, who.password)
        _replace(path, after, lambda draft: _check(path, draft, host, who))
    except (UnicodeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"Cannot change {path}: {reason}.", hint=_ADD_MANUALLY) from None
    return path


def with_entry(text: str, host: str, user: str, password: str) -> str:
    r"""Return a netrc file's text with the credentials for a host; other text is unchanged.

    >>> with_entry("# mine\nmachine a login b password c\n", "a", "x", "y z")
    '# mine\nmachine a login x password "y z"\n'
    >>> with_entry("machine a login b password c", "d", "x", "y")
    'machine a login b password c\nmachine d login x password y\n'
    """
    wanted = {"login": _quoted(user), "password": _quoted(password)}
    changes = list(_changes(text, host, wanted))
    if not changes:
        entry = f"machine {host} login {wanted['login']} password {wanted['password']}\n"
        joint = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{joint}{entry}"
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _changes(text: str, host: str, wanted: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """Yield the changes to a text that has entries for the host: start, end, replacement."""
    tokens = list(_tokens(text))
    for place, (_, _, word) in enumerate(tokens):
        if word != "machine" or place + 1 >= len(tokens) or _unquoted(tokens[place + 1][2]) != host:
            continue
        missing = dict(wanted)
        at = place + 2
        while at + 1 < len(tokens) and tokens[at][2] in {"login", "user", "account", "password"}:
            key = "login" if tokens[at][2] == "user" else tokens[at][2]
            if key in wanted:
                missing.pop(key, None)
                yield tokens[at + 1][0], tokens[at + 1][1], wanted[key]
            at += 2
        if missing:
            end = tokens[place + 1][1]
            yield end, end, "".join(f" {key} {value}" for key, value in missing.items())


def _tokens(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the words of a netrc file with their positions; comments and macros are skipped."""
    at = 0
    while found := _TOKEN.search(text, at):
        at = found.end()
        if found[0].startswith("#"):
            at = _after(text, "\n", found.start())
        elif found[0] == "macdef":
            at = _after(text, "\n\n", found.start())
        else:
            yield found.start(), found.end(), found[0]


def _after(text: str, sign: str, start: int) -> int:
    end = text.find(sign, start)
    return len(text) if end < 0 else end + len(sign)


def _unquoted(word: str) -> str:
    quoted = word.startswith('"')
    return re.sub(r"\\(.)", r"\1", word[1:].removesuffix('"') if quoted else word, flags=re.DOTALL)


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check(path: Path, draft: Path, host: str, who: Credentials) -> None:
    """Raise SettingsError if ``draft`` differs from ``path`` in more than the new credentials."""
    try:
        old = netrc.netrc(path) if path.exists() else None
        new = netrc.netrc(draft)
    except netrc.NetrcParseError as error:  # its message may quote a password
        where = f" (line {error.lineno})" if error.lineno else ""
        raise SettingsError(f"Cannot parse {path}{where}.", hint=_ADD_MANUALLY) from None
    login, _, password = new.hosts.pop(host, ("", "", ""))
    hosts = {} if old is None else {name: held for name, held in old.hosts.items() if name != host}
    macros = {} if old is None else old.macros
    if (login, password) != (who.username, who.password) or (hosts, macros) != (
        new.hosts,
        new.macros,
    ):
        raise SettingsError(
            f"{path} was not changed: its format, or this password, is not supported.",
            hint=_ADD_MANUALLY,
        )


def _replace(path: Path, text: str, check: Callable[[Path], None]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".netrc-", dir=path.parent)  # created with mode 0600
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        check(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
