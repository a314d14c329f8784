"""How to ask over TLS."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from noa_async.errors import SettingsError

if TYPE_CHECKING:
    from noa_async.settings import Settings


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Whom to trust; None where nobody is asked over TLS, unless a redirect leads there.

    Raises SettingsError where the file of authorities cannot be read.
    """
    service = settings.service
    if settings.ca_file is None:
        addresses = (service.catalogue_url, service.token_url)
        if all(address.startswith("http:") for address in addresses):
            return None
    context = ssl.create_default_context()
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
