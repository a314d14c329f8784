"""What the handlers share: the mirror's state while it runs."""

import json
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from aiohttp import web

from noa_async.emulator.answers import PAGE, Answer
from noa_async.emulator.catalogue import Catalogue
from noa_async.emulator.errors import RefusedError
from noa_async.emulator.faults import NO_FAULTS, FaultPlan
from noa_async.emulator.settings import EmulatorSettings
from noa_async.emulator.stats import Stats
from noa_async.emulator.tokens import TokenIssuer


@dataclass(slots=True)
class Mirror:
    """Settings, catalogue, tokens, counters and what is under way."""

    settings: EmulatorSettings
    catalogue: Catalogue
    issuer: TokenIssuer
    stats: Stats
    clock: Callable[[], float]
    refuse: Callable[[float], None]
    """Refuse connections for so many seconds."""
    faults: FaultPlan = NO_FAULTS
    base_url: str = ""
    trusted_url: str = ""
    foreign_url: str = ""
    outage: bool = False
    maintenance: int | None = None
    """The status of every answer while the site is down on purpose."""
    busy_until: float | None = None
    """By the loop's clock; None before the first request for a product."""
    busy: set[object] = field(default_factory=set)
    """Connections with a request under way."""
    slots: Counter[str] = field(default_factory=Counter)
    """Downloads that count against each user's quota now."""
    attempts: Counter[str] = field(default_factory=Counter)
    """Requests so far for each product's bytes, each page, the token."""
    retrievals: dict[str, float] = field(default_factory=dict)
    """When each offline product asked for will be there, by the clock."""

    def attempt(self, what: str) -> int:
        """Count one more request for it; the first is 1."""
        self.attempts[what] += 1
        return self.attempts[what]

    def user(self, request: web.BaseRequest) -> str:
        """Who asks. Raises RefusedError (401) without a token that holds."""
        authorization = request.headers.get("Authorization")
        user = self.issuer.user_of(authorization)
        if user is None:
            self.stats.unauthorised += 1
            raise unauthorised(self.settings.realm, given=authorization is not None)
        return user

    def available(self, product_id: str) -> bool:
        """Whether the bytes are online; an offline product asked for comes online in time."""
        product = self.catalogue.get(product_id)
        if product.online:
            return True
        due = self.retrievals.get(product_id)
        if due is None or self.clock() < due:
            return False
        self.catalogue.update(product_id, online=True)
        return True

    def retrieve(self, product_id: str) -> None:
        """Begin to bring an offline product back, unless that is under way."""
        self.retrievals.setdefault(product_id, self.clock() + self.settings.retrieval_time)


def unauthorised(realm: str, *, given: bool) -> RefusedError:
    """The 401 of a request without a token, or with one that does not hold."""
    challenge = f'Bearer realm="{realm}"' + (', error="invalid_token"' if given else "")
    sentence = "Expired or invalid token." if given else "Authentication is required."
    return RefusedError(401, sentence, {"WWW-Authenticate": challenge})


def to_login_page(realm: str, status: int) -> RefusedError:
    """A redirect to the page on which people log in."""
    query = "response_type=code&client_id=mirror-client"
    target = f"/auth/realms/{realm}/protocol/openid-connect/auth?{query}"
    return RefusedError(status, "Found", {"Location": target})


def as_response(answer: Answer) -> web.Response:
    """A short answer as aiohttp sends it."""
    return web.Response(
        status=answer.status,
        text=answer.body,
        content_type=answer.content_type,
        headers=answer.headers,
    )


def bomb() -> web.Response:
    """An answer of 200 kB that inflates to 200 MB."""
    return web.Response(
        body=_packed_blanks(200),
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )


@cache
def _packed_blanks(megabytes: int) -> bytes:
    packer = zlib.compressobj(wbits=31)
    blanks = b" " * 1_000_000
    return b"".join(packer.compress(blanks) for _ in range(megabytes)) + packer.flush()


def maintenance_page() -> web.Response:
    """Where a site that is down on purpose sends everybody."""
    return web.Response(text=PAGE.format("Down for maintenance"), content_type="text/html")


def json_response(data: object, status: int = 200) -> web.Response:
    """JSON as the catalogue sends it."""
    return web.Response(
        body=json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"),
        status=status,
        content_type="application/json",
        charset="utf-8",
    )


def too_long(status: int) -> web.Response:
    """The refusal of a request target, as a web server in front of the mirror words it."""
    title = {414: "414 Request-URI Too Large", 431: "431 Request Header Fields Too Large"}
    text = PAGE.format(title.get(status, f"{status} Bad Request"))
    return web.Response(status=status, text=text, content_type="text/html")


def refusal(error: RefusedError) -> web.Response:
    """A refusal in OData's form."""
    response = json_response(error.body(), error.status)
    response.headers.update(error.headers)
    return response
