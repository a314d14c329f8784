"""noa_async: bulk downloads from the NOA Sentinels Mirror, fast, checked, resumable.

Names are loaded at their first use, so that ``noa-async --help`` need not wait for aiohttp.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noa_async.archive.mirror import MirrorReport
    from noa_async.auth.credentials import Credentials
    from noa_async.catalogue.moments import TimeRelation
    from noa_async.catalogue.product import Checksum, Product
    from noa_async.catalogue.query import Query
    from noa_async.catalogue.rules import MissionRule
    from noa_async.client import NoaClient
    from noa_async.errors import (
        ArchiveMissing,
        ChecksumMismatch,
        CredentialsError,
        CredentialsMissing,
        CredentialsRefused,
        DestinationError,
        DestinationFull,
        DestinationInUse,
        FileInaccessible,
        FilesMissing,
        ListingShrunk,
        NoaError,
        ProductCorrupt,
        ProductError,
        ProductGone,
        ProductOffline,
        ProductQuarantined,
        ProductTooLarge,
        ProductUnavailable,
        QueryError,
        QuotaExceeded,
        ServiceAway,
        ServiceError,
        ServiceFault,
        ServiceRefused,
        ServiceUnreachable,
        SettingsError,
        SizeMismatch,
        TransferInterrupted,
        UsageError,
    )
    from noa_async.events import Event, Observer, Status
    from noa_async.hooks import Command, Consuming, Hook
    from noa_async.progress import Figures, Meter
    from noa_async.services import SERVICES, Habits, Quota, Service
    from noa_async.settings import (
        Following,
        Limits,
        OnRemoved,
        RetryPolicy,
        Settings,
        Timeouts,
    )
    from noa_async.sync import SyncNoaClient
    from noa_async.testing import is_testing, set_testing
    from noa_async.transfer.outcome import Outcome

__all__ = [
    "SERVICES",
    "ArchiveMissing",
    "Checksum",
    "ChecksumMismatch",
    "Command",
    "Consuming",
    "Credentials",
    "CredentialsError",
    "CredentialsMissing",
    "CredentialsRefused",
    "DestinationError",
    "DestinationFull",
    "DestinationInUse",
    "Event",
    "Figures",
    "FileInaccessible",
    "FilesMissing",
    "Following",
    "Habits",
    "Hook",
    "Limits",
    "ListingShrunk",
    "Meter",
    "MirrorReport",
    "MissionRule",
    "NoaClient",
    "NoaError",
    "Observer",
    "OnRemoved",
    "Outcome",
    "Product",
    "ProductCorrupt",
    "ProductError",
    "ProductGone",
    "ProductOffline",
    "ProductQuarantined",
    "ProductTooLarge",
    "ProductUnavailable",
    "Query",
    "QueryError",
    "Quota",
    "QuotaExceeded",
    "RetryPolicy",
    "Service",
    "ServiceAway",
    "ServiceError",
    "ServiceFault",
    "ServiceRefused",
    "ServiceUnreachable",
    "Settings",
    "SettingsError",
    "SizeMismatch",
    "Status",
    "SyncNoaClient",
    "TimeRelation",
    "Timeouts",
    "TransferInterrupted",
    "UsageError",
    "is_testing",
    "set_testing",
]

_HOMES = {
    "noa_async.archive.mirror": ("MirrorReport",),
    "noa_async.auth.credentials": ("Credentials",),
    "noa_async.catalogue.moments": ("TimeRelation",),
    "noa_async.catalogue.product": ("Checksum", "Product"),
    "noa_async.catalogue.query": ("Query",),
    "noa_async.catalogue.rules": ("MissionRule",),
    "noa_async.client": ("NoaClient",),
    "noa_async.errors": (
        "ArchiveMissing",
        "ChecksumMismatch",
        "CredentialsError",
        "CredentialsMissing",
        "CredentialsRefused",
        "DestinationError",
        "DestinationFull",
        "DestinationInUse",
        "FileInaccessible",
        "FilesMissing",
        "ListingShrunk",
        "NoaError",
        "ProductCorrupt",
        "ProductError",
        "ProductGone",
        "ProductOffline",
        "ProductQuarantined",
        "ProductTooLarge",
        "ProductUnavailable",
        "QueryError",
        "QuotaExceeded",
        "ServiceAway",
        "ServiceError",
        "ServiceFault",
        "ServiceRefused",
        "ServiceUnreachable",
        "SettingsError",
        "SizeMismatch",
        "TransferInterrupted",
        "UsageError",
    ),
    "noa_async.events": ("Event", "Observer", "Status"),
    "noa_async.hooks": ("Command", "Consuming", "Hook"),
    "noa_async.progress": ("Figures", "Meter"),
    "noa_async.services": ("SERVICES", "Habits", "Quota", "Service"),
    "noa_async.settings": (
        "Following",
        "Limits",
        "OnRemoved",
        "RetryPolicy",
        "Settings",
        "Timeouts",
    ),
    "noa_async.sync": ("SyncNoaClient",),
    "noa_async.testing": ("is_testing", "set_testing"),
    "noa_async.transfer.outcome": ("Outcome",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
