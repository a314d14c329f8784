"""Read options from AWS files and variables that obstore does not read itself."""

from __future__ import annotations

import configparser
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS = ("access_key_id", "secret_access_key", "session_token")


def s3_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return options for obstore, in addition to the variables that it reads itself (``AWS_...``).

    The order is that of the AWS tools: keys in the environment, then the profile ``AWS_PROFILE``
    (else ``default``) of ``AWS_SHARED_CREDENTIALS_FILE`` and ``AWS_CONFIG_FILE``, then the
    machine's own. Raise SettingsError for a profile that does not exist or has no keys.
    """
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE")
    profile = _profile(name or "default", environ)
    if name and not profile:
        raise SettingsError(
            f"There is no AWS profile {name!r}.", hint="Check AWS_PROFILE and ~/.aws/config."
        )
    found: dict[str, str] = {}
    if not environ.get("AWS_ACCESS_KEY_ID"):
        found = {key: profile[f"aws_{key}"] for key in _KEYS if profile.get(f"aws_{key}")}
        if name and "secret_access_key" not in found:
            raise SettingsError(
                f"The AWS profile {name!r} has no keys.",
                hint='Export its keys: eval "$(aws configure export-credentials --format env)"',
            )
    if not (environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")):
        found["region"] = profile.get("region") or "us-east-1"
    endpoint = (
        environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url")
    )
    if endpoint:
        found["endpoint"] = endpoint
    return found | _integrity(endpoint or environ.get("AWS_ENDPOINT"), environ)


def _integrity(endpoint: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the options that protect uploaded bytes; an endpoint of None is Amazon's own.

    | endpoint   | ``AWS_UNSIGNED_PAYLOAD`` | ``AWS_CHECKSUM_ALGORITHM`` | added               |
    |------------|--------------------------|----------------------------|---------------------|
    | any        | set                      | any                        | nothing             |
    | TLS        | not set                  | any                        | unsigned payload    |
    | plain HTTP | not set                  | set                        | nothing             |
    | plain HTTP | not set                  | not set                    | a SHA-256 checksum  |

    Over plain HTTP obstore also signs the SHA-256 of the bytes, which is computed once for both; a
    store checks one or the other.
    """
    if environ.get("AWS_UNSIGNED_PAYLOAD"):
        return {}
    if endpoint is None or endpoint.lower().startswith("https:"):
        return {"unsigned_payload": "true"}
    return {} if environ.get("AWS_CHECKSUM_ALGORITHM") else {"checksum_algorithm": "SHA256"}


def _profile(name: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return all settings of a profile in the two files."""
    home = Path(environ.get("HOME") or Path.home()) / ".aws"
    files = (
        (environ.get("AWS_CONFIG_FILE") or home / "config", f"profile {name}"),
        (environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", name),
    )
    found: dict[str, str] = {}
    for file, section in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file)
        except (configparser.Error, UnicodeDecodeError):
            raise SettingsError(f"Cannot parse the AWS file {file}.") from None
        for one in (section, name):
            if parser.has_section(one):
                found |= dict(parser.items(one))
    return found
