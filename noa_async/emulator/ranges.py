"""What a Range and an If-Range ask for: pure decisions."""

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` to before `stop` of a product of `size` bytes."""

    start: int
    stop: int
    size: int

    @property
    def content_range(self) -> str:
        """The Content-Range of these bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def asked_span(header: str | None, size: int) -> Span | None:
    """The one range a Range header asks for; None where it asks for none that counts.

    | header | answer |
    |---|---|
    | absent, not bytes, malformed, several ranges, last before first | None: the whole body |
    | `a-b`, `a-` with a before the end | a to b, at most the end |
    | `-n` | the last n bytes |
    | `a-` at or past the end, `-0` | an empty Span: 416 |
    """
    match = _ONE.fullmatch(re.sub(r"\s", "", header or ""))
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if not first:
        return Span(max(0, size - int(last)), size, size)
    start = int(first)
    if last and int(last) < start:
        return None
    stop = min(size, int(last) + 1) if last else size
    return Span(min(start, size), max(stop, min(start, size)), size)


def validator_holds(if_range: str | None, etag: str | None, last_modified: str) -> bool:
    """Whether an If-Range still names these bytes: strong comparison, or the exact date."""
    if if_range is None:
        return True
    if if_range.startswith("W/"):
        return False
    return if_range in {etag, last_modified}
