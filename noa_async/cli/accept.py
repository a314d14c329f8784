"""``noa-async accept``: findings that a person has looked at, and that need not be told again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from noa_async.archive.acceptance import accept
from noa_async.archive.archive import ANY_ARCHIVE, Archive
from noa_async.archive.destination import ledger_there
from noa_async.archive.recovery import check_ledger
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.output import Output, meant
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_scratch
from noa_async.cli.text import number_of
from noa_async.errors import UsageError
from noa_async.threads import Threads

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.archive.acceptance import Done
    from noa_async.archive.targets import StoreUrl


@click.command(cls=VerbCommand)
@click.argument("folder", metavar="DIR", type=Output())
@click.argument("products", metavar="[ID]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Accept every finding there is.")
@with_scratch
@with_manner
@click.pass_obj
def command(
    manner: Manner,
    folder: Path | str,
    products: tuple[str, ...],
    everything: bool,
    scratch: str | None,
) -> int:
    """Accept that products of DIR are damaged, missing, or cannot be fetched.

    Each is named by its Id or its Name. It no longer counts for exit codes, and is not fetched
    again before the catalogue says something new of it. Of a product whose --exec command never
    passes, it is the command that is given up.
    """
    if bool(products) == everything:
        raise UsageError("Name products, or give --all.")
    check_ledger(ledger_there(meant(folder, scratch)))
    done = run(_accept(meant(folder, scratch), products, everything=everything))
    lines = make_lines(manner)
    lines.line(f"Accepted: {number_of(len(done.done), 'finding')}.")
    for record in done.left:
        lines.line(f"Nothing to accept: {record.product.name} is {record.state}.")
    return 0


async def _accept(target: Path | StoreUrl, products: tuple[str, ...], *, everything: bool) -> Done:
    with Threads(1) as pool:
        async with Archive(target, None, pool, anew=False, rules=ANY_ARCHIVE) as archive:
            return await accept(archive, products, everything=everything)
