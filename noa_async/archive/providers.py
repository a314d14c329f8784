"""Define the differences between S3, Google and Azure stores: keys, names, meanings of errors."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from noa_async.archive.awsfiles import s3_options
from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CODE = re.compile(r"<Code>([A-Za-z0-9_.-]{1,60})</Code>")
_STATUS = re.compile(r"\b([45][0-9][0-9])\b [A-Z]")
_WRONG = {
    "401",
    "AuthenticationFailed",
    "AuthenticationRequired",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
    "SignatureDoesNotMatch",
}
_DENIED = {
    "403",
    "AccessDenied",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions",
}
_MISMATCHES = {"BadDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"}
"""Error codes for uploaded bytes that do not match their checksum."""
_MISSING = {"404", "ContainerNotFound", "NoSuchBucket", "NotFound"}
_MACHINE = ("//169.254.169.254/", "//metadata.google.internal/")
"""The metadata services that are asked for keys last, if nothing else provides any."""
_LOG_IN = "performing token request"
"""The text of the error when keys are rejected in exchange for a token."""
_ACCOUNT_KEYS = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
)
_KEY_FILES = (
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
_CONNECTION = {
    "accountname": "account_name",
    "accountkey": "account_key",
    "sharedaccesssignature": "sas_key",
    "blobendpoint": "endpoint",
}


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of store."""

    holder: str
    """What contains the objects, such as a bucket."""
    keys: str
    """The variables that provide keys."""
    address: str
    """The variable that selects another store of this kind."""
    options: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns options for obstore, in addition to the variables that it reads itself. Raises
    SettingsError for missing or invalid ones."""
    joint: str = "-"
    """The separator of words in the name of an object's metadata."""

    def named(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """Return metadata with the names that this kind of store supports."""
        return {name.replace("-", self.joint): value for name, value in attributes.items()}

    def refusal(self, text: str, code: str, kind: str) -> tuple[str, str]:
        """Return a short description of an error, and what to do about it.

        ``text``: the message of obstore; ``code``: the store's error code; ``kind``: the error's
        class.
        """
        if any(one in text for one in _MACHINE):
            return "no keys were found", f"Set {self.keys}: this machine provides none."
        if code in _WRONG or kind == "UnauthenticatedError" or _LOG_IN in text:
            return code, f"The keys are wrong or expired: renew them ({self.keys})."
        if code in _DENIED or kind == "PermissionDeniedError":
            return code, (
                "The keys are wrong or lack permissions: they must be allowed to list, read, write "
                "and delete objects."
            )
        kept = "Downloads are kept in the scratch folder: start again when the store is available."
        hints = (
            (_MISSING, f"Create the {self.holder} first, or check its name and {self.address}."),
            (_MISMATCHES, f"The data was changed in transit: use https. {kept}"),
        )
        for codes, hint in hints:
            if code in codes:
                return code, hint
        if "error sending request" in text:
            return "it does not answer", f"Check {self.address}. {kept}"
        return code, kept


def provider_of(scheme: str) -> Provider:
    """Return the kind of store that a URL scheme means."""
    return _PROVIDERS[scheme]


def refusal_code(text: str) -> str | None:
    """Return the error code or status in a store's error; None if the store did not answer.

    >>> refusal_code("400 Bad Request: <Error><Code>BadDigest</Code></Error>")
    'BadDigest'
    """
    found = _CODE.search(text) or _STATUS.search(text)
    return found[1] if found else None


def is_mismatch(text: str) -> bool:
    """Return whether a store rejected bytes that do not match their checksum."""
    return refusal_code(text) in _MISMATCHES


def plain(options: Mapping[str, str]) -> bool:
    """Return whether the store is accessed over HTTP without TLS, such as one on this machine."""
    return any(options.get(name, "").startswith("http://") for name in ("endpoint", "base_url"))


def metadata_name(name: str) -> str:
    """Return a metadata name in S3's form, whatever kind of store it comes from.

    >>> metadata_name("noa_sensing_start"), metadata_name("Noa-Id")
    ('noa-sensing-start', 'noa-id')
    """
    return name.lower().replace("_", "-")


def azure_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the options for ``az://``, also from the variables of Azure's own tools.

    The account's variables come first, then ``AZURE_STORAGE_CONNECTION_STRING``.
    """
    if environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() in {"1", "true", "on", "yes", "y"}:
        return {}
    text = environ.get("AZURE_STORAGE_CONNECTION_STRING")
    name = environ.get("AZURE_STORAGE_ACCOUNT_NAME") or environ.get("AZURE_STORAGE_ACCOUNT")
    if text and not name:
        options = _connection(text)
    elif name:
        key = _first(environ, *_ACCOUNT_KEYS, "AZURE_STORAGE_KEY")
        endpoint = _first(environ, "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
        given = {"account_name": name, "account_key": key, "endpoint": endpoint}
        options = {option: value for option, value in given.items() if value}
    else:
        raise SettingsError(
            "az:// needs the storage account of the container.",
            hint="Set AZURE_STORAGE_ACCOUNT_NAME, or AZURE_STORAGE_CONNECTION_STRING.",
        )
    try:
        base64.b64decode(options.get("account_key", ""), validate=True)
    except ValueError:
        raise SettingsError(
            "The key of the storage account is not base64.", hint="Copy the complete key."
        ) from None
    return options


def _connection(text: str) -> dict[str, str]:
    """Return the options in a connection string: ``Name=Value;Name=Value``."""
    said = {}
    for part in filter(None, text.split(";")):
        name, _, value = part.partition("=")
        said[name.strip().lower()] = value.strip()
    if said.get("usedevelopmentstorage", "").lower() == "true":
        return {"use_emulator": "true"}
    options = {option: said[name] for name, option in _CONNECTION.items() if said.get(name)}
    host = urlsplit(options.get("endpoint", "")).hostname or ""
    options.setdefault("account_name", host.partition(".")[0])
    if not options["account_name"]:
        raise SettingsError(
            "AZURE_STORAGE_CONNECTION_STRING has no account name.",
            hint="Copy all of it: it starts with DefaultEndpointsProtocol or BlobEndpoint.",
        )
    suffix = said.get("endpointsuffix")
    if suffix and "endpoint" not in options:
        scheme = said.get("defaultendpointsprotocol", "https")
        options["endpoint"] = f"{scheme}://{options['account_name']}.blob.{suffix}"
    return options


def google_options(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the options for ``gs://``. Key files are checked here, because obstore's errors do not
    name them."""
    found: dict[str, object] = {}
    for name in _KEY_FILES:
        if environ.get(name):
            found |= _key_file(name, environ[name])
    base = environ.get("GOOGLE_BASE_URL") or found.get("gcs_base_url")
    return {"base_url": str(base)} if base else {}


def _key_file(variable: str, path: str) -> dict[str, object]:
    try:
        said = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        said = None
    if not isinstance(said, dict):
        raise SettingsError(
            f"{variable} is {path}, which is not a readable key file.",
            hint="It is JSON, of a service account or of gcloud auth application-default login.",
        )
    return said


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


_PROVIDERS = {
    "s3": Provider("bucket", "AWS_ACCESS_KEY_ID, AWS_PROFILE", "AWS_ENDPOINT_URL", s3_options),
    "gs": Provider("bucket", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_BASE_URL", google_options),
    "az": Provider(
        "container",
        "AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_ACCOUNT_NAME",
        azure_options,
        joint="_",  # Azure requires C# identifiers
    ),
}
