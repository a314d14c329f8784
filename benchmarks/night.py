"""One night: a run of ``NoaClient.mirror`` as of an instant, in a process that can be killed.

``python -m benchmarks.night FOLDER SECONDS KEEP_OR_DELETE MAX_DELETE HOOKS``, led to a mirror by
``NOA_*``, says ``begun`` when it begins, and at the end one line of JSON. The exit code is that of
the command line: 0, 1 where a product is absent, 4 where the service is away.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async import Credentials, NoaClient, NoaError, OnRemoved, Query, RetryPolicy, Settings
from noa_async.events import Event, ProductRemoved, RemovalsHeld

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async import Hook, Outcome

_RETRY = RetryPolicy(retries=3, base=0.01, cap=0.05, offline_wait=0)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a night ended, as its own process tells it."""

    code: int
    seconds: float
    error: str | None = None
    full: bool = False
    listed: int = 0
    brought: int = 0
    removed: int = 0
    held: bool = False
    absent: int = 0
    removed_ids: list[str] = field(default_factory=list)


def hook_into(log: Path, fails: int) -> Hook:
    """A hook that writes the Id of each product into a file; every ``fails``-th product's fails."""

    async def hook(outcome: Outcome) -> None:
        product_id = outcome.product.id
        if fails and zlib.crc32(product_id.encode()) % fails == 0:
            raise OSError("the receiver does not answer")
        with log.open("a") as file:
            file.write(f"{product_id}\n")

    return hook


async def live(
    folder: str,
    now: float,
    on_removed: str,
    max_delete: float,
    *,
    reconcile: bool = False,
    environ: Mapping[str, str] | None = None,
    hooks: tuple[str, int] | None = None,
) -> Ended:
    """One run on ``folder`` as of ``now`` (seconds since 1970); ``hooks`` as of ``hook_into``."""
    settings = Settings.from_env(environ)
    following = replace(settings.following, on_removed=OnRemoved(on_removed), max_delete=max_delete)
    settings = replace(settings, retry=_RETRY, following=following)
    held = False
    removed: list[str] = []
    after = None if hooks is None else hook_into(Path(hooks[0]), hooks[1])

    def observe(event: Event, /) -> None:
        nonlocal held
        held = held or isinstance(event, RemovalsHeld)
        if isinstance(event, ProductRemoved):
            removed.append(event.product_id)

    who = Credentials("demo", "demo")
    began = time.perf_counter()
    try:
        async with NoaClient(settings, who, observer=observe, clock=lambda: now) as noa:
            done = await noa.mirror(
                Query(everything=True), folder, reconcile=reconcile, after=after
            )
    except NoaError as error:
        seconds = time.perf_counter() - began
        return Ended(error.exit_code, seconds, str(error), held=held, removed_ids=removed)
    return Ended(
        0 if done.ok else 1,
        time.perf_counter() - began,
        full=done.full,
        listed=done.listed,
        brought=sum(n for status, n in done.counts.items() if status.value == "downloaded"),
        removed=done.removed,
        held=held,
        absent=done.absent,
        removed_ids=removed,
    )


def live_to_the_end(
    folder: str,
    now: float,
    on_removed: str,
    max_delete: float,
    reconcile: bool,
    environ: Mapping[str, str],
) -> None:
    """One run, for a process that is started with this."""
    asyncio.run(live(folder, now, on_removed, max_delete, reconcile=reconcile, environ=environ))


def main(arguments: list[str]) -> int:
    """Live through one night, and tell of it on standard output."""
    folder, now, on_removed, max_delete, log, fails, reconcile = arguments
    print("begun", flush=True)
    ended = asyncio.run(
        live(
            folder,
            float(now),
            on_removed,
            float(max_delete),
            reconcile=reconcile == "True",
            environ=os.environ,
            hooks=(log, int(fails)),
        )
    )
    print(json.dumps(asdict(ended)), flush=True)
    return ended.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
