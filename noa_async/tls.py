"""How to ask over TLS."""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from noa_async.errors import SettingsError

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
