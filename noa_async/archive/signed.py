"""A request to S3 that obstore has no call for, signed and sent."""

from __future__ import annotations

import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.archive.sigv4 import Bucket

_WAIT_SECONDS = 10


class _Staying(urllib.request.HTTPRedirectHandler):
    """What is signed for one address goes to no other."""

    def redirect_request(self, *_: Any) -> None:
        """None: the redirect is an error."""


def ask(
    bucket: Bucket,
    method: str,
    key: str,
    query: Mapping[str, str],
    more: Mapping[str, str] | None = None,
) -> tuple[str, timedelta]:
    """The answer's text, and how far the store's clock is before ours. Blocks.

    ``more``: headers beside those that sign. Raises what urllib does: HTTPError for a refusal,
    OSError or HTTPException where nothing can be reached.
    """
    now = datetime.now(UTC)
    address, headers = bucket.request(method, key, query, now, more)
    body = b"" if method == "PUT" else None
    request = urllib.request.Request(  # noqa: S310 (the address is the user's own)
        address, body, headers, method=method
    )
    opener = urllib.request.build_opener(_Staying)
    with opener.open(request, timeout=_WAIT_SECONDS) as answer:
        text = answer.read().decode(errors="replace")
        date = answer.headers.get("Date")
    ahead = timedelta(0)
    with suppress(ValueError, TypeError):
        ahead = datetime.strptime(date, "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC) - now
    return text, ahead
