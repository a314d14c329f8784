"""User name and password put where they are found again: the keyring, or a netrc file.

A netrc file is changed in place of one entry alone. What came of that is read again before it
counts, and nothing is written where any other entry would be another.
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

_BY_HAND = "Add the entry by hand, or keep the password elsewhere."
_PLAIN = re.compile(r'[^\s"\\#][^\s"\\]*')
"""What needs no quotes."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|(?:[^\s\\]|\\.)+', re.DOTALL)


def keep_in_keyring(who: Credentials, host: str) -> str:
    """Keep the pair in the system's keyring; its name, for messages.

    Raises SettingsError where there is no keyring, or it does not take the pair.
    """
    service = keyring_service(host)
    try:
        import keyring  # noqa: PLC0415 (an extra, and slow to import)

        held = keyring.get_credential(service, None)
        if held is not None and held.username != who.username:
            keyring.delete_password(service, held.username)  # or that one might be found
        keyring.set_password(service, who.username, who.password)
    except Exception as error:  # noqa: BLE001 (a backend raises errors of its own libraries)
        if isinstance(error, ModuleNotFoundError) and error.name == "keyring":
            raise SettingsError(
                "The password was not kept: no keyring is installed.",
                hint="Install it with pip install 'noa-async[keyring]', or use --keep netrc.",
            ) from None
        raise SettingsError(
            f"The password was not kept: the keyring did not take it ({first_line(error)}).",
            hint="This system may have none, or it is locked; --keep netrc uses a file.",
        ) from None
    return "the system's keyring"


def keep_in_netrc(who: Credentials, host: str, environ: Mapping[str, str] | None = None) -> Path:
    """Keep the pair in the netrc file, which only this user can read then; the file's path.

    Raises SettingsError where the file cannot be understood or written; then it is as it was.
    """
    path = netrc_path(os.environ if environ is None else environ)
    if path is None:
        raise SettingsError("The password was not kept: this user has no home folder for a netrc.")
    try:
        path = path.resolve()  # a link stays one
        before = path.read_bytes().decode() if path.exists() else ""
        after = with_entry(before, host, who.username, who.password)
        _replace(path, after, lambda draft: _check(path, draft, host, who))
    except (UnicodeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not all of it is UTF-8"
        raise SettingsError(f"{path} cannot be changed: {reason}.", hint=_BY_HAND) from None
    return path


def with_entry(text: str, host: str, user: str, password: str) -> str:
    r"""A netrc file's text with the pair for a host; all else stays, to the letter.

    >>> with_entry("# mine\nmachine a login b password c\n", "a", "x", "y z")
    '# mine\nmachine a login x password "y z"\n'
    >>> with_entry("machine a login b password c", "d", "x", "y")
    'machine a login b password c\nmachine d login x password y\n'
    """
    wanted = {"login": _written(user), "password": _written(password)}
    changes = list(_changes(text, host, wanted))
    if not changes:
        entry = f"machine {host} login {wanted['login']} password {wanted['password']}\n"
        joint = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{joint}{entry}"
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _changes(text: str, host: str, wanted: Mapping[str, str]) -> Iterator[tuple[int, int, str]]:
    """What to put where in a text that has entries for the host: from, to, the new piece."""
    tokens = list(_tokens(text))
    for place, (_, _, word) in enumerate(tokens):
        if word != "machine" or place + 1 >= len(tokens) or _read(tokens[place + 1][2]) != host:
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
    """The words of a netrc file with their places; remarks and macros are passed over."""
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


def _read(word: str) -> str:
    quoted = word.startswith('"')
    return re.sub(r"\\(.)", r"\1", word[1:].removesuffix('"') if quoted else word, flags=re.DOTALL)


def _written(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _check(path: Path, draft: Path, host: str, who: Credentials) -> None:
    """Raise SettingsError where ``draft`` is not what ``path`` is, with the pair in it."""
    try:
        old = netrc.netrc(path) if path.exists() else None
        new = netrc.netrc(draft)
    except netrc.NetrcParseError as error:  # whose text may quote a password
        where = f" (line {error.lineno})" if error.lineno else ""
        raise SettingsError(f"{path} cannot be understood{where}.", hint=_BY_HAND) from None
    login, _, password = new.hosts.pop(host, ("", "", ""))
    hosts = {} if old is None else {name: held for name, held in old.hosts.items() if name != host}
    macros = {} if old is None else old.macros
    if (login, password) != (who.username, who.password) or (hosts, macros) != (
        new.hosts,
        new.macros,
    ):
        raise SettingsError(
            f"{path} was not changed: its form, or this password, is too special.", hint=_BY_HAND
        )


def _replace(path: Path, text: str, check: Callable[[Path], None]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".netrc-", dir=path.parent)  # of mode 0600
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
