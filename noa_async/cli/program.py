"""The ``noa-async`` program: its verbs, imported on demand, and its exit codes."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from noa_async.cli.endings import ending
from noa_async.cli.manner import Manner, with_manner
from noa_async.services import SERVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Verb:
    """Module and one-line summary of a verb, available without importing the module."""

    module: str
    summary: str


VERBS = {
    "init": Verb("noa_async.cli.init", "Ask a few questions and write a query file."),
    "explain": Verb("noa_async.cli.explain", "Explain a query and estimate how much it matches."),
    "search": Verb("noa_async.cli.search", "List the products that match a query."),
    "count": Verb("noa_async.cli.count", "Count the products that match a query, and their bytes."),
    "download": Verb("noa_async.cli.download", "Download the products that match a query."),
    "mirror": Verb("noa_async.cli.mirror", "Keep a folder up to date with a query."),
    "verify": Verb("noa_async.cli.verify", "Check the files of a folder against their checksums."),
    "status": Verb("noa_async.cli.status", "Show what a folder holds, and what failed and why."),
    "accept": Verb(
        "noa_async.cli.accept", "Accept damaged, missing or failed products as they are."
    ),
    "forget": Verb(
        "noa_async.cli.forget", "Remove products from a folder's ledger; keep their files."
    ),
    "export": Verb(
        "noa_async.cli.export", "Export the list of a folder's products (STAC, GeoJSON, ...)."
    ),
    "login": Verb("noa_async.cli.login", "Check the credentials, and store them."),
    "completion": Verb("noa_async.cli.completion", "Print a shell completion script."),
    "emulator": Verb(
        "noa_async.cli.emulator", "Run an emulated service on this machine, for testing."
    ),
    "demo": Verb("noa_async.cli.demo", "Download from an emulated service and check the result."),
}


class Verbs(click.Group):
    """A command group that imports a verb only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = import_module(verb.module).command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 (for shells only)

        verbs = [
            CompletionItem(name, help=verb.summary)
            for name, verb in VERBS.items()
            if name.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 (for mistakes only)

            near = get_close_matches(args[0], VERBS, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"The verbs are {', '.join(VERBS)}."
            raise click.UsageError(f"There is no verb {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    subcommand_metavar="VERB [OPTIONS]",
    epilog=f"""
    \b
    Credentials are never command-line arguments. They are looked up in this order:
      NOA_USERNAME and NOA_PASSWORD, ESA_USERNAME and ESA_PASSWORD, ~/.netrc,
      the system keyring.
    \b
    Settings are taken from the option, its environment variable (NOA_SERVICE,
    NOA_WORKERS, ...), the [service], [transfer] and [mirror] tables of the
    --config file, or the default, in this order.
    \b
    To use another service, give --service NAME (NOA_SERVICE), one of {", ".join(SERVICES)}, or
      --catalogue-url and --token-url, which override the URLs of the named service.
    \b
    Exit codes: 0 success; 1 some products failed; 2 usage error; 3 credentials refused or
      missing; 4 service error or unreachable; 5 output folder or store error;
      70 internal error; 130 interrupted; 141 standard output was closed.
    """,
)
@click.version_option(
    None, "-V", "--version", package_name="noa-async", message="noa-async %(version)s"
)
@with_manner
def program() -> None:
    """Search the NOA Sentinels Mirror and download its products, verified by checksum.

    \b
    Try it without an account:           noa-async demo
    Download the products of a query:    noa-async download --config query.toml --output data
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit code. Print errors to standard error."""
    manner = Manner()
    try:
        with program.make_context("noa-async", list(arguments), obj=manner) as context:
            code = program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except BaseException as error:  # noqa: BLE001 (every error becomes a message and an exit code)
        return ending(error, manner)
    return code if isinstance(code, int) else 0


def _open_missing_streams() -> None:
    """Open standard streams that the caller closed, so that no socket gets their descriptors."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        stream or Path(os.devnull).open(mode)  # noqa: SIM115 (for as long as the program runs)
        for stream, mode in ((sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w"))
    )


def main() -> NoReturn:
    """Run ``noa-async`` with the arguments of the process, then exit."""
    _open_missing_streams()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # handle it like SIGINT
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """Exit without freeing each object, which takes time.

    Exit normally if non-daemon threads are still running or if Python was started with ``-W``.
    """
    alone = all(one.daemon or one is threading.main_thread() for one in threading.enumerate())
    if sys.warnoptions or not alone:
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001 (os._exit skips the handlers that libraries registered)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the stream is closed
            stream.flush()
    os._exit(code)
