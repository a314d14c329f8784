"""Which services the emulator can play: what makes each of them differ from the defaults, as data.

The figures are the published ones, known here on their own: the emulator is to be a witness.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

DEFAULT = "noa"
PROFILES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        DEFAULT: {},
        "cdse": {
            "base_path": "/odata/v1",
            "realm": "CDSE",
            "client_id": "cdse-public",
            "token_life": 600.0,
            "refresh_life": 3600.0,
            "quota": 4,
            "page_size": 20,
            "max_top": 1000,
            "max_skip": 10_000,
            "skip_refusal": 422,
            "catalogue_auth": False,
            "name_filter": True,
            "checksums": ("MD5", "BLAKE3"),
            "download_host": True,
        },
    }
)
"""Fields of EmulatorSettings by the service's name."""
