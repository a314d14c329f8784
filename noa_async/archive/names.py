"""Convert names from a server to safe file names. Pure."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

LONGEST = 200
"""Maximum length of a name in bytes of UTF-8: file systems allow 255, and suffixes need some."""

_PLAIN = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,198}[A-Za-z0-9_-])?")
_FORBIDDEN = frozenset('/\\<>:"|?*')
_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|clock\$|(?:com|lpt)[0-9¹²³]) *(?:\..*)?",
    re.IGNORECASE | re.DOTALL,
)
_ENDINGS = re.compile(r"(?:\.[A-Za-z0-9]{1,8}){1,2}\Z")
_ID_SIGNS = re.compile(r"[^A-Za-z0-9]")


def safe_name(name: str, fallback: str) -> str:
    """Return a server's name as one path component that every file system supports. Idempotent.

    Unsuitable characters become ``_``: separators, control and invisible characters, a leading dot
    (a hidden file) or dash (a shell option). Names that Windows reserves for devices are prefixed
    with ``_``. Names longer than 200 bytes are truncated before their suffixes. A name with nothing
    left is replaced by ``fallback``, made safe as well.

    >>> safe_name("../../etc/passwd", "0a5c8f2e")
    '_._.._etc_passwd'
    >>> safe_name("S2A_MSIL2A_20260112T092321.SAFE.zip", "0a5c8f2e")
    'S2A_MSIL2A_20260112T092321.SAFE.zip'
    >>> safe_name(" .. ", "0a5c8f2e"), safe_name("nul.txt", "0a5c8f2e")
    ('0a5c8f2e', '_nul.txt')
    """
    return _safe(name) or _safe(fallback) or "_"


def with_zip(name: str, is_zip: bool) -> str:
    """Return a safe name, with ``.zip`` added if the bytes are a zip and the name does not say so.

    >>> with_zip("S1A_X.SAFE", True), with_zip("S1A_X.SAFE.ZIP", True), with_zip("S5P_X.nc", False)
    ('S1A_X.SAFE.zip', 'S1A_X.SAFE.ZIP', 'S5P_X.nc')
    """
    if not is_zip or name.lower().endswith(".zip"):
        return name
    stem, endings = _split(f"{name}.zip")
    return _fit(stem, endings)


def with_id(name: str, product_id: str) -> str:
    """Return a safe name with 8 characters of the Id before its suffixes, to separate equal names.

    >>> with_id("X.SAFE.zip", "0a5c8f2e-6b1d-4c55-9f0e-5b0f3a2d7c11")
    'X_0a5c8f2e.SAFE.zip'
    """
    stem, endings = _split(name)
    return _fit(stem, f"_{_ID_SIGNS.sub('', product_id)[:8]}{endings}")


def with_ids(name: str, product_id: str) -> tuple[str, str]:
    """Return the names to try if ``name`` is taken: with 8 characters of the Id, then with all of
    it.

    >>> with_ids("X.zip", "0a5c8f2e-6b1d")
    ('X_0a5c8f2e.zip', 'X_0a5c8f2e-6b1d.zip')
    """
    stem, endings = _split(name)
    return with_id(name, product_id), _fit(stem, f"_{product_id}{endings}")


def fold(path: str) -> str:
    """Return a key that is equal for all paths that any file system treats as the same.

    It maps more paths to the same key than any one file system does; that only leads to longer
    names.

    >>> fold("Data/Étude.SAFE") == fold("data/E\u0301TUDE.safe")
    True
    """
    if path.isascii():  # nearly all are, and the result is the same
        return path.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).upper().casefold())


@lru_cache(maxsize=1024)  # called several times per product
def _safe(name: str) -> str:
    if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    name = (
        "".join(map(_safe_character, unicodedata.normalize("NFC", name))).lstrip(" ").rstrip(" .")
    )
    if name.startswith((".", "-")):
        name = f"_{name[1:]}"
    if _RESERVED.fullmatch(name):
        name = f"_{name}"
    if _size(name) > LONGEST:
        name = _fit(*_split(name))
    # Truncation may leave a device's name followed by spaces.
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def _safe_character(sign: str) -> str:
    """Return a character as it may occur in a name; spaces of any width become a plain space."""
    category = unicodedata.category(sign)
    if category == "Zs":
        return " "
    return "_" if sign in _FORBIDDEN or category in _INVISIBLE else sign


def _split(name: str) -> tuple[str, str]:
    """Split a name into its stem and suffixes, such as ``.SAFE.zip``."""
    found = _ENDINGS.search(name)
    return (name[: found.start()], found[0]) if found else (name, "")


def _fit(stem: str, ending: str) -> str:
    """Join both within ``LONGEST`` bytes, truncating the stem between two characters."""
    room = LONGEST - _size(ending)
    if _size(stem) > room:
        stem = stem.encode()[:room].decode(errors="ignore").rstrip(" .")
    return stem + ending


def _size(name: str) -> int:
    return len(name.encode())
