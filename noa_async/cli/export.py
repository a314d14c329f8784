"""``noa-async export``: write the list of a folder's products for other programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noa_async.archive.holdings import read_holdings
from noa_async.archive.targets import state_of
from noa_async.cli.formats import Csv, Features, Writer, as_json
from noa_async.cli.held import COLUMNS, Addresses, Held
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.output import Output, meant
from noa_async.cli.sections import VerbCommand, with_scratch
from noa_async.cli.stac import item
from noa_async.cli.text import number_of
from noa_async.cli.whole import place_for, whole_file
from noa_async.errors import DestinationError, SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TextIO

    from noa_async.archive.targets import StoreUrl

    class AnyWriter(Protocol):
        """A writer of text or bytes."""

        products: int

        def write(self, product: Held, /) -> None: ...
        def end(self) -> None: ...


class Lines(Writer[Held]):
    """Write flat values, one JSON object per line (jsonl)."""

    def row(self, product: Held) -> str:
        return as_json(product.facts()) + "\n"


class Rows(Csv[Held]):
    """Write the same values as CSV."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream, COLUMNS)

    def cells(self, product: Held) -> dict[str, object]:
        return product.facts()


class Places(Features[Held]):
    """Write the same values as GeoJSON features, with the footprint as geometry."""

    def row(self, product: Held) -> str:
        properties = product.facts()
        del properties["footprint"]
        geometry, _ = product.drawn()
        feature = {"type": "Feature", "id": properties.pop("id"), "geometry": geometry}
        return as_json(feature | {"properties": properties})


class Items(Features[Held]):
    """Write STAC Items as an ItemCollection."""

    def row(self, product: Held) -> str:
        return as_json(item(product, *product.drawn()))


_TEXTS: dict[str, Callable[[Any], AnyWriter]] = {
    "jsonl": Lines,
    "csv": Rows,
    "geojson": Places,
    "stac": Items,
}
_PARQUET = "geoparquet"


@click.command(cls=VerbCommand)
@click.argument("folder", metavar="DIR", type=Output())
@click.option(
    "--format",
    "form",
    type=click.Choice([*_TEXTS, _PARQUET]),
    default="jsonl",
    show_default=True,
    help=f"stac: a FeatureCollection of STAC Items. {_PARQUET}: the same as columns; requires "
    "--output FILE and noa-async[export].",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="-",
    metavar="FILE",
    help="Output file, replaced only when complete (default: standard output).",
)
@with_scratch
@with_manner
@click.pass_obj
def command(
    manner: Manner, folder: Path | str, form: str, output: Path, scratch: str | None
) -> int:
    """Export the list of products in DIR, for catalogues, GIS and spreadsheets.

    It lists the products that the ledger records as present, each with its location, checksum,
    times (UTC) and footprint. No account and no network access are needed, and it may run beside
    a mirror or download.
    """  # fmt: skip
    plain, text = str(output) == "-", form != _PARQUET
    if plain and not text:
        raise UsageError(
            f"{_PARQUET} cannot be written to standard output.", hint="Specify --output FILE."
        )
    make = _TEXTS[form] if text else _parquet()
    target = meant(folder, scratch)
    if plain:
        _export(target, None, make(sys.stdout))
        return 0
    place = place_for(output, state_of(target))
    with whole_file(place, text=text) as file:
        writer = make(file)
        _export(target, place, writer)
    make_lines(manner).line(f"{number_of(writer.products, 'product')} in {output}.")
    return 0


def _export(target: Path | StoreUrl, file: Path | None, writer: AnyWriter) -> None:
    addresses = Addresses(target, file)
    with read_holdings(target) as records:
        for record in records:
            if record.path == addresses.own:
                raise DestinationError(
                    f"{file} is a product of the archive.", hint="Specify another FILE."
                )
            writer.write(addresses.held(record))
    writer.end()


def _parquet() -> Callable[[Any], AnyWriter]:
    try:
        from noa_async.cli.geoparquet import GeoParquet  # noqa: PLC0415 (optional, slow to import)
    except ImportError:
        raise SettingsError(
            f"{_PARQUET} needs pyarrow, which is not installed.",
            hint="pip install 'noa-async[export]'",
        ) from None
    return GeoParquet
