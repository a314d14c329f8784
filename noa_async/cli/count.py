"""``noa-async count``: count the products that match a query, and their bytes."""

from __future__ import annotations

import json
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from noa_async.cli.lines import make_lines, nothing_found
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import QueryOptions, ServiceOptions, read_query, read_settings
from noa_async.cli.remarks import fitted_query, tell_remarks
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_query, with_service
from noa_async.cli.text import bytes_text, number_of

if TYPE_CHECKING:
    from noa_async.catalogue.query import Query
    from noa_async.client import NoaClient


@dataclass(slots=True)
class Volume:
    """The total size of the products that a query lists."""

    bytes: int = 0
    without_size: int = 0
    """Products for which the catalogue gives no size."""

    def __str__(self) -> str:
        whole = f"{bytes_text(self.bytes)} ({self.bytes} bytes)"
        if self.without_size:
            whole += f", and {number_of(self.without_size, 'product')} of unknown size"
        return whole


@click.command(cls=VerbCommand)
@with_query
@with_service
@click.option(
    "--bytes/--no-bytes",
    "volume",
    default=False,
    show_default=True,
    help="Also list all pages and add up the sizes.",
)
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@with_manner
@click.pass_obj
def command(
    manner: Manner, query: QueryOptions, service: ServiceOptions, form: str, *, volume: bool
) -> int:
    """Print how many products match a query and, with --bytes, their total size.

    The number is counted by the service in a single request. With --bytes, all pages are listed.
    """
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    asked = read_query(query, service.config)
    lines = make_lines(manner)
    settings = read_settings(service)
    tell_remarks(lines, service, settings)
    asked = fitted_query(lines, asked, settings)
    client = NoaClient(settings, observer=lines)
    count, reasons = run(
        _count(client, asked, Volume() if volume else None, as_json=form == "json")
    )
    if not count:
        lines.line(nothing_found(reasons))
    return 0


async def _count(
    client: NoaClient, query: Query, volume: Volume | None, *, as_json: bool
) -> tuple[int, list[str]]:
    """Print the count. Return it and, if it is 0, likely errors in the query."""
    async with client as noa:
        count = await noa.count(query)
        if not as_json:
            print(number_of(count, "product"), end="\n" if volume is None else ", ", flush=True)
        if volume is not None:
            try:
                await _add_up(noa, query, volume)
            except BaseException:
                if not as_json:
                    print("unknown size")
                raise
        told = [] if count else await _reasons(noa, query)
    if as_json:
        held = {} if volume is None else asdict(volume)
        print(json.dumps({"products": count} | held))
    elif volume is not None:
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
