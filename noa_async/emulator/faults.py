"""Faults as data: what goes wrong, for which product or page, at which attempt.

Whether a fault strikes is a pure function of the plan, the product (or page) and the
attempt, so that a run can be repeated exactly.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self


class FaultKind(Enum):
    """Every fault this family of servers is known for."""

    CUT = "cut"
    RESET = "reset"
    STALL = "stall"
    THROTTLE = "throttle"
    WRONG_BYTES = "wrong_bytes"
    SHORT_BODY = "short_body"
    WRONG_RANGE = "wrong_range"
    LYING_RANGE = "lying_range"
    IGNORED_RANGE = "ignored_range"
    RANGE_FROM_ZERO = "range_from_zero"
    OK_WITH_CONTENT_RANGE = "ok_with_content_range"
    INJECTED_ERROR = "injected_error"
    QUOTA_TEXT = "quota_text"
    ERROR_PAGE = "error_page"
    EMPTY_202 = "empty_202"
    QUOTA_403 = "quota_403"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TOO_MANY = "too_many"
    SERVER_ERROR = "server_error"
    REDIRECT_TRUSTED = "redirect_trusted"
    REDIRECT_FOREIGN = "redirect_foreign"
    REPLACED = "replaced"
    NEW_ETAG = "new_etag"
    NO_ETAG = "no_etag"
    GZIP = "gzip"
    CHUNKED = "chunked"
    REVOKED_TOKEN = "revoked_token"  # noqa: S105 (a kind of fault, not a secret)
    SLOW_FIRST_BYTE = "slow_first_byte"
    CONNECTION_REFUSED = "connection_refused"

    LABEL_ENCODING = "label_encoding"
    LABEL_TYPE = "label_type"
    LABEL_RANGE = "label_range"
    LABEL_LENGTH = "label_length"
    LABEL_LOGIN = "label_login"

    PAGE_ERROR = "page_error"
    PAGE_TOO_MANY = "page_too_many"
    PAGE_HTML = "page_html"
    PAGE_CUT = "page_cut"
    PAGE_REPEATED = "page_repeated"
    PAGE_MISSING = "page_missing"
    PAGE_SHRUNK = "page_shrunk"
    PAGE_ENTRY_MISSING = "page_entry_missing"
    PAGE_NO_LINK = "page_no_link"
    PAGE_PLUS_LINK = "page_plus_link"
    PAGE_FOREIGN_LINK = "page_foreign_link"
    PAGE_STRAY_LINK = "page_stray_link"
    PAGE_CIRCLE = "page_circle"
    PAGE_BAD_ENTRY = "page_bad_entry"
    PAGE_JSON_ERROR = "page_json_error"
    PAGE_REFUSED = "page_refused"
    PAGE_LOGIN = "page_login"
    PAGE_REDIRECT = "page_redirect"
    PAGE_LONG_HEADER = "page_long_header"
    PAGE_SLOW = "page_slow"
    PAGE_REVOKED_TOKEN = "page_revoked_token"  # noqa: S105
    PAGE_BOMB = "page_bomb"

    TOKEN_ERROR = "token_error"  # noqa: S105
    TOKEN_HTML = "token_html"  # noqa: S105
    TOKEN_SLOW = "token_slow"  # noqa: S105
    TOKEN_MAINTENANCE = "token_maintenance"  # noqa: S105
    TOKEN_FORBIDDEN = "token_forbidden"  # noqa: S105
    TOKEN_NOT_FOUND = "token_not_found"  # noqa: S105
    TOKEN_SESSIONS = "token_sessions"  # noqa: S105
    TOKEN_REFUSED = "token_refused"  # noqa: S105
    TOKEN_TRICKLE = "token_trickle"  # noqa: S105
    TOKEN_BOMB = "token_bomb"  # noqa: S105

    @property
    def scope(self) -> str:
        """`page`, `token`, `product` or `label`: which requests it strikes.

        Those of scope `label` strike requests for a product's bytes, as those of `product` do; the
        bytes are right, but what is said of them is not.
        """
        head = self.value.partition("_")[0]
        return head if head in {"page", "token", "label"} else "product"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Without `product`, `index` or `page` it is meant for all of them, thinned out by
    `probability`. It strikes at attempts `first` to `first + times - 1` (the first attempt
    is 1), or for good where `times` is None.
    """

    kind: FaultKind
    product: str | None = None
    """Only the product of this Id."""
    index: int | None = None
    """Only the product at this place of the catalogue (by Id order of arrival, from 0)."""
    page: int | None = None
    """Only this page of a list, from 0."""
    first: int = 1
    times: int | None = 1
    probability: float = 1.0
    """The share of products (or pages) it strikes, picked by the plan's seed."""
    at: float = 0.5
    """Where in the answer's body: an int is bytes, a float a share of it from 0.0 to 1.0. For
    PAGE_LONG_HEADER the length of a header field, for PAGE_SHRUNK the share of what matches that
    is listed and counted; for LABEL_LENGTH, as an int, how many bytes more are announced (1)."""
    seconds: float = 1.0
    status: int | None = None
    """The HTTP status where the kind leaves a choice (5xx, redirects)."""
    rate: float = 50_000.0
    """Bytes per second, for THROTTLE and TOKEN_TRICKLE."""
    retry_after: str | None = None
    """Retry-After as sent; the word `date` becomes an HTTP date `seconds` from now."""
    text: str | None = None
    """The text sent in place of the kind's own; for LABEL_RANGE a form such as `bytes={}-{}/{}`."""

    def offset(self, length: int) -> int:
        """`at` as a number of bytes of a body that is `length` bytes long."""
        place = self.at if isinstance(self.at, int) else int(self.at * length)
        return max(0, min(place, length))


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """The faults of one run, and the seed that picks whom a probability strikes."""

    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", tuple(self.faults))

    def for_product(self, product: str, index: int, attempt: int) -> tuple[Fault, ...]:
        """The faults of this attempt (from 1) at this product, in the plan's order."""
        return tuple(
            fault
            for scope in ("product", "label")
            for place, fault in self._due(scope, attempt)
            if fault.product in {None, product}
            and fault.index in {None, index}
            and self._picked(place, fault, product)
        )

    def for_page(self, page: int, attempt: int) -> tuple[Fault, ...]:
        """The faults of this attempt at this page (from 0) of a list."""
        return tuple(
            fault
            for place, fault in self._due("page", attempt)
            if fault.page in {None, page} and self._picked(place, fault, str(page))
        )

    def for_token(self, attempt: int) -> tuple[Fault, ...]:
        """The faults of the run's token request number `attempt`."""
        return tuple(
            fault
            for place, fault in self._due("token", attempt)
            if self._picked(place, fault, str(attempt))
        )

    def _due(self, scope: str, attempt: int) -> Iterable[tuple[int, Fault]]:
        for place, fault in enumerate(self.faults):
            late = fault.times is not None and attempt >= fault.first + fault.times
            if fault.kind.scope == scope and attempt >= fault.first and not late:
                yield place, fault

    def _picked(self, place: int, fault: Fault, whom: str) -> bool:
        if fault.probability >= 1.0:
            return True
        digest = hashlib.blake2b(f"{self.seed}/{place}/{whom}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64 < fault.probability

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From `{"seed": 1, "faults": [{"kind": "cut", "at": 1000}, ...]}`.

        Raises ValueError for an unknown kind or key.
        """
        from noa_async.emulator.faultplans import plan_fields  # noqa: PLC0415 (a cycle)

        return cls(*plan_fields(data))

    @classmethod
    def from_file(cls, path: str) -> Self:
        """From a TOML or JSON file of the shape of `from_dict`."""
        from noa_async.emulator.faultplans import read_plan  # noqa: PLC0415

        return cls.from_dict(read_plan(path))

    @classmethod
    def random(
        cls,
        seed: int,
        products: Sequence[str],
        kinds: Iterable[FaultKind],
        *,
        per_product: int = 3,
        seconds: float = 0.05,
    ) -> Self:
        """A plan drawn from `seed`: up to `per_product` faults of `kinds` for each product Id.

        Each strikes at an attempt of its own, so that the attempt after the last is clean.
        """
        from noa_async.emulator.faultplans import random_faults  # noqa: PLC0415

        return cls(random_faults(seed, products, tuple(kinds), per_product, seconds), seed)


NO_FAULTS = FaultPlan()
"""A run in which nothing goes wrong."""
