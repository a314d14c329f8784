"""``noa-async login``: check credentials, show how long a session lasts, and store them."""

from __future__ import annotations

import math
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from noa_async.auth.credentials import Credentials, find_credentials
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import ServiceOptions, read_settings
from noa_async.cli.remarks import tell_remarks
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_service
from noa_async.cli.text import seconds_text, shown
from noa_async.errors import CredentialsMissing
from noa_async.tls import check_encrypted

if TYPE_CHECKING:
    from noa_async.cli.lines import Lines
    from noa_async.client import NoaClient
    from noa_async.settings import Settings

TYPED = "the terminal"


@click.command(cls=VerbCommand)
@with_service
@click.option(
    "--keep",
    type=click.Choice(["keyring", "netrc"]),
    help="Store the credentials, if accepted, in the system keyring or in ~/.netrc.",
)
@click.option("--ask", is_flag=True, help="Ask for the credentials even if stored ones are found.")
@with_manner
@click.pass_obj
def command(manner: Manner, service: ServiceOptions, keep: str | None, *, ask: bool) -> int:
    """Check the credentials by logging in, and show whose they are and how long a session lasts.

    They are looked up in NOA_USERNAME and NOA_PASSWORD, ESA_USERNAME and ESA_PASSWORD, ~/.netrc and
    the system keyring. If none are found, they are requested at the terminal. A refused password is
    sent only once and not stored. The session is closed immediately.
    """
    from noa_async.cli.library import NoaClient  # noqa: PLC0415 (slow to import)

    settings = read_settings(service)
    lines = make_lines(manner)
    tell_remarks(lines, service, settings)
    check_encrypted(settings)
    who = _find(settings, lines, ask=ask)
    client = NoaClient(settings, who, observer=lines)
    seconds, renewable = run(_log_in(client))
    where = "" if who.source == TYPED else f" (found in {shown(who.source)})"
    print(f"The credentials of {shown(who.username)} are accepted{where}.")
    now = datetime.now().astimezone()
    print(f"The access token is valid for {seconds_text(seconds)} and is renewed automatically.")
    print(_renewal(renewable, now))
    if keep is not None:
        _keep(who, keep, settings.service.token_url, lines)
    elif who.source == TYPED:
        lines.line("They were not stored: use --keep netrc or --keep keyring.")
    return 0


def _find(settings: Settings, lines: Lines, *, ask: bool) -> Credentials:
    """Return stored or typed credentials. Raise CredentialsMissing if there are none."""
    at_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    if ask and not at_terminal:
        raise click.UsageError("--ask requires a terminal.")
    if not ask:
        try:
            return find_credentials(settings.service.token_url)
        except CredentialsMissing as missing:
            if not at_terminal:
                raise
            lines.line(missing.message)
    host = urlsplit(settings.service.token_url).hostname
    user = click.prompt(f"User name at {host}", err=True)
    password = click.prompt("Password (not shown)", err=True, hide_input=True)
    return Credentials(user.strip(), password, source=TYPED)


async def _log_in(client: NoaClient) -> tuple[float, float]:
    async with client as noa:
        return await noa.log_in(), noa.renewable_for


def _until(seconds: float, now: datetime) -> str:
    until = now + timedelta(seconds=seconds)
    form = "%H:%M:%S %Z" if until.date() == now.date() else "%Y-%m-%d %H:%M:%S %Z"
    return f"until {until.strftime(form).rstrip()}, for {seconds_text(seconds)}"


def _renewal(seconds: float, now: datetime) -> str:
    """Return a sentence on how long the session can be renewed.

    >>> _renewal(0, datetime(2026, 1, 11)), _renewal(math.inf, datetime(2026, 1, 11))
    ('Renewal requires the password.', 'The session can be renewed without the password.')
    """
    if not seconds:
        return "Renewal requires the password."
    end = "" if math.isinf(seconds) else f" {_until(seconds, now)}"
    return f"The session can be renewed without the password{end}."


def _keep(who: Credentials, where: str, token_url: str, lines: Lines) -> None:
    from noa_async.auth.keeping import keep_in_keyring, keep_in_netrc  # noqa: PLC0415 (seldom)

    host = urlsplit(token_url).hostname or ""
    place = keep_in_netrc(who, host) if where == "netrc" else keep_in_keyring(who, host)
    print(f"Stored in {shown(str(place))}.")
    first = find_credentials(token_url)
    if (first.username, first.password) != (who.username, who.password):
        lines.line(
            f"Warning: other credentials, in {shown(first.source)}, take precedence: remove them."
        )
