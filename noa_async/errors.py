"""The error tree: each class says whose fault it is, whether trying again helps, which exit code.

NoaError
├── UsageError              exit 2   the caller's: what was asked for makes no sense
│   ├── QueryError                   a rule, a time, an area, a filter
│   └── SettingsError                an option, a variable, a configuration file
├── CredentialsError        exit 3   the account's
│   ├── CredentialsMissing           none were found
│   └── CredentialsRefused           the service does not accept them
├── ServiceError            exit 4   the service's, or the way to it
│   ├── ServiceUnreachable           no connection, a broken one, silence     (retryable)
│   ├── ServiceFault                 5xx, 429, or an answer that is no answer (retryable)
│   ├── ListingShrunk                far fewer products than before; not believed yet
│   ├── ServiceAway                  nothing has come from it for so long that the run ends
│   └── ServiceRefused               a 4xx: it understood, and said no
├── ProductError            exit 1   one product's: the others go on
│   ├── TransferInterrupted          cut, stalled or short                    (retryable)
│   │   └── SizeMismatch             ended, but not with the catalogue's size (retryable)
│   ├── QuotaExceeded                too many at once or too much             (retryable)
│   ├── ProductOffline               not on line yet; asked for               (retryable)
│   ├── FileInaccessible             its file or folder here cannot be read or written (retryable)
│   ├── ProductTooLarge              there is no room for it here now; later runs try again
│   ├── ProductUnavailable           the service will not give it
│   │   └── ProductGone              the service has removed it
│   ├── ProductCorrupt               arrived whole, but cannot be right; in quarantine
│   │   └── ChecksumMismatch         is not what the catalogue says
│   └── ProductQuarantined           was given up by earlier runs; not fetched again unasked
└── DestinationError        exit 5   the disk's or the folder's
    ├── ArchiveMissing               the folder held an archive, and has none, or another, now
    ├── DestinationFull
    ├── DestinationInUse
    └── FilesMissing                 too many files to fetch all of them again unasked
"""

from __future__ import annotations

from typing import ClassVar


class NoaError(Exception):
    """Base of every error this library raises on purpose.

    ``message`` says what happened and what it means; ``hint`` what to do (may be empty).
    """

    exit_code: ClassVar[int] = 1
    """The command line ends with it where this error ends a run."""
    retryable: bool = False
    """Whether the same request may succeed later; False for an error whose retries are used up."""
    attempts: int = 0
    """Requests for a product's bytes that were made before this was final."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        more_tries: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.more_tries = more_tries
        """How many it deserves though it is final, for some of this passes: a product just
        published can be missing at first, a fresh token be revoked by another's log-out. Each is
        made after ``retry_after`` seconds, or 5."""
        self.retry_after = retry_after
        """Seconds to wait that the service asked for, where it did."""

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class UsageError(NoaError):
    """What was asked for makes no sense; nothing was sent."""

    exit_code = 2


class QueryError(UsageError):
    """A rule, a time, an area or a filter that cannot be right."""


class SettingsError(UsageError):
    """An option, an environment variable or a configuration file that cannot be right."""


class CredentialsError(NoaError):
    """The account: no product can be fetched before this is mended."""

    exit_code = 3


class CredentialsMissing(CredentialsError):
    """No user name and password were found anywhere."""


class CredentialsRefused(CredentialsError):
    """The service does not accept the user name and password."""


class ServiceError(NoaError):
    """The service, or the way to it."""

    exit_code = 4
    status: int | None = None
    """The status of HTTP, where it was one."""
    service_words: str = ""
    """What the service itself said, if it said something."""
    overloaded: bool = False
    """Whether the service is to be asked for less at once."""


class ServiceUnreachable(ServiceError):
    """No connection, a broken one, or silence."""

    retryable = True


class ServiceFault(ServiceError):
    """A 5xx, a 429, or an answer that cannot be read: comes and goes."""

    retryable = True


class ServiceRefused(ServiceError):
    """A 4xx: the service understood and said no. Asking again changes nothing."""


class ListingShrunk(ServiceError):
    """The catalogue lists far fewer products than before: not believed before it stays so."""


class ServiceAway(ServiceError):
    """The service has failed for so long, for all products, that the run ends."""


class ProductError(NoaError):
    """One product failed; the others go on."""


class FileInaccessible(ProductError):
    """A product's own file or folder cannot be read or written; those of others can."""

    retryable = True


class TransferInterrupted(ProductError):
    """The bytes stopped before the end."""

    retryable = True


class SizeMismatch(TransferInterrupted):
    """The bytes ended, but they are not as many as the catalogue says."""


class QuotaExceeded(ProductError):
    """The service gives this account no more at the moment."""

    retryable = True


class ProductOffline(ProductError):
    """The service has to fetch the product from its long-term store first."""

    retryable = True


class ProductUnavailable(ProductError):
    """The service will not give this product: gone, forbidden, or not what it says."""


class ProductGone(ProductUnavailable):
    """The service has no such product any more."""


class ProductTooLarge(ProductError):
    """There is no room for one product here, or no file may be that large; later runs try again."""


class ProductCorrupt(ProductError):
    """The bytes arrived whole, twice, but cannot be right."""


class ChecksumMismatch(ProductCorrupt):
    """The bytes are not what the catalogue says.

    ``expected`` and ``found`` are checksums as text, ``md5:...``.
    """

    def __init__(self, name: str, *, expected: str, found: str) -> None:
        super().__init__(f"{name} arrived whole, but is {found}; the catalogue says {expected}.")
        self.expected = expected
        self.found = found


class ProductQuarantined(ProductError):
    """Earlier runs gave it up, mostly for wrong bytes, and nothing about it has changed."""


class DestinationError(NoaError):
    """The output folder cannot be written."""

    exit_code = 5


class ArchiveMissing(DestinationError):
    """The folder held an archive and has none, or another one, now."""


class FilesMissing(DestinationError):
    """So many files of the archive are missing that they are not fetched again unasked."""


class DestinationFull(DestinationError):
    """No room left on the disk."""


class DestinationInUse(DestinationError):
    """Another run holds the output folder."""
