"""docs/events.md: its tables are the code's, and real runs write what it says, and no more."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any, get_args

import pytest

from noa_async.cli.sentences import event_name
from noa_async.cli.tally import Tally, summary
from noa_async.cli.verify import Sum
from noa_async.emulator import Fault, FaultKind, FaultPlan
from noa_async.events import Event
from noa_async.progress import Progress

from .cli.conftest import PASSWORD, Open, open_mirror
from .event_docs import DOCS, refreshed

__all__ = ["open_mirror"]
TEXT = DOCS.read_text("utf-8")
KINDS: dict[str, Any] = {
    "string": str, "number": (int, float), "true or false": bool, "null": type(None),
    "object": dict,
}  # fmt: skip


def documented() -> dict[str, dict[str, str]]:
    """Each event's fields, with what they are in JSON."""
    events = {}
    for part in TEXT.split("\n### `")[1:]:
        name, _, rest = part.partition("`")
        rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|", rest.split("\n## ")[0], re.MULTILINE)
        events[name] = dict(rows)
    return events


EVENTS = documented()


def checked(line: str) -> str:
    """The event that one line of a log tells; all of it is as documented."""
    held = json.loads(line)
    name = held.pop("event")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", held.pop("time"))
    assert list(held) == list(EVENTS[name])
    for field, value in held.items():
        kinds = EVENTS[name][field].replace("true or false", "true_or_false").split(" or ")
        allowed = [KINDS[kind.replace("_", " ")] for kind in kinds]
        assert any(isinstance(value, kind) for kind in allowed), (name, field, value)
        assert not isinstance(value, bool) or bool in allowed
    return str(name)


def test_the_tables_are_those_of_the_code() -> None:
    assert refreshed(TEXT) == TEXT, "python -m tests.event_docs writes them anew"


def test_every_event_has_its_section() -> None:
    kinds = {event_name(kind): kind for kind in get_args(Event)}
    assert [name for name in EVENTS if name in kinds] == list(kinds)
    for name, kind in kinds.items():
        assert list(EVENTS[name]) == [field.name for field in fields(kind)]
    own = ["message", "run_finished", "verify_finished", "error"]
    assert [name for name in EVENTS if name not in kinds] == own


def test_the_sums_have_the_documented_fields() -> None:
    assert list(EVENTS["run_finished"]) == list(summary(Tally(), Progress(), 1.0))
    assert list(EVENTS["verify_finished"]) == list(Sum().held())


FAULTS = FaultPlan(
    (
        Fault(FaultKind.CUT, index=0),
        Fault(FaultKind.WRONG_BYTES, index=1, times=None),
        Fault(FaultKind.EMPTY_202, index=2, retry_after="1"),
        Fault(FaultKind.FORBIDDEN, index=3, times=None),
        Fault(FaultKind.QUOTA_TEXT, index=4),
        Fault(FaultKind.REVOKED_TOKEN, index=5),
        Fault(FaultKind.PAGE_ERROR, page=0),
        Fault(FaultKind.TOKEN_ERROR),
    )
)
QUERY = ("--everything", "--log-format", "json", "--retries", "2")


async def test_what_runs_write_is_documented(open_mirror: Open) -> None:
    mirror, noa = await open_mirror(products=12, faults=FAULTS, token_life=3.0)
    seen: set[str] = set()

    async def run(*arguments: str, code: int, last: str) -> list[str]:
        ended = await noa(*arguments)
        assert ended.code == code
        for secret in (PASSWORD, "Bearer", *noa._tokens()):
            assert secret not in ended.err
        names = [checked(line) for line in ended.err.splitlines()]
        assert last in names[-2:]
        seen.update(names)
        return names

    to = ("--output", "data")
    plain = await run("download", *QUERY, *to, code=1, last="run_finished")
    assert "transfer_advanced" not in plain
    hook = ("--exec", "false", "-vv")
    await run("mirror", *QUERY, "--output", "kept", *hook, code=1, last="run_finished")
    await run("mirror", *QUERY, "--output", "kept", "--layout", "date", code=1, last="run_finished")
    healthy, bad = mirror.faults, Fault(FaultKind.PAGE_BAD_ENTRY, page=0, times=None)
    mirror.faults = FaultPlan((bad,))
    await run("search", *QUERY[:3], code=4, last="error")
    mirror.faults = healthy
    noa.environ["NOA_GONE_LISTINGS"] = "1"
    await run("verify", "kept", "--log-format", "json", code=0, last="verify_finished")
    removed, changed = mirror.catalogue.products[6:8]
    mirror.catalogue.remove(removed.id)
    mirror.catalogue.remove(changed.id)
    gone = (*QUERY, "--output", "kept", "--reconcile", "--on-removed", "delete", "--gone-for", "0d")
    await run("mirror", *gone, code=1, last="message")
    [path] = (noa.folder / "kept").rglob(f"{changed.name}*")
    path.write_bytes(b"somebody's own")
    all_of_it = (*gone, "--max-delete", "100%", "--no-check-files")
    await run("mirror", *all_of_it, code=1, last="run_finished")
    trash = noa.folder / "kept/.noa-async/trash"
    [day] = trash.iterdir()
    day.rename(trash / "2020-01-01")
    await run("mirror", *all_of_it, code=1, last="run_finished")
    (noa.folder / "kept/.noa-async/ledger.sqlite3").write_bytes(b"no ledger" * 1000)
    await run("mirror", *QUERY, "--output", "kept", code=1, last="run_finished")
    product = mirror.catalogue.products[7]
    no_shared_memory = noa.folder / "new/.noa-async/ledger.sqlite3-shm"
    no_shared_memory.mkdir(parents=True)
    (noa.folder / "new" / product.name).write_bytes(b"something else")
    await run("mirror", *QUERY, "--output", "new", code=1, last="run_finished")
    nothing = ("--content-start", "2031-01-01", "--log-format", "json")
    assert "message" in await run("download", *nothing, *to, code=0, last="run_finished")
    await run("download", *QUERY, "--workers", "no", *to, code=2, last="error")
    noa.environ["NOA_PASSWORD"] = "wrong"
    await run("download", *QUERY, *to, code=3, last="error")
    assert seen == set(EVENTS)


@pytest.mark.parametrize("verb", ["download", "mirror"])
async def test_quiet_json_says_nothing_of_what_went_well(open_mirror: Open, verb: str) -> None:
    _, noa = await open_mirror(products=3)
    ended = await noa(verb, *QUERY, "--output", "data", "-q")
    assert (ended.code, ended.err) == (0, "")
