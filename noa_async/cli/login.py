"""``noa-async login``: whether the credentials are good, and until when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from noa_async.auth.credentials import find_credentials
from noa_async.cli.lines import make_lines
from noa_async.cli.manner import Manner, with_manner
from noa_async.cli.options import ServiceOptions, read_settings
from noa_async.cli.remarks import tell_remarks
from noa_async.cli.running import run
from noa_async.cli.sections import VerbCommand, with_service
from noa_async.cli.text import seconds_text, shown

if TYPE_CHECKING:
    from noa_async.client import NoaClient


@click.command(cls=VerbCommand)
@with_service
@with_manner
@click.pass_obj
def command(manner: Manner, service: ServiceOptions) -> int:
    """Try the credentials, and say whose they are and until when the log-in holds.

    They are looked for in NOA_USERNAME and NOA_PASSWORD, in ESA_USERNAME and ESA_PASSWORD, in
    ~/.netrc and in the system's keyring. Nothing is kept.
    """
    from noa_async.client import NoaClient  # noqa: PLC0415 (slow to import)

    settings = read_settings(service)
    lines = make_lines(manner)
    tell_remarks(lines, service, settings)
    who = find_credentials(settings.service.token_url)
    client = NoaClient(settings, who, observer=lines)
    seconds = run(_log_in(client))
    print(f"{shown(who.username)} is accepted (found in {shown(who.source)}).")
    print(_validity(seconds, datetime.now().astimezone()))
    return 0


async def _log_in(client: NoaClient) -> float:
    async with client as noa:
        return await noa.log_in()


def _validity(seconds: float, now: datetime) -> str:
    until = now + timedelta(seconds=seconds)
    form = "%H:%M:%S %Z" if until.date() == now.date() else "%Y-%m-%d %H:%M:%S %Z"
    return (
        f"The log-in holds until {until.strftime(form).rstrip()}, for {seconds_text(seconds)}; "
        "a longer run renews it by itself."
    )
