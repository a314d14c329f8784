"""``--dry-run``: list what a download would do, comparing names and sizes only."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from noa_async.archive.names import safe_name, with_id, with_zip
from noa_async.cli.library import NoaClient
from noa_async.cli.lines import make_lines, nothing_found
from noa_async.cli.output import meant
from noa_async.cli.remarks import fitted_query
from noa_async.cli.running import run
from noa_async.cli.sounding import reasons
from noa_async.cli.text import bytes_text, number_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePosixPath

    from noa_async.archive.layout import Layout
    from noa_async.archive.targets import StoreUrl
    from noa_async.catalogue.product import Product
    from noa_async.catalogue.query import Query
    from noa_async.cli.manner import Manner
    from noa_async.cli.options import TransferOptions
    from noa_async.settings import Settings


def dry_run(
    manner: Manner, query: Query, settings: Settings, transfer: TransferOptions, layout: Layout
) -> int:
    """List the products to download and those that seem to be present. Write nothing."""
    if transfer.report is not None:
        raise click.UsageError("--report cannot be combined with --dry-run, which writes nothing.")
    lines = make_lines(manner)
    query = fitted_query(lines, query, settings)
    client = NoaClient(settings, observer=lines)
    there, wanted, size, told = run(
        _list(client, query, meant(transfer.output, transfer.scratch), layout)
    )
    if not there + wanted:
        lines.line(nothing_found(told))
    else:
        lines.line(
            f"{number_of(wanted, 'product')} to download, {bytes_text(size)}; {there} present with "
            "the same name and size. Nothing was written."
        )
    return 0


async def _list(
    client: NoaClient, query: Query, target: Path | StoreUrl, layout: Layout
) -> tuple[int, int, int, list[str]]:
    there = wanted = size = 0
    told: list[str] = []
    has = await asyncio.to_thread(_looker, target)
    async with client as noa, aclosing(noa.search(query)) as found:
        async for product in found:
            paths = _paths(product, layout)
            present = any(has(path, product.size) for path in paths)
            there += present
            wanted += not present
            size += 0 if present else product.size or 0
            volume = bytes_text(product.size) if product.size else "unknown"
            print(f"{'present' if present else 'fetch':7}  {volume:>8}  {paths[0]}")
        if not there + wanted:
            told = await reasons(noa, query)
    return there, wanted, size, told


def _paths(product: Product, layout: Layout) -> list[PurePosixPath]:
    """Return the paths that the product may have, the most likely first."""
    plain = safe_name(product.name, product.id)
    names = [with_zip(name, is_zip=is_zip) for name in (plain, with_id(plain, product.id))
             for is_zip in (True, False)]  # fmt: skip
    if product.content_type != "application/zip":
        names.sort(key=lambda name: name.endswith(".zip"))
    return [layout.path(product, name) for name in dict.fromkeys(names)]


def _looker(target: Path | StoreUrl) -> Callable[[PurePosixPath, int | None], bool]:
    """Return a function that tells whether a path exists with a given size."""
    if isinstance(target, Path):
        return lambda path, size: _has(target / path, size)
    from noa_async.archive.objects import ObjectFolder  # noqa: PLC0415 (seldom asked for)

    folder = ObjectFolder(target)
    folder.look()

    def has(path: PurePosixPath, size: int | None) -> bool:
        facts = folder.facts(path)
        return facts is not None and size in {None, facts.size}

    return has


def _has(path: Path, size: int | None) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return size is None or found.st_size == size
