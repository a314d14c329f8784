"""How a store sees to it that no byte changes on its way there.

TLS does it by itself. Without, a signature over the bytes (SHA-256) would, yet some stores take it
unread; a sum sent beside the bytes (CRC64-NVME) costs next to nothing, yet others do not know it.
So the store is asked, by no bytes at all with a wrong one: whoever compares refuses that.
"""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
from functools import cache
from typing import TYPE_CHECKING

from noa_async.archive.awsfiles import has_tls
from noa_async.archive.providers import is_mismatch
from noa_async.archive.signed import ask
from noa_async.archive.sigv4 import BODY_SUM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.archive.sigv4 import Bucket

_WRONG_SUM = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAE="}
"""1; that of no bytes is 0."""
_WRONG_BODY = {BODY_SUM: hashlib.sha256(b"other bytes").hexdigest()}
_UNSIGNED = {"unsigned_payload": "true"}
_BY_SUMS = {"checksum_algorithm": "crc64nvme"} | _UNSIGNED
_CHOSEN = ("AWS_CHECKSUM_ALGORITHM", "AWS_UNSIGNED_PAYLOAD")


def sum_options(bucket: Bucket | None, key: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Options for obstore, beside those of ``s3_options``, by which bytes go to a store.

    | the store compares            | what goes with the bytes |
    |-------------------------------|--------------------------|
    | a sum                         | a sum                    |
    | a signature, and no sum       | a signature              |
    | neither                       | nothing                  |
    | nobody knows, or may ask      | a signature              |

    Who asks is whose keys sign (``bucket`` is not None); who chose by variables is left alone.
    ``key``: one that nothing else has. Blocks.
    """
    if bucket is None or has_tls(bucket.address) or any(map(environ.get, _CHOSEN)):
        return {}
    try:
        return _fitting(bucket, key)
    except (OSError, http.client.HTTPException):  # no answer, so the next one asks again
        return {}


@cache
def _fitting(bucket: Bucket, key: str) -> dict[str, str]:
    try:
        ask(bucket, "PUT", key, {}, _WRONG_SUM)
    except urllib.error.HTTPError as error:
        if is_mismatch(error.read().decode(errors="replace")):
            return _BY_SUMS
        raise
    signed = _is_refused(bucket, key)
    ask(bucket, "DELETE", key, {})
    return {} if signed else _UNSIGNED


def _is_refused(bucket: Bucket, key: str) -> bool:
    """Whether a signature of other bytes than come is."""
    try:
        ask(bucket, "PUT", key, {}, _WRONG_BODY)
    except urllib.error.HTTPError:
        return True
    return False
