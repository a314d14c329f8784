"""Parse the values of settings. ValueError and TypeError say what is wrong with a value."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_RATE = re.compile(r"\s*([0-9.]+)\s*(?:([kmgt])(i?)b?|b?)\s*(?:/s|ps)?\s*", re.IGNORECASE)


def byte_rate(value: str | float) -> float:
    """Return bytes per second from a number or a text with a unit.

    >>> byte_rate("20M"), byte_rate("1.5MiB/s"), byte_rate(1000)
    (20000000.0, 1572864.0, 1000.0)
    """
    if isinstance(value, str):
        match = _RATE.fullmatch(value)
        if not match:
            raise ValueError("a rate is a number of bytes per second, such as 20M or 500KiB")
        unit = (1024 if match[3] else 1000) ** (" kmgt".index((match[2] or " ").lower()))
        value = float(match[1]) * unit
    return positive(value)


_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhdw])\s*")
_LONGEST = timedelta(days=36_525)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(value: str) -> timedelta:
    """Return a duration from a number with a unit: ``s``, ``m``, ``h``, ``d`` or ``w``.

    >>> duration("15m"), duration("3d")
    (datetime.timedelta(seconds=900), datetime.timedelta(days=3))
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match or len(match[1]) > 9:
        raise ValueError("a duration is a number with a unit, such as 90s, 15m, 12h or 7d")
    seconds = float(match[1]) * timedelta(**{_UNITS[match[2]]: 1}).total_seconds()
    if seconds > _LONGEST.total_seconds():  # a date computed from it could overflow
        raise ValueError("a duration is at most a hundred years (36525d)")
    return timedelta(seconds=seconds)


def share(value: str) -> float:
    """Return a fraction from 0 to 1 from a percentage.

    >>> share("1%"), share("0.5 %")
    (0.01, 0.005)
    """
    match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]+)?)\s*%\s*", value)
    if not match or float(match[1]) > 100:
        raise ValueError("it must be a percentage, such as 1%")
    return float(match[1]) / 100


def size(value: str | int) -> int:
    """Return bytes from a number or a text with a unit.

    >>> size("1GiB"), size("500M"), size(0)
    (1073741824, 500000000, 0)
    """
    if isinstance(value, str):
        match = _RATE.fullmatch(value)
        if not match or "/s" in value.lower() or "ps" in value.lower():
            raise ValueError("a size is a number of bytes, such as 500M or 1GiB")
        unit = (1024 if match[3] else 1000) ** (" kmgt".index((match[2] or " ").lower()))
        value = int(float(match[1]) * unit)
    return int(not_negative(value))


def bytes_text(count: float) -> str:
    """Return bytes in decimal units, with three digits.

    >>> bytes_text(983), bytes_text(4563402752), bytes_text(99_960_000), bytes_text(999_999)
    ('983 B', '4.56 GB', '100 MB', '1.00 MB')
    """
    size = float(count)
    for unit in _BYTE_UNITS:
        if (
            round(size, 2 if size < 10 else 1 if size < 99.95 else 0) < 1000
            or unit == _BYTE_UNITS[-1]
        ):
            break
        size /= 1000
    digits = 0 if unit == "B" or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{size:.{digits}f} {unit}"


def flag(value: str | bool) -> bool:
    """Return a boolean from ``yes`` or ``no`` and their synonyms.

    >>> flag("yes"), flag("0"), flag(True)
    (True, False, True)
    """
    known = {"1": True, "true": True, "yes": True, "on": True}
    known |= {"0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if not isinstance(value, str) or value.strip().lower() not in known:
        raise ValueError("it must be yes or no")
    return known[value.strip().lower()]


def positive(value: str | float) -> float:
    number = float(_no_flag(value))
    if not (number > 0 and math.isfinite(number)):
        raise ValueError("it must be a number greater than zero")
    return number


def not_negative(value: str | float) -> float:
    number = float(_no_flag(value))
    if not (number >= 0 and math.isfinite(number)):
        raise ValueError("it must be a number, zero or greater")
    return number


def count(lowest: int, highest: int) -> Callable[[str | int], int]:
    def read(value: str | int) -> int:
        if isinstance(value, str) and not re.fullmatch("[0-9]{1,9}", value.strip()):
            raise ValueError(f"it must be a whole number from {lowest} to {highest}")
        number = int(_no_flag(value))
        if isinstance(value, float) or not lowest <= number <= highest:
            raise ValueError(f"it must be a whole number from {lowest} to {highest}")
        return number

    return read


def _no_flag(value: str | float) -> str | float:
    if isinstance(value, bool):
        raise TypeError("it must be a number")
    return value


def text(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError("it must be a string")
    if not value.strip():
        raise ValueError("it must not be empty")
    return value


def url(value: str) -> str:
    parts = urlsplit(text(value))
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("it must be a URL such as https://host/path")
    if parts.username or parts.password:
        raise ValueError("a URL must not contain credentials")
    return value.rstrip("/")


def hosts(value: str | list[str] | tuple[str, ...]) -> frozenset[str]:
    names = re.split(r"[\s,]+", value) if isinstance(value, str) else value
    hosts = frozenset(text(name).lower() for name in names if name)
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9._-]+(:\d+)?|\[[0-9a-f:]+\](:\d+)?", host):
            raise ValueError(
                "a trusted host is a host name without scheme or path, such as download.example.org"
            )
    return hosts


def scheduler(value: str) -> str:
    """Return the address of a Dask scheduler, or ``local``.

    >>> scheduler("tcp://head:8786"), scheduler("local")
    ('tcp://head:8786', 'local')
    """
    if value != "local" and not re.fullmatch(r"(tcp|tls|ucx|wss?)://\S+", text(value)):
        raise ValueError("it must be a scheduler's address, such as tcp://head:8786, or local")
    return value
