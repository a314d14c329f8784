"""Which output is meant: a folder on this machine, or an address in an object store."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from noa_async.errors import SettingsError

STATE_FOLDER = ".noa-async"
SCHEMES = ("s3", "gs", "az")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.IGNORECASE | re.DOTALL)
_SPOILT = re.compile(rf"({'|'.join(SCHEMES)}|file):/(?!/)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A bucket, and a prefix in it; as text, its address without a slash at the end."""

    url: str
    scratch: Path
    """The folder on this machine for the scratch folders of all such outputs."""

    def __str__(self) -> str:
        return self.url

    @property
    def scheme(self) -> str:
        """One of SCHEMES."""
        return urlsplit(self.url).scheme

    @property
    def bucket(self) -> str:
        """The bucket, or container."""
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        """What all keys begin with: empty, or with a slash at its end."""
        inside = urlsplit(self.url).path.strip("/")
        return f"{inside}/" if inside else ""

    @property
    def state(self) -> Path:
        """The scratch folder of this one."""
        name = hashlib.sha256(self.url.encode()).hexdigest()[:16]
        return self.scratch / f"{self.bucket[:40]}-{name}"


def default_scratch() -> Path:
    """Where scratch folders are, unless told otherwise: below the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "noa-async"


def is_store(output: str | os.PathLike[str]) -> bool:
    """Whether an output is an address, not a folder.

    >>> is_store("s3://bucket/prefix"), is_store("data"), is_store("file:///srv/noa")
    (True, False, False)
    """
    found = _URL.match(os.fspath(output))
    return found is not None and found[1].lower() != "file"


def target_of(
    output: str | os.PathLike[str], scratch: str | os.PathLike[str] | None = None
) -> Path | StoreUrl:
    """The output that is named: a folder, also as ``file://``, or an object store's address.

    Raises SettingsError for an address that cannot be one.

    >>> target_of("data"), target_of("file:///srv/noa")
    (PosixPath('data'), PosixPath('/srv/noa'))
    >>> str(target_of("s3://bucket/a/b/")), target_of("s3://bucket/a/b/").prefix
    ('s3://bucket/a/b', 'a/b/')
    """
    text = os.fspath(output)
    found = _URL.match(text)
    if found is None:
        if _SPOILT.match(text):
            raise SettingsError(
                f"{text} has lost a slash: an address is no path.",
                hint="Give it as text, such as 's3://bucket/prefix'.",
            )
        return Path(text)
    scheme, rest = found[1].lower(), found[2]
    if scheme == "file":
        return _file(text, rest)
    parts = urlsplit(text)
    if scheme not in SCHEMES:
        raise SettingsError(
            f"{scheme}:// is no output that is known.",
            hint=f"Known are a folder, and {', '.join(f'{name}://' for name in SCHEMES)}.",
        )
    if "@" in parts.netloc:
        raise SettingsError(
            "Credentials do not belong in an output's address.",
            hint="Give them by the store's own variables, such as AWS_ACCESS_KEY_ID, "
            "GOOGLE_APPLICATION_CREDENTIALS or AZURE_STORAGE_ACCOUNT_KEY.",
        )
    if not parts.netloc or parts.query or parts.fragment:
        raise SettingsError(
            f"{text} is no bucket and prefix.", hint=f"Write it as {scheme}://bucket/prefix."
        )
    inside = [piece for piece in parts.path.split("/") if piece]
    if any(piece in {".", ".."} for piece in inside):
        raise SettingsError(f"{text} has a '..' in it.", hint="Name the prefix itself.")
    url = "/".join([f"{scheme}://{parts.netloc}", *inside])
    return StoreUrl(url, default_scratch() if scratch is None else Path(scratch).absolute())


def _file(text: str, rest: str) -> Path:
    if not rest.startswith("/"):
        raise SettingsError(f"{text} names no folder here.", hint="Write it as file:///srv/noa.")
    return Path(unquote(rest))


def state_of(target: Path | StoreUrl) -> Path:
    """The folder with all of an output that is not its products; on this machine always."""
    return target.state if isinstance(target, StoreUrl) else target / STATE_FOLDER
