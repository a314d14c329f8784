"""The query options of a request for a list: read strictly, written into nextLinks."""

import re
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote, quote_plus, unquote_plus

from noa_async.emulator.errors import RefusedError, bad_request
from noa_async.emulator.filters import PROPERTIES
from noa_async.emulator.settings import EmulatorSettings

_KNOWN = {"filter", "orderby", "top", "skip", "count", "expand", "format"}
_BARE = {"filter"}
_BAD_BYTES = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_target(raw: str) -> None:
    """Refuse what a request line must not carry: 500 to a raw `'`, as GSS, else 400."""
    if "'" in raw:
        raise RefusedError(500, "Internal Server Error")
    if _BAD_BYTES.search(raw) or _BAD_PERCENT.search(raw):
        raise bad_request("Malformed URI")


@dataclass(frozen=True, slots=True)
class Options:
    """What a list was asked with."""

    filter: str = ""
    orderby: tuple[tuple[str, bool], ...] = ()
    """Property and whether it descends."""
    orderby_text: str = ""
    top: int = 0
    top_given: bool = False
    skip: int = 0
    count: bool = False
    attributes: bool = False

    @classmethod
    def read(cls, query: str, settings: EmulatorSettings) -> Self:
        """From the raw query of a URL; a 400 for what is unknown, double or out of range."""
        given = _pairs(query)
        if "expand" in given and not settings.expand:
            raise bad_request("The query option $expand is not supported.")
        top = _number(given, "top", settings.page_size)
        skip = _number(given, "skip", 0)
        if top > settings.max_top and not settings.clamp_top:
            raise bad_request(f"$top is at most {settings.max_top}.")
        if settings.max_skip is not None and skip > settings.max_skip:
            raise RefusedError(settings.skip_refusal, f"$skip is at most {settings.max_skip}.")
        if given.get("count", "false") not in {"true", "false"}:
            raise bad_request("$count is true or false.")
        if given.get("expand", "Attributes") != "Attributes":
            raise bad_request("$expand takes Attributes.")
        orderby = _order(given.get("orderby", ""))
        if not settings.id_order and any(name == "Id" for name, _ in orderby):
            raise bad_request("Invalid $orderby: the property Id cannot be sorted by.")
        return cls(
            filter=given.get("filter", ""),
            orderby=orderby,
            orderby_text=given.get("orderby", ""),
            top=min(top, settings.max_top),
            top_given="top" in given,
            skip=skip,
            count=given.get("count") == "true",
            attributes="expand" in given,
        )

    def next_query(self, *, plus: bool) -> str:
        """The query of the next page, quoted as real servers quote it."""
        return replace(self, skip=self.skip + self.top).own_query(plus=plus)

    def own_query(self, *, plus: bool) -> str:
        """The query of this very page."""
        pairs = [
            ("$filter", self.filter),
            ("$orderby", self.orderby_text),
            ("$top", str(self.top) if self.top_given else ""),
            ("$skip", str(self.skip)),
            ("$count", "true" if self.count else ""),
            ("$expand", "Attributes" if self.attributes else ""),
        ]
        write = quote_plus if plus else quote
        return "&".join(f"{write(key)}={write(value)}" for key, value in pairs if value)


def _pairs(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        key, _, value = pair.partition("=")
        name = unquote_plus(key)
        bare = name.removeprefix("$")
        if bare == name and name not in _BARE:
            continue  # a custom option: the standard has it ignored
        if bare not in _KNOWN:
            raise bad_request(f"The query option {name} is not supported.")
        if bare in found:
            raise bad_request(f"The query option {name} is given twice.")
        try:
            found[bare] = unquote_plus(value, errors="strict")
        except UnicodeDecodeError as error:
            raise bad_request("Malformed URI") from error
    return found


def _number(given: dict[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise bad_request(f"${name} is a number from 0.")
    return int(text)


def _order(text: str) -> tuple[tuple[str, bool], ...]:
    keys = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, _, direction = part.partition(" ")
        if name not in PROPERTIES or direction.strip() not in {"", "asc", "desc"}:
            raise bad_request(f"Invalid $orderby: {part}")
        keys.append((name, direction.strip() == "desc"))
    return tuple(keys)
