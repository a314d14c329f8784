"""Connect to a Dask scheduler and call its workers. The only module that imports Dask."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from noa_async.cluster.worker import serve
from noa_async.errors import ServiceUnreachable, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AsyncExitStack

LOCAL = "local"
_CONNECT_TIMEOUT = 10


def check_installed() -> None:
    """Raise SettingsError if Dask is not installed."""
    if find_spec("distributed") is None:
        raise SettingsError(
            "--dask needs Dask's distributed scheduler, which is not installed.",
            hint="Run pip install 'noa-async[dask]' here and on every worker.",
        )


class DaskLink:
    """The connection to the workers of a Dask cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def workers(self) -> Iterable[str]:
        """Return the addresses of the workers that the scheduler knows."""
        try:
            return list(await self._client.ncores())
        except RuntimeError as error:  # the client has closed itself
            raise ConnectionError(str(error)) from error

    async def ask(self, address: str, verb: str, *arguments: Any) -> Any:
        """Call the ``Desk`` method named ``verb`` on a worker. Raise OSError if it is
        unreachable."""
        try:
            answers = await self._client.run(
                serve, verb, *arguments, workers=[address], on_error="return"
            )
        except RuntimeError as error:
            raise ConnectionError(str(error)) from error
        answer = answers.get(address, ConnectionError(f"{address} is gone"))
        if isinstance(answer, OSError):
            raise answer
        if isinstance(answer, BaseException):
            raise ConnectionError(f"{address}: {type(answer).__name__}: {answer}") from answer
        return answer


async def open_link(stack: AsyncExitStack, address: str, workers: int) -> DaskLink:
    """Connect to the scheduler at ``address``; ``local`` starts a cluster of ``workers`` processes.

    Raise ServiceUnreachable if no scheduler answers.
    """
    from distributed import Client, LocalCluster  # noqa: PLC0415 (an optional dependency, slow to import)

    try:
        where: Any = address
        if address == LOCAL:
            where = await stack.enter_async_context(
                LocalCluster(
                    n_workers=max(1, min(workers, os.cpu_count() or 1)),
                    threads_per_worker=1,
                    processes=True,
                    asynchronous=True,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL,  # the caller reports errors
                )
            )
        client = Client(where, asynchronous=True, timeout=_CONNECT_TIMEOUT, set_as_default=False)
        return DaskLink(await stack.enter_async_context(client))
    except (OSError, TimeoutError) as error:
        raise ServiceUnreachable(
            f"No Dask scheduler answers at {address}: {error}.",
            hint="Start one with 'dask scheduler', and workers with 'dask worker'.",
        ) from error
