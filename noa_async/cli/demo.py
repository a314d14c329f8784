"""``noa-async demo``: search, download and verify against an emulated service."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from noa_async.cli.bringing import Course, Job, bring, observers
from noa_async.cli.lines import Lines, make_screen
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand
from noa_async.cli.text import bytes_text, number_of, rate_text, seconds_text, table
from noa_async.cli.troubles import Troubles
from noa_async.cli.words import query_words

if TYPE_CHECKING:
    from noa_async.cli.stage import Checked, Stage

_WORKERS = 8
_LEAST_PRODUCTS = 60
_LEAST_BYTES = 300_000_000


@click.command(cls=VerbCommand)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep the products in this new folder (default: a temporary folder, removed at the end).",
)
@click.option("--no-progress", is_flag=True, help="Print lines instead of progress bars.")
@with_manner
@click.pass_obj
def command(manner: Manner, output: Path | None, *, no_progress: bool) -> int:
    """Search, download and verify products of an emulated service on this machine.

    It runs the example query of NOA's own client with 8 workers. During the download a connection
    is cut and access tokens expire. The exit code is 0 only if both occurred and every downloaded
    file has the expected content. No account and no network access are needed.
    """
    screen = make_screen(manner, _WORKERS, bars=not no_progress)
    if not manner.json and not manner.verbose:
        screen.level = -1  # print the steps, but not every product
    if output is None:
        with tempfile.TemporaryDirectory(prefix="noa-async-demo-") as folder:
            return run(_demo(screen, Path(folder)))
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise click.UsageError(f"{output} is not an empty folder: the demo needs a new one.")
    return run(_demo(screen, output))


async def _demo(screen: Lines, folder: Path) -> int:
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)
    from noa_async.cli.stage import read_again, set_stage  # noqa: PLC0415 (the emulator)

    course, troubles = Course(), Troubles(screen.say)
    async with set_stage() as stage:
        _tell_question(stage)
        client = NoaClient(
            stage.settings(_WORKERS),
            stage.credentials,
            observer=observers(course.progress, troubles, screen),
        )
        async with client as noa:
            print(f"   {number_of(await noa.count(stage.query), 'product')} match.\n")
            print(f"3. The download, with {_WORKERS} workers. Faults are recovered from:")
            course.restart()
            await bring(noa, Job(stage.query, folder), course, screen)
    seconds = course.seconds
    print("\n4. The check: every file is read again and compared with the emulator's content.")
    checked = await read_again(stage, folder)
    print(f"   {number_of(checked.right, 'file')} correct, {checked.wrong} wrong.\n")
    for line in _closing(course, troubles, seconds):
        print(line)
    missing = _not_seen(stage, course, troubles, checked)
    print(
        "\n"
        + (
            f"Failed: {'; '.join(missing)}."
            if missing
            else "All products are complete and correct."
        )
    )
    return 1 if missing else 0


def _tell_question(stage: Stage) -> None:
    print(
        f"1. The emulated service: {number_of(stage.held, 'generated product')} at\n"
        f"   {stage.catalogue_url};\n"
        f"   {rate_text(stage.rate)} per connection, tokens valid for {stage.token_life:g} s.\n\n"
        "2. The query, from the README of NOA's own client:"
    )
    for line in query_words(stage.query):
        print(f"     {line}")


def _closing(course: Course, troubles: Troubles, seconds: float) -> list[str]:
    progress, tally = course.progress, course.tally
    rows = [
        ("products", str(tally.products - tally.failed)),
        ("bytes", bytes_text(tally.bytes)),
        ("time", seconds_text(seconds)),
        ("rate", rate_text(progress.arrived / seconds)),
        ("retries", str(progress.retries)),
        ("token refreshes", str(troubles.refreshes)),
    ]
    return table(rows, indent="   ")


def _not_seen(stage: Stage, course: Course, troubles: Troubles, checked: Checked) -> list[str]:
    """Return what the demo was expected to show but did not."""
    whole = len(stage.sums)
    shown = {
        f"{_LEAST_PRODUCTS} products": course.tally.products >= _LEAST_PRODUCTS,
        bytes_text(_LEAST_BYTES): course.tally.bytes >= _LEAST_BYTES,
        "a cut connection": troubles.cuts > 0,
        "a resumed download": troubles.resumes > 0,
        "a refreshed token": troubles.refreshes > 0,
        f"{whole} products downloaded": course.tally.products - course.tally.failed == whole,
        f"{whole} correct files": checked.right == whole and not checked.wrong,
    }
    return [what for what, seen in shown.items() if not seen]
