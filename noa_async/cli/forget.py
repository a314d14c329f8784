"""``noa-async forget``: delete the ledger entries of products; keep their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from noa_async.archive.acceptance import forget
from noa_async.archive.archive import ANY_ARCHIVE, Archive
from noa_async.archive.destination import ledger_there
from noa_async.archive.recovery import check_ledger
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.output import Output, meant
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_scratch
from noa_async.cli.text import number_of
from noa_async.threads import Threads

if TYPE_CHECKING:
    from pathlib import Path

    from noa_async.archive.record import Record
    from noa_async.archive.targets import StoreUrl


@click.command(cls=VerbCommand)
@click.argument("folder", metavar="DIR", type=Output())
@click.argument("products", metavar="ID...", nargs=-1, required=True)
@with_scratch
@with_manner
@click.pass_obj
def command(
    manner: Manner, folder: Path | str, products: tuple[str, ...], scratch: str | None
) -> int:
    """Delete the entries of products from the ledger of DIR; keep their files.

    Specify each product by its Id or Name. The next full listing treats it as new; a file that is
    present and correct is then not downloaded again.
    """
    lines = make_lines(manner)
    check_ledger(ledger_there(meant(folder, scratch)))
    records = run(_forget(meant(folder, scratch), products))
    lines.line(f"Forgotten: {number_of(len(records), 'product')}.")
    for record in records:
        if record.path is not None:
            lines.line(f"{record.path} no longer belongs to a product.")
    return 0


async def _forget(target: Path | StoreUrl, products: tuple[str, ...]) -> list[Record]:
    with Threads(1) as pool:
        async with Archive(target, None, pool, anew=False, rules=ANY_ARCHIVE) as archive:
            return await forget(archive, products)
