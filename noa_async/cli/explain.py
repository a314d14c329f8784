"""``noa-async explain``: describe a query, and how much it matches or why it matches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from noa_async.auth.credentials import find_credentials
from noa_async.catalogue.addresses import list_address
from noa_async.catalogue.known import doubts
from noa_async.catalogue.moments import TimeRelation
from noa_async.catalogue.windows import Axis
from noa_async.cli.conditions import findings
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import QueryOptions, ServiceOptions, read_query, read_settings
from noa_async.cli.outline import outline
from noa_async.cli.remarks import fitted_query
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_query, with_service
from noa_async.cli.spread import closing
from noa_async.cli.text import number_of, shown
from noa_async.cli.words import query_words
from noa_async.errors import CredentialsMissing, QueryError

if TYPE_CHECKING:
    from noa_async.catalogue.query import Query
    from noa_async.cli.lines import Lines
    from noa_async.cli.sounding import Sounder
    from noa_async.client import NoaClient
    from noa_async.services import Service
    from noa_async.settings import Settings

_TIME_NOTES = {
    TimeRelation.WITHIN: (
        "Products that cross the start or end of the time range are excluded (--time within, the "
        "default). Use --time touches to include them, or --time starts to select products by the "
        "start of their sensing time, so that adjacent ranges share no product."
    ),
    TimeRelation.TOUCHES: (
        "Products that cross the end of the time range also match an adjacent later range "
        "(--time touches)."
    ),
    TimeRelation.STARTS: (
        "Products whose sensing began before the time range are excluded, even if it ended in the "
        "range (--time starts): they match the adjacent earlier range."
    ),
}
_NOT_COUNTED = (
    "Nothing was counted because no user name and password were found: store them with noa-async "
    "login --keep netrc."
)


@click.command(cls=VerbCommand)
@with_query
@with_service
@click.option(
    "--counts/--no-counts",
    default=None,
    help="Whether to query the catalogue for counts (default: if credentials are found).",
)
@with_manner
@click.pass_obj
def command(
    manner: Manner, query: QueryOptions, service: ServiceOptions, *, counts: bool | None
) -> int:
    """Describe a query: in words, as the OData filter, and as the URL of the first page.

    Then count the matching products and estimate their size, by mission and month. If nothing
    matches, show which condition excludes all products. This takes up to about 50 requests,
    usually far fewer, and never lists all pages of a long listing.
    """
    asked = read_query(query, service.config)
    settings = read_settings(service)
    lines = make_lines(manner)
    asked = fitted_query(lines, asked, settings)
    for line in _description(asked, settings.service):
        print(line)
    if note := time_note(asked):
        lines.line(note)
    for doubt in doubts(asked.rules, settings.service.habits.spellings):
        lines.line(doubt)
    if counts is None:
        counts = _may_ask(settings)
        if not counts:
            lines.line(_NOT_COUNTED)
    if counts:
        _count(asked, settings, lines)
    return 0


def _description(query: Query, service: Service) -> list[str]:
    limit = [] if query.limit is None else [f"at most {number_of(query.limit, 'product')}"]
    said = [shown(line) for line in query_words(query) + limit]
    filter_ = outline(query.filter) or ["none"]
    return [
        *("Query:", *_indented(said), ""),
        *("Filter:", *_indented(filter_), ""),
        *("First page:", *_indented([first_address(query, service)]), ""),
    ]


def first_address(query: Query, service: Service) -> str:
    """Return the URL of the first page of a listing."""
    options = {
        "$filter": query.filter,
        "$orderby": f"{Axis.SENSED} asc{',Id asc' if service.order_ties else ''}",
        "$top": str(service.page_size),
        "$count": "true",
    }
    return list_address(service.catalogue_url, options)


def time_note(query: Query) -> str:
    """Return a note on the products that the sensing time excludes; empty if there is no range.

    >>> from noa_async.catalogue.query import Query
    >>> time_note(Query(everything=True))
    ''
    """
    return _TIME_NOTES[query.time] if query.content else ""


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _may_ask(settings: Settings) -> bool:
    try:
        find_credentials(settings.service.token_url)
    except CredentialsMissing:
        return False
    return True


def _count(query: Query, settings: Settings, lines: Lines) -> None:
    from noa_async.cli.bringing import observers  # noqa: PLC0415 (slow to import, as those below)
    from noa_async.cli.library import NoaClient  # noqa: PLC0415
    from noa_async.cli.sounding import Sounder  # noqa: PLC0415

    sounder = Sounder()
    client = NoaClient(settings, observer=observers(lines, sounder))
    for line in run(_answer(client, query, sounder)):
        print(shown(line))


async def _answer(client: NoaClient, query: Query, sounder: Sounder) -> list[str]:
    async with client as noa:
        total = await sounder.count(noa, query)
        if total:
            try:
                amounts = await sounder.spread(noa, query, total)
            except QueryError:  # the URL has no room for a mission and a month
                counted = number_of(total, "product")
                return [f"{counted}. The query is too long to be counted by mission and month."]
            limit = "" if query.limit is None else ", ignoring the limit"
            return [
                f"Matching products{limit}:",
                *amounts.lines(),
                "",
                closing(amounts, sounder.requests),
            ]
        told = ["No product matches: the catalogue is empty."]
        if query.clauses:
            found = await sounder.take_apart(noa, query)
            told = ["No product matches. Products per condition:", *findings(found)]
        if exchanged := await sounder.exchange(noa, query):
            told.append(exchanged)
        return [*told, f"{number_of(sounder.requests, 'request')} made."]
