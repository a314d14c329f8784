"""``noa-async emulator``: a mirror on this machine."""

from __future__ import annotations

import asyncio
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from noa_async.cli.endings import Interrupted
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.output import AnyParam
from noa_async.cli.running import run
from noa_async.cli.sections import SectionOption, VerbCommand
from noa_async.cli.text import number_of
from noa_async.services import SERVICES
from noa_async.values import byte_rate

if TYPE_CHECKING:
    from noa_async.emulator import EmulatorSettings


class Amount(AnyParam):
    """Bytes, or bytes a second, with a unit where one is given."""

    name = "bytes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:

        try:
            return byte_rate(value)
        except ValueError:
            self.fail(f"{value!r} is no number of bytes, such as 20M or 500KiB", param, ctx)


@dataclass(frozen=True, slots=True)
class _Setting:
    """An option that becomes a field of EmulatorSettings."""

    name: str
    kind: Any
    text: str
    section: str = "What goes slowly or wrong"


_HOLDS = "What it holds"
_SETTINGS = (
    _Setting("service", str, f"What it plays: {' or '.join(SERVICES)} (the first).", _HOLDS),
    _Setting("products", click.IntRange(0), "Products in the catalogue (2000).", _HOLDS),
    _Setting("seed", int, "The same seed gives the same products and bytes (1).", _HOLDS),
    _Setting("mean_bytes", Amount(), "Mean size of a product, such as 2M (2M).", _HOLDS),
    _Setting(
        "long_products", bool, "Orbits of 101 minutes, and files of 26 hours, besides.", _HOLDS
    ),
    _Setting("host", str, "Address to listen on (127.0.0.1).", "Where it listens"),
    _Setting("port", click.IntRange(0, 65535), "0 takes a free one (0).", "Where it listens"),
    _Setting("token_life", click.FloatRange(0, min_open=True), "Seconds (300)."),
    _Setting("refresh_life", click.FloatRange(0, min_open=True), "Seconds (1800)."),
    _Setting("quota", click.IntRange(1), "Downloads at once for a user (no limit)."),
    _Setting("quota_style", click.Choice(["429", "403", "503"]), "How it refuses more (429)."),
    _Setting("retry_after", str, "Retry-After of a refusal: seconds, or an HTTP date (none)."),
    _Setting("latency", click.FloatRange(0), "Seconds before each answer (0)."),
    _Setting("rate", Amount(), "Bytes a second for each connection (as fast as it goes)."),
    _Setting("page_size", click.IntRange(1), "Entries of a page where nobody says (50)."),
    _Setting("max_skip", click.IntRange(1), "Past it the next page's link is missing (none)."),
)


def _with_settings(function: Any) -> Any:
    for setting in reversed(_SETTINGS):
        flag = {"is_flag": True, "default": None} if setting.kind is bool else {}
        function = click.option(
            f"--{setting.name.replace('_', '-')}",
            type=setting.kind,
            **flag,
            cls=SectionOption,
            section=setting.section,
            help=setting.text,
        )(function)
    return function


@click.command(cls=VerbCommand)
@_with_settings
@click.option(
    "--faults",
    type=click.Path(path_type=Path),
    metavar="FILE",
    cls=SectionOption,
    section="What goes slowly or wrong",
    help='A plan as TOML or JSON: {"faults": [{"kind": "cut", "at": 0.5}]}.',
)
@click.option("--with-input", is_flag=True, hidden=True, help="End with standard input.")
@with_manner
@click.pass_obj
def command(manner: Manner, /, faults: Path | None, *, with_input: bool, **given: Any) -> int:
    """Serve a mirror on this machine, until interrupted: to try things, and for tests.

    When it is ready, the lines that lead other commands to it stand on standard output:

    \b
      noa-async emulator > mirror.env &
      . ./mirror.env
      noa-async search --everything --limit 5
    """

    settings = _settings(faults, given)
    try:
        run(_serve(manner, settings, with_input=with_input))
    except Interrupted:
        make_lines(manner).line("Stopped.")
    return 0  # being interrupted is how it ends


def _settings(faults: Path | None, given: dict[str, Any]) -> EmulatorSettings:
    from noa_async.emulator import EmulatorSettings, FaultPlan  # noqa: PLC0415 (slow to import)
    from noa_async.emulator.profiles import DEFAULT  # noqa: PLC0415

    values = {name: value for name, value in given.items() if value is not None}
    if "mean_bytes" in values:
        values["mean_bytes"] = int(values["mean_bytes"])
    if faults is not None:
        try:
            values["faults"] = FaultPlan.from_file(str(faults))
        except OSError as error:
            raise click.UsageError(f"Cannot read {faults}: {error.strerror}.") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise click.UsageError(f"{faults} is no fault plan: {error}.") from error
    try:
        return EmulatorSettings.playing(values.pop("service", DEFAULT), **values)
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


async def _serve(manner: Manner, settings: EmulatorSettings, *, with_input: bool) -> None:
    from noa_async.emulator import Emulator  # noqa: PLC0415 (slow to import)

    mirror = Emulator(settings)
    try:
        await mirror.start()
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        raise click.UsageError(f"Cannot listen on {where}: {error.strerror or error}.") from error
    try:
        for name, value in mirror.environ.items():
            print(f"export {name}={shlex.quote(value)}", flush=True)
        products = number_of(settings.products, "product")
        make_lines(manner).line(f"Serving {products} at {mirror.base_url}; Ctrl-C ends it.")
        await _input_ends() if with_input else await asyncio.Event().wait()
    finally:
        await mirror.stop()


async def _input_ends() -> None:
    """Wait until whoever started us is gone, however that ended."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
