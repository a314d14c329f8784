"""Requests to S3 that obstore has no call for, signed as S3 asks (AWS Signature Version 4)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING = hashlib.sha256(b"").hexdigest()
BODY_SUM = "x-amz-content-sha256"
"""The header that tells what is signed of the body."""
_METHOD = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket's address, and who asks."""

    address: str
    """Without a slash at its end."""
    region: str
    key_id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, name: str, options: Mapping[str, str], environ: Mapping[str, str]) -> Self | None:
        """As obstore finds it; None where it gets its keys from the machine, for those it keeps.

        ``options``: of ``s3_options``.
        """
        key_id = options.get("access_key_id") or environ.get("AWS_ACCESS_KEY_ID")
        secret = options.get("secret_access_key") or environ.get("AWS_SECRET_ACCESS_KEY")
        if not key_id or not secret:
            return None
        region = _first(options, environ, "region", "AWS_REGION", "AWS_DEFAULT_REGION")
        endpoint = _first(options, environ, "endpoint", "AWS_ENDPOINT") or (
            f"https://s3.{region}.amazonaws.com"
        )
        endpoint = endpoint.rstrip("/")
        hosted = environ.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "").lower() == "true"
        token = _first(options, environ, "session_token", "AWS_SESSION_TOKEN", "AWS_TOKEN")
        address = endpoint if hosted else f"{endpoint}/{name}"
        return cls(address, region, key_id, secret, token or None)

    def request(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        now: datetime,
        more: Mapping[str, str] | None = None,
    ) -> tuple[str, dict[str, str]]:
        """The address and the headers of a request without a body; ``key`` empty: the bucket's.

        ``more``: headers to be signed with the rest, their names in lower case.

        >>> bucket = Bucket("https://b.s3.amazonaws.com", "us-east-1", "AKIA", "secret")
        >>> at = datetime(2026, 1, 1, tzinfo=UTC)
        >>> address, headers = bucket.request("GET", "", {"uploads": "", "prefix": "a b"}, at)
        >>> address
        'https://b.s3.amazonaws.com/?prefix=a%20b&uploads='
        """
        parts = urlsplit(f"{self.address}/{quote(key, safe='/~')}")
        asked = "&".join(f"{_quoted(name)}={_quoted(query[name])}" for name in sorted(query))
        stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": parts.netloc, BODY_SUM: _NOTHING, "x-amz-date": stamp}
        if self.token:
            headers["x-amz-security-token"] = self.token
        headers = dict(sorted((headers | dict(more or {})).items()))
        named = ";".join(headers)
        lines = [f"{name}:{value}" for name, value in headers.items()]
        canonical = "\n".join([method, parts.path, asked, *lines, "", named, headers[BODY_SUM]])
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = self._sign("\n".join([_METHOD, stamp, scope, digest]), scope)
        headers["authorization"] = (
            f"{_METHOD} Credential={self.key_id}/{scope}, SignedHeaders={named}, "
            f"Signature={signature}"
        )
        return f"{parts.geturl()}?{asked}", headers

    def _sign(self, text: str, scope: str) -> str:
        signed = f"AWS4{self.secret}".encode()
        for part in (*scope.split("/"), text):
            signed = hmac.digest(signed, part.encode(), "sha256")
        return signed.hex()


def _first(options: Mapping[str, str], environ: Mapping[str, str], name: str, *names: str) -> str:
    found = (environ[each] for each in names if environ.get(each))
    return options.get(name) or next(found, "")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
