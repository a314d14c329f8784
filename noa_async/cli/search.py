"""``noa-async search``: list the products that match a query."""

from __future__ import annotations

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from noa_async.cli.formats import make_writer
from noa_async.cli.lines import make_lines, nothing_found
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import QueryOptions, ServiceOptions, read_query, read_settings
from noa_async.cli.remarks import fitted_query, tell_remarks
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_query, with_service

if TYPE_CHECKING:
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.cli.formats import Writer
    from noa_async.client import NoaClient


@click.command(cls=VerbCommand)
@with_query
@with_service
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv", "geojson"]),
    default="table",
    show_default=True,
    help="Output format; json and jsonl are the catalogue's own entries.",
)
@click.option("--attributes", is_flag=True, help="Include the attributes of each product.")
@with_manner
@click.pass_obj
def command(
    manner: Manner, query: QueryOptions, service: ServiceOptions, form: str, *, attributes: bool
) -> int:
    """List the products that match a query.

    They are printed page by page as the catalogue lists them, by sensing time.
    """
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    asked = read_query(query, service.config)
    lines = make_lines(manner)
    settings = read_settings(service)
    tell_remarks(lines, service, settings)
    asked = fitted_query(lines, asked, settings)
    client = NoaClient(settings, observer=lines)
    writer = make_writer(form, sys.stdout, attributes=attributes)
    reasons = run(_search(client, asked, writer, attributes=attributes))
    if not writer.products:
        lines.line(nothing_found(reasons))
    elif form == "table":
        lines.line(writer.closing)
    return 0


async def _search(
    client: NoaClient, query: Query, writer: Writer[Product], *, attributes: bool
) -> list[str]:
    """Write the matching products. Return likely errors in the query if there are none."""
    async with client as noa, aclosing(noa.search(query, attributes=attributes)) as found:
        async for product in found:
            writer.write(product)
        writer.end()
        if writer.products:
            return []
        from noa_async.cli.sounding import reasons  # noqa: PLC0415 (seldom needed)

        return await reasons(noa, query)
