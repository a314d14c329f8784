"""Limit the length of the URLs that a query is sent with. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from noa_async.catalogue.moments import TimeRange
from noa_async.catalogue.odata import encode_query, quote_odata
from noa_async.catalogue.windows import Axis, Window
from noa_async.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from noa_async.catalogue.geometry import Area
    from noa_async.catalogue.query import Query
    from noa_async.services import Service

_ANY_INSTANT = datetime(2000, 1, 1, tzinfo=UTC)
_TIME_BOUNDS = 400
"""Bytes reserved for the time conditions when an area is simplified, so that the result does not
depend on the query's times."""


def list_address(url: str, options: Mapping[str, str]) -> str:
    """Return the URL of a list request; empty options are left out."""
    return f"{url}?{encode_query({key: value for key, value in options.items() if value})}"


def longest_address(filter_: str, service: Service) -> int:
    """Return the length in bytes of the longest URL that a listing of ``filter_`` can send.

    That is the first page of a window that is also split by publication date. Links to further
    pages come from the service and are not counted.
    """
    window = Window(filter_, Axis.SENSED, _ANY_INSTANT, _ANY_INSTANT).deeper()
    assert window is not None  # a window split by sensing time can always be split once more
    options = {
        "$filter": replace(window, start=_ANY_INSTANT, end=_ANY_INSTANT).filter,
        "$orderby": f"{Axis.PUBLISHED} asc,Id asc",
        "$top": str(2 * service.page_size),
        "$count": "true",
        "$expand": service.expand,
    }
    return len(list_address(service.catalogue_url, options))


def fitted(query: Query, service: Service) -> Query:
    """Return the query with its area shortened, if needed, so that its URLs fit the service's
    limit.

    | longest URL | without spaces in the area | ``query.simplify`` | returned                     |
    |-------------|----------------------------|--------------------|------------------------------|
    | fits        | -                          | -                  | the query, unchanged         |
    | too long    | fits                       | -                  | the same area without spaces |
    | too long    | too long                   | yes                | a larger area, fewer points  |
    | too long    | too long                   | no                 | raises                       |

    Raise QueryError if the query cannot be made to fit.
    """
    limit = service.max_url_length
    length = longest_address(query.filter, service)
    if length <= limit:
        return query
    area = query.roi
    if area is not None:
        compact = replace(query, roi=area.compact())
        if longest_address(compact.filter, service) <= limit:
            return compact
        if query.simplify:
            bare = replace(
                query, roi=None, everything=True, content=TimeRange(), published=TimeRange()
            )
            rest = longest_address(f"({bare.filter}) and ", service) + _TIME_BOUNDS
            simple = area.simplified(lambda one: rest + len(quote_odata(one.filter)) <= limit)
            if simple is not None:
                return replace(query, roi=simple)
    raise _too_long(query, area, length, limit)


def _too_long(query: Query, area: Area | None, length: int, limit: int) -> QueryError:
    parts = []
    if query.rules:
        count = len(query.rules)
        size = len(quote_odata(" or ".join(rule.filter for rule in query.rules)))
        parts.append(f"{size:,} for {'the rule' if count == 1 else f'the {count} rules'}")
    if area is not None:
        parts.append(f"{len(quote_odata(area.filter)):,} for the area ({area.points:,} points)")
    ways = []
    if area is not None and not query.simplify:
        ways.append("simplify the area (--simplify, or simplify=True)")
    if query.rules:
        ways.append("use fewer rules or values, in several runs")
    if query.raw:
        ways.append("shorten the filter")
    hint = ", or ".join(ways)
    of = f", of them {' and '.join(parts)}" if parts else ""
    return QueryError(
        f"The query is too long: its URL can have {length:,} bytes{of}. The limit is "
        f"{limit:,} bytes.",
        hint=f"{hint[:1].upper()}{hint[1:]}. If the service allows more, set max_url_length.",
    )
