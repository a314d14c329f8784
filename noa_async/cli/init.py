"""``noa-async init``: a query file, from the answers to a few questions."""

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
    help="A region of Greece or a country by name, a .wkt or .geojson file, W,S,E,N, WKT, or "
    "everywhere.",
)
@_answer(
    "--missions",
    metavar="LIST",
    shell_complete=completing.missions,
    help="Such as S1,S2, or all (S2).",
)
@_answer("--start", metavar="TIME", help="Sensed from then on; none is no limit (a week ago).")
@_answer("--end", metavar="TIME", help="Sensed until then (none).")
@_answer("--cloud", metavar="PERCENT", help="The most, for SENTINEL-2; any is no limit (20).")
@click.option("--defaults", is_flag=True, help="Ask nothing: what is not given is the default.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
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
    """Ask a few questions, and write a query FILE with remarks (query.toml; - is standard output).

    What an option answers is not asked. Where there is no terminal nothing is asked at all, and
    only the area has to be given. A file that is there is left alone.
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
    lines.line("It asks for:" if to_stdout else f"{file} is written. It asks for:")
    for line in query_words(query):
        lines.line(f"  {line}")
    if not to_stdout:
        lines.line(f"See what that comes to: noa-async explain --config {shlex.quote(str(file))}")
    return 0


class _Asking:
    """Answers from options, else from whoever sits at the terminal, else the defaults."""

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
        """``default`` None: there has to be an answer; ``missing`` says which option gives it."""
        if given is not None:
            return read(given)
        if self._wanted:
            return self._prompt(question, read, default)
        if default is None:
            raise click.UsageError(missing)
        return read(default)

    def _prompt(self, question: str, read: Callable[[str], _T], default: str | None) -> _T:
        def heed(text: str) -> _T:
            try:
                return read(text)
            except QueryError as error:
                raise click.UsageError(str(error)) from None  # click asks again

        answer: _T = click.prompt(
            question, default=default, value_proc=heed, err=True, show_default=bool(default)
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
        "Where (Crete, Cyprus, everywhere, area.geojson, W,S,E,N)",
        lambda text: read_area(text, folder),
        None,
        missing="No area was given, and there is nobody to ask: name it with --area, such as "
        "--area Crete or --area everywhere.",
    )
    platforms = ask(missions, "Missions (S1, S2, S3, S5P, all)", read_missions, DEFAULT_MISSION)
    today = datetime.now(UTC).date()
    start = ask(
        times[0], "Sensed from", lambda text: read_time(text, "start"), default_start(today)
    )
    end = ask(
        times[1],
        "Sensed until (nothing is no limit)",
        lambda text: read_time(text, "end", start=start),
        "",
    )
    limit = None
    if CLOUD_MISSION in platforms:
        limit = ask(cloud, "Cloud cover at most, percent (or any)", read_cloud, DEFAULT_CLOUD)
    elif cloud is not None:
        raise click.UsageError(f"--cloud is for {CLOUD_MISSION}, which --missions does not name.")
    return Answers(where, platforms, start, end, limit)


def _there(file: Path) -> SettingsError:
    return SettingsError(
        f"{file} is there already, and is left as it is.",
        hint="Name another file, or overwrite it with --force.",
    )


def _write(file: Path, text: str, *, force: bool) -> None:
    with blamed_on(file):
        try:
            with file.open("w" if force else "x", encoding="utf-8") as stream:
                stream.write(text)
        except FileExistsError:
            raise _there(file) from None
