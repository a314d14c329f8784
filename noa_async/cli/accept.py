"""``noa-async accept``: acknowledge findings so that they are not reported again."""

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
@click.option("--all", "everything", is_flag=True, help="Accept all findings.")
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
    """Accept that products in DIR are damaged, missing or cannot be downloaded.

    Specify each product by its Id or Name. Accepted products no longer affect exit codes, and are
    not downloaded again until their catalogue entry changes. For a product that is intact but whose
    --exec command keeps failing, accept stops running the command.
    """
    if bool(products) == everything:
        raise UsageError("Specify either products or --all.")
    check_ledger(ledger_there(meant(folder, scratch)))
    done = run(_accept(meant(folder, scratch), products, everything=everything))
    lines = make_lines(manner)
    lines.line(f"Accepted: {number_of(len(done.done), 'finding')}.")
    for record in done.left:
        lines.line(f"Nothing to accept for {record.product.name}: it is {record.state}.")
    return 0


async def _accept(target: Path | StoreUrl, products: tuple[str, ...], *, everything: bool) -> Done:
    with Threads(1) as pool:
        async with Archive(target, None, pool, anew=False, rules=ANY_ARCHIVE) as archive:
            return await accept(archive, products, everything=everything)
