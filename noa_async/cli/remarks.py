"""Remarks on the selected service, the area and the scratch folder, printed before a run."""

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
    """Print the remarks; ``workers`` is whether this run downloads products."""
    for remark in remarks(service, settings, os.environ, workers=workers):
        lines.line(remark)


def remarks(
    service: ServiceOptions, settings: Settings, environ: Mapping[str, str], *, workers: bool
) -> Iterator[str]:
    """Yield one sentence per remark."""
    chosen, asked = settings.service, settings.limits.workers
    name = service.service
    if name and service.catalogue_url is None and environ.get("NOA_SERVICE") != name:
        named = Settings().with_values({"service": name}).service
        if chosen.catalogue_url != named.catalogue_url:
            yield (
                f"The catalogue URL of {name} is {chosen.catalogue_url}, set by NOA_CATALOGUE_URL "
                "or the query file."
            )
    allowed = chosen.quota.connections
    if workers and allowed is not None and asked > allowed:
        # Not capped: some accounts have a higher quota, and a refusal only causes a wait.
        yield (
            f"{host_of(chosen.catalogue_url)} allows most accounts {allowed} connections: some of "
            f"the {asked} workers may be refused and wait."
        )


def fitted_query(lines: Lines, query: Query, settings: Settings) -> Query:
    """Return the query in a form that fits the service's maximum URL length.

    Print a message if its area was enlarged. Raise QueryError if it does not fit.
    """
    query = fitted(query, settings.service)
    if query.roi is not None and query.roi.growth is not None:
        lines.line(
            f"The area was simplified to {query.roi.points} points, which enlarged it "
            f"{query.roi.growth}."
        )
    return query


def tell_scratch(lines: Lines, transfer: TransferOptions, settings: Settings) -> None:
    """Print the scratch folder on this machine if the output is an object store."""
    target = meant(transfer.output, settings.scratch)
    if not isinstance(target, Path):
        lines.line(f"The ledger and unfinished products of {target} are in {target.state}.")
