"""What an emulated mirror is like: one frozen value, every field with its default."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

from noa_async.emulator.faults import NO_FAULTS, FaultPlan
from noa_async.emulator.profiles import DEFAULT, PROFILES

EtagStyle = Literal["quoted", "unquoted", "none"]
QuotaStyle = Literal["429", "403", "503"]


@dataclass(frozen=True, slots=True)
class EmulatorSettings:
    """Everything that differs from one mirror to the next.

    Sizes are bytes, times are seconds, rates are bytes per second.
    """

    service: str = DEFAULT
    """Which service it plays; told to whoever is led here. `playing` sets what makes it that."""
    products: int = 2000
    """How many products the catalogue holds at the start."""
    seed: int = 1
    """The same seed gives the same catalogue and the same bytes, on every machine."""
    mean_bytes: int = 2_000_000
    """Mean product size; each product type keeps its own proportion to it."""
    start: datetime = datetime(2026, 1, 5, tzinfo=UTC)
    """First sensing time of the catalogue."""
    end: datetime = datetime(2026, 2, 5, tzinfo=UTC)
    """Sensing times lie before this."""
    long_products: bool = False
    """Adds, for each day, orbits of 101 minutes, some across midnight, and orbit files of 26 hours;
    the other products are the same as without."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free port."""
    tls: ssl.SSLContext | None = None

    base_path: str = "/catalogue/odata/v1"
    """Where the catalogue lies; its products are in `Products` below."""
    username: str = "demo"
    password: str = field(default="demo", repr=False)
    client_id: str = "mirror-client"
    realm: str = "mirror"
    token_life: float = 300.0
    refresh_life: float = 1800.0
    rotate_refresh: bool = True
    """A refresh token works once; the answer brings the next one."""
    issue_refresh: bool = True
    max_wrong_passwords: int = 3
    """After so many the account is locked, and the right password is refused as well."""
    max_sessions: int | None = None
    """Sessions at once; None is no limit. A log-in opens one; a log-out ends it, or time does."""
    token_delay: float = 0.01
    """A token answer takes so long, so that requests at the same time are seen as such."""
    catalogue_auth: bool = True
    """The catalogue asks for the token too, as the reference client sends it there."""

    quota: int | None = None
    """Parallel downloads per user; None is no limit."""
    quota_style: QuotaStyle = "429"
    slot_linger: float = 0.0
    """A quota slot frees so long after its download ended."""
    busy_for: float = 0.0
    """For so long from the first request for a product, each one is refused as past a quota."""
    retry_after: str | None = None
    """Retry-After of a 429 and of a 202: seconds or a date; None leaves it out."""
    latency: float = 0.0
    """Before each answer's head."""
    rate: float | None = None
    """Bytes per second of each connection; None is as fast as it goes."""

    page_size: int = 50
    """Entries a page where `$top` is not given."""
    max_top: int = 1000
    clamp_top: bool = False
    """A `$top` above `max_top` is answered with `max_top` entries, not with a 400."""
    max_skip: int | None = None
    """Past it nextLink silently is not there, and an explicit `$skip` is refused."""
    skip_refusal: int = 400
    """The status of an explicit `$skip` past `max_skip`."""
    refused_links: bool = False
    """Past `max_skip` nextLink is there, and following it is the 400."""
    counts: bool = True
    """False leaves `@odata.count` out, whoever asks for it."""
    relative_links: bool = False
    plus_links: bool = True
    """Spaces in a nextLink stand as `+`, not as `%20`."""
    link_base: str | None = None
    """What stands before `/Products` in a nextLink in place of the mirror's own address, as behind
    a proxy that does not rewrite links: `http://inner:8080/catalogue/odata/v1`."""
    id_order: bool = True
    """False refuses `$orderby` by Id with a 400."""
    shuffled_ties: bool = False
    """Products that `$orderby` does not tell apart come in another order with each request."""
    expand: bool = True
    """False refuses `$expand` with a 400."""
    max_address: int | None = None
    """Longer request targets, in bytes, are refused."""
    address_refusal: int = 414
    """The status of a request target above `max_address`."""
    name_filter: bool = False
    """Filters on Name are a 400 at NOA; other sites of this software take them."""
    undefined_order: bool = True
    """Without `$orderby` each page has an order of its own, as real ones may."""

    download_host: bool = False
    """`$value` redirects to a host of the service's own, which needs the token and keeps the quota;
    the mirror itself asks for none there."""
    etag: EtagStyle = "quoted"
    checksums: tuple[str, ...] = ("MD5",)
    """Algorithms of an entry's `Checksum`: MD5, SHA-256, SHA3-256, SHA3-512, BLAKE3, ..."""
    chunked_errors: bool = False
    """Answers that are no product come in chunks, without a Content-Length, as nginx and Keycloak
    send theirs."""
    head_allowed: bool = True
    """False answers HEAD with 405."""
    range_limit: int | None = None
    """A range that starts at or past it is ignored: the whole body comes with 200."""
    if_range_from_zero: bool = False
    """If-Range that does not match is answered by 206 from byte 0 (seen in the predecessor)."""
    retrieval_time: float = 0.0
    """How long an offline product takes from the first request until its bytes are there."""
    orders: bool = True
    """False answers an order of a product with 404: the site has no such action."""

    faults: FaultPlan = NO_FAULTS

    @classmethod
    def playing(cls, service: str, **changes: Any) -> Self:
        """Settings of a service by its name, some of them changed. Raises ValueError."""
        if service not in PROFILES:
            raise ValueError(f"{service!r} is none of {', '.join(PROFILES)}")
        return cls(service=service, **{**PROFILES[service], **changes})

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("the catalogue's start and end need a time zone")
        if self.start >= self.end:
            raise ValueError("the catalogue's start must lie before its end")
        if self.products < 0 or not 1 <= self.mean_bytes <= 500_000_000:
            raise ValueError("products cannot be negative, nor mean_bytes beyond 500 MB")
