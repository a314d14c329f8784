"""``noa-async status``: show what a folder holds, and what failed and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, date, datetime
from itertools import islice
from typing import TYPE_CHECKING

import click

from noa_async.archive.overview import Amount, Overview, read_overview
from noa_async.archive.states import HELD
from noa_async.catalogue.times import format_instant
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.output import Output, meant
from noa_async.cli.sections import VerbCommand, with_scratch
from noa_async.cli.text import (
    bytes_text,
    number_of,
    seconds_text,
    shortened,
    shown,
    table,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from noa_async.archive.journal import Followed, Run
    from noa_async.archive.overview import Trouble

VERSION = 1
_WIDTH = 100
_MIRRORED = tuple((word, word) for word in ("listed", "brought", "failed", "removed"))
_CHECKED = (("listed", "read"), ("failed", "wrong"))
"""Counters of a verify run, and their labels."""
_MOST = 1_000_000
_UNFOLLOWED = (
    "    verify --repair downloads those that had a file before; mirror, given their query, all"
)


@click.command(cls=VerbCommand)
@click.argument("folder", metavar="DIR", type=Output())
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option(
    "--days",
    type=click.IntRange(0, _MOST),
    default=7,
    show_default=True,
    metavar="N",
    help="Number of latest sensing days to show; JSON output has all.",
)
@click.option(
    "--runs",
    type=click.IntRange(0, _MOST),
    default=5,
    show_default=True,
    metavar="N",
    help="Number of latest runs to show.",
)
@with_scratch
@with_manner
@click.pass_obj
def command(
    _manner: Manner, folder: Path | str, form: str, days: int, runs: int, scratch: str | None
) -> int:
    """Show what DIR holds, by state, mission, type and day, and what failed and why.

    No account and no network access are needed, and it may run beside a mirror or download. Times
    are UTC.
    """  # fmt: skip
    overview = read_overview(meant(folder, scratch), runs=runs)
    if form == "json":
        print(json.dumps(held(folder, overview)))
    else:
        for line in lines(overview, days):
            print(line)
    return 0


def held(folder: Path | str, overview: Overview) -> dict[str, object]:
    """Return an overview in the structure of the JSON output (docs/status.md)."""
    plain = {
        "states": [_picked(one, "state") for one in overview.states],
        "types": [_picked(one, "platform", "product_type", "state") for one in overview.types],
        "days": [_picked(one, "day", "state") for one in overview.days],
        "troubles": [asdict(one) for one in overview.troubles],
        "to_do": overview.to_do,
        "unfollowed": overview.unfollowed,
        "gone": overview.gone,
        "accepted": overview.accepted,
        "trash_files": overview.trash_files,
        "trash_bytes": overview.trash_bytes,
        "hooks_due": overview.hooks_due,
        "hook_error": overview.hook_error,
        "archive_id": overview.archive_id,
        "files_checked": _instant(overview.files_checked),
        "queries": [
            {
                "number": one.number,
                "filter": one.filter,
                "watermark": format_instant(one.watermark) if one.watermark else None,
                "reconciled": _instant(one.reconciled),
                "service": one.service,
                "listed": one.listed,
                "shrunk": one.shrunk,
                "shrunk_to": one.shrunk_to,
                "held": one.held,
            }
            for one in overview.queries
        ],
        "runs": [
            asdict(one) | {"started": _instant(one.started), "finished": _instant(one.finished)}
            for one in overview.runs
        ],
    }
    return {"version": VERSION, "folder": str(folder)} | plain


def _picked(amount: Amount, *names: str) -> dict[str, object]:
    picked = {name: getattr(amount, name) for name in (*names, "products", "bytes")}
    day = picked.get("day")
    return picked | {"day": day.isoformat()} if isinstance(day, date) else picked


def lines(overview: Overview, days: int) -> list[str]:
    """Return an overview as lines of text."""
    if not overview.states:
        return ["No products.", *_queries(overview), *_runs(overview)]
    known = dict.fromkeys(one.day for one in overview.days if one.day is not None)
    chosen = set(islice(known, days))
    latest = [one for one in overview.days if one.day in chosen]
    return [
        *_section("Products", _states(overview.states)),
        *_left(overview),
        *_section("By mission and type", _amounts(overview.types, _type)),
        *_section("Latest sensing days", _amounts(latest, lambda one: (str(one.day),))),
        *_troubles(overview.troubles),
        *_queries(overview),
        *_runs(overview),
    ]


def _states(amounts: Iterable[Amount]) -> list[tuple[str, ...]]:
    return [(one.state, str(one.products), bytes_text(one.bytes)) for one in amounts]


def _type(amount: Amount) -> tuple[str]:
    return (shown(" ".join(filter(None, (amount.platform, amount.product_type))) or "unknown"),)


def _amounts(
    amounts: Iterable[Amount], key: Callable[[Amount], tuple[str]]
) -> list[tuple[str, ...]]:
    """Return a row per key, in order: products, bytes, and products that are not present."""
    sums: dict[tuple[str], list[int]] = {}
    for one in amounts:
        whole = sums.setdefault(key(one), [0, 0, 0])
        whole[0] += one.products
        whole[1] += one.bytes
        whole[2] += one.products * (one.state not in HELD)
    return [
        (*name, str(count), bytes_text(size), f"{wrong} not present" if wrong else "")
        for name, (count, size, wrong) in sums.items()
    ]


def _section(title: str, rows: list[tuple[str, ...]]) -> list[str]:
    return [title, *table(rows)] if rows else []


def _left(overview: Overview) -> list[str]:
    rows = {
        "to download or check": overview.to_do,
        "--exec command not yet successful": overview.hooks_due,
        "removed from the catalogue, kept here": overview.gone,
        "not deleted because of --max-delete": sum(one.held for one in overview.queries),
        "damaged, missing or failed, but accepted": overview.accepted,
        "pending or wrong, but not part of the current query": overview.unfollowed,
    }
    found = table([(what, str(count)) for what, count in rows.items() if count])
    found += [_UNFOLLOWED] if overview.unfollowed else []
    if overview.hooks_due and overview.hook_error:
        found.append(f"    {shortened(shown(overview.hook_error), _WIDTH - 4)}")
    if overview.trash_files:
        files = number_of(overview.trash_files, "file")
        found.append(f"  trash: {files}, {bytes_text(overview.trash_bytes)}")
    if checked := _instant(overview.files_checked):
        found.append(f"  sizes and times of all files last checked: {checked}")
    return found


def _troubles(troubles: Iterable[Trouble]) -> list[str]:
    found = ["What failed"]
    for one in troubles:
        reason = f" {one.reason}" if one.reason else ""
        again = f"{one.retried} to be retried"
        found.append(f"  {one.products} {one.state}{reason}, {again}, for example")
        found.append(f"    {shown(one.example)}")
        if one.error:
            found.append(f"    {shortened(shown(one.error), _WIDTH - 4)}")
    return found if len(found) > 1 else []


def _queries(overview: Overview) -> list[str]:
    return ["Followed queries", *map(_query, overview.queries)] if overview.queries else []


def _query(followed: Followed) -> str:
    mark = format_instant(followed.watermark) if followed.watermark else "none yet"
    whole = _instant(followed.reconciled) or "never"
    text = shortened(shown(followed.filter) or "everything", _WIDTH - 2)
    shrunk = ""
    if followed.shrunk:
        shrunk = (
            f"\n    rejected a listing of {followed.shrunk_to or 0} products: "
            f"{followed.listed or 'more'} were listed before (day {followed.shrunk})"
        )
    return f"  {text}\n    watermark (publication): {mark}; last full listing: {whole}{shrunk}"


def _runs(overview: Overview) -> list[str]:
    return ["Last runs", *map(_run, overview.runs)] if overview.runs else []


def _run(run: Run) -> str:
    if run.finished is None:
        ending = "still running, or was killed"
    else:
        took = seconds_text(run.finished - run.started)
        ending = f"{shown(run.ending or 'ended')} in {took}"
    words = _CHECKED if run.verb == "verify" else _MIRRORED
    counts = [f"{count} {word}" for key, word in words if (count := getattr(run, key))]
    size = [bytes_text(run.bytes)] if run.bytes else []
    return f"  {_instant(run.started)}  {run.verb}: {', '.join([ending, *counts, *size])}"


def _instant(seconds: float | None) -> str | None:
    """Return seconds since 1970 as a UTC timestamp."""
    return None if seconds is None else format_instant(datetime.fromtimestamp(seconds, UTC))
