"""What an open client asks with, put together: every part once, shared by all workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from noa_async.auth.session import AuthSession
from noa_async.auth.tokens import TokenManager
from noa_async.catalogue.pages import Catalogue
from noa_async.testing import Waits
from noa_async.tls import check_encrypted
from noa_async.transport import Transport

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from noa_async.auth.credentials import Credentials
    from noa_async.auth.tokens import LoginState
    from noa_async.events import Observer
    from noa_async.settings import Settings


@dataclass(frozen=True, slots=True)
class Connection:
    """What an open client asks with."""

    transport: Transport
    tokens: TokenManager
    session: AuthSession
    catalogue: Catalogue
    waits: Waits


async def connect(
    stack: AsyncExitStack,
    settings: Settings,
    who: Credentials,
    *,
    observer: Observer,
    state: LoginState,
    log_out: bool = True,
) -> Connection:
    """The connection for ``settings``; ``stack`` ends it.

    ``state``: that of an earlier log-in with the same credentials. ``log_out``: end its session,
    too.

    Raise SettingsError if the password or the token would be sent in the clear.
    """
    check_encrypted(settings)
    service, waits = settings.service, Waits.now(settings.retry)
    transport = await stack.enter_async_context(Transport(settings))
    tokens = TokenManager(transport, service, who, observer=observer, waits=waits, state=state)
    stack.push_async_callback(tokens.close, log_out=log_out)
    session = AuthSession(transport, tokens)
    catalogue = Catalogue(
        session,
        service,
        waits.retry,
        listings=settings.limits.listings,
        observer=observer,
        sleep=waits.sleep,
    )
    return Connection(transport, tokens, session, catalogue, waits)
