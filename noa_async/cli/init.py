"""``noa-async init``: write a query file from the answers to a few questions."""

from __future__ import annotations

import os
import shlex
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from noa_async.catalogue.query import Query
from noa_async.cli import completing
from noa_async.cli.answers import (
    CLOUD_MISSION,
    DEFAULT_CLOUD,
    DEFAULT_MISSION,
    Answers,
    default_start,
    read_area,
    read_cloud,
    read_missions,
    read_time,
)
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.queryfile import query_file
from noa_async.cli.sections import SectionOption, VerbCommand
from noa_async.cli.words import query_words
from noa_async.disk import blamed_on
from noa_async.errors import QueryError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_F = TypeVar("_F", bound="Callable[..., Any]")
_STDOUT = "-"


def _answer(*declarations: str, **attributes: Any) -> Callable[[_F], _F]:
    return click.option(*declarations, cls=SectionOption, section="Answers", **attributes)


@click.command(cls=VerbCommand)
@click.argument("file", default="query.toml", type=click.Path(path_type=Path, allow_dash=True))
@_answer(
    "--area",
    metavar="AREA",
    shell_complete=completing.places,
    help="Area: the name of a region of Greece or of a country, a .wkt or .geojson file, W,S,E,N, "
    "WKT, or everywhere.",
)
@_answer(
    "--missions",
    metavar="LIST",
    shell_complete=completing.missions,
    help="Missions, such as S1,S2 or all (default S2).",
)
@_answer(
    "--start",
    metavar="TIME",
    help="Earliest sensing time, or none for no limit (default: a week ago).",
)
@_answer("--end", metavar="TIME", help="Latest sensing time (default none).")
@_answer(
    "--cloud",
    metavar="PERCENT",
    help="Maximum cloud cover for SENTINEL-2, or any for no limit (default 20).",
)
@click.option("--defaults", is_flag=True, help="Ask nothing; use defaults for missing answers.")
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@with_manner
@click.pass_obj
def command(  # noqa: PLR0913 (an option for each question)
    manner: Manner,
    /,
    file: Path,
    area: str | None,
    missions: str | None,
    start: str | None,
    end: str | None,
    cloud: str | None,
    *,
    defaults: bool,
    force: bool,
) -> int:
    """Ask a few questions and write a commented query FILE.

    FILE is query.toml by default; - is standard output. Questions answered by an option are not
    asked. Without a terminal nothing is asked, and only --area is required. An existing file is not
    overwritten unless --force is given.
    """
    to_stdout = str(file) == _STDOUT
    if not (to_stdout or force) and os.path.lexists(file):
        raise _there(file)
    ask = _Asking(wanted=not defaults and sys.stdin.isatty() and sys.stderr.isatty())
    folder = Path() if to_stdout else file.parent
    answers = _answers(ask, folder, area, missions, (start, end), cloud)
    name = "query.toml" if to_stdout else str(file)
    text = query_file(answers, name)
    query = Query.from_mapping(tomllib.loads(text), folder=folder)
    if to_stdout:
        sys.stdout.write(text)
    else:
        _write(file, text, force=force)
    lines = make_lines(manner)
    lines.line("The query:" if to_stdout else f"Wrote {file}. The query:")
    for line in query_words(query):
        lines.line(f"  {line}")
    if not to_stdout:
        lines.line(f"See how much it matches: noa-async explain --config {shlex.quote(str(file))}")
    return 0


class _Asking:
    """Get answers from options, or from the user at a terminal, or from the defaults."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted

    def __call__(
        self,
        given: str | None,
        question: str,
        read: Callable[[str], _T],
        default: str | None,
        *,
        missing: str = "",
    ) -> _T:
        """Return the parsed answer to a question.

        If ``default`` is None an answer is required; raise UsageError with the message
        ``missing`` if there is none.
        """
        if given is not None:
            return read(given)
        if self._wanted:
            return self._prompt(question, read, default)
        if default is None:
            raise click.UsageError(missing)
        return read(default)

    def _prompt(self, question: str, read: Callable[[str], _T], default: str | None) -> _T:
        def parse(text: str) -> _T:
            try:
                return read(text)
            except QueryError as error:
                raise click.UsageError(str(error)) from None  # click asks again

        answer: _T = click.prompt(
            question, default=default, value_proc=parse, err=True, show_default=bool(default)
        )
        return answer


def _answers(
    ask: _Asking,
    folder: Path,
    area: str | None,
    missions: str | None,
    times: tuple[str | None, str | None],
    cloud: str | None,
) -> Answers:
    where = ask(
        area,
        "Area (Crete, Cyprus, everywhere, area.geojson, W,S,E,N)",
        lambda text: read_area(text, folder),
        None,
        missing="No area was given and there is no terminal to ask at: specify it with --area, "
        "such as --area Crete or --area everywhere.",
    )
    platforms = ask(missions, "Missions (S1, S2, S3, S5P, all)", read_missions, DEFAULT_MISSION)
    today = datetime.now(UTC).date()
    start = ask(
        times[0],
        "Earliest sensing time",
        lambda text: read_time(text, "start"),
        default_start(today),
    )
    end = ask(
        times[1],
        "Latest sensing time (empty for no limit)",
        lambda text: read_time(text, "end", start=start),
        "",
    )
    limit = None
    if CLOUD_MISSION in platforms:
        limit = ask(cloud, "Maximum cloud cover in percent (or any)", read_cloud, DEFAULT_CLOUD)
    elif cloud is not None:
        raise click.UsageError(
            f"--cloud applies to {CLOUD_MISSION}, which --missions does not include."
        )
    return Answers(where, platforms, start, end, limit)


def _there(file: Path) -> SettingsError:
    return SettingsError(
        f"{file} already exists and was not changed.",
        hint="Specify another file, or overwrite it with --force.",
    )


def _write(file: Path, text: str, *, force: bool) -> None:
    with blamed_on(file):
        try:
            with file.open("w" if force else "x", encoding="utf-8") as stream:
                stream.write(text)
        except FileExistsError:
            raise _there(file) from None
