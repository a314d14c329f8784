"""The one module that knows Dask: the way to a scheduler's workers. Imported where one is named."""

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
_SECONDS_TO_CONNECT = 10


def check_installed() -> None:
    """Raise SettingsError where Dask is not installed."""
    if find_spec("distributed") is None:
        raise SettingsError(
            "--dask needs Dask's distributed scheduler, which is not installed.",
            hint="pip install 'noa-async[dask]', here and on every worker.",
        )


class DaskLink:
    """The way to the workers of a Dask cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def workers(self) -> Iterable[str]:
        """The addresses of those that the scheduler knows."""
        try:
            return list(await self._client.ncores())
        except RuntimeError as error:  # a client that has closed itself
            raise ConnectionError(str(error)) from error

    async def ask(self, address: str, verb: str, *arguments: Any) -> Any:
        """Have a worker do what ``Desk`` calls ``verb``. Raises OSError where it cannot be had."""
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
    """The way to the cluster at ``address``; ``local`` starts one of ``workers`` processes.

    Raises ServiceUnreachable where no scheduler answers.
    """
    from distributed import Client, LocalCluster  # noqa: PLC0415 (an extra, and heavy)

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
                    silence_logs=logging.CRITICAL,  # errors are told by whoever asked
                )
            )
        client = Client(where, asynchronous=True, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        return DaskLink(await stack.enter_async_context(client))
    except (OSError, TimeoutError) as error:
        raise ServiceUnreachable(
            f"No Dask scheduler answers at {address}: {error}.",
            hint="Start one with 'dask scheduler', and workers with 'dask worker'.",
        ) from error
