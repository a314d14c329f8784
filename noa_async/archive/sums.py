"""How a store sees to it that no byte changes on its way there.

TLS does it by itself. Without, a signature over the bytes (SHA-256) would, yet some stores take it
unread; a sum sent beside the bytes (CRC64-NVME) costs next to nothing, yet others do not know it.
So the store is asked, by no bytes at all with a wrong sum: whoever compares refuses that.
"""

from __future__ import annotations

import http.client
import urllib.error
from functools import cache
from typing import TYPE_CHECKING

from noa_async.archive.awsfiles import has_tls
from noa_async.archive.providers import is_mismatch
from noa_async.archive.signed import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.archive.sigv4 import Bucket

_WRONG = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAE="}
"""1; that of no bytes is 0."""
_BY_SUMS = {"checksum_algorithm": "crc64nvme", "unsigned_payload": "true"}
_CHOSEN = ("AWS_CHECKSUM_ALGORITHM", "AWS_UNSIGNED_PAYLOAD")


def sum_options(bucket: Bucket | None, key: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Options for obstore, beside those of ``s3_options``, by which bytes go to a store.

    None of them where the user's variables say how, no keys are ours to ask with (``bucket`` is
    None), or the store does not compare sums: then the bytes are signed. ``key``: one that nothing
    else has. Blocks.
    """
    if bucket is None or has_tls(bucket.address) or any(map(environ.get, _CHOSEN)):
        return {}
    try:
        return _BY_SUMS if _compares_sums(bucket, key) else {}
    except (OSError, http.client.HTTPException):  # no answer, so the next one asks again
        return {}


@cache
def _compares_sums(bucket: Bucket, key: str) -> bool:
    try:
        ask(bucket, "PUT", key, {}, _WRONG)
    except urllib.error.HTTPError as error:
        if is_mismatch(error.read().decode(errors="replace")):
            return True
        raise
    ask(bucket, "DELETE", key, {})
    return False
