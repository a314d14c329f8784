"""How to ask over TLS, and what must not be sent without it."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from noa_async.errors import SettingsError
from noa_async.origins import host_of, is_loopback

if TYPE_CHECKING:
    from collections.abc import Generator

    from noa_async.settings import Settings


@contextmanager
def authorities_unread() -> Generator[None]:
    """Have contexts that are made meanwhile trust nobody: to read all authorities takes its time.

    For a process that is all ours: aiohttp makes two contexts when it is imported, for those who
    bring none of their own, as ``Transport`` does.
    """
    paths = ssl.get_default_verify_paths()
    names = (paths.openssl_cafile_env, paths.openssl_capath_env)
    kept = {name: os.environ[name] for name in names if name in os.environ}
    os.environ |= dict.fromkeys(names, os.devnull)
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ |= kept


def system_context() -> ssl.SSLContext:
    """One that trusts whom this machine does."""
    return ssl.create_default_context()


def check_encrypted(settings: Settings) -> None:
    """Raise SettingsError if the password or the token would be sent in the clear.

    Over plain http, that is, to another machine; ``Settings.insecure_http`` allows it.
    """
    service = settings.service
    if settings.insecure_http:
        return
    for what, url in (("password", service.token_url), ("token", service.catalogue_url)):
        if url.startswith("http:") and not is_loopback(url):
            raise SettingsError(
                f"The {what} would be sent to {host_of(url)} over plain http, which everyone on "
                "the way can read.",
                hint="Use the service's https address. If you trust the network all the way: "
                "--insecure-http (NOA_INSECURE_HTTP=1).",
            )


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Whom to trust; None where nobody is asked over TLS, unless a redirect leads there.

    Raises SettingsError where the file of authorities cannot be read.
    """
    service = settings.service
    if settings.ca_file is None:
        addresses = (service.catalogue_url, service.token_url)
        if all(address.startswith("http:") for address in addresses):
            return None
    context = system_context()
    if settings.ca_file is not None:
        try:
            context.load_verify_locations(settings.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"The certificate authorities in {settings.ca_file} cannot be read: "
                f"{error.strerror or error}.",
                hint="NOA_CA_FILE must name a PEM file.",
            ) from error
    return context
