"""``noa-async emulator``: run an emulated service on this machine."""

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
    """A number of bytes, or of bytes per second, with an optional unit."""

    name = "bytes"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:

        try:
            return byte_rate(value)
        except ValueError:
            self.fail(f"{value!r} is not a number of bytes such as 20M or 500KiB", param, ctx)


@dataclass(frozen=True, slots=True)
class _Setting:
    """An option that sets a field of EmulatorSettings."""

    name: str
    kind: Any
    text: str
    section: str = "Limits and faults"


_HOLDS = "Catalogue"
_SETTINGS = (
    _Setting(
        "service",
        str,
        f"Service to emulate: {' or '.join(SERVICES)} (default {next(iter(SERVICES))}).",
        _HOLDS,
    ),
    _Setting(
        "products", click.IntRange(0), "Number of products in the catalogue (default 2000).", _HOLDS
    ),
    _Setting(
        "seed", int, "Seed from which products and content are generated (default 1).", _HOLDS
    ),
    _Setting("mean_bytes", Amount(), "Mean size of a product (default 2M).", _HOLDS),
    _Setting(
        "long_products",
        bool,
        "Add products with sensing times of 101 minutes and 26 hours.",
        _HOLDS,
    ),
    _Setting("host", str, "Address to listen on (default 127.0.0.1).", "Network"),
    _Setting(
        "port",
        click.IntRange(0, 65535),
        "Port to listen on; 0 selects a free port (default 0).",
        "Network",
    ),
    _Setting(
        "token_life",
        click.FloatRange(0, min_open=True),
        "Lifetime of access tokens in seconds (default 300).",
    ),
    _Setting(
        "refresh_life",
        click.FloatRange(0, min_open=True),
        "Lifetime of refresh tokens in seconds (default 1800).",
    ),
    _Setting(
        "quota", click.IntRange(1), "Concurrent downloads allowed per user (default unlimited)."
    ),
    _Setting(
        "quota_style",
        click.Choice(["429", "403", "503"]),
        "HTTP status of downloads that the quota refuses (default 429).",
    ),
    _Setting(
        "retry_after",
        str,
        "Retry-After of refused downloads: seconds or an HTTP date (default none).",
    ),
    _Setting("latency", click.FloatRange(0), "Delay before each response in seconds (default 0)."),
    _Setting("rate", Amount(), "Bandwidth per connection in bytes per second (default unlimited)."),
    _Setting(
        "page_size", click.IntRange(1), "Entries per page if the request has no $top (default 50)."
    ),
    _Setting(
        "max_skip", click.IntRange(1), "$skip beyond which pages have no nextLink (default none)."
    ),
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
    section="Limits and faults",
    help='A fault plan, as TOML or JSON: {"faults": [{"kind": "cut", "at": 0.5}]}.',
)
@click.option("--with-input", is_flag=True, hidden=True, help="Exit when standard input is closed.")
@with_manner
@click.pass_obj
def command(manner: Manner, /, faults: Path | None, *, with_input: bool, **given: Any) -> int:
    """Serve an emulated mirror with generated products until interrupted, for trials and tests.

    When it is ready it prints the environment variables that make other commands use it:

    \b
      noa-async emulator > mirror.env &
      sleep 2; . ./mirror.env
      noa-async search --everything --limit 5
    """

    settings = _settings(faults, given)
    try:
        run(_serve(manner, settings, with_input=with_input))
    except Interrupted:
        make_lines(manner).line("Stopped.")
    return 0  # interruption is its regular end


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
            raise click.UsageError(f"{faults} is not a valid fault plan: {error}.") from error
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
        make_lines(manner).line(f"Serving {products} at {mirror.base_url}. Press Ctrl-C to stop.")
        await _input_ends() if with_input else await asyncio.Event().wait()
    finally:
        await mirror.stop()


async def _input_ends() -> None:
    """Wait until standard input is closed, which happens when the parent process ends."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
