"""What is worth a line before a run begins: about the service, as it was chosen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from noa_async.catalogue.addresses import fitted
from noa_async.cli.output import meant
from noa_async.origins import host_of
from noa_async.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from noa_async.catalogue.query import Query
    from noa_async.cli.lines import Lines
    from noa_async.cli.options import ServiceOptions, TransferOptions


def tell_remarks(
    lines: Lines, service: ServiceOptions, settings: Settings, *, workers: bool = False
) -> None:
    """Say them; ``workers``: this run fetches products."""
    for remark in remarks(service, settings, os.environ, workers=workers):
        lines.line(remark)


def remarks(
    service: ServiceOptions, settings: Settings, environ: Mapping[str, str], *, workers: bool
) -> Iterator[str]:
    """A sentence each."""
    chosen, asked = settings.service, settings.limits.workers
    name = service.service
    if name and service.catalogue_url is None and environ.get("NOA_SERVICE") != name:
        named = Settings().with_values({"service": name}).service
        if chosen.catalogue_url != named.catalogue_url:
            yield (
                f"The address of {name} is {chosen.catalogue_url} here: NOA_CATALOGUE_URL or the "
                "query file says so."
            )
    allowed = chosen.quota.connections
    if workers and allowed is not None and asked > allowed:
        # Not capped: some accounts are given more, and a refusal costs a wait, no product.
        yield (
            f"{host_of(chosen.catalogue_url)} gives most accounts {allowed} connections: of "
            f"{asked} workers those that it refuses wait."
        )


def fitted_query(lines: Lines, query: Query, settings: Settings) -> Query:
    """Return the query as it fits into the service's addresses, and say if its area was grown.

    Raise QueryError if it does not fit.
    """
    query = fitted(query, settings.service)
    if query.roi is not None and query.roi.growth is not None:
        lines.line(
            f"The area was simplified to {query.roi.points} points: it was grown "
            f"{query.roi.growth}."
        )
    return query


def tell_scratch(lines: Lines, transfer: TransferOptions, settings: Settings) -> None:
    """Say where products gather on this machine, where they go into an object store."""
    target = meant(transfer.output, settings.scratch)
    if not isinstance(target, Path):
        lines.line(f"What is on its way to {target} gathers in {target.state}.")
