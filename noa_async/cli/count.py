"""``noa-async count``: how many, and how much."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from noa_async.cli.lines import make_lines, nothing_found
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import QueryOptions, ServiceOptions, read_query, read_settings
from noa_async.cli.remarks import tell_remarks
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_query, with_service
from noa_async.cli.text import bytes_text, number_of

if TYPE_CHECKING:
    from noa_async.catalogue.query import Query
    from noa_async.client import NoaClient


@dataclass(slots=True)
class Volume:
    """What the listing of a query adds up to."""

    bytes: int = 0
    without_size: int = 0
    """Products whose size the catalogue does not tell."""

    def __str__(self) -> str:
        whole = f"{bytes_text(self.bytes)} ({self.bytes} bytes)"
        if self.without_size:
            whole += f", and {number_of(self.without_size, 'product')} of unknown size"
        return whole


@click.command(cls=VerbCommand)
@with_query
@with_service
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@with_manner
@click.pass_obj
def command(manner: Manner, query: QueryOptions, service: ServiceOptions, form: str) -> int:
    """Say how many products match a query, and how many bytes.

    The number is the service's own count and comes at once; for the bytes all pages are listed.
    """
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    asked = read_query(query, service.config)
    lines = make_lines(manner)
    settings = read_settings(service)
    tell_remarks(lines, service, settings)
    client = NoaClient(settings, observer=lines)
    count, reasons = run(_count(client, asked, as_json=form == "json"))
    if not count:
        lines.line(nothing_found(reasons))
    return 0


async def _count(client: NoaClient, query: Query, *, as_json: bool) -> tuple[int, list[str]]:
    """Print the count; where it is 0, what is likely wrong with the query is told with it."""
    volume = Volume()
    async with client as noa:
        count = await noa.count(query)
        if not as_json:
            print(number_of(count, "product"), end=", ", flush=True)
        try:
            await _add_up(noa, query, volume)
        except BaseException:
            if not as_json:
                print("bytes not known")
            raise
        told = [] if count else await _reasons(noa, query)
    if as_json:
        held = {"bytes": volume.bytes, "without_size": volume.without_size}
        print(json.dumps({"products": count} | held))
    else:
        print(volume)
    return count, told


async def _reasons(noa: NoaClient, query: Query) -> list[str]:
    from noa_async.cli.sounding import reasons  # noqa: PLC0415 (seldom needed)

    return await reasons(noa, query)


async def _add_up(noa: NoaClient, query: Query, volume: Volume) -> None:
    async with aclosing(noa.search(query)) as found:
        async for product in found:
            volume.bytes += product.size or 0
            volume.without_size += product.size is None
