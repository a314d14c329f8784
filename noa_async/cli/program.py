"""``noa-async`` itself: the verbs, found when they are asked for, and how a run ends."""

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
    """Where a verb lives, and what it does in a line: known without its import."""

    module: str
    summary: str


VERBS = {
    "init": Verb("noa_async.cli.init", "Ask a few questions, and write a query file."),
    "explain": Verb("noa_async.cli.explain", "Say what a query asks, and how much that is."),
    "search": Verb("noa_async.cli.search", "List the products that match a query."),
    "count": Verb("noa_async.cli.count", "Say how many products match, and how many bytes."),
    "download": Verb("noa_async.cli.download", "Fetch the products that match a query."),
    "mirror": Verb("noa_async.cli.mirror", "Keep a folder equal to what a query matches."),
    "verify": Verb("noa_async.cli.verify", "Read a folder's products again and compare them."),
    "status": Verb("noa_async.cli.status", "Say what a folder holds, and what failed and why."),
    "accept": Verb("noa_async.cli.accept", "Accept findings: they no longer count."),
    "forget": Verb("noa_async.cli.forget", "Delete what a folder's ledger knows of products."),
    "export": Verb("noa_async.cli.export", "Write down what a folder holds, for other programs."),
    "login": Verb("noa_async.cli.login", "Try the credentials."),
    "completion": Verb("noa_async.cli.completion", "Print a script that completes words."),
    "emulator": Verb("noa_async.cli.emulator", "Serve a mirror on this machine, to try things."),
    "demo": Verb("noa_async.cli.demo", "Search, download and check against an emulated mirror."),
}


class Verbs(click.Group):
    """A group that imports a verb only when it is run."""

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
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(VERBS)}."
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
    Credentials, never an argument:
      NOA_USERNAME and NOA_PASSWORD, else ESA_USERNAME and ESA_PASSWORD,
      else ~/.netrc, else the system's keyring.
    \b
    Settings: an option, else its variable (NOA_SERVICE, NOA_WORKERS, ...), else
      [service], [transfer], [mirror] of the --config file, else the default.
    \b
    Another mirror: --service NAME (NOA_SERVICE), where NAME is {" or ".join(SERVICES)}; else
      --catalogue-url and --token-url. Addresses stand in for those of the named one.
    \b
    Exit codes: 0 all there; 1 some products failed; 2 wrong usage; 3 credentials refused
      or missing; 4 the service refused or cannot be reached; 5 the destination cannot be
      written; 130 interrupted. (70 is a fault of ours; 141 means nobody reads our output.)
    """,
)
@click.version_option(
    None, "-V", "--version", package_name="noa-async", message="noa-async %(version)s"
)
@with_manner
def program() -> None:
    """Search the NOA Sentinels Mirror and bring its products home, checked.

    \b
    A first look, with no account:   noa-async demo
    The products of a query file:    noa-async download --config query.toml --output data
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code. What goes wrong is told on standard error."""
    manner = Manner()
    try:
        with program.make_context("noa-async", list(arguments), obj=manner) as context:
            code = program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except BaseException as error:  # noqa: BLE001 (nothing but a sentence and a code leaves here)
        return ending(error, manner)
    return code if isinstance(code, int) else 0


def _open_missing_streams() -> None:
    """A standard stream that the caller closed would give its number to the next socket."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (
        stream or Path(os.devnull).open(mode)  # noqa: SIM115 (for as long as the program runs)
        for stream, mode in ((sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w"))
    )


def main() -> NoReturn:
    """Run ``noa-async`` with the program's own arguments, and leave."""
    _open_missing_streams()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # one way to end for both
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)
    _leave(run(sys.argv[1:]))


def _leave(code: int) -> NoReturn:
    """End the process, and let the system take its memory: to free each object takes its time.

    A thread that still runs is waited for, as ever; and whoever asked for warnings hears those of
    the end (with ``-W default`` a profiler, too, comes to write what it found).
    """
    alone = all(one.daemon or one is threading.main_thread() for one in threading.enumerate())
    if sys.warnoptions or not alone:
        sys.exit(code)
    atexit._run_exitfuncs()  # noqa: SLF001 (what libraries registered, such as telemetry's last word)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, or nobody reads: the code says the rest
            stream.flush()
    os._exit(code)
