"""NoaClient: what a library user holds."""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from noa_async.assembly import Connection, connect
from noa_async.auth.credentials import find_credentials
from noa_async.auth.tokens import LoginState, log_out_at_exit
from noa_async.calls import Calls, OwnedStream, other_process
from noa_async.errors import UsageError
from noa_async.events import Observer, ignore
from noa_async.settings import Settings
from noa_async.tasks import outcome_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Mapping,
    )
    from contextlib import AbstractAsyncContextManager
    from types import AsyncGeneratorType

    from noa_async.archive.mirror import MirrorReport
    from noa_async.auth.credentials import Credentials
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.cluster.opening import Cluster
    from noa_async.downloads import Downloads
    from noa_async.hooks import Hook
    from noa_async.transfer.outcome import Outcome

_T = TypeVar("_T")


class NoaClient:
    """A connection to a mirror: search it, and bring products home.

    ``settings`` say which mirror and how; ``credentials`` who asks (None: found as the command line
    finds them); ``observer`` is told what happens (see ``noa_async.events``).

    Resources: an async context manager. Leaving it ends every call and stream that is still under
    way, in any task (they raise UsageError), and the session at the log-in service; it closes all
    connections and unlocks the output folders. Part files stay, and the next run resumes them. A
    cancellation while the client is left is raised when all of that is done.
    The client can be entered again after that; while it is open, a second entry raises UsageError:
    share the open client between tasks. With ``keep_session`` it uses the log-in that it had, until
    ``log_out`` or the end of the program. A forked process cannot use or close a client that its
    parent has open.

    Error handling: CredentialsError, ServiceError and DestinationError if nothing can go on;
    what concerns one product is told in its ``Outcome``.

    >>> from noa_async.emulator import Emulator
    >>> async def first_name() -> str:
    ...     async with Emulator() as mirror:
    ...         service = Service(catalogue_url=mirror.catalogue_url, token_url=mirror.token_url)
    ...         who = Credentials("demo", "demo")
    ...         async with NoaClient(Settings(service=service), who) as noa:
    ...             async for product in noa.search(Query(everything=True)):
    ...                 return product.name[:2]
    >>> import asyncio
    >>> from noa_async import Credentials, Query, Service, Settings
    >>> asyncio.run(first_name())
    'S...
    """

    def __init__(
        self,
        settings: Settings | None = None,
        credentials: Credentials | None = None,
        *,
        observer: Observer = ignore,
        keep_session: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``keep_session``: leave the session at the log-in service open when the client is left.
        ``clock``: seconds since 1970, as an archive writes them down.

        Raises SettingsError where the settings name a Dask scheduler and Dask is not installed.
        """
        self.settings = settings or Settings()
        self._credentials = credentials
        self._observer = observer
        self._clock = clock
        _cluster(self.settings, observer)  # raises
        self._environ: Mapping[str, str] | None = None
        self._lifetime: AbstractAsyncContextManager[None] | None = None
        self._closing: asyncio.Task[bool | None] | None = None
        self._stack = AsyncExitStack()
        self._calls: Calls | None = None
        self._connection: Connection | None = None
        self._bringing: Downloads | None = None
        self._keep_session = keep_session
        self._process = os.getpid()
        self._who: Credentials | None = None
        self._login = LoginState()

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, *, observer: Observer = ignore
    ) -> Self:
        """A client with ``NOA_*`` settings (of ``os.environ``), NOA's mirror by default.

        Credentials are looked for there, too, when the client is entered. Raises SettingsError for
        a variable that makes no sense.
        """
        client = cls(Settings.from_env(environ), observer=observer)
        client._environ = environ
        return client

    async def __aenter__(self) -> Self:
        self._check_process()
        if self._lifetime is not None:
            raise UsageError(
                "This client is open already.",
                hint="Share it between tasks while it is open, or make another client.",
            )
        if self._process != os.getpid():
            self._process = os.getpid()
            self._login = LoginState()  # the session of before the fork is the parent's
        self._lifetime = self._opened()
        await self._lifetime.__aenter__()
        return self

    async def __aexit__(self, *ending: Any) -> None:
        if self._lifetime is None or self._process != os.getpid():
            return
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(self._lifetime, *ending))
        await outcome_of(self._closing)

    @staticmethod
    async def _close(lifetime: AbstractAsyncContextManager[None], *ending: Any) -> None:
        await lifetime.__aexit__(*ending)

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        """Open the client for as long as the block runs.

        A generator, because an event loop closes those that are still open when it shuts down: then
        the folders are unlocked even if the client was never left.
        """
        try:
            token_url = self.settings.service.token_url
            who = self._credentials or find_credentials(token_url, self._environ)
            if self._keep_session:
                atexit.unregister(self._at_exit)
                atexit.register(self._at_exit)
            if who != self._who:
                self._who, self._login = who, LoginState()
            async with AsyncExitStack() as stack:
                connection = await connect(
                    stack,
                    self.settings,
                    who,
                    observer=self._observer,
                    state=self._login,
                    log_out=not self._keep_session,
                )
                calls = Calls()
                self._stack, self._calls, self._connection = stack, calls, connection
                try:
                    yield
                finally:
                    self._connection = self._bringing = None
                    await calls.close()
        finally:
            self._lifetime = self._closing = None

    def _check_process(self) -> None:
        if self._lifetime is not None and self._process != os.getpid():
            raise other_process()

    def _check_open(self) -> None:
        self._check_process()
        if self._connection is None:
            raise UsageError(
                "This client is not open.", hint="Use it inside 'async with NoaClient() as noa:'."
            )

    @property
    def _open(self) -> Connection:
        self._check_open()
        assert self._connection is not None
        return self._connection

    def _open_calls(self) -> Calls:
        self._check_open()
        assert self._calls is not None
        return self._calls

    async def _run(self, begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run what ``begin`` makes, for as long as the client is open."""
        return await self._open_calls().run(begin())

    def _stream(self, source: AsyncGenerator[_T]) -> AsyncGenerator[_T]:
        return OwnedStream(cast("AsyncGeneratorType[_T, None]", source), self._open_calls)

    @property
    def _downloads(self) -> Downloads:
        connection = self._open
        if self._bringing is None:
            from noa_async.downloads import Downloads  # noqa: PLC0415 (who only asks needs none)

            self._bringing = Downloads(
                self._stack,
                self.settings,
                connection,
                cluster=_cluster(self.settings, self._observer),
                observer=self._observer,
                clock=self._clock,
            )
        return self._bringing

    async def log_in(self) -> float:
        """Try the credentials; return for how many seconds the token that they gave holds.

        Raise CredentialsRefused, or ServiceError if the service cannot be asked.
        """
        tokens = self._open.tokens
        await self._run(tokens.token)
        return tokens.expires_in

    async def log_out(self) -> None:
        """End the session at the log-in service now; the next request logs in again.

        For a client with ``keep_session``, which does not have to be open. Take a few seconds at
        most, and raise nothing, whatever the service answers.
        """
        self._check_process()
        if self._connection is not None:
            await self._run(self._connection.tokens.log_out)
            return
        if self._process != os.getpid():
            return  # the session is the parent's
        atexit.unregister(self._at_exit)
        if self._who is not None and self._login.token is not None:
            async with AsyncExitStack() as stack:
                await connect(
                    stack, self.settings, self._who, observer=self._observer, state=self._login
                )

    def _at_exit(self) -> None:
        if os.getpid() == self._process:
            log_out_at_exit(self.settings, self._login)

    @property
    def renewable_for(self) -> float:
        """Seconds that the log-in can be renewed without the password; 0 where it cannot."""
        return self._open.tokens.refresh_expires_in

    async def count(self, query: Query) -> int:
        """How many products match, by the service's own count; ``query.limit`` caps it."""
        return await self._run(lambda: self._open.catalogue.count(query))

    def search(self, query: Query, *, attributes: bool = False) -> AsyncGenerator[Product]:
        """The products that match, by sensing time, each Id once; memory stays flat.

        ``attributes`` asks the service for each product's attributes too (larger answers).
        Raises ServiceError if a page cannot be had: a list never just ends early.
        """
        return self._stream(self._search(query, attributes=attributes))

    async def _search(self, query: Query, *, attributes: bool) -> AsyncGenerator[Product]:
        async with aclosing(self._open.catalogue.pages(query, attributes=attributes)) as pages:
            async for page in pages:
                for product in page:
                    yield product

    async def product(self, product_id: str) -> Product | None:
        """The product of an Id, as the catalogue has it now; None where it has none."""
        return await self._run(lambda: self._open.catalogue.entry(product_id))

    async def download(
        self,
        product: Product,
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        retry_failed: bool = False,
        after: Hook | None = None,
    ) -> Outcome:
        """Bring one product into ``folder``, or find it there; its failure is in the outcome.

        What is off line is ordered and waited for, as long as ``RetryPolicy.offline_wait`` says.
        ``layout``: ``flat``, ``date``, or a template (see ``Layout``); None is the one that the
        folder has, else flat; another one moves what is there. ``retry_failed``: fetch it even
        where an earlier run had to put its bytes in quarantine. ``after`` is awaited with the
        outcome where the product came now; what it raises is told as HookFailed and leaves the
        product alone.
        """
        return await self._run(
            lambda: self._downloads.download(
                product, folder, layout=layout, retry_failed=retry_failed, after=after
            )
        )

    def download_all(
        self,
        products: AsyncIterable[Product] | Iterable[Product],
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        retry_failed: bool = False,
        after: Hook | None = None,
    ) -> AsyncGenerator[Outcome]:
        """Bring products into ``folder``; outcomes come as they finish, in no order.

        Downloads begin while ``products`` still comes in. One failure ends nothing, and what is off
        line keeps nobody waiting but those who want the last outcome. Leaving early cancels what
        runs and keeps its part files. ``layout``, ``retry_failed``, ``after``: see ``download``;
        ``after`` is awaited by the worker that brought the product, so at most ``workers`` of them
        run at once (for an object store twice as many), and a slow one holds its worker.
        """
        return self._stream(
            self._download_all(
                products, folder, layout=layout, retry_failed=retry_failed, after=after
            )
        )

    async def _download_all(
        self,
        products: AsyncIterable[Product] | Iterable[Product],
        folder: str | os.PathLike[str],
        *,
        layout: str | None,
        retry_failed: bool,
        after: Hook | None,
    ) -> AsyncGenerator[Outcome]:
        outcomes = self._downloads.download_all(
            products, folder, layout=layout, retry_failed=retry_failed, after=after
        )
        async with aclosing(outcomes):
            async for outcome in outcomes:
                yield outcome

    async def mirror(
        self,
        query: Query,
        folder: str | os.PathLike[str],
        *,
        layout: str | None = None,
        reconcile: bool = False,
        retry_failed: bool = False,
        after: Hook | None = None,
        tell: Callable[[Outcome], Awaitable[object]] | None = None,
    ) -> MirrorReport:
        """Bring ``folder`` up to date with ``query``: one run; call it again to follow.

        The first run lists all; later ones ask for what was published since, and now and then for
        all again (``Settings.following`` says when, and what becomes of products that the service
        removed). ``reconcile`` asks for all now; ``retry_failed`` tries again also what earlier
        runs gave up. ``tell`` is awaited for each outcome, one at a time; ``layout``, ``after``:
        see ``download``.

        Raises UsageError for a query with a limit, for nothing could follow it. Where the listing
        breaks off, its error is raised after what it found is fetched; the next run lists again.
        """
        return await self._run(
            lambda: self._downloads.mirror(
                query,
                folder,
                layout=layout,
                reconcile=reconcile,
                retry_failed=retry_failed,
                after=after,
                tell=tell,
            )
        )


def _cluster(settings: Settings, observer: Observer) -> Cluster | None:
    if settings.dask is None:
        return None
    from noa_async.cluster.opening import Cluster  # noqa: PLC0415 (where it is named)

    return Cluster(settings.dask, settings, observer)
